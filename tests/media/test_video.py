"""Videos: what is written comes back, and what cannot be read says so in one line."""

import struct
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from dfercli.errors import VideoError
from dfercli.media import container
from dfercli.media.container import find_fps
from dfercli.media.video import (
    FALLBACK_FPS,
    Extent,
    count_declared,
    declared_duration_s,
    read_frames,
)
from dfercli.media.video_writer import write_video

LOSS = 6
"""Grey levels that MPEG-4 may be off by on a plain frame."""


def _plain_frames(count, height=48, width=64):
    """Frames of one colour each, brighter from frame to frame, and far more red than blue."""
    for index in range(count):
        yield np.full((height, width, 3), (100 + 10 * index, 60, 10), dtype=np.uint8)


@pytest.fixture
def video(tmp_path):
    """60 frames at 30 a second."""
    path = tmp_path / "two seconds.mp4"
    write_video(path, (np.zeros((32, 32, 3), dtype=np.uint8) for _ in range(60)), fps=30.0)
    return path


@pytest.mark.parametrize("fps", [10.0, 24.0, 29.97])
def test_a_video_comes_back_as_it_was_written(tmp_path, fps):
    path = tmp_path / "folder" / "clip.mp4"
    write_video(path, _plain_frames(12), fps)
    frames = list(read_frames(path))
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.time_s for frame in frames] == pytest.approx([i / fps for i in range(12)], 1e-3)
    for frame, written in zip(frames, _plain_frames(12), strict=True):
        assert frame.image_rgb.dtype == np.uint8
        assert frame.image_rgb.shape == (48, 64, 3)
        assert np.abs(frame.image_rgb.astype(int) - written).max() <= LOSS
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["with space.mp4", "Gesicht-ß-顔.mp4", "100%d 001.mp4", "a.avi"])
def test_paths_of_any_letters_work(tmp_path, name):
    path = tmp_path / "données été" / name
    write_video(path, _plain_frames(3), fps=10.0)
    assert len(list(read_frames(path))) == 3


@pytest.mark.parametrize(
    ("written", "read"), [((33, 47), (32, 46)), ((31, 64), (30, 64)), ((48, 65), (48, 64))]
)
def test_an_odd_side_loses_its_last_pixel(tmp_path, written, read):
    write_video(tmp_path / "odd.mp4", _plain_frames(2, *written), fps=10.0)
    assert next(read_frames(tmp_path / "odd.mp4")).image_rgb.shape == (*read, 3)


@pytest.mark.parametrize(
    ("max_fps", "indices"),
    [
        (None, list(range(60))),
        (1, [0, 30]),
        (4, [0, 8, 15, 23, 30, 38, 45, 53]),
        (10, list(range(0, 60, 3))),
        (30, list(range(60))),
        (1000, list(range(60))),
    ],
)
def test_thinning_keeps_the_first_frame_of_each_interval(video, max_fps, indices):
    frames = list(read_frames(video, max_fps))
    assert [frame.index for frame in frames] == indices
    assert [frame.time_s for frame in frames] == pytest.approx([i / 30 for i in indices])


def test_thinning_by_a_rate_that_does_not_divide_is_even(video):
    indices = [frame.index for frame in read_frames(video, max_fps=20)]
    assert len(indices) == 40
    assert set(np.diff(indices)) == {1, 2}


@pytest.mark.parametrize("rate", [None, Fraction(0), Fraction(90_000)])
def test_a_container_without_a_rate_is_read_at_the_assumed_one(rate):
    stream = SimpleNamespace(average_rate=rate, guessed_rate=rate)
    assert find_fps(stream) == FALLBACK_FPS


def test_a_missing_video_is_named(tmp_path):
    path = tmp_path / "missing.mp4"
    with pytest.raises(VideoError) as caught:
        list(read_frames(path))
    assert str(caught.value) == f"no video at {path}; check the path"


def test_nothing_is_opened_before_the_first_frame_is_asked_for(tmp_path):
    frames = read_frames(tmp_path / "missing.mp4")
    with pytest.raises(VideoError):
        next(frames)


