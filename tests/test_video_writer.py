"""Videos that are written: they come back, with their sound, and after an error nothing is left."""

import json
import os
import shutil
import subprocess
import time

import numpy as np
import pytest

from dfercli import video_writer
from dfercli.errors import VideoError
from dfercli.ffmpeg import NO_FFMPEG, NO_SOUND
from dfercli.video import read_frames
from dfercli.video_writer import open_writer

LOSS = 8
"""Grey levels that H.264 or MPEG-4 may be off by on a plain frame."""

HAS_FFMPEG = shutil.which("ffmpeg") is not None
needs_ffmpeg = pytest.mark.skipif(not HAS_FFMPEG, reason="sound needs ffmpeg, which is optional")
ODD_NAMES = [
    "two words.mp4",
    'it\'s "so".mp4',
    "a\nb.mp4",
    "-i.mp4",
    "%d 100%.mp4",
    "a:b.mp4",
    "b\udcff.mp4",
]


@pytest.fixture(params=["ffmpeg", "opencv"])
def encoder(request, monkeypatch):
    """Each encoder, where it is installed."""
    if request.param == "opencv":
        monkeypatch.setattr(video_writer.shutil, "which", lambda name: None)
    elif not HAS_FFMPEG:
        pytest.skip("ffmpeg is optional, and not installed")
    return request.param


@pytest.fixture
def sounding(tmp_path):
    """Make a video of 2 s with a tone."""

    def make(name="sounding.mp4", codec="aac", late_s=0.0):
        path = tmp_path / "sources" / name
        path.parent.mkdir(exist_ok=True)
        command = ["ffmpeg", "-v", "error", "-y", "-itsoffset", str(late_s)]
        command += ["-f", "lavfi", "-i", "color=red:s=64x48:r=20:d=2"]
        command += ["-f", "lavfi", "-i", "sine=d=2", "-c:a", codec, f"file:{path}"]
        subprocess.run(command, check=True)
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


def _probe(path):
    """What ffprobe says of each stream, by its kind."""
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", f"file:{path}"]
    streams = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["streams"]
    return {stream["codec_type"]: stream for stream in streams}


@pytest.mark.parametrize("size", [(48, 64), (47, 65)])
def test_a_video_comes_back_as_it_was_written(encoder, tmp_path, size):
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


def test_a_frame_is_shown_as_often_as_asked(encoder, tmp_path):
    with open_writer(tmp_path / "out.mp4", 10.0) as writer:
        for image_rgb, times in zip(_frames(3), (1, 4, 0), strict=True):
            writer.write(image_rgb, times)
    reds = [frame.image_rgb[..., 0].mean() for frame in read_frames(tmp_path / "out.mp4")]
    assert reds == pytest.approx([100, 110, 110, 110, 110], abs=LOSS)


@needs_ffmpeg
@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "mp3")])
def test_sound_is_kept(name, codec, sounding, tmp_path):
    writer = _write(tmp_path / "out.mp4", count=40, sound_of=sounding(name, codec))
    streams = _probe(tmp_path / "out.mp4")
    assert writer.why_silent is None
    assert (streams["video"]["codec_name"], streams["video"]["pix_fmt"]) == ("h264", "yuv420p")
    assert streams["audio"]["codec_name"] == "aac"
    assert float(streams["audio"]["duration"]) == pytest.approx(2, abs=0.06)
    head = (tmp_path / "out.mp4").read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")  # plays before it is loaded whole


@needs_ffmpeg
def test_sound_keeps_its_place_in_time(sounding, tmp_path):
    _write(tmp_path / "out.mp4", count=40, sound_of=sounding("late.mkv", "aac", late_s=0.5))
    streams = _probe(tmp_path / "out.mp4")
    later = float(streams["video"]["start_time"]) - float(streams["audio"]["start_time"])
    assert later == pytest.approx(0.5, abs=0.06)


def test_a_video_without_sound_says_so(encoder, tmp_path):
    _write(tmp_path / "silent.mp4")
    writer = _write(tmp_path / "out.mp4", sound_of=tmp_path / "silent.mp4")
    assert writer.why_silent == (NO_SOUND if encoder == "ffmpeg" else NO_FFMPEG)
    assert _write(tmp_path / "out.mp4", sound_of=tmp_path).why_silent == NO_SOUND  # a folder


