"""Blurred faces in annotated videos: which, where, and how strongly."""

import cv2
import numpy as np
import pytest
from predict.colour_videos import ColourModel
from typer.testing import CliRunner

from dfercli.cli import app
from dfercli.demo.drawing import make_person
from dfercli.demo.videos import draw_video
from dfercli.errors import ConfigError
from dfercli.faces import load_detector
from dfercli.media.video import read_frames
from dfercli.media.video_writer import write_video
from dfercli.predict import Predictor, PredictSettings, predict_videos
from dfercli.predict.prediction import SeenFace, VideoPrediction
from dfercli.visualize.blur import HOLD_S, SIDES, FaceBlur, pixelate

BOX = np.array([40.0, 30.0, 80.0, 80.0])
NOISE = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
SETTINGS = PredictSettings(window_s=1.0)


def _prediction(paths, brief=()):
    return VideoPrediction(
        "v", ("a", "b"), False, (160, 120), 4, 9, 1, (), paths, brief_paths=brief
    )


def _shift(x):
    return BOX + np.array([x, 0, x, 0])


def _path(*moments):
    return tuple(SeenFace(t, _shift(x)) for t, x in moments)


def _changed(image):
    return np.argwhere((image != NOISE).any(axis=2))


def test_a_face_becomes_a_few_blocks():
    image = NOISE.copy()
    pixelate(image, BOX)
    rows, columns = _changed(image).T
    half = SIDES / 2 * 50
    assert rows.min() == pytest.approx(55 - half, abs=2)
    assert rows.max() == pytest.approx(55 + half, abs=2)
    assert columns.min() == pytest.approx(60 - half, abs=2)
    assert columns.max() == pytest.approx(60 + half, abs=2)
    face = image[30:80, 40:80].reshape(-1, 3)
    assert len(np.unique(face, axis=0)) <= 5 * 5


@pytest.mark.parametrize("box", [[-300, 0, -200, 100], [500, 20, 560, 90], [-10, -10, 30, 40]])
def test_a_face_at_the_edge_or_outside_is_no_error(box):
    pixelate(NOISE.copy(), np.array(box, float))


def test_places_are_interpolated_and_held():
    blur = FaceBlur(_prediction({1: _path((2.0, 0), (3.0, 60))}), "all")
    for time_s, shift in ((2.0, 0), (2.5, 30), (3.0, 60), (2.0 - HOLD_S, 0), (3.0 + HOLD_S, 60)):
        expected = NOISE.copy()
        pixelate(expected, _shift(shift))
        assert np.array_equal(blur.draw(NOISE, time_s), expected)
    for time_s in (1.9 - HOLD_S, 3.1 + HOLD_S):
        assert np.array_equal(blur.draw(NOISE, time_s), NOISE)


def test_the_largest_track_stays_visible_and_brief_ones_do_not():
    large, small = _path((0.0, 0), (1.0, 0), (2.0, 0)), _path((0.0, 60), (1.0, 60))
    prediction = _prediction({1: small, 2: large}, (_path((0.5, -40)),))
    expected = NOISE.copy()
    pixelate(expected, _shift(60))
    pixelate(expected, _shift(-40))
    assert np.array_equal(FaceBlur(prediction, "others").draw(NOISE, 0.5), expected)
    with pytest.raises(ConfigError, match="no choice of blurred faces"):
        FaceBlur(prediction, "none")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two drawn people side by side; the one on the left is larger."""
    path = tmp_path_factory.mktemp("pair") / "pair.mp4"
    people = [
        draw_video(make_person(number, 2), "surprise", np.random.default_rng(number))
        for number in (1, 3)
    ]
    rows = []
    for left, right in zip(*people, strict=False):
        canvas = np.zeros_like(right)
        small = cv2.resize(right, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
        canvas[: small.shape[0], : small.shape[1]] = small
        rows.append(np.concatenate([left, canvas], axis=1))
    write_video(path, rows, 25.0)
    return path


def _halves(path, width):
    """Return the left and the right half of every third frame, without the panel."""
    images = [frame.image_rgb for frame in read_frames(path)][::3]
    return [
        [np.ascontiguousarray(image[:, x : x + width // 2]) for image in images]
        for x in (0, width // 2)
    ]


@pytest.mark.parametrize(("faces", "left_is_blurred"), [("others", False), ("all", True)])
def test_drawn_people_are_not_found_where_they_are_blurred(pair, tmp_path, faces, left_is_blurred):
    detector = load_detector("mtcnn")
    predictor = Predictor(ColourModel(), detector, crop_size=48)
    width = next(read_frames(pair)).image_rgb.shape[1]
    out = tmp_path / "a.mp4"
    assert predict_videos(pair, predictor, SETTINGS, annotate=out, blur=faces).exit_code == 0
    originals, halves = _halves(pair, width), _halves(out, width)
    assert all(len(detector.detect(image)) == 1 for half in originals for image in half)
    assert not any(detector.detect(image) for image in halves[1])
    if left_is_blurred:
        assert not any(detector.detect(image) for image in halves[0])
        return
    for image, original in zip(halves[0], originals[0], strict=True):  # the box is drawn on it
        assert np.abs(image.astype(int) - original).mean() < 8


def test_a_video_is_annotated_again_to_blur_it(pair, tmp_path):
    predictor = Predictor(ColourModel(), load_detector("mtcnn"), crop_size=48)
    files = {"out": tmp_path / "x.json", "annotate": tmp_path / "a.mp4"}
    predict_videos(pair, predictor, SETTINGS, **files)
    assert predict_videos(pair, predictor, SETTINGS, **files).outcomes[0].kept
    before = files["annotate"].read_bytes()
    assert not predict_videos(pair, predictor, SETTINGS, blur="all", **files).outcomes[0].kept
    assert files["annotate"].read_bytes() != before
    assert predict_videos(pair, predictor, SETTINGS, blur="all", **files).outcomes[0].kept


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--blur-all"], "choose one with --annotate"),
        (["--blur-all", "--blur-others", "--annotate", "a.mp4"], "contradict each other"),
    ],
)
def test_wrong_options_are_refused(options, message, pair):
    result = CliRunner().invoke(app, ["predict", str(pair), "--checkpoint", "built-in", *options])
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
