"""The crops of one video: numbered, whole or not there, known again while they are of the video."""

import json
import os
import shutil
from dataclasses import asdict

import cv2
import numpy as np
import pytest

from dfercli.errors import VideoError
from dfercli.faces.align import TEMPLATE
from dfercli.faces.base import Face
from dfercli.faces.crop import RECORD_FILE, CropRecord, crop_video, read_record
from dfercli.images import list_frames, read_image, write_image
from dfercli.video import write_video

STEP = 8
"""Grey levels from frame to frame: more than the codec is off by."""


class _Everywhere:
    """A detector that sees a face in all frames but those it is told to miss."""

    def __init__(self, missed=()):
        self.searched, self._missed = [], missed

    def detect(self, image_rgb):
        index = round(float(image_rgb.mean()) / STEP)
        self.searched.append(index)
        if index in self._missed:
            return []
        return [Face(np.array([20.0, 20, 120, 120]), 20 + 100 * TEMPLATE, 0.9)]


def _frames(count):
    return [np.full((144, 160, 3), STEP * index, dtype=np.uint8) for index in range(count)]


@pytest.fixture
def video(tmp_path):
    """30 frames at 25 a second, brighter from frame to frame."""
    write_video(tmp_path / "take.mp4", _frames(30), fps=25.0)
    return tmp_path / "take.mp4"


@pytest.fixture
def folder(tmp_path):
    """Where the crops go."""
    return tmp_path / "faces" / "p0" / "take"


def _crop(video, folder, missed=()):
    return crop_video(video, folder, 32, _Everywhere(missed))


