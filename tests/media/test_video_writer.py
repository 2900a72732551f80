"""Videos that are written: they come back, with their sound, and after an error nothing is left."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dfercli.errors import VideoError
from dfercli.media import video_writer
from dfercli.media.video import read_frames
from dfercli.media.video_writer import NO_SOUND, open_writer

LOSS = 8
"""Grey levels that H.264 or MPEG-4 may be off by on a plain frame."""

ODD_NAMES = [
    "two words.mp4",
    'it\'s "so".mp4',
    "a\nb.mp4",
    "-i.mp4",
    "%d 100%.mp4",
    "a:b.mp4",
    "b\udcff.mp4",
]


@pytest.fixture
def sounding(tmp_path):
    """Make a video of 2 s with a tone."""

    def make(name="sounding.mp4", codec="aac", late_s=0.0):
        path = tmp_path / "sources" / name
        path.parent.mkdir(exist_ok=True)
        plain = path.with_name("plain")
        with av.open(str(plain), "w", format=path.suffix[1:].replace("mkv", "matroska")) as out:
            picture = out.add_stream("mpeg4", rate=20)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
            tone = out.add_stream(codec, rate=16000, layout="mono")
            for index in range(40):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 99, np.uint8), "rgb24")
                frame.pts, frame.time_base = index + round(20 * late_s), Fraction(1, 20)
                out.mux(picture.encode(frame))
            times_s = np.arange(32000, dtype=np.float32) / 16000
            sound = av.AudioFrame.from_ndarray(0.3 * np.sin(2765 * times_s)[None], "fltp", "mono")
            sound.sample_rate, sound.pts, sound.time_base = 16000, 0, Fraction(1, 16000)
            out.mux(tone.encode(sound))
            for stream in (picture, tone):
                out.mux(stream.encode(None))
        plain.rename(path)
        return path

    return make


def _frames(count, height=48, width=64):
    for index in range(count):
        yield np.full((height, width, 3), (100 + 10 * index, 60, 10), dtype=np.uint8)


def _write(path, count=10, fps=20.0, sound_of=None, size=(48, 64)):
    with open_writer(path, fps, sound_of) as writer:
        for image_rgb in _frames(count, *size):
            writer.write(image_rgb)
    return writer


def _streams(path):
    """Give the streams of a file by their kind: codec, time of the first packet, and seconds."""
    found = {}
    with av.open(str(path)) as container:
        for stream in container.streams:
            seconds = float(stream.duration * stream.time_base)
            begins = float(stream.start_time * stream.time_base)
            found[stream.type] = (stream.codec_context.name, begins, seconds)
    return found


@pytest.mark.parametrize("size", [(48, 64), (47, 65)])
def test_a_video_comes_back_as_it_was_written(tmp_path, size):
    path = tmp_path / "new" / "out.mp4"
    writer = _write(path, size=size)
    frames = list(read_frames(path))
    assert writer.num_frames == len(frames) == 10
    assert [frame.time_s for frame in frames] == pytest.approx(
        [i / 20 for i in range(10)], abs=0.001
    )
    for frame, written in zip(frames, _frames(10), strict=True):
        assert frame.image_rgb.shape == (48, 64 + 2 * (size[1] == 65), 3)
        assert np.abs(frame.image_rgb[:48, :64].astype(int) - written).max() <= LOSS
    assert [each.name for each in path.parent.iterdir()] == ["out.mp4"]


def test_a_frame_is_shown_as_often_as_asked(tmp_path):
    with open_writer(tmp_path / "out.mp4", 10.0) as writer:
        for image_rgb, times in zip(_frames(3), (1, 4, 0), strict=True):
            writer.write(image_rgb, times)
    reds = [frame.image_rgb[..., 0].mean() for frame in read_frames(tmp_path / "out.mp4")]
    assert reds == pytest.approx([100, 110, 110, 110, 110], abs=LOSS)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        *(("a.mp4", "aac"), ("a.mkv", "mp3"), ("a.mkv", "libopus"), ("a.avi", "aac")),
        ("a.avi", "mp3"),
    ],
)
def test_sound_is_kept(name, codec, sounding, tmp_path):
    writer = _write(tmp_path / "out.mp4", count=40, sound_of=sounding(name, codec))
    assert writer.why_silent is None
    streams = _streams(tmp_path / "out.mp4")
    assert streams["video"] == ("h264", pytest.approx(0, abs=0.06), pytest.approx(2, abs=0.01))
    assert streams["audio"] == ("aac", pytest.approx(0, abs=0.07), pytest.approx(2, abs=0.12))
    assert len(list(read_frames(tmp_path / "out.mp4"))) == 40
    head = (tmp_path / "out.mp4").read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")  # plays before it is loaded whole


@pytest.mark.parametrize("rate", [6000, 44056, 192_000])
def test_sound_of_any_rate_is_kept(rate, tmp_path):
    source = tmp_path / "voice.mkv"
    with av.open(str(source), "w") as output:
        tone = output.add_stream("pcm_s16le", rate=rate, layout="mono")
        for pts in range(0, 2 * rate, 1000):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.int16), "s16", "mono")
            sound.sample_rate, sound.pts, sound.time_base = rate, pts, Fraction(1, rate)
            output.mux(tone.encode(sound))
        output.mux(tone.encode(None))
    assert _write(tmp_path / "out.mp4", count=40, sound_of=source).why_silent is None
    seconds = _streams(tmp_path / "out.mp4")["audio"][2]
    assert seconds == pytest.approx(2, abs=0.3)


def test_sound_that_changes_in_the_middle_is_kept(tmp_path, sounding):
    """As broadcasters do between programmes: another layout, and another rate."""
    parts = []
    for name, layout, rate in (("a.mp3", "mono", 16000), ("b.mp3", "stereo", 44100)):
        with av.open(str(tmp_path / name), "w") as output:
            tone = output.add_stream("mp3", rate=rate, layout=layout)
            shape = (1 if layout == "mono" else 2, rate)
            sound = av.AudioFrame.from_ndarray(np.zeros(shape, np.float32), "fltp", layout)
            sound.sample_rate = rate
            output.mux(tone.encode(sound))
            output.mux(tone.encode(None))
        parts.append((tmp_path / name).read_bytes())
    (tmp_path / "joined.mp3").write_bytes(b"".join(parts))
    writer = _write(tmp_path / "out.mp4", count=40, sound_of=tmp_path / "joined.mp3")
    assert len(list(read_frames(tmp_path / "out.mp4"))) == writer.num_frames == 40
    assert writer.why_silent is None


@pytest.mark.parametrize("folder", ["run:1", "http:x", "file:"])
def test_a_relative_folder_with_a_colon_is_no_address(folder, tmp_path, monkeypatch, sounding):
    monkeypatch.chdir(tmp_path)
    source = sounding()
    assert _write(Path(folder, "o.mp4"), sound_of=source).why_silent is None
    assert len(list(read_frames(tmp_path / folder / "o.mp4"))) == 10


def test_aac_is_taken_as_it_is(sounding, tmp_path):
    def packets(path):
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(audio=0) if packet.size]

    source = sounding()
    _write(tmp_path / "out.mp4", count=40, sound_of=source)
    assert packets(tmp_path / "out.mp4") == packets(source)


@pytest.mark.parametrize("codec", ["aac", "mp3"])
def test_sound_keeps_its_place_in_time(codec, sounding, tmp_path):
    _write(tmp_path / "out.mp4", count=40, sound_of=sounding("late.mkv", codec, late_s=0.5))
    streams = _streams(tmp_path / "out.mp4")
    assert streams["video"][1] - streams["audio"][1] == pytest.approx(0.5, abs=0.08)


def test_a_video_without_sound_says_so(tmp_path):
    _write(tmp_path / "silent.mp4")
    writer = _write(tmp_path / "out.mp4", sound_of=tmp_path / "silent.mp4")
    assert writer.why_silent == NO_SOUND
    assert _write(tmp_path / "out.mp4", sound_of=tmp_path).why_silent == NO_SOUND  # a folder


def test_sound_that_cannot_be_kept_costs_no_picture(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    writer = _write(tmp_path / "out.mp4", sound_of=tmp_path / "broken.mp4")
    assert writer.why_silent.startswith("it cannot be used: ")
    assert len(list(read_frames(tmp_path / "out.mp4"))) == 10


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_of_a_file_and_of_its_folder_will_do(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _write(Path(name), size=(16, 16))
    _write(tmp_path / name.removesuffix(".mp4") / name, size=(16, 16))
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.mp4")]
    assert len(sizes) == 2
    assert min(sizes) > 500
    assert sorted(os.listdir(tmp_path)) == sorted([name, name.removesuffix(".mp4")])  # noqa: PTH208


@pytest.mark.parametrize("name", ODD_NAMES)
def test_sound_is_taken_of_any_name(name, sounding, tmp_path, monkeypatch):
    source = sounding(name)
    assert _write(tmp_path / "out.mp4", sound_of=source).why_silent is None
    monkeypatch.chdir(source.parent)
    assert _write(tmp_path / "out.mp4", sound_of=Path(name)).why_silent is None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_nothing_is_left(error, tmp_path):
    (tmp_path / "out.mp4").write_text("as it was")
    with pytest.raises(error), open_writer(tmp_path / "out.mp4", 20.0) as writer:
        writer.write(next(_frames(1)))
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_text() == "as it was"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only some systems have a full disk")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    make = video_writer._H264
    monkeypatch.setattr(video_writer, "_H264", lambda path, *rest: make(Path("/dev/full"), *rest))
    with pytest.raises(VideoError) as caught:
        _write(tmp_path / "out" / "v.mp4", count=500, size=(256, 256))
    said = f"cannot write {tmp_path / 'out' / 'v.mp4'}: "
    assert str(caught.value).startswith(said)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("what", ["picture.mp4", "whole.mp4"])
def test_a_video_that_was_cut_off_is_not_called_written(what, sounding, tmp_path, monkeypatch):
    """Whatever an encoder says: a file that does not hold all frames takes nobody's place."""
    (tmp_path / "out.mp4").write_text("as it was")
    count = video_writer.count_packets
    monkeypatch.setattr(
        video_writer, "count_packets", lambda path: count(path) - (path.name == what)
    )
    with pytest.raises(
        VideoError, match=r"cannot write .*out\.mp4: it .*; check the free disk space"
    ):
        _write(tmp_path / "out.mp4", sound_of=sounding())
    assert (tmp_path / "out.mp4").read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "sources"]


