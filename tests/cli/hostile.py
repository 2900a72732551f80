"""Makes a folder of hostile inputs, among some good ones; the same for the same seed.

By hand: `python tests/cli/hostile.py FOLDER`, then `dfer predict FOLDER --out x.json`.

Every input has what is expected of it: `ok`, `no face`, `unreadable`, or `any` where a decoder may
save something of it or not; `nothing` is no input at all. Whatever it is, nothing may crash or
hang, and what is not readable is named.
"""

import os
import random
import socket
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np

from dfercli.demo.drawing import make_person
from dfercli.demo.videos import draw_video
from dfercli.media.images import write_image

NUM_FRAMES = 10
FPS = 12.5
HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"


def draw_faces(seed=3):
    """Draw a person, with the same face at the same place."""
    frames = draw_video(make_person(seed, 0), "happiness", np.random.default_rng(seed))
    return [next(frames) for _ in range(NUM_FRAMES)]


def write(path, images_rgb, codec, fps=FPS):
    """Encode frames by OpenCV; none gives a file without any."""
    height, width = images_rgb[0].shape[:2] if images_rgb else (64, 64)
    fourcc = cv2.VideoWriter.fourcc(*codec)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, fps, (width, height))
    assert writer.isOpened(), path
    for image_rgb in images_rgb:
        writer.write(np.ascontiguousarray(image_rgb[..., ::-1]))
    writer.release()
    return path.read_bytes()


def _atoms(data):
    """Give the top atoms of an MP4 file."""
    at, found = 0, []
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        size = size or len(data) - at
        found.append((kind, data[at : at + size]))
        at += size
    return found


def move_moov(data):
    """Give an MP4 file with its index in front, as it is for the web."""
    atoms = _atoms(data)
    moov = bytearray(next(body for kind, body in atoms if kind == b"moov"))
    others = [body for kind, body in atoms if kind != b"moov"]
    at = moov.index(b"stco") + 8  # after version and flags
    (count,) = struct.unpack(">I", moov[at : at + 4])
    for index in range(count):
        place = at + 4 + 4 * index
        (offset,) = struct.unpack(">I", moov[place : place + 4])
        moov[place : place + 4] = struct.pack(">I", offset + len(moov))
    return others[0] + bytes(moov) + b"".join(others[1:])


def patch_avi(data, scale, rate):
    """Give an AVI file that claims to have rate / scale frames a second."""
    data = bytearray(data)
    at = data.index(b"strh") + 8 + 20
    data[at : at + 8] = struct.pack("<II", scale, rate)
    at = data.index(b"avih") + 8
    data[at : at + 4] = struct.pack("<I", 1_000_000 * scale // rate if rate else 0)
    return bytes(data)


def patch_mp4(data, timescale):
    """Give an MP4 file whose track counts another number of ticks a second."""
    data = bytearray(data)
    at = data.index(b"mdhd") + 4 + 12
    data[at : at + 4] = struct.pack(">I", timescale)
    return bytes(data)


def make_wav(seconds=0.2):
    """Give a sound."""
    samples = (8000 * np.sin(np.arange(int(8000 * seconds)) / 5)).astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    body = b"WAVE" + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


def make_bomb(side=60_000):
    """Give a PNG of few bytes that would need gigabytes."""

    def chunk(kind, body):
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000), 9)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def make_y4m(images_rgb):
    """Give raw video of 10 bits."""
    height, width = images_rgb[0].shape[:2]
    parts = [f"YUV4MPEG2 W{width} H{height} F25:2 Ip A1:1 C420p10\n".encode()]
    for image_rgb in images_rgb:
        planes = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2YUV_I420).astype("<u2") << 2
        parts.append(b"FRAME\n" + planes.tobytes())
    return b"".join(parts)


class _Maker:
    """Makes files, and keeps what is expected of them."""

    def __init__(self, folder, seed):
        self.folder = folder
        self.expected = {}
        self.random = random.Random(seed)
        self.faces = draw_faces()
        self.mp4 = write(folder / "good.mp4", self.faces, "mp4v")
        self.avi = write(folder / "good.avi", self.faces, "MJPG")
        self.mkv = write(folder / "good.mkv", self.faces, "mp4v")
        self.expected |= dict.fromkeys(("good.mp4", "good.avi", "good.mkv"), "ok")

    def put(self, name, data, expected):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        self.expected[name] = expected

    def put_frames(self, name, images_rgb, expected, suffix="png"):
        for index, image_rgb in enumerate(images_rgb):
            path = self.folder / name / f"{index}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, image_rgb)
        self.expected[name] = expected


def _make_names(to):
    names = [
        "with space.mp4",
        "quotes'\"`$(x);.mp4",
        "new\nline.mp4",
        "tab\tand\x1b[31mcolour.mp4",
        "emoji-😀-笑.mp4",
        "percent-%d-%s-%05d.mp4",
        "-leading-dash.mp4",
        "--out.mp4",
        "http:like.mp4",
        "concat:a|b.mp4",
        "brackets[0-9]*?.mp4",
        "back\\slash.mp4",
        "UPPER.MP4",
        "[bold]markup[/bold].mp4",
        os.fsdecode(b"\xff\xfe-bytes.mp4"),
        "l" * 250 + ".mp4",
        "below/dir.mp4/inside.mp4",
    ]
    for name in names:
        to.put(name, to.mp4, "ok")


