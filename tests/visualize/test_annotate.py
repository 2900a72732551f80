"""Annotated videos: boxes where the faces are, at their times, in frames of every size."""

from fractions import Fraction

import av
import numpy as np
import pytest

from dfercli.errors import ConfigError, VideoError
from dfercli.media.video import WHOLE, Frame, read_frames
from dfercli.media.video_writer import NO_SOUND, write_video
from dfercli.predict.prediction import SeenFace, VideoPrediction, Window
from dfercli.visualize import annotated_video
from dfercli.visualize.annotated_video import (
    _FrameTimer,
    _Tracks,
    annotate_video,
    check_annotated,
)
from dfercli.visualize.overlay import ShownFace

NAMES = ("happiness", "sadness", "fear")
FPS = 20.0


def _window(track, start_s, top=0, share=0.9, length_s=2.0):
    probs = np.full(len(NAMES), (1 - share) / (len(NAMES) - 1))
    probs[top] = share
    return Window(track, start_s, start_s + length_s, 1.0, np.zeros(4), probs)


def _path(*moments):
    """Places of a face: a time, and the box's left side and width."""
    return tuple(SeenFace(t, np.array([x, 30, x + w, 30 + w], float)) for t, x, w in moments)


def _prediction(windows=(), paths=None, calibrated=True):
    return VideoPrediction(
        "v.mp4", NAMES, calibrated, (160, 120), 2, 16, 1, tuple(windows), paths or {}
    )


@pytest.fixture
def video(tmp_path):
    """Two seconds of 160x120, brighter from frame to frame."""
    path = tmp_path / "v.mp4"
    frames = (np.full((120, 160, 3), 20 + 4 * index, np.uint8) for index in range(40))
    write_video(path, frames, FPS)
    return path


def _write_again(video, path, times):
    """Write frames at times in twentieths of a second, None for none, and 2 s of sound."""
    with av.open(str(video)) as old, av.open(str(path), "w") as new:
        picture = new.add_stream("mpeg4", rate=20, options={"qscale": "2"})
        picture.width, picture.height, picture.pix_fmt = 160, 120, "yuv420p"
        picture.codec_context.time_base = Fraction(1, 20)
        tone = new.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 32000), np.float32), "fltp", "mono")
        sound.sample_rate, sound.pts, sound.time_base = 16000, 0, Fraction(1, 16000)
        new.mux(tone.encode(sound))
        for frame, time in zip(old.decode(video=0), times, strict=True):
            if time is not None:
                frame.pts, frame.time_base = time, Fraction(1, 20)
                new.mux(picture.encode(frame))
        for stream in (tone, picture):
            new.mux(stream.encode(None))


def _brightness(path):
    """Time and brightness of each frame, in a corner that nothing covers."""
    return [(frame.time_s, frame.image_rgb[100:118, :20].mean()) for frame in read_frames(path)]


def test_each_frame_comes_again_with_its_box(video, tmp_path):
    paths = {1: _path((0.0, 40, 40), (0.5, 90, 40))}
    told = []
    made = annotate_video(
        _prediction([_window(1, 0.0)], paths), video, tmp_path / "out.mp4", on_frame=told.append
    )
    frames = list(read_frames(tmp_path / "out.mp4"))
    assert (made.path, made.num_frames, len(frames)) == (tmp_path / "out.mp4", 40, 40)
    assert made.why_silent == NO_SOUND
    assert told == pytest.approx([index / FPS for index in range(40)], abs=0.001)
    # Against the video as it is read: OpenCV's encoder, which made it, has a loss of its own.
    assert [light for _, light in _brightness(made.path)] == pytest.approx(
        [light for _, light in _brightness(video)], abs=6
    )
    # At 0.25 s it is in the middle of both places, at 1 s it is gone.
    lines = []
    for frame in frames[5], frames[20]:
        row = frame.image_rgb[50:60, :150, 0].mean(axis=0)
        lines.append(np.flatnonzero(row > row[0] + 40))
    assert (lines[0].min(), lines[0].max()) == (pytest.approx(63, abs=2), pytest.approx(106, abs=2))
    assert len(lines[1]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "v.mp4"]


