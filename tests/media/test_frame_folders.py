"""A folder of all its frames is a video too."""

import numpy as np
import pytest

from dfercli.errors import VideoError
from dfercli.media.images import write_image
from dfercli.media.video import FALLBACK_FPS, count_declared, read_frames

FRAMES = [np.full((48, 64, 3), (100 + 10 * i, 60, 10), dtype=np.uint8) for i in range(12)]


@pytest.fixture
def folder(tmp_path):
    """12 plain frames as images whose order by name is not their order."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, image_rgb in enumerate(FRAMES):
        write_image(folder / f"{index + 1}.png", image_rgb)
    return folder


def test_a_folder_of_frames_is_a_video_at_the_assumed_rate(folder):
    frames = list(read_frames(folder))
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.time_s for frame in frames] == [i / FALLBACK_FPS for i in range(12)]
    for frame, written in zip(frames, FRAMES, strict=True):
        assert np.array_equal(frame.image_rgb, written)
    assert count_declared(folder) == 12


@pytest.mark.parametrize(
    ("max_fps", "indices"), [(5, [0, 5, 10]), (10, [0, 3, 5, 8, 10]), (100, list(range(12)))]
)
def test_a_folder_is_thinned_like_a_file(folder, max_fps, indices):
    frames = list(read_frames(folder, max_fps))
    assert [frame.index for frame in frames] == indices
    assert [frame.image_rgb[0, 0, 0] for frame in frames] == [100 + 10 * i for i in indices]


def test_an_image_of_a_folder_that_cannot_be_read_is_named(folder):
    path = folder / "3.png"
    path.write_bytes(path.read_bytes()[:-10])
    frames = read_frames(folder)
    assert [next(frames).index, next(frames).index] == [0, 1]
    with pytest.raises(VideoError) as caught:
        next(frames)
    assert str(caught.value) == f"cannot read {path}: cut off"


@pytest.mark.parametrize("content", [None, "notes.txt", "take.mp4"])
def test_a_folder_without_images_is_no_video(tmp_path, content):
    folder = tmp_path / "folder"
    folder.mkdir()
    if content:
        (folder / content).write_bytes(b"")
    with pytest.raises(VideoError) as caught:
        list(read_frames(folder))
    expected = f"no frames in {folder}; a video is a file, or a folder of its frames"
    assert str(caught.value) == expected
    assert count_declared(folder) == 0
