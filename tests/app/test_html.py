"""What the page says: of faces, of the model, and of what went wrong."""

import html
import re
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dfercli.app.html import (
    MAX_CARDS,
    name_model,
    render_done,
    render_error,
    render_faces,
    render_model,
    render_timeline,
)
from dfercli.predict import Predictor, VideoPrediction, Window

NAMES = ("happiness", "sadness", "<b>anger</b>")
FACE = np.full((64, 64, 3), 90, np.uint8)


def _window(track, start_s, probs):
    probs = None if probs is None else np.array(probs)
    return Window(track, start_s, start_s + 2, 0.5, np.zeros(4), probs, FACE)


def _prediction(*windows, calibrated=True):
    return VideoPrediction("v.mp4", NAMES, calibrated, (64, 64), 6.0, 48, 1.0, windows)


WINDOWS = (
    _window(1, 0, [0.9, 0.1, 0.0]),
    _window(1, 2, None),
    _window(1, 4, [0.8, 0.2, 0.0]),
    _window(1, 6, [0.2, 0.4, 0.4]),
)


def test_a_face_has_its_expression_its_times_and_its_shares():
    """Means of 0.9, 0.8, 0.2: happiness. Confidence (0.9 + 0.8 + 0.4) / 3 = 70%."""
    shown = render_faces(_prediction(*WINDOWS))
    assert "Face 1: on average <span" in shown
    assert "0.0 to 8.0 s, seen in 50% of the frames" in shown
    assert "mean confidence 70%, uncertain in 33% of its windows" in shown
    assert "Of 3 windows:" in shown
    assert "happiness 67%" in shown
    assert "sadness 33%" in shown
    assert "anger" not in shown
    assert shown.count("data:image/jpeg;base64,") == 1


def test_without_a_temperature_nothing_is_called_uncertain():
    assert "uncertain" not in render_faces(_prediction(*WINDOWS, calibrated=False))


def test_names_are_words_not_marks():
    shown = render_faces(_prediction(_window(1, 0, [0.0, 0.0, 1.0])))
    assert "&lt;b&gt;anger&lt;/b&gt; 100%" in shown
    assert "<b>" not in shown
    done = render_done(replace(_prediction(WINDOWS[0]), video="<i>.mp4"), "m & n")
    assert "&lt;i&gt;.mp4: 6.0 s, 1 face, classified by m &amp; n." in done
    assert render_error("cannot <read>\udcff").endswith(r">Cannot &lt;read&gt;\xff</div>")


def test_lines_of_a_narrow_screen_have_a_block_for_each_stretch_of_a_class():
    """Windows of 2 s in 8: classified, seen too briefly, classified, and uncertain (pale)."""
    shown = render_timeline(_prediction(*WINDOWS), b"")
    starts = re.findall(r"left: ([\d.]+)%; width: ([\d.]+)%; background: (rgb\([\d, ]+\))", shown)
    assert [(left, width) for left, width, _ in starts] == [
        ("0.00", "25.00"),
        ("50.00", "25.00"),
        ("75.00", "25.00"),
    ]
    assert starts[0][2] == starts[1][2] != starts[2][2]
    assert ">H</span>" in shown
    assert "8.0 s" in shown
    assert "<b>" not in render_timeline(_prediction(_window(1, 0, [0.0, 0.0, 1.0])), b"")


def test_a_crowd_is_cut_short():
    crowd = [_window(track, 0, [1.0, 0.0, 0.0]) for track in range(1, MAX_CARDS + 4)]
    shown = render_faces(_prediction(*crowd))
    assert shown.count('class="dfer-card"') == MAX_CARDS
    assert "3 more are in the JSON document and the table" in shown


def test_the_model_says_what_it_was_trained_on(predictor, checkpoint):
    said = render_model(predictor)
    shown = "/".join(Path(checkpoint).parts[-3:])
    assert f"Model: {shown}, trained on drawn without fold 2." in said
    assert "3 expressions" in said
    assert "calibrated on clips it had not seen" in said
    assert "<b>" not in said


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("/home/somebody/runs/demo/full/fold1", "demo/full/fold1"),
        ("runs/demo/full/fold1/", "demo/full/fold1"),
        ("/m/tiny", "m/tiny"),
        ("somebody/model-on-the-hub", "somebody/model-on-the-hub"),
    ],
)
def test_where_the_server_keeps_its_model_is_not_told(typed, shown, predictor):
    other = copy(predictor)
    other.checkpoint = typed
    assert name_model(other) == shown
    assert f"Model: {shown}, trained" in render_model(other)
    assert "somebody/runs" not in render_model(other)


def test_the_built_in_model_says_what_it_is_and_its_limits(predictor):
    other = copy(predictor)
    other.checkpoint = "built-in"
    said = html.unescape(render_model(other))
    assert "built-in still-image model: not the paper's method, no motion, recalls 88/70/63" in said
    assert "happiness, neutral, anger, surprise, sadness, fear and disgust that it recog" in said
    assert "trained on public still images that its authors do not name" in said


@pytest.fixture
def plain(make_model):
    class _Nobody:
        def detect(self, image_rgb):
            return []

    return Predictor(make_model(), _Nobody(), crop_size=32)


def test_clip_as_it_is_says_that_it_was_never_trained_on_expressions(plain):
    said = render_model(plain)
    assert "never trained on expressions, so its predictions are weak" in said
    assert "not calibrated" in said