@needs_ffmpeg
def test_sound_that_cannot_be_kept_costs_no_picture(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    writer = _write(tmp_path / "out.mp4", sound_of=tmp_path / "broken.mp4")
    assert writer.why_silent.startswith("ffmpeg could not take it over: ")
    assert len(list(read_frames(tmp_path / "out.mp4"))) == 10


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_of_a_file_and_of_its_folder_will_do(encoder, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _write(video_writer.Path(name), size=(16, 16))
    _write(tmp_path / name.removesuffix(".mp4") / name, size=(16, 16))
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.mp4")]
    assert len(sizes) == 2
    assert min(sizes) > 500
    assert sorted(os.listdir(tmp_path)) == sorted([name, name.removesuffix(".mp4")])  # noqa: PTH208


@needs_ffmpeg
@pytest.mark.parametrize("name", ODD_NAMES)
def test_sound_is_taken_of_any_name(name, sounding, tmp_path, monkeypatch):
    source = sounding(name)
    assert _write(tmp_path / "out.mp4", sound_of=source).why_silent is None
    monkeypatch.chdir(source.parent)
    assert _write(tmp_path / "out.mp4", sound_of=video_writer.Path(name)).why_silent is None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_nothing_is_left(encoder, error, tmp_path):
    (tmp_path / "out.mp4").write_text("as it was")
    with pytest.raises(error), open_writer(tmp_path / "out.mp4", 20.0) as writer:
        writer.write(next(_frames(1)))
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_text() == "as it was"
    if encoder == "ffmpeg":
        assert writer._encoder._process.poll() is not None


@pytest.fixture
def fake_ffmpeg(tmp_path, monkeypatch):
    """Install a shell script as ffmpeg."""

    def install(script):
        fake = tmp_path / "bin" / "ffmpeg"
        fake.parent.mkdir()
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")

    return install


def test_an_ffmpeg_that_hangs_is_ended(fake_ffmpeg, tmp_path):
    fake_ffmpeg('case "$*" in *-encoders*) exit 0;; esac; exec sleep 60')
    began_s = time.monotonic()
    with pytest.raises(ValueError), open_writer(tmp_path / "out" / "v.mp4", 20.0) as writer:
        writer.write(next(_frames(1)))
        raise ValueError
    assert time.monotonic() - began_s < 30
    assert list((tmp_path / "out").iterdir()) == []


def test_an_ffmpeg_that_fails_is_one_line(fake_ffmpeg, tmp_path):
    fake_ffmpeg("echo one >&2; echo No space left >&2; exit 1")
    (tmp_path / "out").mkdir()
    with pytest.raises(VideoError) as caught:
        _write(tmp_path / "out" / "v.mp4", count=500, size=(256, 256))
    expected = f"cannot write {tmp_path / 'out' / 'v.mp4'}: ffmpeg failed: No space left"
    assert str(caught.value) == expected
    assert list((tmp_path / "out").iterdir()) == []


@needs_ffmpeg
def test_an_ffmpeg_without_h264_writes_mpeg4(tmp_path, monkeypatch):
    whole = video_writer.run

    def run(*command):
        done = whole(*command)
        done.stdout = done.stdout.replace(b"libx264", b"")
        return done

    monkeypatch.setattr(video_writer, "run", run)
    _write(tmp_path / "out.mp4")
    assert _probe(tmp_path / "out.mp4")["video"]["codec_name"] == "mpeg4"


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([], "no frames were given"),
        ([(16, 16), (16, 18)], "a video has one size: (16, 18, 3) came after (16, 16, 3)"),
    ],
)
def test_what_is_no_video_is_refused(encoder, sizes, said, tmp_path):
    with (
        pytest.raises(VideoError) as caught,
        open_writer(tmp_path / "out.mp4", 20.0) as writer,
    ):
        for size in sizes:
            writer.write(next(_frames(1, *size)))
    assert str(caught.value) == f"cannot write {tmp_path / 'out.mp4'}: {said}"
    assert list(tmp_path.iterdir()) == []
