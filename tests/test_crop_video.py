"""The crops of one video: numbered, whole or not there, reused while they are newer."""

import os

import cv2
import numpy as np
import pytest

from dfercli.data.spec import Source
from dfercli.faces.align import TEMPLATE
from dfercli.faces.base import Face
from dfercli.images import list_frames, read_image
from dfercli.preprocess import ClipOutcome, crop_video
from dfercli.video import write_video


def _files(folder):
    """Time of all files below a folder by path, hidden ones too."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in files}


class _Everywhere:
    """A detector that sees a face in all frames but those it is told to miss."""

    def __init__(self, missed=()):
        self.frames, self._missed = 0, missed

    def detect(self, image_rgb):
        self.frames += 1
        if self.frames - 1 in self._missed:
            return []
        return [Face(np.array([20.0, 20, 120, 120]), 20 + 100 * TEMPLATE, 0.9)]


SOURCE = Source("p0/take", "p0/take.mp4", "anger", 1)


@pytest.fixture
def take(tmp_path):
    """A video of six frames, brighter from frame to frame, and the folder of its crops."""
    frames = (np.full((144, 160, 3), 40 * i, dtype=np.uint8) for i in range(6))
    write_video(tmp_path / SOURCE.path, frames, fps=10.0)
    return tmp_path / "faces" / SOURCE.clip_id


def _crop(root, detector):
    return crop_video(SOURCE, root, root / "faces", 32, detector)


def _make_newer(video):
    later_s = video.stat().st_mtime + 3600
    os.utime(video, (later_s, later_s))


def _leave_half(partial):
    """Leave what a call leaves that is killed while it writes crops."""
    partial.mkdir(parents=True)
    for number in (1, 77):
        (partial / f"{number:06d}.jpg").write_bytes(b"half")


def test_frames_without_the_face_are_left_out_and_crops_numbered_on(take, tmp_path):
    assert _crop(tmp_path, _Everywhere(missed=(0, 3))) == ClipOutcome("p0/take", "done", 4)
    crops = list_frames(take)
    assert [path.name for path in crops] == [f"{number:06d}.jpg" for number in (1, 2, 3, 4)]
    levels = [round(float(read_image(path).mean()) / 40) for path in crops]
    assert levels == [1, 2, 4, 5]
    assert read_image(crops[0]).shape == (32, 32, 3)


def test_crops_that_are_there_are_reused_and_counted(take, tmp_path):
    _crop(tmp_path, _Everywhere(missed=(5,)))
    again = _Everywhere()
    assert _crop(tmp_path, again) == ClipOutcome("p0/take", "reused", 5)
    assert again.frames == 0


def test_a_newer_video_replaces_all_its_crops(take, tmp_path):
    _crop(tmp_path, _Everywhere())
    _make_newer(tmp_path / SOURCE.path)
    assert _crop(tmp_path, _Everywhere(missed=(0, 1, 2))) == ClipOutcome("p0/take", "done", 3)
    assert len(list_frames(take)) == 3


@pytest.mark.parametrize("left", ["half", "empty"])
def test_what_a_killed_call_left_is_never_a_whole_clip(take, tmp_path, left):
    if left == "half":
        _leave_half(take.with_name(".take.partial"))
    else:
        take.mkdir(parents=True)
    assert _crop(tmp_path, _Everywhere()) == ClipOutcome("p0/take", "done", 6)
    assert list(take.parent.iterdir()) == [take]
    assert len(list_frames(take)) == 6


def test_a_call_that_dies_leaves_the_old_crops(take, tmp_path, monkeypatch):
    _crop(tmp_path, _Everywhere())
    before, written = _files(take.parent), []
    _make_newer(tmp_path / SOURCE.path)

    def die_at_third(path, image_rgb):
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt
        path.write_bytes(b"new")

    monkeypatch.setattr("dfercli.preprocess.write_image", die_at_third)
    with pytest.raises(KeyboardInterrupt):
        _crop(tmp_path, _Everywhere())
    assert len(written) == 3
    assert _files(take.parent) == before


def test_a_video_that_is_gone_is_left_out_although_its_crops_are_there(take, tmp_path):
    _crop(tmp_path, _Everywhere())
    (tmp_path / SOURCE.path).unlink()
    detail = f"no video at {tmp_path / SOURCE.path}; check the path"
    assert _crop(tmp_path, _Everywhere()) == ClipOutcome("p0/take", "unreadable", detail=detail)


def test_a_detector_that_stumbles_over_a_video_does_not_end_the_batch(take, tmp_path):
    class Stumbles:
        def detect(self, image_rgb):
            raise cv2.error("first line\nlast line")

    outcome = _crop(tmp_path, Stumbles())
    assert outcome == ClipOutcome("p0/take", "unreadable", detail="last line")
    assert not take.exists()


@pytest.mark.parametrize("harm", ["one is gone", "one is empty"])
def test_crops_that_were_harmed_are_made_again(take, tmp_path, harm):
    _crop(tmp_path, _Everywhere())
    second = list_frames(take)[1]
    if harm == "one is gone":
        second.unlink()
    else:
        second.write_bytes(b"")
    _make_older(tmp_path / SOURCE.path)
    assert _crop(tmp_path, _Everywhere()) == ClipOutcome("p0/take", "done", 6)
    assert read_image(second).shape == (32, 32, 3)


def _make_older(video):
    os.utime(video, (0, 0))
