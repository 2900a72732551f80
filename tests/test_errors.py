"""System errors behind those of libraries, and the advice for each."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dfercli.errors import (
    OTHER_ADVICE,
    advise,
    describe_system_error,
    find_system_error,
    first_line,
)


def _raise_behind(hidden, suppress=False):
    """Return an error that was raised while another was handled."""
    try:
        try:
            raise hidden
        except OSError:
            if suppress:
                raise RuntimeError("front") from None
            raise RuntimeError("front")  # noqa: B904
    except RuntimeError as error:
        return error


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (FULL, errno.ENOSPC),
        (_raise_behind(FULL), errno.ENOSPC),
        (_raise_behind(FULL, suppress=True), None),
        (RuntimeError("I/O error: Permission denied (os error 13)"), errno.EACCES),
        (RuntimeError("free some space"), None),
        (OSError("disk full"), None),
        (ValueError(), None),
    ],
)
def test_the_error_of_the_system_is_found(error, number):
    found = find_system_error(error)
    assert (found and found.errno) == number


def test_safetensors_quotes_the_system(tmp_path):
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(Exception, match="os error") as caught:
        save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    found = find_system_error(caught.value)
    assert found.errno == errno.EISDIR
    assert describe_system_error(found) == "Is a directory"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_the_system_is_found_behind_whatever_torch_raises():
    with Path("/dev/full").open("wb", buffering=0) as stream, pytest.raises(Exception) as caught:
        torch.save(torch.zeros(1000), stream)
    assert find_system_error(caught.value).errno == errno.ENOSPC


def test_space_is_the_advice_for_nothing_but_space():
    names = {name for name in errno.errorcode.values() if "space" in advise(_error(name))}
    assert names == {"ENOSPC", "EDQUOT", "EFBIG"}
    assert advise(_error("EROFS")) == "mount the file system for writing, or choose another folder"
    assert advise(_error("ELOOP")) == OTHER_ADVICE


def _error(name):
    return OSError(getattr(errno, name), "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (_raise_behind(FULL), "No space left on device"),
        (RuntimeError("first\nsecond"), "first"),
        (RuntimeError(), "RuntimeError"),
        (OSError(errno.EIO, ""), os.strerror(errno.EIO)),
    ],
)
def test_an_error_is_told_in_one_line(error, line):
    assert first_line(error) == line
