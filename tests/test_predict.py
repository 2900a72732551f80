"""From a video to windows over time, with a detector and a model that can be worked out by hand."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from dfercli import predict as predict_module
from dfercli.data.transforms import CLIP_MEAN, CLIP_STD
from dfercli.engine.checkpoint import save_checkpoint
from dfercli.errors import CheckpointError, ConfigError, UnknownNameError, VideoError
from dfercli.faces.align import TEMPLATE, TEMPLATE_VERSION
from dfercli.faces.base import Face
from dfercli.models.base import build_model
from dfercli.predict import SEARCH_FPS, Predictor, VideoPrediction, Window, window_bounds
from dfercli.video import write_video

FPS = 16.0
CLASSES = ("red", "green", "blue")
RED, GREEN, BLUE = (230, 20, 20), (20, 200, 20), (20, 20, 230)
CROP = {"detector": "mtcnn", "size": 48, "version": TEMPLATE_VERSION}


class _Colour(nn.Module):
    """Logits are ten times the mean of each channel in [0, 1]; keeps the clips it was given."""

    class_names = CLASSES
    config = SimpleNamespace(num_frames=4)
    backbone = SimpleNamespace(image_size=24)

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.clips = []

    def forward(self, clips):
        pixels = clips * torch.tensor(CLIP_STD).view(3, 1, 1)
        pixels = pixels + torch.tensor(CLIP_MEAN).view(3, 1, 1)
        self.clips.append(pixels)
        return 10 * pixels.mean(dim=(1, 3, 4))


class _Detector:
    """Finds one face that fills a frame of 64 px, in the searched frames that it is told to."""

    def __init__(self, shows=lambda index: True):
        self._shows = shows
        self.seen = 0

    def detect(self, image_rgb):
        assert image_rgb.shape == (64, 64, 3)
        self.seen += 1
        face = Face(np.array([0.0, 0.0, 64.0, 64.0]), TEMPLATE * 64, 0.9)
        return [face] if self._shows(self.seen - 1) else []


@pytest.fixture
def write(tmp_path):
    """Write a video of plain colours, each shown for so many seconds."""

    def write_colours(*parts):
        frames = [
            np.full((64, 64, 3), rgb, np.uint8) for rgb, s in parts for _ in range(int(s * FPS))
        ]
        path = tmp_path / "colours.mp4"
        write_video(path, frames, FPS)
        return path

    return write_colours


def _predict(path, shows=lambda index: True, **lengths):
    return Predictor(_Colour(), _Detector(shows), crop_size=48).predict(path, **lengths)


def _names(prediction):
    probs = [window.probs for window in prediction.windows]
    return [None if p is None else CLASSES[p.argmax()] for p in probs]


@pytest.mark.parametrize(
    ("duration_s", "window_s", "stride_s", "starts"),
    [
        (0.0, 2.0, 1.0, [0]),
        (1.2, 2.0, 1.0, [0]),  # shorter than a window
        (2.0, 2.0, 1.0, [0]),
        (2.25, 2.0, 1.0, [0]),  # a rest of a quarter of the stride is not worth a window
        (2.26, 2.0, 1.0, [0, 1]),
        (4.0, 2.0, 1.0, [0, 1, 2]),
        (5.2, 2.0, 1.0, [0, 1, 2, 3]),
        (5.5, 2.0, 1.0, [0, 1, 2, 3, 4]),
        (6.0, 2.0, 2.0, [0, 2, 4]),
        (6.4, 2.0, 2.0, [0, 2, 4]),
        (7.0, 2.0, 2.0, [0, 2, 4, 6]),
        (1.0, 0.5, 0.25, [0, 0.25, 0.5]),
        # Windows that do not meet: none begins after the video, nor just before its end.
        (8.0, 1.0, 3.0, [0, 3, 6]),
        (9.2, 1.0, 3.0, [0, 3, 6]),
        (9.3, 1.0, 3.0, [0, 3, 6, 9]),
        (22.0, 1.0, 10.0, [0, 10, 20]),
        (19.0, 1.0, 10.0, [0, 10]),
    ],
)
def test_bounds_of_the_windows(duration_s, window_s, stride_s, starts):
    bounds = list(window_bounds(duration_s, window_s, stride_s))
    assert [start for start, _ in bounds] == pytest.approx(starts)
    assert [end - start for start, end in bounds] == pytest.approx([window_s] * len(starts))


def test_each_window_reads_its_own_frames(write):
    prediction = _predict(write((RED, 2), (GREEN, 2), (BLUE, 2)), window_s=2.0, stride_s=2.0)
    assert _names(prediction) == ["red", "green", "blue"]
    assert [(w.start_s, w.end_s) for w in prediction.windows] == [(0, 2), (2, 4), (4, 6)]
    for window, rgb in zip(prediction.windows, (RED, GREEN, BLUE), strict=True):
        assert window.coverage == 1.0
        assert window.face_rgb.shape == (48, 48, 3)
        assert np.abs(window.face_rgb.astype(int) - rgb).max() < 12
        weights = np.exp(10 * np.array(rgb) / 255)
        assert window.probs == pytest.approx(weights / weights.sum(), abs=0.02)
    assert prediction.class_names == CLASSES
    assert prediction.num_frames == 6 * SEARCH_FPS
    assert prediction.coverage == 1.0


def test_the_clip_is_sampled_over_the_whole_window_and_at_the_models_size(write):
    model, path = _Colour(), write((RED, 1), (BLUE, 1), (GREEN, 1))
    predictor = Predictor(model, _Detector(), crop_size=48)
    predictor.predict(path, window_s=2.0, stride_s=1.0)
    first, second = model.clips
    assert first.shape == second.shape == (1, 4, 3, 24, 24)
    tops = [clip[0].mean(dim=(2, 3)).argmax(dim=1).tolist() for clip in (first, second)]
    assert tops == [[0, 0, 2, 2], [2, 2, 1, 1]]  # overlapping windows share the blue second


def test_a_video_shorter_than_a_window_is_one_window(write):
    prediction = _predict(write((GREEN, 0.5)))
    (window,) = prediction.windows
    assert (window.start_s, window.end_s) == pytest.approx((0, 0.5))
    assert _names(prediction) == ["green"]
    assert prediction.num_frames == 4


def test_a_single_frame_is_one_window(write):
    prediction = _predict(write((BLUE, 1 / FPS)))
    assert _names(prediction) == ["blue"]
    assert prediction.windows[0].end_s == 0.0
    json.dumps(prediction.to_dict(), allow_nan=False)


def test_the_last_window_ends_with_the_video(write):
    prediction = _predict(write((RED, 2), (GREEN, 0.75)))
    assert [(w.start_s, w.end_s) for w in prediction.windows] == [(0, 2), (1, 2.75)]


@pytest.mark.parametrize(
    ("shown", "coverages", "named"),
    [
        (range(0, 16), [1.0, 0.5, 0.0], [True, True, False]),
        (range(8, 12), [0.25, 0.25, 0.0], [True, True, False]),  # a quarter is just enough
        (range(8, 11), [3 / 16, 3 / 16, 0.0], [False, False, False]),
        (range(24, 32), [0.0, 0.0, 0.5], [False, False, True]),
    ],
)
def test_windows_with_too_few_faces_are_not_named(shown, coverages, named, write):
    prediction = _predict(write((RED, 4)), lambda index: index in shown)
    assert [window.coverage for window in prediction.windows] == pytest.approx(coverages)
    assert [window.probs is not None for window in prediction.windows] == named
    assert [window.face_rgb is not None for window in prediction.windows] == named
    assert prediction.coverage == len(shown) / 32


def test_a_video_without_a_face(write):
    prediction = _predict(write((RED, 3)), lambda index: False)
    assert _names(prediction) == [None, None]
    assert prediction.mean_probs is None
    assert prediction.coverage == 0.0
    values = prediction.to_dict()
    assert values["status"] == "no face"
    assert values["frames_searched"] == 24
    assert values["windows"][1] == {
        "start_s": 1.0,
        "end_s": 3.0,
        "coverage": 0.0,
        "expression": None,
        "confidence": None,
        **dict.fromkeys(CLASSES),
    }


@pytest.mark.parametrize(("window_s", "stride_s"), [(0.0, 1.0), (2.0, 0.0), (-1.0, 1.0)])
def test_lengths_must_be_positive(window_s, stride_s, write):
    with pytest.raises(ConfigError) as caught:
        _predict(write((RED, 1)), window_s=window_s, stride_s=stride_s)
    assert str(caught.value) == (
        f"window {window_s} s, stride {stride_s} s: the window must be at least 0.125 s, the "
        f"stride positive"
    )


def test_a_video_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(VideoError, match=r"no video at .*gone\.mp4; check the path"):
        _predict(tmp_path / "gone.mp4")


@pytest.fixture
def by_hand(tmp_path):
    """Two named windows around one without a face."""
    face = np.zeros((8, 8, 3), dtype=np.uint8)
    windows = (
        Window(0.0, 2.0, 1.0, np.array([0.7, 0.2, 0.1], dtype=np.float32), face),
        Window(1.0, 3.0, 1 / 7, None, None),
        Window(2.0, 3.33333, 0.5, np.array([0.1, 0.3, 0.6], dtype=np.float32), face),
    )
    return VideoPrediction(tmp_path / "v.mp4", CLASSES, 24, 2 / 3, windows)


def test_a_frame_has_a_row_a_window(by_hand):
    table = by_hand.to_frame()
    columns = ["start_s", "end_s", "coverage", "expression", "confidence", *CLASSES]
    assert list(table.columns) == columns
    assert table["expression"].fillna("none").tolist() == ["red", "none", "blue"]
    assert table["end_s"].tolist() == [2.0, 3.0, 3.333]
    assert table["coverage"].tolist() == [1.0, 0.1429, 0.5]
    assert table["confidence"].tolist() == pytest.approx([0.7, np.nan, 0.6], nan_ok=True)
    assert table["green"].tolist() == pytest.approx([0.2, np.nan, 0.3], nan_ok=True)
    assert by_hand.mean_probs == pytest.approx([0.4, 0.25, 0.35])


def test_a_dictionary_is_plain_json_without_nan(by_hand):
    values = json.loads(json.dumps(by_hand.to_dict(), allow_nan=False))
    assert values == by_hand.to_dict()
    assert list(values) == [
        "schema_version",
        "video",
        "status",
        "class_names",
        "frames_searched",
        "coverage",
        "windows",
    ]
    assert values["schema_version"] == 1
    assert values["status"] == "ok"
    assert values["video"] == str(by_hand.video)
    assert values["coverage"] == 0.6667
    assert [w["expression"] for w in values["windows"]] == ["red", None, "blue"]
    assert values["windows"][0]["confidence"] == pytest.approx(0.7)
    assert values["windows"][1]["red"] is None


@pytest.fixture
def checkpoint(make_config, tmp_path, monkeypatch):
    """Save a model that was trained on faces of some crop; detectors answer with their name."""
    monkeypatch.setattr(predict_module, "load_detector", lambda name: name)

    def save(crop):
        model = build_model(make_config(), CLASSES, crop)
        save_checkpoint(model, tmp_path / "best")
        return tmp_path / "best"

    return save


def test_faces_are_cropped_as_the_checkpoint_was_trained(checkpoint):
    predictor = Predictor.from_checkpoint(checkpoint(CROP))
    assert (predictor._detector, predictor._crop_size) == ("mtcnn", 48)
    assert not predictor._model.training
    other = Predictor.from_checkpoint(checkpoint(CROP), detector="face-alignment")
    assert (other._detector, other._crop_size) == ("face-alignment", 48)


@pytest.mark.parametrize("crop", [None, {"adopted": "dfew clip_224x224", "size": "256x256"}])
def test_a_checkpoint_of_a_datasets_own_crops_needs_a_detector(checkpoint, crop):
    where = checkpoint(crop)
    with pytest.raises(CheckpointError) as caught:
        Predictor.from_checkpoint(where)
    assert str(caught.value) == (
        f"{where} was trained on its dataset's own crops; choose how to crop videos: "
        "--detector face-alignment|mtcnn"
    )
    made = Predictor.from_checkpoint(where, detector="mtcnn")
    assert (made._detector, made._crop_size) == ("mtcnn", 32)  # the backbone's size


def test_a_checkpoint_of_another_template_is_refused(checkpoint):
    where = checkpoint(CROP | {"version": TEMPLATE_VERSION + 1})
    with pytest.raises(CheckpointError) as caught:
        Predictor.from_checkpoint(where, detector="mtcnn")
    versions = f"template {TEMPLATE_VERSION + 1}; this dfer crops by {TEMPLATE_VERSION}"
    said = f"{where} reads faces cropped by {versions}; use the dfer it was trained with"
    assert str(caught.value) == said


def test_an_unknown_detector_is_answered_with_the_known_ones(checkpoint, monkeypatch):
    where = checkpoint(CROP)
    monkeypatch.undo()
    with pytest.raises(UnknownNameError, match="no detector 'dlib'; known: face-alignment, mtcnn"):
        Predictor.from_checkpoint(where, detector="dlib")
