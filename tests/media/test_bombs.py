"""Files that are small on the disk and huge in memory, that never end, or that name others."""

import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest

from dfercli.errors import DataError, VideoError
from dfercli.media.images import MAX_PIXELS, find_fault, image_size, read_image, write_image
from dfercli.media.video import count_declared, read_frames
from dfercli.media.video_writer import write_video

MEMORY_MB, SECONDS = 1000, 5
"""What reading a bomb may take beyond what reading anything takes."""

READ = """
import resource, sys, time
from pathlib import Path
from dfercli.errors import VideoError
from dfercli.media.video import read_frames

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

before, began_s = peak(), time.monotonic()
try:
    print(sum(1 for _ in read_frames(Path(sys.argv[1]))))
except VideoError as error:
    print(error)
print(peak() - before, time.monotonic() - began_s)
"""


def _chunk(kind, content):
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def make_png(width, height, depth=8, colour=0, bytes_a_pixel=1):
    """Return a whole PNG of black pixels, a thousand times smaller than what it holds."""
    packer, row = zlib.compressobj(9), bytes(1 + width * bytes_a_pixel)
    packed = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def make_avi(frames, width=64, height=64):
    """Return an AVI of PNG frames, whose header says this size, whatever theirs is."""

    def part(kind, content):
        return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)

    n = len(frames)
    main = struct.pack("<14I", 40000, 0, 0, 0x10, n, 0, 1, 0, width, height, 0, 0, 0, 0)
    stream = b"vidsMPNG" + struct.pack("<IHH6IiI4H", *[0] * 4, 1, 25, 0, n, 0, -1, *[0] * 5)
    form = struct.pack("<IiiHH4sIiiII", 40, width, height, 1, 24, b"MPNG", *[0] * 5)
    lists = part(b"LIST", b"strl" + part(b"strh", stream) + part(b"strf", form))
    head = part(b"LIST", b"hdrl" + part(b"avih", main) + lists)
    body = part(b"LIST", b"movi" + b"".join(part(b"00dc", frame) for frame in frames))
    return part(b"RIFF", b"AVI " + head + body)


@pytest.fixture(scope="module")
def large_png():
    """16,000 x 16,000 pixels in a quarter of a megabyte."""
    return make_png(16000, 16000)


def _read(path):
    """Read a video in a process of its own; gives what came, megabytes and seconds."""
    environment = os.environ | {"OPENCV_FFMPEG_LOGLEVEL": "-8", "OPENCV_LOG_LEVEL": "SILENT"}
    command = [sys.executable, "-c", READ, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    said, figures = done.stdout.strip().splitlines()
    memory_mb, seconds = map(float, figures.split())
    return said, memory_mb, seconds


@pytest.mark.parametrize("bomb", ["image", "says so", "lies", "deep", "later"])
def test_bombs_are_answered_soon_and_fill_no_memory(bomb, tmp_path, large_png):
    path = tmp_path / ("bomb.png" if bomb == "image" else "bomb.avi")
    if bomb == "image":
        path.write_bytes(large_png)
    elif bomb == "deep":
        path.write_bytes(make_avi([make_png(9000, 9000, 16, 6, 8)] * 2))
    elif bomb == "later":
        path.write_bytes(make_avi([make_png(64, 64), *[large_png] * 3]))
    else:
        side = 16000 if bomb == "says so" else 64
        path.write_bytes(make_avi([large_png] * 3, side, side))
    said, memory_mb, seconds = _read(path)
    assert memory_mb < MEMORY_MB
    assert seconds < SECONDS
    assert said.startswith(f"cannot read {path}: ")
    assert said.endswith(f"more than the limit of {MAX_PIXELS:,} pixels; make it smaller")


def test_the_largest_image_is_read(tmp_path):
    (tmp_path / "large.png").write_bytes(make_png(8192, 6144))
    assert read_image(tmp_path / "large.png").shape == (6144, 8192, 3)
    (tmp_path / "too-large.png").write_bytes(make_png(8192, 6145))
    with pytest.raises(VideoError, match="8192 x 6145 pixels, more than the limit of 50,331,648"):
        read_image(tmp_path / "too-large.png")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_what_might_never_end_is_refused_at_once(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    write_image(frames / "001.jpg", np.zeros((8, 8, 3), np.uint8))
    os.mkfifo(frames / "002.jpg")
    assert find_fault(frames / "002.jpg") == "not a regular file"
    with pytest.raises(VideoError, match=r"002\.jpg: not a regular file"):
        list(read_frames(frames))
    with pytest.raises(VideoError, match=r"002\.jpg: missing, or not an image"):
        image_size(frames / "002.jpg")
    for name in ("pipe.mp4", "pipe.ppm"):
        os.mkfifo(tmp_path / name)
        assert count_declared(tmp_path / name) == 0
        with pytest.raises(VideoError, match="no video at"):
            list(read_frames(tmp_path / name))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_pipes_that_are_named_like_dfers_own_files_are_not_read(tmp_path):
    from dfercli.data.manifest import read_manifest
    from dfercli.data.sources.find_media import scan_tree

    for name in ("x.csv", "y.json"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "y.csv").write_text("clip_id,path,n_frames,label,test_fold\n")
    for name in ("x.csv", "y.csv"):
        with pytest.raises(DataError):
            read_manifest(tmp_path / name)
    assert scan_tree(tmp_path).files == ("y.csv",)


def test_a_name_with_a_per_cent_sign_is_one_file(tmp_path):
    """FFmpeg takes `seq%d.ppm` for the pattern of a sequence, and reads `seq0.ppm` on."""
    for index in range(3):
        write_image(tmp_path / f"seq{index}.ppm", np.full((16, 16, 3), 50 * index, np.uint8))
    with pytest.raises(VideoError, match="no video at"):
        list(read_frames(tmp_path / "seq%d.ppm"))
    write_image(tmp_path / "other.ppm", np.full((16, 16, 3), 200, np.uint8))
    (tmp_path / "other.ppm").rename(tmp_path / "seq%d.ppm")
    (frame,) = read_frames(tmp_path / "seq%d.ppm")
    assert frame.image_rgb.mean() == 200
    write_video(tmp_path / "100%03d.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 4, 25.0)
    assert len(list(read_frames(tmp_path / "100%03d.mp4"))) == 4
