"""Files that are named, whatever they are: archives, documents, photos of phones, many pictures."""

import bz2
import gzip
import lzma
import tarfile
import zipfile
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.stream import Disposition

from dfercli.errors import VideoError
from dfercli.media.container import find_picture
from dfercli.media.images import write_image
from dfercli.media.video import declared_duration_s, read_frames

INPUTS = Path(__file__).parent / "inputs"


def _zip(to, path):
    with zipfile.ZipFile(to, "w") as archive:
        archive.write(path)


def _tar(to, path):
    with tarfile.open(to, "w") as archive:
        archive.add(path)


PACK = {
    "a.zip": _zip,
    "a.docx": _zip,
    "a.tar": _tar,
    "a.gz": lambda to, path: to.write_bytes(gzip.compress(path.read_bytes())),
    "a.bz2": lambda to, path: to.write_bytes(bz2.compress(path.read_bytes())),
    "a.xz": lambda to, path: to.write_bytes(lzma.compress(path.read_bytes())),
}


@pytest.mark.parametrize("name", PACK)
def test_an_archive_with_a_photo_is_no_photo(tmp_path, name):
    write_image(tmp_path / "a.jpg", np.zeros((48, 64, 3), np.uint8))
    PACK[name](tmp_path / name, tmp_path / "a.jpg")
    with pytest.raises(VideoError, match=r"a\.\w+: .+; unpack it and use the files in it$"):
        list(read_frames(tmp_path / name))
    assert declared_duration_s(tmp_path / name) == 0


def test_a_document_with_a_photo_is_no_photo(tmp_path):
    write_image(tmp_path / "a.jpg", np.zeros((48, 64, 3), np.uint8))
    content = b"%PDF-1.4\n1 0 obj\nstream\n" + (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.pdf").write_bytes(content)
    with pytest.raises(VideoError, match=r"a\.pdf: a PDF document; save its pages"):
        list(read_frames(tmp_path / "a.pdf"))


def test_an_avif_photo_is_read_upright():
    (frame,) = read_frames(INPUTS / "rotated.avif")
    first = next(iter(read_frames(INPUTS / "whole.mp4")))
    assert frame.image_rgb.shape == first.image_rgb.shape
    assert np.abs(frame.image_rgb.astype(int) - first.image_rgb).mean() < 6


@pytest.mark.parametrize(("brand", "format_name"), [(b"heic", "HEIC"), (b"avif", "AVIF")])
def test_a_photo_in_tiles_says_how_to_convert_it(tmp_path, brand, format_name):
    """FFmpeg would give the first tile."""
    head = (20).to_bytes(4, "big") + b"ftyp" + brand + bytes(4) + b"mif1"
    (tmp_path / "IMG 1.heic").write_bytes(head + b"\0\0\0\x40metainfegrid" + bytes(64))
    said = rf"a photo in {format_name}, stored in tiles; .*: magick 'IMG 1.heic' 'IMG 1'\.jpg$"
    with pytest.raises(VideoError, match=said):
        list(read_frames(tmp_path / "IMG 1.heic"))


def _write_streams(path, *streams):
    """Write a file of several pictures: a grey, a size, a number of frames and
    a disposition each."""
    with av.open(str(path), "w") as output:
        made = []
        for _, size, _, disposition in streams:
            is_cover = disposition == Disposition.attached_pic
            stream = output.add_stream("mjpeg" if is_cover else "mpeg4", rate=10)
            stream.width, stream.height = size
            stream.pix_fmt = "yuvj420p" if is_cover else "yuv420p"
            stream.disposition = disposition
            made.append(stream)
        for stream, (grey, (width, height), count, _) in zip(made, streams, strict=True):
            for index in range(count):
                image = np.full((height, width, 3), grey, np.uint8)
                frame = av.VideoFrame.from_ndarray(image, "rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 10)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))


SMALL, LARGE = (64, 48), (128, 96)
DEFAULT, NONE = Disposition.default, Disposition(0)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize(
    "streams",
    [
        [(0, SMALL, 5, DEFAULT), (200, LARGE, 5, DEFAULT)],  # the largest of equals
        [(200, LARGE, 5, DEFAULT), (0, SMALL, 5, DEFAULT)],
        [(0, SMALL, 5, DEFAULT), (200, SMALL, 20, DEFAULT)],  # the longest of these
        [(200, SMALL, 20, DEFAULT), (0, SMALL, 5, DEFAULT)],
        [(0, LARGE, 20, NONE), (200, SMALL, 5, DEFAULT)],  # what the container says before all
        [(200, SMALL, 5, DEFAULT), (0, LARGE, 20, NONE)],
    ],
)
def test_of_several_pictures_the_default_the_largest_the_longest_is_read(tmp_path, suffix, streams):
    path = tmp_path / f"a{suffix}"
    _write_streams(path, *streams)
    frames = list(read_frames(path))
    assert frames[0].image_rgb.mean() == pytest.approx(200, abs=4)
    (count,) = (count for grey, _, count, _ in streams if grey == 200)
    assert len(frames) == count


@pytest.mark.parametrize("disposition", [DEFAULT, NONE])
def test_a_cover_is_never_the_video(tmp_path, disposition):
    path = tmp_path / "a.mp4"
    _write_streams(path, (0, LARGE, 1, Disposition.attached_pic), (200, SMALL, 5, disposition))
    with av.open(str(path)) as container:
        assert any(s.disposition & Disposition.attached_pic for s in container.streams.video)
    assert next(iter(read_frames(path))).image_rgb.mean() == pytest.approx(200, abs=4)


@pytest.mark.parametrize("kind", [Disposition.attached_pic, Disposition.timed_thumbnails])
def test_a_cover_that_is_larger_longer_and_the_default_is_none_all_the_same(kind):
    def stream(disposition, width):
        codec = SimpleNamespace(width=width, height=width, bit_rate=width)
        length = {"duration": width, "time_base": Fraction(1)}
        return SimpleNamespace(disposition=disposition, codec_context=codec, metadata={}, **length)

    cover, film = stream(kind | DEFAULT, 1000), stream(NONE, 100)
    container = SimpleNamespace(streams=SimpleNamespace(video=[cover, film]))
    assert find_picture(container) is film
    container.streams.video = [cover]
    assert find_picture(container) is None
