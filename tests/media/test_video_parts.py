"""Parts of videos: the frames and times are those of the whole video."""

from fractions import Fraction

import av
import numpy as np
import pytest

from dfercli.errors import VideoError
from dfercli.media import container
from dfercli.media.images import write_image
from dfercli.media.video import Extent, Part, read_frames
from dfercli.media.video_writer import open_writer, write_video

FPS = 20.0


def _write(path, codec="mpeg4", form=None, **options):
    """Four seconds whose frames get brighter, with a key frame each second."""
    with av.open(str(path), "w", format=form) as out:
        stream = out.add_stream(codec, rate=20, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 20
        for index in range(80):
            image = np.full((48, 64, 3), 3 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 20)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


KINDS = {
    "mpeg4": ("v.mp4", "mpeg4", None, {}),
    "h264 with frames out of order": ("v.mp4", "libx264", None, {"bf": "2"}),
    "matroska": ("v.mkv", "libx264", None, {}),
    "transport stream": ("v.ts", "libx264", "mpegts", {}),
    "without times": ("v.264", "libx264", "h264", {}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [Part(2.52), Part(1.0, 1.5), Part(0.0, 0.3), Part(2.9, 60.0)])
def test_a_part_has_the_frames_and_times_of_the_whole(tmp_path, kind, part):
    name, codec, form, options = KINDS[kind]
    path = _write(tmp_path / name, codec, form, **options)
    whole = [f for f in read_frames(path) if part.start_s - 1e-6 <= f.time_s < part.end_s - 1e-6]
    frames = list(read_frames(path, part=part))
    assert [f.time_s for f in frames] == [f.time_s for f in whole] != []
    assert all(np.array_equal(a.image_rgb, b.image_rgb) for a, b in zip(frames, whole, strict=True))


def test_a_part_is_read_from_the_key_frame_before_it(tmp_path):
    path, extent = _write(tmp_path / "v.mp4"), Extent()
    times_s = [f.time_s for f in read_frames(path, None, extent, Part(2.5, 3.0))]
    assert times_s == pytest.approx([2.5 + i / 20 for i in range(10)])
    assert extent.num_frames < 40  # of the 60 before the end


def test_a_file_that_cannot_be_searched_is_read_from_its_start(tmp_path, monkeypatch):
    path, extent = _write(tmp_path / "v.mp4"), Extent()
    monkeypatch.setattr(container, "_seek", lambda *arguments: False)
    times_s = [f.time_s for f in read_frames(path, None, extent, Part(2.5, 3.0))]
    assert times_s == pytest.approx([2.5 + i / 20 for i in range(10)])
    assert extent.num_frames == 60


def test_the_frame_rate_counts_from_the_start_of_the_part(tmp_path):
    frames = read_frames(_write(tmp_path / "v.mp4"), 5.0, part=Part(1.0, 2.0))
    assert [f.time_s for f in frames] == pytest.approx([1.0, 1.2, 1.4, 1.6, 1.8])


def test_a_part_of_a_folder_of_frames(tmp_path):
    for index in range(30):
        write_image(tmp_path / f"{index:03}.png", np.full((8, 8, 3), index, np.uint8))
    frames = list(read_frames(tmp_path, part=Part(0.4, 0.8)))
    assert [int(f.image_rgb[0, 0, 0]) for f in frames] == list(range(10, 20))


def test_a_start_behind_the_end_is_refused(tmp_path):
    path = _write(tmp_path / "v.mp4")
    with pytest.raises(VideoError, match=r"v.mp4 ends at 4.00 s, before the start at 9 s; choose"):
        list(read_frames(path, part=Part(9.0)))
    with pytest.raises(VideoError, match=r"v.mp4 has no frame from 1.01 to 1.04 s"):
        list(read_frames(path, part=Part(1.01, 1.04)))
    write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(VideoError, match=r"a.png ends at 0.00 s, before the start at 1 s"):
        list(read_frames(tmp_path / "a.png", part=Part(1.0)))


@pytest.mark.parametrize("codec", ["aac", "mp2"])
def test_the_sound_of_a_part_is_cut_at_the_same_times(tmp_path, codec):
    source = tmp_path / "source.mkv"
    write_video(tmp_path / "picture.mp4", [np.full((48, 64, 3), 99, np.uint8)] * 80, FPS)
    with av.open(str(tmp_path / "picture.mp4")) as old, av.open(str(source), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        tone = new.add_stream(codec, rate=16000, layout="mono")
        samples = np.zeros(64000, np.float32)
        samples[32000:40000] = 0.5 * np.sin(np.arange(8000))  # from 2.0 to 2.5 s
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
        form = tone.codec_context.format.name
        if form != "fltp":
            samples = (32767 * samples).astype(np.int16)
        sound = av.AudioFrame.from_ndarray(samples[None], form, "mono")
        sound.sample_rate, sound.pts, sound.time_base = 16000, 0, Fraction(1, 16000)
        new.mux(tone.encode(sound))
        new.mux(tone.encode(None))
    part = Part(1.5, 3.0)
    with open_writer(tmp_path / "out.mp4", FPS, source, part) as writer:
        for frame in read_frames(source, part=part):
            writer.write(frame.image_rgb)
    assert (writer.num_frames, writer.why_silent) == (30, None)
    with av.open(str(tmp_path / "out.mp4")) as file:
        rate = file.streams.audio[0].rate
        pieces = [(float(f.time), f.to_ndarray()[0]) for f in file.decode(audio=0)]
    loud_s = [t + i / rate for t, piece in pieces for i in np.flatnonzero(abs(piece) > 0.2)]
    assert loud_s[0] == pytest.approx(0.5, abs=0.08)
    assert loud_s[-1] == pytest.approx(1.0, abs=0.08)
    assert pieces[-1][0] < 1.5 + 0.08  # the last packet begins before the end
