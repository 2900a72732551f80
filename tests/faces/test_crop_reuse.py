"""Crops on disk: known again while they are whole and of the same video."""

import os
import shutil

import pytest
from crops import crop, drop, edit, make_frames, read

from dfercli.faces.crop_files import RECORD_FILE
from dfercli.media.images import write_image


def test_a_video_without_a_face_is_noted_and_not_searched_again(video, folder):
    record = crop(video, folder, missed=range(30))
    assert (record.n_frames, record.video_frames, record.skipped) == (0, 30, 30)
    assert (record.coverage, record.score) == (0.0, 0.0)
    assert [path.name for path in folder.iterdir()] == [RECORD_FILE]
    assert read(folder, video) == record


def test_crops_that_are_whole_are_known_again(video, folder):
    record = crop(video, folder)
    assert read(folder, video) == record
    os.utime(folder, ns=(video.stat().st_mtime_ns,) * 2)
    assert read(folder, video) == record


HARMS = {
    "no folder": lambda folder, video: shutil.rmtree(folder),
    "no record": lambda folder, video: (folder / RECORD_FILE).unlink(),
    "the last crop is gone": lambda folder, video: (folder / "000030.jpg").unlink(),
    "a hole": lambda folder, video: (folder / "000007.jpg").unlink(),
    "a crop too many": lambda folder, video: shutil.copy(
        folder / "000030.jpg", folder / "000031.jpg"
    ),
    "another name": lambda folder, video: (folder / "000030.jpg").rename(folder / "30.jpg"),
    "a crop cut in its middle": lambda folder, video: _halve(folder / "000007.jpg"),
    "an empty crop": lambda folder, video: (folder / "000007.jpg").write_bytes(b""),
    "half a record": lambda folder, video: (folder / RECORD_FILE).write_text('{"n_frames": 30,'),
    "an empty record": lambda folder, video: (folder / RECORD_FILE).write_text(""),
    "no text": lambda folder, video: (folder / RECORD_FILE).write_bytes(b"\xff\xfe\x00"),
    "a list": lambda folder, video: (folder / RECORD_FILE).write_text("[30]"),
    "a field is missing": lambda folder, video: drop(folder, "rival"),
    "a field too many": lambda folder, video: edit(folder, version=2),
    "a number as text": lambda folder, video: edit(folder, skipped="0"),
    "a score of nothing": lambda folder, video: edit(folder, score=None),
    "another number of crops": lambda folder, video: edit(folder, n_frames=29),
    "a newer video": lambda folder, video: os.utime(video, (3e9, 3e9)),
    "a video of another size": lambda folder, video: _lengthen(video),
    "a video elsewhere": lambda folder, video: edit(folder, source="other/take.mp4"),
    "the video is gone": lambda folder, video: video.unlink(),
}


def _halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _lengthen(path):
    """Add a byte, as if nothing had been written."""
    time_ns = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(time_ns, time_ns))


@pytest.mark.parametrize("harm", HARMS)
def test_crops_that_were_harmed_or_are_of_another_video_are_not_taken(video, folder, harm):
    assert crop(video, folder) == read(folder, video)
    HARMS[harm](folder, video)
    assert read(folder, video) is None


def test_crops_without_a_face_may_have_no_images(video, folder):
    crop(video, folder, missed=range(30))
    write_image(folder / "000001.jpg", make_frames(1)[0])
    assert read(folder, video) is None


@pytest.mark.parametrize("missed", [(), range(30)])
def test_crops_of_another_source_with_the_same_clip_id_are_not_taken(video, folder, missed):
    record = crop(video, folder, missed)
    other = video.with_suffix(".avi")
    shutil.copy2(video, other)  # as large and as old
    assert read(folder, other) is None
    assert read(folder, video) == record
    crop(other, folder, missed)
    assert read(folder, other).source == "take.avi"
    assert read(folder, video) is None


@pytest.fixture
def frames(tmp_path):
    """A folder of 12 frames."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, image_rgb in enumerate(make_frames(12)):
        write_image(frames / f"{number}.png", image_rgb)
    return frames


def test_a_frame_that_comes_or_goes_or_is_newer_is_noticed(frames, folder):
    record, before = crop(frames, folder), frames.stat()
    write_image(frames / "12.png", make_frames(1)[0])
    assert read(folder, frames) is None
    (frames / "12.png").unlink()
    os.utime(frames, ns=(before.st_atime_ns, before.st_mtime_ns))  # the folder's own time counts
    assert read(folder, frames) == record
    os.utime(frames / "3.png", (3e9, 3e9))
    assert read(folder, frames) is None


def test_a_frame_replaced_in_place_with_its_old_time_is_noticed_by_its_bytes(frames, folder):
    crop(frames, folder)
    os.utime(folder, (2e9, 2e9))
    assert read(folder, frames) is not None
    _lengthen(frames / "3.png")
    assert read(folder, frames) is None
