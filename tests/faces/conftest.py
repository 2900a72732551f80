"""A video and where its crops go."""

import pytest
from crops import make_frames

from dfercli.media.video_writer import write_video


@pytest.fixture
def video(tmp_path):
    """30 frames at 25 a second, brighter from frame to frame."""
    write_video(tmp_path / "take.mp4", make_frames(30), fps=25.0)
    return tmp_path / "take.mp4"


@pytest.fixture
def folder(tmp_path):
    """Where the crops go."""
    return tmp_path / "faces" / "p0" / "take"