@pytest.mark.parametrize(
    ("time_s", "left"),
    [(0.0, 0), (0.1, 10), (0.5, 50), (0.55, 50), (0.7, None), (1.45, 100), (1.5, 100), (1.6, None)],
)
def test_a_box_moves_between_places_and_is_not_there_in_a_gap(time_s, left):
    cast = _Tracks(_prediction(paths={1: _path((0.0, 0, 20), (0.5, 50, 20), (1.5, 100, 20))}))
    faces = cast.faces_at(time_s)
    assert [face.box_xyxy[0] for face in faces] == ([] if left is None else [pytest.approx(left)])


def test_of_windows_that_overlap_the_nearest_speaks():
    windows = [_window(1, 0.0, 0), _window(1, 1.0, 1, share=0.4), _window(1, 5.0, 2)]
    cast = _Tracks(_prediction(windows, {1: _path(*((t / 4, 0, 20) for t in range(40)))}))

    def told(time_s):
        (face,) = cast.faces_at(time_s)
        return (face.window and face.window.top, face.uncertain)

    assert [told(t) for t in (0.1, 1.4, 1.6, 2.9, 4.0, 5.1)] == [
        *[(0, False), (0, False), (1, True), (1, True), (None, False), (2, False)]
    ]


def test_the_bars_stay_with_a_face_until_another_is_much_larger():
    cast = _Tracks(_prediction())

    def choose(**widths):
        return _choose(cast, widths, dict.fromkeys(widths))

    assert choose(f1=50, f2=49) == 1
    assert choose(f1=50, f2=55) == 1
    assert choose(f1=50, f2=70) == 2
    assert choose(f1=50) == 1
    assert choose() is None


def _choose(cast, widths, windows):
    faces = [
        ShownFace(int(name[1:]), np.array([0, 0, width, width], float), windows[name], False)
        for name, width in widths.items()
    ]
    face = cast.choose_main(faces)
    return face and face.track


def test_the_bars_are_those_of_a_face_that_is_named_then():
    cast = _Tracks(_prediction())
    named, silent = _window(1, 0), Window(1, 0, 2, 0.1, np.zeros(4), None)
    widths = {"f1": 50, "f2": 90, "f3": 70}
    for told, chosen in [
        ({"f1": named, "f2": None, "f3": silent}, 1),
        ({"f1": None, "f2": None, "f3": silent}, 3),
        ({"f1": None, "f2": None, "f3": None}, 2),
        ({"f1": named, "f2": named, "f3": silent}, 2),
    ]:
        assert _choose(cast, widths, told) == chosen


@pytest.mark.parametrize(
    ("times_s", "shown"),
    [
        ([0.0, 0.1, 0.2], [1, 1, 1]),
        ([0.0, 0.3, 0.4], [3, 1, 1]),
        ([0.0, 0.02, 0.1, 0.12, 0.2], [0, 1, 0, 1, 1]),
        ([0.0], [1]),
        ([], []),
    ],
)
def test_frames_are_repeated_or_left_out_to_stand_at_their_times(times_s, shown):
    frames = [Frame(i, t, np.zeros((2, 2, 3), np.uint8)) for i, t in enumerate(times_s)]
    pace = _FrameTimer(10.0)
    assert [times for _, times in pace.schedule(frames)] == shown
    assert pace.skipped_s == 0


@pytest.mark.parametrize(
    ("times_s", "shown"),
    [
        ([0.0, 0.1, 10.1, 10.2], [1, 100, 1, 1]),
        ([0.0, 0.1, 36000.0, 36000.1, 36000.4], [1, 100, 1, 3, 1]),
        ([36000.0, 36000.1], [100, 1]),
        ([0.0, 5000.0, 9000.0], [100, 100, 1]),
        ([9000.0], [100]),
    ],
)
def test_where_times_jump_a_frame_is_shown_for_ten_seconds_at_most(times_s, shown):
    frames = [Frame(i, t, np.zeros((2, 2, 3), np.uint8)) for i, t in enumerate(times_s)]
    pace = _FrameTimer(10.0)
    assert [times for _, times in pace.schedule(frames)] == shown
    assert (pace.skipped_s > 0) == (times_s[-1] > 100)