def _make_damaged(to):
    front = move_moov(to.mp4)
    to.put("front.mp4", front, "ok")
    for number in range(2):
        kinds = (("end.mp4", to.mp4, "unreadable"), ("front.mp4", front, "any"))
        for name, data, expected in (*kinds, ("x.avi", to.avi, "any"), ("x.mkv", to.mkv, "any")):
            cut = to.random.randrange(len(data) // 10, len(data) * 8 // 10)
            to.put(f"cut{number}-{name}", data[:cut], expected)
        damaged = bytearray(front)
        for _ in range(200):
            damaged[to.random.randrange(len(damaged))] = to.random.randrange(256)
        to.put(f"damaged{number}.mp4", bytes(damaged), "any")
    to.put("header-only.mp4", to.mp4[:32], "unreadable")
    to.put("no-index.avi", to.avi[: to.avi.rindex(b"idx1")], "any")
    to.put("rate-0.avi", patch_avi(to.avi, 0, 0), "any")
    to.put("rate-1000.avi", patch_avi(to.avi, 1, 1000), "ok")
    to.put("rate-huge.avi", patch_avi(to.avi, 1, 2**31), "any")
    to.put("rate-0.mp4", patch_mp4(to.mp4, 0), "any")
    to.put("rate-1000.mp4", patch_mp4(to.mp4, 2**31), "any")


def _make_sizes(to):
    grey = np.full((48, 64, 3), 128, np.uint8)
    to.put("no-frames.avi", write(to.folder / "no-frames.avi", [], "MJPG"), "unreadable")
    to.put("one-frame.mp4", write(to.folder / "one-frame.mp4", to.faces[:1], "mp4v"), "ok")
    to.put("grey.mp4", write(to.folder / "grey.mp4", [grey] * NUM_FRAMES, "mp4v"), "no face")
    wide = [np.full((64, 7680, 3), 128, np.uint8)]
    to.put("wide.avi", write(to.folder / "wide.avi", wide, "MJPG"), "no face")
    tiny = [np.full((2, 2, 3), 128, np.uint8)] * 2
    to.put("two-pixels.avi", write(to.folder / "two-pixels.avi", tiny, "MJPG"), "any")
    to.put_frames("one-pixel", [np.full((1, 1, 3), 128, np.uint8)], "no face")
    to.put("ten-bits.y4m", make_y4m(to.faces), "ok")


def _make_frauds(to):
    to.put("text.mp4", "not a video\n" * 50, "unreadable")
    to.put("empty.mp4", b"", "unreadable")
    to.put("noise.mkv", to.random.randbytes(20_000), "unreadable")
    to.put("page.webm", "<!doctype html><html><body>404</body></html>", "unreadable")
    to.put("list.ts", HLS, "unreadable")
    to.put("playlist.mp4", "ffconcat version 1.0\nfile /etc/hostname\n", "unreadable")
    to.put("sound.mp4", make_wav(), "unreadable")
    jpeg = cv2.imencode(".jpg", to.faces[0][..., ::-1])[1].tobytes()
    to.put("picture.mp4", jpeg, "any")
    to.put("bomb/1.png", make_bomb(), "")
    to.put("cut-frames/1.jpg", jpeg[: len(jpeg) // 2], "")
    to.put("text-frames/1.png", "text", "")
    del to.expected["bomb/1.png"], to.expected["cut-frames/1.jpg"], to.expected["text-frames/1.png"]
    to.expected |= dict.fromkeys(("bomb", "cut-frames", "text-frames"), "unreadable")
    to.put_frames("frames", to.faces, "ok")
    to.put_frames("sizes", [to.faces[0], to.faces[1][::2, ::2]], "any", "jpg")


def _make_special(to):
    folder = to.folder
    (folder / "empty-folder.mp4").mkdir()
    (folder / "loop").symlink_to(".")
    (folder / "frames-again").symlink_to("frames")
    (folder / "dangling.mp4").symlink_to("gone.mp4")
    (folder / "circle.mp4").symlink_to("circle.mp4")
    (folder / "null.mp4").symlink_to("/dev/null")
    os.mkfifo(folder / "pipe.mp4")
    here = Path.cwd()
    os.chdir(folder)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.mp4")
    os.chdir(here)
    bad = ("dangling.mp4", "circle.mp4", "null.mp4", "pipe.mp4", "socket.mp4")
    to.expected |= dict.fromkeys(bad, "unreadable")
    to.put_frames("frames-with-pipe", to.faces[:1], "unreadable")
    os.mkfifo(folder / "frames-with-pipe" / "1.png")
    to.put("locked.mp4", to.mp4, "ok")
    (folder / "locked.mp4").chmod(0)
    if not os.access(folder / "locked.mp4", os.R_OK):  # nobody locks root out
        to.expected["locked.mp4"] = "unreadable"
    to.put("again/good.mp4", to.mp4, "ok")
    to.put(".hidden.mp4", "hidden", "nothing")


def _make_photos(to):
    """Images that are no frames of one video: each is by itself."""
    to.put_frames("photos", to.faces[:1], "ok")
    (to.folder / "photos" / "0.png").rename(to.folder / "photos" / "anna.png")
    to.put("photos/bob 2019.jpg", "text", "unreadable")
    to.put("photos/IMG_2031.bmp", b"", "unreadable")
    to.expected["photos/anna.png"] = to.expected.pop("photos")


def make_hostile(folder, seed=0):
    """Make the inputs; gives what is expected of each, by its path in the folder."""
    folder.mkdir(parents=True)
    to = _Maker(folder, seed)
    for make in (
        _make_names,
        _make_damaged,
        _make_sizes,
        _make_frauds,
        _make_special,
        _make_photos,
    ):
        make(to)
    return {name: expected for name, expected in to.expected.items() if expected != "nothing"}


if __name__ == "__main__":
    for made, awaited in make_hostile(Path(sys.argv[1]), int((sys.argv[2:] or ["0"])[0])).items():
        sys.stdout.write(f"{awaited:10} {made!r}\n")
