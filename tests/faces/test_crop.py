"""The crops of one video: numbered, and whole or not there."""

import errno
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import cv2
import pytest
from crops import STEP, Everywhere, crop, make_frames, read

from dfercli.errors import DataError, VideoError
from dfercli.faces.crop_files import RECORD_FILE, CropRecord, crop_video
from dfercli.media.images import list_frames, read_image, write_image
from dfercli.media.video_writer import write_video


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
    detector = Everywhere()
    record = crop_video(video.parent, video.name, folder, 32, detector)
    assert detector.searched == [0, 5, 10, 15, 20, 25, 29]
    assert record == CropRecord(
        source_changed_ns=video.stat().st_mtime_ns,
        n_frames=30,
        video_frames=30,
        declared_frames=30,
        interpolated=0,
        skipped=0,
        coverage=1.0,
        score=0.9,
        jitter=0.0,
        rival=0.0,
        source="take.mp4",
        source_bytes=video.stat().st_size,
    )
    names = [f"{number:06d}.jpg" for number in range(1, 31)]
    assert sorted(path.name for path in folder.iterdir()) == [*names, RECORD_FILE]
    assert json.loads((folder / RECORD_FILE).read_text()) == asdict(record)
    assert _levels(folder) == list(range(30))
    assert read_image(folder / names[0]).shape == (32, 32, 3)


def test_frames_without_the_face_are_left_out_and_crops_numbered_on(video, folder):
    record = crop(video, folder, missed=(0, 7, 10, *range(16, 26)))
    assert (record.n_frames, record.skipped, record.interpolated) == (19, 11, 2)
    assert record.coverage == round(19 / 30, 4)
    assert _levels(folder) == [*range(1, 16), *range(26, 30)]
    assert [path.name for path in list_frames(folder)][-1] == "000019.jpg"


def test_a_folder_of_frames_is_cropped_like_a_video(tmp_path, folder):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, image_rgb in enumerate(make_frames(12)):
        write_image(frames / f"{number}.png", image_rgb)
    record = crop(frames, folder, missed=(0,))
    assert (record.n_frames, record.video_frames, record.declared_frames) == (11, 12, 12)
    assert record.source == "frames"
    assert record.source_bytes == sum(path.stat().st_size for path in frames.iterdir())
    assert _levels(folder) == list(range(1, 12))
    assert read(folder, frames) == record


def test_the_same_video_gives_the_same_bytes(video, folder, tmp_path):
    crop(video, folder, missed=(3, 10))
    again, root = tmp_path / "other" / "name", tmp_path / "other root"
    root.mkdir()
    shutil.copy2(video, root)
    crop(root / video.name, again, missed=(3, 10))
    contents = [{name: file[0] for name, file in _files(path).items()} for path in (folder, again)]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 31


def test_a_video_that_ends_early_says_so(tmp_path, folder):
    video = tmp_path / "take.avi"
    write_video(video, make_frames(30), fps=25.0)
    content = video.read_bytes()
    video.write_bytes(content[: content.rindex(b"00dc", 0, len(content) * 2 // 3)])
    record = crop(video, folder)
    assert 0 < record.video_frames == record.n_frames < record.declared_frames == 30


def test_new_crops_replace_all_that_was_there(video, folder):
    crop(video, folder)
    (folder / "000031.jpg").write_bytes(b"stale")
    record = crop(video, folder, missed=range(15))
    assert record.n_frames == 15
    assert len(list(folder.iterdir())) == 16


def test_what_a_killed_call_left_is_never_a_whole_clip(video, folder):
    left = folder.with_name(".take.partial")
    left.mkdir(parents=True)
    (left / "000077.jpg").write_bytes(b"half")
    record = crop(video, folder)
    assert list(folder.parent.iterdir()) == [folder]
    assert read(folder, video) == record


def test_a_call_that_dies_leaves_the_old_crops(video, folder, monkeypatch):
    crop(video, folder)
    before, written = _files(folder.parent), []

    def die_at_third(path, image_rgb):
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt
        path.write_bytes(b"new")

    monkeypatch.setattr("dfercli.faces.crop_files.write_image", die_at_third)
    with pytest.raises(KeyboardInterrupt):
        crop(video, folder)
    assert len(written) == 3
    assert _files(folder.parent) == before


def test_a_video_that_cannot_be_read_is_named_and_leaves_nothing(tmp_path, folder):
    video = tmp_path / "bad.mp4"
    with pytest.raises(VideoError, match=r"^no video at .*bad\.mp4; check the path$"):
        crop(video, folder)
    video.write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"^cannot read .*bad\.mp4: no frame can be decoded"):
        crop(video, folder)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (cv2.error("first line\nlast line\n"), "last line"),
        (RuntimeError("CUDA out of memory"), "CUDA out of memory"),
        (NotImplementedError(), "NotImplementedError()"),
    ],
)
def test_a_detector_that_stumbles_over_a_video_is_an_error_of_one_line(video, folder, error, said):
    class Stumbles:
        def detect(self, image_rgb):
            raise error

    with pytest.raises(VideoError) as caught:
        crop_video(video.parent, video.name, folder, 32, Stumbles())
    assert str(caught.value) == f"cannot crop {video}: {said}"
    assert not folder.exists()


def test_a_full_disk_is_no_fault_of_the_video_and_leaves_the_old_crops(video, folder, monkeypatch):
    crop(video, folder)
    before = _files(folder.parent)

    def full_disk(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(DataError, match=r"^cannot write .*000001\.jpg: No space left on dev"):
        crop(video, folder)
    assert _files(folder.parent) == before