def test_an_ffmpeg_without_h264_writes_mpeg4(tmp_path, monkeypatch):
    monkeypatch.setattr(video_writer.av, "codecs_available", {"mpeg4"})
    _write(tmp_path / "out.mp4")
    assert _streams(tmp_path / "out.mp4")["video"][0] == "mpeg4"


def test_colours_come_back_whatever_is_assumed_of_them(tmp_path):
    """A file says which matrix its colours are by: without, players guess by the size."""
    colours = [(200, 30, 40), (30, 180, 60), (40, 60, 210)]
    image_rgb = np.repeat(np.array(colours, np.uint8), 32, axis=0)[None].repeat(64, axis=0)
    with open_writer(tmp_path / "out.mp4", 20.0) as writer:
        writer.write(image_rgb, 5)
    (first, *_) = read_frames(tmp_path / "out.mp4")
    for index, colour in enumerate(colours):
        found = first.image_rgb[8:-8, 32 * index + 8 : 32 * index + 24].mean((0, 1))
        assert found == pytest.approx(colour, abs=4)
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_range) == (1, 1)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([], "it has no frames"),
        (
            [(16, 16), (16, 18)],
            "all frames must have the same size: (16, 18, 3) follows (16, 16, 3)",
        ),
    ],
)
def test_what_is_no_video_is_refused(sizes, said, tmp_path):
    with (
        pytest.raises(VideoError) as caught,
        open_writer(tmp_path / "out.mp4", 20.0) as writer,
    ):
        for size in sizes:
            writer.write(next(_frames(1, *size)))
    assert str(caught.value) == f"cannot write {tmp_path / 'out.mp4'}: {said}"
    assert list(tmp_path.iterdir()) == []
