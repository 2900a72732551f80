"""Inspecting frames: missing, empty and truncated images and mixed sizes are reported."""

import struct
import zlib
from errno import EACCES

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dfercli.data.frame_checks import FramesState, inspect_clips, inspect_frames
from dfercli.errors import DataError
from dfercli.media.images import list_frames, write_image


@pytest.fixture
def put_frame(tmp_path):
    """Write an image of noise, by default 12 wide and 8 high, and return its path."""

    def put(name, width=12, height=8):
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        write_image(tmp_path / name, noise)
        return tmp_path / name

    return put


def test_whole_frames_have_no_fault(tmp_path, put_frame):
    for number in range(1, 4):
        put_frame(f"{number}.jpg")
    assert inspect_frames(tmp_path) == FramesState(3, (12, 8), None)


@pytest.mark.parametrize(
    "names",
    [
        [f"{number}.jpg" for number in range(1, 17)],
        ["00001_00009.jpg", "00001_00010.jpg", "00001_00144.jpg"],
        ["09.png", "10.jpg", "011.jpeg"],
        ["2_frame9.jpg", "1_frame10.jpg"],
        ["0000.png", "0001.png"],
    ],
)
def test_frames_are_in_the_order_of_their_last_number(tmp_path, put_frame, names):
    for name in reversed(names):
        put_frame(name)
    assert [path.name for path in list_frames(tmp_path)] == names
    assert inspect_frames(tmp_path).n_frames == len(names)


def test_a_folder_that_is_not_there_or_is_a_file_is_missing(tmp_path, put_frame):
    assert inspect_frames(tmp_path / "00001") == FramesState(0, None, "missing")
    assert inspect_frames(put_frame("1.jpg")) == FramesState(0, None, "missing")


def test_a_folder_without_images_is_empty(tmp_path, put_frame):
    (tmp_path / "Thumbs.db").write_bytes(b"any")
    (tmp_path / "00001_00001.mat").write_bytes(b"any")
    put_frame(".jpg.jpg").rename(tmp_path / "._00001_00001.jpg")
    assert inspect_frames(tmp_path) == FramesState(0, None, "empty")
    with pytest.raises(DataError, match="no frames in "):
        list_frames(tmp_path)


def test_what_systems_add_to_a_folder_is_not_counted(tmp_path, put_frame):
    put_frame("1.jpg")
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._1.jpg", "__MACOSX"):
        (tmp_path / name).write_bytes(b"")
    assert inspect_frames(tmp_path) == FramesState(1, (12, 8), None)


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".png"])
@pytest.mark.parametrize("which", [1, 2, 3])
def test_an_image_cut_in_the_middle_is_named(tmp_path, put_frame, suffix, which):
    for number in (1, 2, 3):
        path = put_frame(f"{number}{suffix}", 40, 40)
        if number == which:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert inspect_frames(tmp_path) == FramesState(3, None, f"{which}{suffix} is cut off")


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"", "empty"), (b"<html>expired</html>", "not an image"), (b"\xff\xd8", "not an image")],
)
def test_a_file_that_is_no_whole_image_is_named(tmp_path, put_frame, content, fault):
    put_frame("1.jpg")
    (tmp_path / "2.jpg").write_bytes(content)
    assert inspect_frames(tmp_path) == FramesState(2, None, f"2.jpg is {fault}")


def test_an_image_whose_end_alone_is_whole_is_named(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"no header\xff\xd9")
    assert inspect_frames(tmp_path) == FramesState(1, None, "1.jpg is not an image")


def test_frames_of_several_sizes_are_told(tmp_path, put_frame):
    put_frame("1.jpg")
    put_frame("2.jpg", 12, 9)
    assert inspect_frames(tmp_path) == FramesState(2, (12, 8), "frames of different sizes")


def _widen(path):
    """Make the header of a PNG claim more pixels than fit into memory."""
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)


def _annotate(path):
    text = PngInfo()
    text.add_text("comment", "x" * 2**21, zip=True)
    Image.new("RGB", (12, 8)).save(path, pnginfo=text)


@pytest.mark.parametrize("spoil", [_widen, _annotate])
@pytest.mark.parametrize("name", ["1.png", "3.png"])
def test_an_absurd_image_is_a_fault_and_no_exception(tmp_path, put_frame, spoil, name):
    for number in (1, 2, 3):
        put_frame(f"{number}.png")
    spoil(tmp_path / name)
    assert inspect_frames(tmp_path) == FramesState(3, None, f"{name} is not an image")


@pytest.mark.parametrize("method", ["os.scandir", "pathlib.Path.is_dir"])
def test_a_folder_that_may_not_be_read_is_a_fault_and_no_exception(
    tmp_path, put_frame, monkeypatch, method
):
    def refuse(path):  # root may read everything, so chmod would not do
        raise PermissionError(EACCES, "Permission denied")

    put_frame("1.jpg")
    with monkeypatch.context() as patch:
        patch.setattr(method, refuse)
        state = inspect_frames(tmp_path)
    assert state == FramesState(0, None, "cannot be read: Permission denied")
    assert state.status == "unreadable"


def test_a_name_that_is_too_long_is_a_fault_and_no_exception(tmp_path):
    assert inspect_frames(tmp_path / ("x" * 300)).status in ("missing", "unreadable")


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (None, "whole"),
        ("missing", "missing"),
        ("empty", "empty"),
        ("1.jpg is empty", "unreadable"),
        ("frames of different sizes", "unreadable"),
    ],
)
def test_the_status_follows_from_the_fault(fault, status):
    assert FramesState(1, fault=fault).status == status


def test_clips_are_looked_at_in_their_order(tmp_path, put_frame):
    names = [str(number) for number in range(20)]
    for name in names[::2]:
        (tmp_path / name).mkdir()
        put_frame(f"{name}/1.jpg", width=8 + int(name))
    states = list(inspect_clips([[tmp_path / name] for name in names]))
    assert [state.size for state in states[::2]] == [(8 + number, 8) for number in range(0, 20, 2)]
    assert {state.status for state in states[1::2]} == {"missing"}
    assert list(inspect_clips([])) == []
