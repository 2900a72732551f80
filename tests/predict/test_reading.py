"""One pass through a video: windows and faces, with a detector and a model worked out by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from colour_videos import (
    BLUE,
    CLASSES,
    FPS,
    GREEN,
    GREY,
    RED,
    ColourModel,
    TileDetector,
    frames_of,
    playing,
    write_tiles,
)

from dfercli.errors import VideoError
from dfercli.media.video import Frame
from dfercli.predict import Predictor, PredictSettings
from dfercli.predict import reading as reading_module
from dfercli.predict.reading import SEARCH_FPS, VideoReading, count_windows
from dfercli.visualize.annotated_video import _Tracks


@pytest.fixture
def read(tmp_path):
    """Read a video of tiles; gives the prediction."""

    def read_tiles(*tiles, keep_paths=False, **settings):
        path = write_tiles(tmp_path / "tiles.mp4", *tiles)
        reading = _predictor().open(path, PredictSettings(**settings), keep_paths)
        windows = list(reading)
        prediction = reading.finish()
        assert [(w.track, w.start_s) for w in windows] == [
            (w.track, w.start_s) for w in prediction.windows
        ]
        return prediction

    return read_tiles


def _predictor(**settings):
    return Predictor(ColourModel(**settings), TileDetector(), crop_size=48)


def _names(prediction, track=1):
    return [prediction.name(w) for w in prediction.windows if w.track == track]


@pytest.mark.parametrize(
    ("duration_s", "window_s", "stride_s", "count"),
    [
        (0.0, 2.0, 1.0, 1),
        (1.2, 2.0, 1.0, 1),  # shorter than a window
        (2.0, 2.0, 1.0, 1),
        (2.25, 2.0, 1.0, 1),  # a rest of a quarter of the stride is not worth a window
        (2.26, 2.0, 1.0, 2),
        (4.0, 2.0, 1.0, 3),
        (5.2, 2.0, 1.0, 4),
        (5.5, 2.0, 1.0, 5),
        (6.0, 2.0, 2.0, 3),
        (6.4, 2.0, 2.0, 3),
        (7.0, 2.0, 2.0, 4),
        (1.0, 0.5, 0.25, 3),
        # Windows that do not meet: none begins after the video, nor just before its end.
        (8.0, 1.0, 3.0, 3),
        (9.2, 1.0, 3.0, 3),
        (9.3, 1.0, 3.0, 4),
        (22.0, 1.0, 10.0, 3),
        (19.0, 1.0, 10.0, 2),
    ],
)
def test_number_of_windows(duration_s, window_s, stride_s, count):
    assert count_windows(duration_s, window_s, stride_s) == count


@pytest.mark.parametrize("length_s", [2.0, 3.1, 6.0, 7.25, 9.3, 12.0])
@pytest.mark.parametrize(("window_s", "stride_s"), [(2.0, 1.0), (2.0, 2.0), (1.0, 3.0), (0.5, 0.5)])
def test_windows_come_on_one_grid_however_long_the_video(read, length_s, window_s, stride_s):
    prediction = read(frames_of((RED, length_s)), window_s=window_s, stride_s=stride_s)
    count = count_windows(prediction.duration_s, window_s, stride_s)
    assert [w.start_s for w in prediction.windows] == pytest.approx(np.arange(count) * stride_s)
    assert all(w.end_s <= prediction.duration_s + 1e-9 for w in prediction.windows)


def test_each_window_reads_its_own_frames(read):
    prediction = read(frames_of((RED, 2), (GREEN, 2), (BLUE, 2)), window_s=2.0)
    tops = [prediction.name(w) for w in prediction.windows]
    assert tops == ["red", "green", "blue"]  # a cut between: three tracks
    assert [(w.start_s, w.end_s) for w in prediction.windows] == [(0, 2), (2, 4), (4, 6)]
    for window, rgb in zip(prediction.windows, (RED, GREEN, BLUE), strict=True):
        assert window.coverage == 1.0
        assert window.face_rgb.shape == (48, 48, 3)
        assert np.abs(window.face_rgb.astype(int) - rgb).max() < 12
        weights = np.exp(10 * np.array(rgb) / 255)
        assert window.probs == pytest.approx(weights / weights.sum(), abs=0.02)
    assert prediction.num_frames == 6 * SEARCH_FPS
    assert prediction.coverage == 1.0
    assert prediction.size == (64, 64)
    assert prediction.duration_s == pytest.approx(6.0)


def test_a_cut_ends_a_track_although_the_faces_overlap(read):
    prediction = read(frames_of((RED, 2), (BLUE, 2)), window_s=1.0)
    assert [(w.track, w.start_s) for w in prediction.windows] == [(1, 0), (1, 1), (2, 2), (2, 3)]


def test_the_clip_is_sampled_over_the_whole_window_and_at_the_models_size(tmp_path):
    predictor = _predictor()
    slow = [(round(230 - 200 * i / 47), 20, round(20 + 200 * i / 47)) for i in range(48)]
    path = write_tiles(tmp_path / "slow.mp4", [frames_of((rgb, 1 / FPS))[0] for rgb in slow])
    list(predictor.open(path, PredictSettings(2.0, 1.0)))
    first, second = predictor._model.clips
    assert first.shape == second.shape == (1, 4, 3, 24, 24)
    reds = np.array([clip[0, :, 0].mean(dim=(1, 2)).numpy() for clip in (first, second)])
    times = (230 / 255 - reds) / (200 / 255) * 47 / FPS  # in seconds, by the colour
    centres = np.array([[0.25, 0.75, 1.25, 1.75], [1.25, 1.75, 2.25, 2.75]])
    assert times == pytest.approx(centres, abs=0.1)


@pytest.mark.parametrize("length_s", [0.5, 1 / FPS])
def test_a_video_shorter_than_a_window_is_one_window(read, length_s):
    prediction = read(frames_of((GREEN, length_s)))
    (window,) = prediction.windows
    assert prediction.name(window) == "green"
    assert (window.start_s, window.end_s) == pytest.approx((0, length_s))


def test_faces_beside_each_other_have_rows_of_their_own_on_the_same_grid(read):
    left = frames_of((RED, 4))
    right = frames_of((BLUE, 2), (BLUE, 2, False))
    prediction = read(left, right, window_s=1.0)
    assert [(w.track, w.start_s) for w in prediction.windows] == [
        (1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (1, 3),
    ]  # fmt: skip
    assert _names(prediction, 1) == ["red"] * 4
    assert _names(prediction, 2) == ["blue"] * 2
    assert prediction.windows[1].box_xyxy == pytest.approx([64, 0, 128, 64])
    one, two = prediction.tracks
    assert (one.start_s, one.end_s, two.start_s, two.end_s) == (0, 4, 0, 2)
    assert CLASSES[one.top] == "red"
    assert two.shares.tolist() == [0, 0, 1]


def test_clips_of_several_faces_are_one_batch(tmp_path):
    predictor = _predictor()
    path = write_tiles(tmp_path / "four.mp4", *[frames_of((RED, 2))] * 4)
    list(predictor.open(path, PredictSettings(2.0)))
    assert [clip.shape[0] for clip in predictor._model.clips] == [4]


def test_the_largest_face_alone(read):
    gone = frames_of((BLUE, 1, False), (BLUE, 3))
    leaves = frames_of((RED, 3), (RED, 1, False))
    prediction = read(leaves, gone, window_s=1.0, faces="largest")
    assert [w.start_s for w in prediction.windows] == [0, 1, 2, 3]
    assert [prediction.name(w) for w in prediction.windows] == ["red", "red", "red", "blue"]
    assert [w.track for w in prediction.windows] == [1, 1, 1, 2]


def test_of_two_faces_the_one_that_is_longer_there_is_the_largest(read):
    shortly, long = frames_of((RED, 0.5), (RED, 0.5, False)), frames_of((BLUE, 1))
    for tiles in ((shortly, long), (long, shortly)):
        prediction = read(*tiles, window_s=1.0, faces="largest")
        assert _names(prediction) == ["blue"]


@pytest.mark.parametrize(
    ("video", "batches"), [(Path("a file"), [1, 4, 4, 1]), ("rtsp://live", [1] * 10)]
)
def test_windows_of_files_are_read_together_and_those_of_streams_at_once(
    video, batches, monkeypatch
):
    image = frames_of((GREY, 1 / FPS))[0]
    frames = [Frame(i, i / 8, image) for i in range(160)]
    monkeypatch.setattr(reading_module, "read_frames", playing(frames))
    predictor = _predictor()
    assert len(list(predictor.open(video, PredictSettings(2.0)))) == 10
    assert [len(clips) for clips in predictor._model.clips] == batches


def test_a_short_gap_is_bridged_and_a_long_one_is_not(read):
    short = read(frames_of((RED, 1), (RED, 0.25, False), (RED, 0.75)), window_s=2.0)
    assert [w.track for w in short.windows] == [1]
    assert short.coverage == 1.0  # the face is carried over the gap
    longer = read(frames_of((RED, 1), (RED, 0.75, False), (RED, 1.25)), window_s=1.0)
    assert [w.track for w in longer.windows] == [1, 1, 1]  # the same face, but not carried
    assert longer.coverage < 0.8
    lost = read(frames_of((RED, 2), (RED, 2, False), (RED, 2)), window_s=2.0)
    assert [(w.track, w.start_s) for w in lost.windows] == [(1, 0.0), (2, 4.0)]


def test_a_face_that_is_seen_too_little_is_told_of_without_a_name(read):
    prediction = read(frames_of((RED, 2.25), (RED, 2, False)), window_s=2.0)
    assert [prediction.name(w) for w in prediction.windows] == ["red", None]
    assert prediction.windows[1].coverage == pytest.approx(2 / 16)
    assert prediction.windows[1].probs is None
    only_a_flash = read(frames_of((RED, 2, False), (RED, 0.25), (RED, 3.75, False)), window_s=2.0)
    assert only_a_flash.windows == ()
    assert only_a_flash.tracks == ()


def test_a_video_without_a_face(read):
    prediction = read(frames_of((RED, 3, False)))
    assert prediction.windows == ()
    assert prediction.coverage == 0.0
    assert prediction.num_frames == 24
    assert list(prediction.to_frame().columns)[-3:] == ["prob_red", "prob_green", "prob_blue"]


@pytest.mark.parametrize("columns", [8, 10, 20])
def test_a_table_that_is_printed_shows_the_expression(read, columns):
    """In a narrow terminal pandas leaves out the columns in the middle."""
    table = read(frames_of((RED, 2))).to_frame()
    with pd.option_context("display.width", 80, "display.max_columns", columns):
        shown = str(table)
    assert "expression" in shown
    assert "red" in shown


def test_paths_are_kept_where_they_are_asked_for(read):
    tiles = frames_of((RED, 2)), frames_of((BLUE, 2, False))
    assert read(*tiles).paths == {}
    (path,) = read(*tiles, keep_paths=True).paths.values()
    assert [seen.time_s for seen in path] == pytest.approx(np.arange(17) / 8)  # and to the end
    assert path[0].box_xyxy == pytest.approx([0, 0, 64, 64])


def test_every_second_frame_is_searched_where_nothing_moves(tmp_path):
    predictor = _predictor()
    list(predictor.open(write_tiles(tmp_path / "still.mp4", frames_of((RED, 4)))))
    assert predictor.detector.seen == pytest.approx(16, abs=1)


def _read_frames(times_s, monkeypatch, **lengths):
    """Read frames that come at these times."""
    image = frames_of((GREY, 1 / FPS))[0]
    frames = [Frame(i, time_s, image) for i, time_s in enumerate(times_s)]
    monkeypatch.setattr(reading_module, "read_frames", playing(frames))
    reading = VideoReading(
        _predictor(), "rtsp://made", **({"window_s": 2.0, "stride_s": 2.0} | lengths)
    )
    list(reading)
    return reading.finish()


def test_a_jump_in_time_costs_nothing(monkeypatch):
    times_s = [*np.arange(16) / 8, *(1e9 + np.arange(16) / 8)]
    prediction = _read_frames(times_s, monkeypatch)
    assert [w.start_s for w in prediction.windows] == [0.0, 1e9]
    assert prediction.duration_s == pytest.approx(1e9 + 2, abs=0.1)


@pytest.mark.parametrize("first_s", [5.96, 6.1, 100.0])
def test_windows_begin_with_the_first_frame_that_there_is(first_s, monkeypatch):
    prediction = _read_frames(first_s + np.arange(22) / 8, monkeypatch)
    assert [w.start_s for w in prediction.windows] == pytest.approx([first_s, first_s + 2])
    assert prediction.windows[-1].end_s == pytest.approx(first_s + 2.75)
    assert prediction.duration_s == pytest.approx(2.75)
    (alone,) = _read_frames([first_s], monkeypatch).windows
    assert (alone.start_s, alone.coverage) == (first_s, 1.0)


def test_faces_are_kept_however_often_nobody_is_there(read):
    there = frames_of(*[(RED, 2), (RED, 4, False)] * 6)
    prediction = read(there, window_s=2.0)
    assert len(prediction.tracks) == 6
    assert all(w.face_rgb is not None for w in prediction.windows)


def test_a_slow_video_has_the_length_of_its_frames(monkeypatch):
    assert _read_frames([0.0, 1.0, 2.0, 3.0], monkeypatch).duration_s == 4.0


@pytest.mark.parametrize("length_s", [2.0, 2.0625, 2.125, 2.1875, 3.0])
def test_a_video_ends_with_its_last_frame_whether_that_is_searched_or_not(read, length_s):
    prediction = read(frames_of((RED, length_s)), keep_paths=True)
    assert prediction.duration_s == pytest.approx(length_s, abs=1e-3)
    faces_at = _Tracks(prediction).faces_at  # of an annotated video
    assert all(faces_at(index / FPS) for index in range(round(length_s * FPS)))


def test_a_face_that_left_before_the_end_is_not_held_to_it(read):
    prediction = read(frames_of((RED, 2), (RED, 1, False)), keep_paths=True)
    assert prediction.paths[1][-1].time_s == pytest.approx(1.875, abs=1e-3)


def test_a_video_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(VideoError, match=r"no video at .*gone\.mp4; check the path"):
        _predictor().predict(tmp_path / "gone.mp4")
