"""A part of a video: settings, windows with the times of the whole video, and files."""

import json

import pytest
from colour_videos import BLUE, RED, ColourModel, TileDetector, frames_of, write_tiles
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from dfercli.cli import app
from dfercli.errors import ConfigError
from dfercli.media.video import Part, read_frames
from dfercli.predict import Predictor, PredictSettings, predict_videos
from dfercli.predict.settings import parse_time
from dfercli.visualize.timeline import STRIP_IN, _draw

PART = PredictSettings(window_s=1.0, start_s=3.0, end_s=5.5)


@pytest.fixture
def predictor():
    return Predictor(ColourModel(), TileDetector(), crop_size=48)


@pytest.fixture
def video(tmp_path):
    """Red for 4 s, then blue for 4 s."""
    return write_tiles(tmp_path / "tiles.mp4", frames_of((RED, 4.0), (BLUE, 4.0)))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("12.5", 12.5),
        (".5", 0.5),
        ("1:02", 62.0),
        ("90:07.25", 5407.25),
        ("1:00:03", 3603.0),
        ("01:02:03.5", 3723.5),
    ],
)
def test_times(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1:60", "1:", ":5", "1m", "nan", "1e3", "1:2:3:4", "١"])
def test_other_texts_are_not_times(text):
    with pytest.raises(ConfigError, match="write seconds, MM:SS or HH:MM:SS"):
        parse_time(text)


@pytest.mark.parametrize(
    ("start_s", "end_s", "message"),
    [
        (5.0, 5.0, "the end at 5 s is not after the start at 5 s; choose a later end"),
        (5.0, 4.0, "the end at 4 s is not after the start at 5 s; choose a later end"),
        (5.0, float("nan"), "the end at nan s is not after the start at 5 s; choose a later end"),
        (-1.0, None, "invalid start at -1 s; it must be at least 0"),
        (float("nan"), None, "invalid start at nan s; it must be at least 0"),
    ],
)
def test_parts_that_are_empty_or_begin_before_the_video_are_refused(start_s, end_s, message):
    with pytest.raises(ConfigError, match=message):
        PredictSettings(start_s=start_s, end_s=end_s).check()


def test_windows_have_the_times_of_the_whole_video(predictor, video):
    prediction = predictor.predict(video, window_s=1.0, start_s=3.0, end_s=5.5)
    assert [(w.start_s, w.end_s) for w in prediction.windows] == [(3, 4), (4, 5), (5, 5.5)]
    assert [prediction.name(w) for w in prediction.windows] == ["red", "blue", "blue"]
    assert (prediction.start_s, prediction.duration_s, prediction.end_s) == (3.0, 2.5, 5.5)
    assert prediction.num_frames == 20
    assert prediction.length_text == "2.5 s from 3.0 s"


def test_the_timeline_begins_with_the_part(predictor, video):
    figure = _draw(predictor.predict(video, window_s=1.0, start_s=3.0, end_s=5.5))
    assert "2.5 s from 3.0 s" in figure.texts[0].get_text()
    limits = {axes.get_xlim() for axes in figure.axes}
    assert limits == {(0, STRIP_IN), (3.0, 5.5)}  # images; timelines and curves
    lines = [line.get_xdata()[1] for line in figure.axes[0].lines]
    assert all(0 <= x <= figure.axes[0].get_xlim()[1] for x in lines)


def test_the_annotated_video_has_only_the_part(predictor, video, tmp_path):
    out = tmp_path / "a.mp4"
    result = predict_videos(video, predictor, PART, annotate=out)
    assert result.exit_code == 0
    frames = list(read_frames(out))
    assert len(frames) == 40  # 2.5 s
    whole = list(read_frames(video, part=Part(3.0, 5.5)))
    for frame, original in zip(frames, whole, strict=True):
        middle, expected = frame.image_rgb[32, 32], original.image_rgb[32, 32]
        assert abs(middle.astype(int) - expected).max() < 60


def test_the_part_is_recorded_and_part_of_the_journal(predictor, video, tmp_path):
    from predict.batch.by_hand import load_schema

    out = tmp_path / "x.json"
    predict_videos(video, predictor, PART, out=out)
    document = json.loads(out.read_text())
    Draft202012Validator(load_schema()["$defs"]["settings"]).validate(document["settings"])
    assert (document["settings"]["start_s"], document["settings"]["end_s"]) == (3.0, 5.5)
    assert document["videos"][0]["duration_s"] == 2.5
    kept = predict_videos(video, predictor, PART, out=out).outcomes[0].kept
    other = PredictSettings(window_s=1.0, start_s=3.0)
    changed = predict_videos(video, predictor, other, out=out).outcomes[0].kept
    assert (kept, changed) == (True, False)


def test_a_part_of_a_complete_file_is_not_reported_as_cut(predictor, video):
    assert predict_videos(video, predictor, PART).outcomes[0].notes == ()


def test_a_start_behind_the_end_is_an_error_of_the_video(predictor, video):
    result = predict_videos(video, predictor, PredictSettings(start_s=20.0))
    assert result.exit_code == 4
    assert "ends at 8.00 s, before the start at 20 s" in result.faults[0]


@pytest.mark.parametrize("source", ["rtsp://camera/1", 0])
def test_streams_and_cameras_have_no_parts(predictor, source):
    with pytest.raises(ConfigError, match="do not work with streams and cameras"):
        predict_videos(source, predictor, PART)
    with pytest.raises(ConfigError, match="do not work with streams and cameras"):
        predictor.open(source, PART)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--start", "1:x"], "invalid time '1:x'"),
        (["--start", "10", "--end", "0:10"], "the end at 10 s is not after the start at 10 s"),
    ],
)
def test_wrong_times_on_the_command_line_are_refused(options, message):
    result = CliRunner().invoke(app, ["predict", "v.mp4", *options])
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