def _files(folder):
    """Content and time of all files below a folder by path, hidden ones too."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in files
    }


def _levels(folder):
    """Which frames the crops show."""
    return [round(float(read_image(path).mean()) / STEP) for path in list_frames(folder)]


def test_every_frame_has_a_crop_though_few_are_searched(video, folder):
    detector = _Everywhere()
    record = crop_video(video, folder, 32, detector)
    assert detector.searched == [0, 5, 10, 15, 20, 25, 29]
    assert record == CropRecord(
        n_frames=30,
        video_frames=30,
        declared_frames=30,
        interpolated=0,
        skipped=0,
        coverage=1.0,
        score=0.9,
        jitter=0.0,
        rival=0.0,
        video_bytes=video.stat().st_size,
    )
    names = [f"{number:06d}.jpg" for number in range(1, 31)]
    assert sorted(path.name for path in folder.iterdir()) == [*names, RECORD_FILE]
    assert json.loads((folder / RECORD_FILE).read_text()) == asdict(record)
    assert _levels(folder) == list(range(30))
    assert read_image(folder / names[0]).shape == (32, 32, 3)


def test_frames_without_the_face_are_left_out_and_crops_numbered_on(video, folder):
    record = _crop(video, folder, missed=(0, 7, 10, *range(16, 26)))
    assert (record.n_frames, record.skipped, record.interpolated) == (19, 11, 2)
    assert record.coverage == round(19 / 30, 4)
    assert _levels(folder) == [*range(1, 16), *range(26, 30)]
    assert [path.name for path in list_frames(folder)][-1] == "000019.jpg"


def test_a_folder_of_frames_is_cropped_like_a_video(tmp_path, folder):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, image_rgb in enumerate(_frames(12)):
        write_image(frames / f"{number}.png", image_rgb)
    record = _crop(frames, folder, missed=(0,))
    assert (record.n_frames, record.video_frames, record.declared_frames) == (11, 12, 12)
    assert record.video_bytes == 12
    assert _levels(folder) == list(range(1, 12))
    assert read_record(folder, frames) == record
    write_image(frames / "12.png", _frames(1)[0])
    os.utime(folder, (2e9, 2e9))
    assert read_record(folder, frames) is None
    (frames / "12.png").unlink()
    assert read_record(folder, frames) == record
    os.utime(frames / "3.png", (3e9, 3e9))
    assert read_record(folder, frames) is None


def test_a_video_without_a_face_is_noted_and_not_searched_again(video, folder):
    record = _crop(video, folder, missed=range(30))
    assert (record.n_frames, record.video_frames, record.skipped) == (0, 30, 30)
    assert (record.coverage, record.score) == (0.0, 0.0)
    assert [path.name for path in folder.iterdir()] == [RECORD_FILE]
    assert read_record(folder, video) == record


def test_the_same_video_gives_the_same_bytes(video, folder, tmp_path):
    _crop(video, folder, missed=(3, 10))
    again = tmp_path / "other" / "name"
    shutil.copy(video, tmp_path / "copy.mp4")
    _crop(tmp_path / "copy.mp4", again, missed=(3, 10))
    contents = [{name: file[0] for name, file in _files(path).items()} for path in (folder, again)]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 31


def test_a_video_that_ends_early_says_so(tmp_path, folder):
    video = tmp_path / "take.avi"
    write_video(video, _frames(30), fps=25.0)
    content = video.read_bytes()
    video.write_bytes(content[: content.rindex(b"00dc", 0, len(content) * 2 // 3)])
    record = _crop(video, folder)
    assert 0 < record.video_frames == record.n_frames < record.declared_frames == 30


def test_crops_that_are_whole_are_known_again(video, folder):
    record = _crop(video, folder)
    assert read_record(folder, video) == record
    os.utime(folder, ns=(video.stat().st_mtime_ns,) * 2)
    assert read_record(folder, video) == record


def _edit(folder, **values):
    record = json.loads((folder / RECORD_FILE).read_text())
    (folder / RECORD_FILE).write_text(json.dumps({**record, **values}))


def _drop(folder, name):
    record = json.loads((folder / RECORD_FILE).read_text())
    del record[name]
    (folder / RECORD_FILE).write_text(json.dumps(record))


HARMS = {
    "no folder": lambda folder, video: shutil.rmtree(folder),
    "no record": lambda folder, video: (folder / RECORD_FILE).unlink(),
    "the last crop is gone": lambda folder, video: (folder / "000030.jpg").unlink(),
    "a hole": lambda folder, video: (folder / "000007.jpg").unlink(),
    "a crop too many": lambda folder, video: shutil.copy(
        folder / "000030.jpg", folder / "000031.jpg"
    ),
    "another name": lambda folder, video: (folder / "000030.jpg").rename(folder / "30.jpg"),
    "an empty crop": lambda folder, video: (folder / "000007.jpg").write_bytes(b""),
    "half a record": lambda folder, video: (folder / RECORD_FILE).write_text('{"n_frames": 30,'),
    "an empty record": lambda folder, video: (folder / RECORD_FILE).write_text(""),
    "no text": lambda folder, video: (folder / RECORD_FILE).write_bytes(b"\xff\xfe\x00"),
    "a list": lambda folder, video: (folder / RECORD_FILE).write_text("[30]"),
    "a field is missing": lambda folder, video: _drop(folder, "rival"),
    "a field too many": lambda folder, video: _edit(folder, version=2),
    "a number as text": lambda folder, video: _edit(folder, skipped="0"),
    "a score of nothing": lambda folder, video: _edit(folder, score=None),
    "another number of crops": lambda folder, video: _edit(folder, n_frames=29),
    "a newer video": lambda folder, video: os.utime(video, (3e9, 3e9)),
    "a video of another size": lambda folder, video: _lengthen(video),
    "the video is gone": lambda folder, video: video.unlink(),
}


def _lengthen(video):
    time_ns = video.stat().st_mtime_ns
    video.write_bytes(video.read_bytes() + b"\0")
    os.utime(video, ns=(time_ns, time_ns))


@pytest.mark.parametrize("harm", HARMS)
def test_crops_that_were_harmed_or_are_of_another_video_are_not_taken(video, folder, harm):
    assert _crop(video, folder) == read_record(folder, video)
    HARMS[harm](folder, video)
    assert read_record(folder, video) is None


def test_crops_without_a_face_may_have_no_images(video, folder):
    _crop(video, folder, missed=range(30))
    write_image(folder / "000001.jpg", _frames(1)[0])
    assert read_record(folder, video) is None


def test_new_crops_replace_all_that_was_there(video, folder):
    _crop(video, folder)
    (folder / "000031.jpg").write_bytes(b"stale")
    record = _crop(video, folder, missed=range(15))
    assert record.n_frames == 15
    assert len(list(folder.iterdir())) == 16


def test_what_a_killed_call_left_is_never_a_whole_clip(video, folder):
    left = folder.with_name(".take.partial")
    left.mkdir(parents=True)
    (left / "000077.jpg").write_bytes(b"half")
    record = _crop(video, folder)
    assert list(folder.parent.iterdir()) == [folder]
    assert read_record(folder, video) == record


def test_a_call_that_dies_leaves_the_old_crops(video, folder, monkeypatch):
    _crop(video, folder)
    before, written = _files(folder.parent), []

    def die_at_third(path, image_rgb):
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt
        path.write_bytes(b"new")

    monkeypatch.setattr("dfercli.faces.crop.write_image", die_at_third)
    with pytest.raises(KeyboardInterrupt):
        _crop(video, folder)
    assert len(written) == 3
    assert _files(folder.parent) == before


def test_a_video_that_cannot_be_read_is_named_and_leaves_nothing(tmp_path, folder):
    video = tmp_path / "bad.mp4"
    with pytest.raises(VideoError, match=r"^no video at .*bad\.mp4; check the path$"):
        _crop(video, folder)
    video.write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"^cannot read .*bad\.mp4: no frame can be decoded"):
        _crop(video, folder)
    assert not folder.exists()


def test_a_detector_that_stumbles_over_a_video_is_an_error_of_one_line(video, folder):
    class Stumbles:
        def detect(self, image_rgb):
            raise cv2.error("first line\nlast line\n")

    with pytest.raises(VideoError) as caught:
        crop_video(video, folder, 32, Stumbles())
    assert str(caught.value) == f"cannot crop {video}: last line"
    assert not folder.exists()
