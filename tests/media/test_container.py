"""Files as cameras, broadcasters and editors make them: each is read as a player shows it."""

import struct
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import av
import numpy as np
import pytest

from dfercli.errors import VideoError
from dfercli.media import container
from dfercli.media.container import WIDEST_PIXEL, read_file
from dfercli.media.video import count_declared, declared_duration_s, read_frames

INPUTS = Path(__file__).parent / "inputs"
"""Drawn videos; all but the first are made of `whole.mp4`."""

LOSS = 2.5
"""Mean difference in grey levels that another encoding of the same picture may make."""


def _frames(name):
    return list(read_frames(INPUTS / name))


def _mean_difference(frames):
    """Compare frames with those of the whole video at their times; gives the largest mean."""
    whole = _frames("whole.mp4")
    found = []
    for frame in frames:
        same = min(whole, key=lambda each: abs(each.time_s - frame.time_s))
        assert frame.image_rgb.shape == same.image_rgb.shape
        found.append(np.abs(frame.image_rgb.astype(int) - same.image_rgb).mean())
    return max(found)


@pytest.mark.parametrize(
    ("name", "count", "seconds"),
    [("interlaced.mp4", 50, 2.0), ("anamorphic.mp4", 25, 2.0), ("av1.mp4", 25, 2.0)],
)
def test_interlaced_wide_and_av1_are_the_same_picture(name, count, seconds):
    frames = _frames(name)
    assert len(frames) == count_declared(INPUTS / name) == count
    assert declared_duration_s(INPUTS / name) == pytest.approx(seconds)
    even = frames[::2] if name == "interlaced.mp4" else frames  # of twice as many frames a second
    assert _mean_difference(even) < LOSS


def test_what_is_read_twice_is_the_same_to_the_bit():
    first, second = _frames("interlaced.mp4"), _frames("interlaced.mp4")
    for one, other in zip(first, second, strict=True):
        assert one.time_s == other.time_s
        assert np.array_equal(one.image_rgb, other.image_rgb)


def _write(path, pictures, codec="mpeg4", shape=None, options=None):
    """Write a video of (H, W, 3) pictures, 25 a second, whose pixels have this shape."""
    with av.open(path, "w") as output:
        stream = output.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if shape is not None:
            stream.codec_context.sample_aspect_ratio = shape
        for picture in pictures:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))


def _draw_disc(width, height, shape):
    """Draw a disc as pixels of this shape hold it."""
    y, x = np.mgrid[:height, :width]
    inside = ((x - width / 2) * shape) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2
    return np.where(inside[..., None], 220, 30).astype(np.uint8).repeat(3, axis=2)


@pytest.mark.parametrize(
    ("size", "shape", "width"),
    [
        ((720, 576), Fraction(64, 45), 1024),  # PAL, wide
        ((720, 576), Fraction(16, 15), 768),  # PAL
        ((720, 480), Fraction(8, 9), 640),  # NTSC
        ((160, 240), Fraction(2, 1), 320),
    ],
)
def test_a_disc_is_round_whatever_the_shape_of_pixels(size, shape, width, tmp_path):
    path = tmp_path / "disc.mkv"
    _write(path, [_draw_disc(*size, float(shape))] * 3, shape=shape)
    (image_rgb, *_) = [frame.image_rgb for frame in read_frames(path)]
    assert image_rgb.shape == (size[1], width, 3)
    inside = image_rgb[..., 0] > 128
    across, down = np.ptp(np.flatnonzero(inside.any(0))), np.ptp(np.flatnonzero(inside.any(1)))
    assert across == pytest.approx(down, rel=0.03)


def test_pixels_of_an_impossible_shape_are_taken_for_square(tmp_path):
    path = tmp_path / "odd.mkv"
    _write(path, [_draw_disc(64, 48, 1)] * 3, shape=Fraction(WIDEST_PIXEL * 2, 1))
    assert next(read_frames(path)).image_rgb.shape == (48, 64, 3)


