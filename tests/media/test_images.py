"""Images: what is written comes back, what is not whole is told from what is, and their order."""

import errno
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfercli.errors import DataError, VideoError
from dfercli.media.images import find_fault, image_size, list_frames, read_image, write_image

LOSS = 6
"""Grey levels that JPEG may be off by on a plain image."""


def _chunk(kind, content):
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def _png(width, height, *more):
    """A PNG of no pixels whose header promises this size."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + _chunk(b"IEND", b"")


ABSURD = {
    "too many pixels": _png(60_000, 60_000, _chunk(b"IDAT", b"")),
    "more than a number holds": _png(2**31, 2**32 - 1, _chunk(b"IDAT", b"")),
    "a huge text": _png(4, 4, _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**21)))),
    "no header": b"\x89PNG\r\n\x1a\n" + _chunk(b"IEND", b""),
    "a short header": b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", b"12") + _chunk(b"IEND", b""),
}

BOMB = "more than the limit of 50,331,648 pixels; make it smaller"
SAID = {"too many pixels": BOMB, "more than a number holds": BOMB}
"""Why the absurd ones are not read, where it is not that they are no image."""


@pytest.fixture
def noise():
    """An image that no format makes small."""
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "loss"),
    [("a b.png", 0), ("ä.jpg", LOSS), ("A.JPEG", LOSS), ("a.webp", LOSS), ("a.tiff", 0)],
)
def test_an_image_comes_back_in_rgb(tmp_path, name, loss, capfd):
    image_rgb = np.full((33, 47, 3), (200, 60, 10), dtype=np.uint8)
    write_image(tmp_path / name, image_rgb)
    read = read_image(tmp_path / name)
    assert read.shape == (33, 47, 3)
    assert read.dtype == np.uint8
    assert np.abs(read.astype(int) - image_rgb).max() <= loss
    assert capfd.readouterr().err == ""


def test_a_lower_quality_makes_a_smaller_file(tmp_path, noise):
    write_image(tmp_path / "high.jpg", noise)
    write_image(tmp_path / "low.jpg", noise, quality=30)
    assert (tmp_path / "low.jpg").stat().st_size < (tmp_path / "high.jpg").stat().st_size / 2


@pytest.mark.parametrize(
    ("content", "fault"), [(None, "missing"), (b"", "empty"), (b"label,path\n", "not an image")]
)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
def test_a_file_that_is_no_image_is_refused(tmp_path, suffix, content, fault):
    path = tmp_path / f"picture{suffix}"
    if content is not None:
        path.write_bytes(content)
    assert find_fault(path) == fault
    with pytest.raises(VideoError) as caught:
        read_image(path)
    assert str(caught.value) == f"cannot read {path}: {fault}"


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.png", "a.bmp", "a.PNG", "a.tif"])
def test_a_whole_image_has_no_fault(tmp_path, noise, name):
    write_image(tmp_path / name, noise)
    assert find_fault(tmp_path / name) is None
    assert read_image(tmp_path / name).shape == noise.shape


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp"])
@pytest.mark.parametrize("rest", [b"\0", b"\r\n", b"\0" * 4000, b"written by a camera"])
def test_bytes_after_the_end_are_harmless(tmp_path, noise, name, rest):
    path = tmp_path / name
    write_image(path, noise)
    before = read_image(path)
    path.write_bytes(path.read_bytes() + rest)
    assert find_fault(path) is None
    assert np.array_equal(read_image(path), before)


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.png", "a.bmp"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.95, -13, -1])
def test_an_image_that_is_cut_off_is_refused(tmp_path, noise, name, kept):
    path = tmp_path / name
    write_image(path, noise)
    kept = kept if kept < 0 else int(path.stat().st_size * kept)
    path.write_bytes(path.read_bytes()[:kept])
    assert find_fault(path) == "cut off"
    with pytest.raises(VideoError) as caught:
        read_image(path)
    assert str(caught.value) == f"cannot read {path}: cut off"


def test_a_folder_is_no_image(tmp_path):
    (tmp_path / "a.jpg").mkdir()
    assert find_fault(tmp_path / "a.jpg") == "missing"


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp"])
def test_the_size_is_read_from_the_header(tmp_path, noise, name):
    path = tmp_path / name
    write_image(path, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    assert image_size(path) == (60, 40)


@pytest.mark.parametrize("content", [None, b"", b"not an image"])
def test_no_image_has_no_size(tmp_path, content):
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoError) as caught:
        image_size(path)
    assert str(caught.value) == f"cannot read {path}: missing, or not an image"


@pytest.mark.parametrize("name", ABSURD)
def test_an_absurd_image_has_no_size_and_is_not_read(tmp_path, name):
    path = tmp_path / "a.png"
    path.write_bytes(ABSURD[name])
    with pytest.raises(VideoError, match=r"^cannot read .*a\.png: missing, or not an image$"):
        image_size(path)
    said = SAID.get(name, "not an image")
    with pytest.raises(VideoError, match=rf"^cannot read .*a\.png: {said}$"):
        read_image(path)
    path.write_bytes(ABSURD[name] + b"more")  # now it is decoded to look for its end
    assert find_fault(path) in ("cut off", "not an image", "too large")


def test_a_full_disk_is_no_fault_of_an_image(tmp_path, noise, monkeypatch):
    def fail(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(DataError) as caught:
        write_image(tmp_path / "a.jpg", noise)
    assert str(caught.value) == (
        f"cannot write {tmp_path / 'a.jpg'}: No space left on device; free some space"
    )


def test_an_image_of_another_format_than_its_name_says_is_read(tmp_path, noise):
    Image.fromarray(noise).save(tmp_path / "a.jpg", format="PNG")
    assert find_fault(tmp_path / "a.jpg") is None
    assert np.array_equal(read_image(tmp_path / "a.jpg"), noise)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no folder/a.jpg", "No such file or directory; check that the folder still exists"),
        ("a.foo", "unknown image format; use .jpg or .png"),
        ("a", "unknown image format"),
    ],
)
def test_an_image_that_cannot_be_written_says_why(tmp_path, name, message):
    with pytest.raises(DataError, match=message) as caught:
        write_image(tmp_path / name, np.zeros((4, 4, 3), dtype=np.uint8))
    assert str(caught.value).startswith(f"cannot write {tmp_path / name}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "names",
    [
        ["1.jpg", "2.jpg", "10.jpg", "100.jpg"],
        ["img_9.png", "img_10.png", "img_11.png"],
        ["0001_0002.jpg", "0001_0010.jpg", "0001_0100.jpg"],
        ["clip2_frame1.jpg", "clip1_frame2.jpg", "clip1_frame12.bmp"],
        ["000001.JPG", "000002.Jpeg", "000003.PNG"],
        ["1.webp", "2.tif", "3.TIFF"],
        ["cover.jpg", "frame 0.jpg", "frame 1.jpg"],  # no number comes first
        ["a_1.jpg", "b_1.jpg", "a_2.jpg"],  # equal numbers: by name
        ["take 2 (1).jpg", "take 1 (3).jpg"],
    ],
)
def test_frames_are_in_the_order_of_their_last_number(tmp_path, names):
    for name in sorted(names, reverse=True):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in list_frames(tmp_path)] == names


def test_what_is_no_frame_is_ignored(tmp_path):
    for name in (
        "2.jpg",
        "10.jpg",
        "._2.jpg",
        ".3.jpg",
        "Thumbs.db",
        "4.txt",
        "5",
        "6.mp4",
        "7.jpg~",
    ):
        (tmp_path / name).write_bytes(b"")
    assert list_frames(tmp_path) == [tmp_path / "2.jpg", tmp_path / "10.jpg"]


@pytest.mark.parametrize("content", [None, "", "Thumbs.db", "._1.jpg"])
def test_a_folder_without_frames_is_named(tmp_path, content):
    folder = tmp_path / "clip"
    if content is not None:
        folder.mkdir()
        (folder / (content or "notes")).write_bytes(b"")
    with pytest.raises(DataError) as caught:
        list_frames(folder)
    assert str(caught.value) == f"no frames in {folder}; run `dfer preprocess` again"