@pytest.mark.parametrize("kind", ["zero bytes", "noise 001", "text", "cut off"])
def test_a_file_that_is_no_whole_video_is_refused(video, tmp_path, kind):
    content = {
        "zero bytes": b"",
        "noise 001": np.random.default_rng(0).bytes(5000),
        "text": b"label,path\n",
        "cut off": video.read_bytes()[: video.stat().st_size // 2],
    }[kind]
    path = tmp_path / f"{kind}.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError) as caught:
        list(read_frames(path))
    expected = f"cannot read {path}: no frame can be decoded; it may be incomplete, or not a video"
    assert str(caught.value) == expected


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_the_promised_frames_are_counted(tmp_path, name):
    write_video(tmp_path / name, _plain_frames(7), fps=10.0)
    assert count_declared(tmp_path / name) == 7


@pytest.mark.parametrize("content", [None, b"", b"no video"])
def test_where_nothing_is_promised_the_count_is_zero(tmp_path, content):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    assert count_declared(path) == 0


@pytest.mark.parametrize("promised", [-(1 << 62), -1, 0])
def test_a_nonsensical_promise_is_none(video, monkeypatch, promised):
    told = SimpleNamespace(frames=promised, duration=promised, time_base=Fraction(1, 1000))
    told.average_rate = told.guessed_rate = Fraction(25)
    monkeypatch.setattr(container, "choose_picture", lambda *_: told)
    assert (count_declared(video), declared_duration_s(video)) == (0, 0.0)


def test_a_video_that_ends_early_has_fewer_frames_than_promised(tmp_path):
    path = tmp_path / "early.avi"
    write_video(
        path,
        (np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8) for i in range(20)),
        fps=10.0,
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 0 < len(list(read_frames(path))) < count_declared(path) == 20


TURNS = {  # the matrix of a track header: a, b, u, c, d, v, x, y, w as 16.16 and 2.30 numbers
    90: (0, 1, 0, -1, 0, 0, 48, 0, 1),
    180: (-1, 0, 0, 0, -1, 0, 64, 48, 1),
    270: (0, -1, 0, 1, 0, 0, 0, 64, 1),
}
"""How players turn a 64 x 48 video clockwise. Source: ISO 14496-12, tkhd, and QuickTime's guide."""


def _turn(path, degrees):
    """Write a rotation into the header of an MP4 file, as telephones do."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # version 0: forty bytes before the matrix
    units = (1 << 16, 1 << 16, 1 << 30) * 3
    numbers = [number * unit for number, unit in zip(TURNS[degrees], units, strict=True)]
    struct.pack_into(">9i", content, start, *numbers)
    path.write_bytes(content)


@pytest.mark.parametrize(("degrees", "quarter_turns"), [(90, -1), (180, 2), (270, 1)])
def test_a_video_with_a_rotation_comes_upright(tmp_path, degrees, quarter_turns):
    image_rgb = np.zeros((48, 64, 3), dtype=np.uint8)
    image_rgb[:24, :32] = (200, 60, 10)  # one corner
    path = tmp_path / "portrait.mp4"
    write_video(path, [image_rgb] * 3, fps=10.0)
    _turn(path, degrees)
    upright = np.rot90(image_rgb, quarter_turns)
    frames = list(read_frames(path))
    assert len(frames) == 3
    for frame in frames:
        assert frame.image_rgb.shape == upright.shape
        off = np.abs(frame.image_rgb.astype(int) - upright)
        assert np.median(off) <= LOSS
        assert off[:8, :8].max() <= 4 * LOSS


def test_a_video_without_frames_is_not_written(tmp_path):
    with pytest.raises(VideoError, match="it has no frames"):
        write_video(tmp_path / "none.mp4", [], fps=10.0)
    assert list(tmp_path.iterdir()) == []


def test_a_container_that_cannot_hold_the_codec_is_refused(tmp_path):
    with pytest.raises(VideoError, match=r"cannot write .*clip\.xyz: OpenCV has no MPEG-4 encoder"):
        write_video(tmp_path / "clip.xyz", _plain_frames(1), fps=10.0)


def test_an_interrupted_video_leaves_the_old_one(video):
    def interrupted():
        yield from _plain_frames(2)
        raise KeyboardInterrupt

    before = video.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_video(video, interrupted(), fps=10.0)
    assert video.read_bytes() == before


@pytest.mark.parametrize(
    ("named_s", "expected_s"),
    [
        ([0.0, 0.1, 0.2, 0.5, 0.9], [0.0, 0.1, 0.2, 0.5, 0.9]),  # a rate that changes
        ([None, None, None], [0.0, 0.1, 0.2]),  # none named: paced by the rate
        ([0.0, 0.0, 0.0], [0.0, 0.1, 0.2]),
        ([-0.1, 0.0, 0.1], [0.0, 0.1, 0.2]),  # begins before zero
        ([0.0, 0.4, 0.4, 0.5], [0.0, 0.4, 0.401, 0.5]),  # stands still
    ],
)
def test_times_are_the_containers_where_it_names_them(tmp_path, monkeypatch, named_s, expected_s):
    path = tmp_path / "video.mp4"
    write_video(path, _plain_frames(1), fps=10.0)
    made = [SimpleNamespace(time=time_s, width=8, height=8, time_base=None) for time_s in named_s]
    monkeypatch.setattr(container, "deinterlace", lambda _: iter(made))
    monkeypatch.setattr(container, "make_upright", lambda *_: np.zeros((8, 8, 3), np.uint8))
    assert [frame.time_s for frame in read_frames(path)] == pytest.approx(expected_s)


@pytest.mark.parametrize("max_fps", [None, 8.0, 1.0])
def test_all_that_was_decoded_is_known_however_few_frames_are_given(tmp_path, max_fps):
    path = tmp_path / "video.mp4"
    write_video(path, _plain_frames(23), fps=20.0)
    extent = Extent()
    list(read_frames(path, max_fps, extent))
    assert (extent.num_frames, extent.end_s) == (23, pytest.approx(23 / 20))


@pytest.mark.parametrize(
    ("duration", "length_s"), [(1, 0.25), (0, 0.1), (-3, 0.1), (400, 10.0), (2**60, 10.0)]
)
def test_the_last_frame_is_as_long_as_the_container_says_within_bounds(
    tmp_path, monkeypatch, duration, length_s
):
    path = tmp_path / "video.mp4"
    write_video(path, _plain_frames(1), fps=10.0)
    size = {"time": 0.0, "width": 8, "height": 8}
    made = SimpleNamespace(**size, duration=duration, time_base=Fraction(1, 4))
    monkeypatch.setattr(container, "deinterlace", lambda _: iter([made]))
    monkeypatch.setattr(container, "make_upright", lambda *_: np.zeros((8, 8, 3), np.uint8))
    extent = Extent()
    list(read_frames(path, None, extent))
    assert extent.end_s == pytest.approx(length_s)