def test_where_times_jump_there_is_no_sound(video, tmp_path):
    """A second, ten hours in which nothing is sent, and a second."""
    source = tmp_path / "jump.mkv"
    _write_again(video, source, [n if n < 20 else n + 720_000 for n in range(40)])
    assert max(time_s for time_s, _ in _brightness(source)) > 36000
    made = annotate_video(_prediction(), source, tmp_path / "out.mp4")
    assert made.num_frames == 19 + 10 * FPS + 20
    assert made.why_silent == ("the video has gaps of more than 10 s, so it would be out of sync")


@pytest.mark.parametrize(
    ("steps_s", "fps"),
    [
        ([1001 / 30000] * 80, 30000 / 1001),
        ([1 / 12.5] * 80, 12.5),
        ([0.04] * 20 + [0.2] * 30, 25.0),
        ([0.001, 0.2] * 40, 60.0),
        ([], 25.0),
        ([3000.0], 1.0),
    ],
)
def test_the_rate_is_that_of_the_video_and_a_known_one_where_it_is_near(steps_s, fps, monkeypatch):
    times_s = np.cumsum([0.0, *steps_s]).round(3)  # as Matroska keeps them
    frames = [Frame(i, float(t), np.zeros((2, 2, 3), np.uint8)) for i, t in enumerate(times_s)]
    monkeypatch.setattr(annotated_video, "read_frames", lambda path, part: iter(frames))
    assert annotated_video._measure_fps("v.mkv", WHOLE) == pytest.approx(fps, rel=1e-6)


def test_a_varying_rate_keeps_its_times_and_sound(video, tmp_path):
    source = tmp_path / "vary.mkv"
    _write_again(video, source, [n if n < 12 or n % 7 == 0 else None for n in range(40)])
    before = _brightness(source)
    assert len(before) < 20
    made = annotate_video(_prediction(), source, tmp_path / "out.mp4")
    after = _brightness(made.path)
    assert made.why_silent is None
    for time_s, light in after:
        expected = [each for at_s, each in before if at_s <= time_s + 0.01][-1]
        assert light == pytest.approx(expected, abs=6)
    with av.open(str(made.path)) as found:
        durations = {each.type: float(each.duration * each.time_base) for each in found.streams}
    assert durations == pytest.approx({"video": before[-1][0] + 0.05, "audio": 2.0}, abs=0.06)


def test_a_rotated_video_is_upright(video, tmp_path):
    source = tmp_path / "turned.mp4"
    with av.open(str(video)) as old, av.open(str(source), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        stream.set_display_rotation(90)
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    made = annotate_video(_prediction(), source, tmp_path / "out.mp4")
    height, width = next(read_frames(made.path)).image_rgb.shape[:2]
    assert height > 160  # the bars stand below
    assert width < height


def test_what_cannot_be_done_is_refused_before_time_is_spent(video, tmp_path):
    for out, said in (
        ("out.avi", f"cannot write a video to {tmp_path / 'out.avi'}: its name must end in .mp4"),
        ("v.mp4", f"{video} is the input video; choose another name for the annotated video"),
    ):
        for refuse in (check_annotated, lambda o, v: annotate_video(_prediction(), v, o)):
            with pytest.raises(ConfigError) as caught:
                refuse(tmp_path / out, video)
            assert str(caught.value) == said
    with pytest.raises(ConfigError, match=r"predict it with keep_paths=True first$"):
        annotate_video(_prediction([_window(1, 0)]), video, tmp_path / "out.mp4")
    with pytest.raises(VideoError, match="no video at"):
        annotate_video(_prediction(), tmp_path / "gone.mp4", tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]


def test_after_ctrl_c_nothing_is_left(video, tmp_path):
    def stop(time_s):
        if time_s > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        annotate_video(_prediction(), video, tmp_path / "out.mp4", on_frame=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]