def test_fields_of_two_moments_are_not_mixed(tmp_path):
    """A bar that moves between the fields has combs in a frame, and none when they are parted."""
    moments = [np.full((64, 96, 3), 30, np.uint8) for _ in range(24)]
    for index, moment in enumerate(moments):
        moment[:, 10 + 3 * index : 20 + 3 * index] = 220
    woven = []
    for top, bottom in zip(moments[::2], moments[1::2], strict=True):
        frame = top.copy()
        frame[1::2] = bottom[1::2]
        woven.append(frame)
    path = tmp_path / "fields.mkv"
    _write(path, woven, "libx264", options={"x264-params": "tff=1", "crf": "10"})
    frames = [frame.image_rgb.astype(int) for frame in read_frames(path)]
    assert len(frames) == len(woven)

    def combs(image):
        return np.abs(np.diff(image[..., 0], axis=0)).mean()

    assert max(map(combs, frames[1:-1])) < min(combs(image.astype(int)) for image in woven) / 3


def test_a_file_with_sound_alone_says_so(tmp_path):
    path = tmp_path / "voice.mp4"
    with av.open(path, "w") as output:
        stream = output.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        sound.sample_rate = 16000
        output.mux(stream.encode(sound))
        output.mux(stream.encode(None))
    with pytest.raises(VideoError) as caught:
        list(read_frames(path))
    assert str(caught.value) == f"cannot read {path}: it has audio but no video"
    assert (count_declared(path), declared_duration_s(path)) == (0, 0.0)


def test_a_video_never_opens_another_file(tmp_path, monkeypatch):
    """A playlist under the name of a video would read, and show, whatever it names."""
    (tmp_path / "secret.ts").write_bytes((INPUTS / "whole.mp4").read_bytes())
    for named in ("secret.ts", tmp_path / "secret.ts"):
        (tmp_path / "a.mp4").write_text(f"ffconcat version 1.0\nfile {named}\n")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(VideoError):
            list(read_file(tmp_path / "a.mp4"))  # also without the look for playlists


def test_a_name_that_is_no_utf8_is_read(tmp_path):
    path = tmp_path / "f\udcffilm.mp4"
    path.write_bytes((INPUTS / "rest.mp4").read_bytes())
    assert len(list(read_frames(path))) == 39


def test_a_name_like_a_pattern_of_pictures_is_one_file(tmp_path):
    path = tmp_path / "x%03d.ppm.mkv"
    _write(path, [_draw_disc(64, 48, 1)] * 3)
    path = path.rename(tmp_path / "x%03d.ppm")
    assert len(list(read_file(path))) == 3


@pytest.mark.parametrize(
    ("matrix", "change"),
    [
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda image: image[::-1, ::-1].transpose(1, 0, 2)),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    ],
)
def test_a_mirrored_video_is_shown_as_players_show_it(matrix, change, tmp_path):
    """Source of the matrix: ISO 14496-12, tkhd: x and y of what comes of (1, 0) and of (0, 1)."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32] = (200, 60, 10)  # one corner
    path = tmp_path / "mirrored.mp4"
    _write(path, [image] * 3)
    content = bytearray(path.read_bytes())
    a, b, c, d = (number << 16 for number in matrix)
    struct.pack_into(">9i", content, content.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    found = next(read_frames(path)).image_rgb
    expected = change(image)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 4


def test_a_stream_that_breaks_off_has_ended(tmp_path):
    """FFmpeg ends a stream without a length by an error that a disk might give, too."""
    content = (INPUTS / "whole.mp4").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/whole.mp4"
        assert len(list(read_frames(address))) == 50
        server.shutdown()


def test_a_damaged_file_has_the_same_frames_on_every_machine(tmp_path, monkeypatch):
    """Threads of which each decodes a frame lose what they hold at the end."""
    path = tmp_path / "damaged.mkv"
    pictures = [np.full((48, 64, 3), 5 * index, np.uint8) for index in range(40)]
    _write(path, pictures, "libx264", options={"x264-params": "bframes=0:keyint=1"})
    content = bytearray(path.read_bytes())
    content[-len(content) // 5 : -len(content) // 5 + 40] = bytes(40)
    path.write_bytes(content)
    counts = set()
    for threads in (1, 2, 8):
        options = container.bound_decoder() | {"threads": str(threads)}
        monkeypatch.setattr(container, "bound_decoder", lambda options=options: options)
        counts.add(len(list(read_frames(path))))
    assert len(counts) == 1
