"""A function that writes `labels.csv` for a test."""

import pytest


@pytest.fixture
def write_labels(tmp_path):
    """Write `labels.csv` from bytes or lines, and return its folder."""

    def write(*lines):
        content = b"".join(
            line if isinstance(line, bytes) else f"{line}\n".encode() for line in lines
        )
        (tmp_path / "labels.csv").write_bytes(content)
        return tmp_path

    return write
