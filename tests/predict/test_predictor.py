"""Predictors: made from checkpoints, with settings that are checked, and what they give."""

import numpy as np
import pytest
import torch
from colour_videos import BLUE, CLASSES, RED, ColourModel, TileDetector, frames_of, write_tiles
from torch import nn

from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.errors import CheckpointError, ConfigError, UnknownNameError
from dfercli.faces.align import CROP_VERSION
from dfercli.media.images import write_image
from dfercli.models.base import build_model
from dfercli.models.layers import BiLSTM
from dfercli.predict import Predictor, PredictSettings, VideoPrediction, Window
from dfercli.predict import predictor as predictor_module
from dfercli.predict.predictor import AUTOCAST, round_weights
from dfercli.runs.checkpoint import save_checkpoint

CROP = {"detector": "mtcnn", "size": 48, "version": CROP_VERSION}


def _predictor(**settings):
    return Predictor(ColourModel(**settings), TileDetector(), crop_size=48)


@pytest.fixture
def checkpoint(make_config, tmp_path, monkeypatch):
    """Save a model that was trained on faces of some crop; detectors answer with their name."""
    monkeypatch.setattr(predictor_module, "load_detector", lambda name, device: name)

    def save(crop, **settings):
        model = build_model(make_config(), CLASSES, crop)
        model.settings |= settings
        save_checkpoint(model, tmp_path / "best")
        return tmp_path / "best"

    return save


def test_faces_are_cropped_as_the_checkpoint_was_trained(checkpoint):
    predictor = Predictor.from_checkpoint(checkpoint(CROP))
    assert (predictor.detector, predictor.crop_size) == ("mtcnn", 48)
    assert predictor.detector_name == "mtcnn"
    assert not predictor._model.training
    other = Predictor.from_checkpoint(checkpoint(CROP), detector="face-alignment")
    assert (other.detector, other.crop_size) == ("face-alignment", 48)


@pytest.mark.parametrize("crop", [None, {"adopted": "dfew clip_224x224", "size": "256x256"}])
def test_a_checkpoint_of_a_datasets_own_crops_needs_a_detector(checkpoint, crop):
    where = checkpoint(crop)
    with pytest.raises(CheckpointError) as caught:
        Predictor.from_checkpoint(where)
    assert str(caught.value) == (
        f"{where} was trained on the dataset's own face crops; choose a detector for videos with "
        "--detector face-alignment or --detector mtcnn"
    )
    made = Predictor.from_checkpoint(where, detector="mtcnn")
    assert (made.detector, made.crop_size) == ("mtcnn", 32)  # the backbone's size


def test_a_checkpoint_trained_on_crops_of_the_version_before_predicts_as_it_did(checkpoint):
    """Its template is the same; how faces are followed in prediction has not changed."""
    predictor = Predictor.from_checkpoint(checkpoint(CROP | {"version": 2}))
    assert predictor.crop_size == 48


def test_a_checkpoint_of_another_template_is_refused(checkpoint):
    where = checkpoint(CROP | {"version": CROP_VERSION + 1})
    with pytest.raises(CheckpointError) as caught:
        Predictor.from_checkpoint(where, detector="mtcnn")
    assert str(caught.value) == (
        f"{where} was trained on crops of version {CROP_VERSION + 1}, but this dfer makes crops "
        f"of version {CROP_VERSION}; use the version of dfer that trained it"
    )


def test_an_unknown_detector_is_answered_with_the_known_ones(checkpoint, monkeypatch):
    where = checkpoint(CROP)
    monkeypatch.undo()
    with pytest.raises(UnknownNameError, match="no detector 'dlib'; known: face-alignment, mtcnn"):
        Predictor.from_checkpoint(where, detector="dlib")


def test_weights_that_are_rounded_once_give_the_same_bits(checkpoint, make_model):
    where = checkpoint(CROP)
    clips = [
        [np.random.default_rng(i).integers(0, 256, (3, 32, 32)).astype(np.uint8)] for i in range(2)
    ]
    rounded = Predictor.from_checkpoint(where, device="cpu", precision="bf16")
    assert any(p.dtype == torch.bfloat16 for p in rounded._model.parameters())
    plain = Predictor.from_checkpoint(where, device="cpu", precision="fp32")
    assert all(p.dtype == torch.float32 for p in plain._model.parameters())
    full = plain.name_expressions(clips)
    plain.precision = "bf16"  # autocast rounds at each call
    assert (rounded.name_expressions(clips) == plain.name_expressions(clips)).all()
    assert np.abs(rounded.name_expressions(clips) - full).max() < 0.02


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize(("kind", "lstm"), [("cpu", True), ("cuda", False), ("mps", None)])
def test_what_is_rounded_once_depends_on_the_kind_of_device(kind, lstm, precision):
    parts = {"linear": nn.Linear(2, 2), "lstm": BiLSTM(2), "norm": nn.LayerNorm(2)}
    round_weights(nn.ModuleDict(parts), kind, precision)
    dtype = AUTOCAST.get(precision, torch.float32)
    rounded = {name: {p.dtype for p in part.parameters()} for name, part in parts.items()}
    assert rounded == {
        "linear": {torch.float32 if lstm is None else dtype},
        "lstm": {dtype if lstm else torch.float32},
        "norm": {torch.float32},
    }


def test_more_clips_than_a_batch_are_read_in_turn(monkeypatch):
    predictor = _predictor()
    clips = [[np.full((3, 24, 24), 10 * i, np.uint8)] for i in range(11)]
    clips[9][0][1] = 255
    probs = predictor.name_expressions(clips)
    assert probs.shape == (11, 3)
    assert [len(clip) for clip in predictor._model.clips] == [8, 3]
    assert probs[9].argmax() == 1
    assert probs.sum(axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("trained", "asked", "found"),
    [
        ({}, (None, None), (2.0, 2.0)),
        ({"clip_s": None}, (None, None), (2.0, 2.0)),
        ({"clip_s": 2.68}, (None, None), (2.5, 2.5)),
        ({"clip_s": 0.4}, (None, 0.5), (1.0, 0.5)),
        ({"clip_s": 30.0}, (None, None), (4.0, 4.0)),
        ({"clip_s": 2.68}, (1.25, None), (1.25, 1.25)),
        ({}, (3.0, 1.0), (3.0, 1.0)),
    ],
)
def test_windows_are_as_long_as_the_clips_that_were_trained_on(trained, asked, found):
    settings = _predictor(trained=trained).resolve(PredictSettings(*asked))
    assert (settings.window_s, settings.stride_s) == found


@pytest.mark.parametrize(
    ("window_s", "stride_s"),
    [(0.0, 1.0), (2.0, 0.0), (-1.0, 1.0), (2.0, 1e-9), (float("nan"), 1.0), (2.0, float("inf"))],
)
def test_lengths_that_cannot_be(window_s, stride_s):
    with pytest.raises(ConfigError) as caught:
        _predictor().open("made", PredictSettings(window_s, stride_s))
    name, length_s = ("stride", stride_s) if window_s == 2 else ("window", window_s)
    assert str(caught.value) == (
        f"invalid {name} of {length_s} s; it must be at least 0.125 s, the time between two "
        f"searched frames"
    )


def test_an_unknown_choice_of_faces():
    with pytest.raises(ConfigError, match="no choice of faces 'some'; known: all, largest"):
        _predictor().predict("made.mp4", faces="some")


def test_a_temperature_is_applied_and_makes_little_sure_answers_uncertain(tmp_path):
    path = write_tiles(tmp_path / "mixed.mp4", frames_of(((140, 120, 100), 2)))
    plain = _predictor().predict(path)
    assert not plain.calibrated
    assert plain.is_uncertain(plain.windows[0]) is None
    cool = _predictor(calibration={"temperature": 0.25, "clips": 9}).predict(path)
    warm = _predictor(calibration={"temperature": 4.0, "clips": 9}).predict(path)
    for told, temperature, uncertain in ((cool, 0.25, False), (warm, 4.0, True)):
        (before,), (after,) = plain.windows, told.windows
        sharpened = before.probs ** (1 / temperature)
        assert after.probs == pytest.approx(sharpened / sharpened.sum(), rel=1e-3)
        assert told.calibrated
        assert told.is_uncertain(after) is uncertain
        assert told.to_frame()["uncertain"].tolist() == [uncertain]


def test_an_image_is_a_video_of_one_frame(tmp_path):
    write_image(tmp_path / "face.png", frames_of((BLUE, 1))[0])
    prediction = _predictor().predict(str(tmp_path / "face.png"))
    assert [prediction.name(window) for window in prediction.windows] == ["blue"]
    assert prediction.duration_s == 0.0


def test_zero_shot_is_clip_with_the_basic_expressions(make_config, monkeypatch):
    configs = []

    def build(config, class_names):
        configs.append(config)
        return build_model(make_config(method=config.method), class_names)

    monkeypatch.setattr(predictor_module, "build_model", build)
    monkeypatch.setattr("dfercli.models.pretrained.ensure_weights", lambda name, weights: None)
    predictor = Predictor.zero_shot()
    assert predictor.class_names == tuple(BASIC_EXPRESSIONS)
    assert (predictor.detector_name, predictor.crop_size) == ("mtcnn", 224)
    assert (configs[0].method, configs[0].weights) == ("zero-shot", "openai")
    assert not predictor.calibrated


@pytest.fixture
def by_hand(tmp_path):
    """Two named windows of a face around one that is not, and one of another face."""
    box, face = np.array([1.0, 2.0, 30.04, 40.0]), np.zeros((8, 8, 3), dtype=np.uint8)
    sure, unsure = (np.array(p, dtype=np.float32) for p in ([0.7, 0.2, 0.1], [0.3, 0.3, 0.4]))
    windows = (
        Window(1, 0.0, 2.0, 1.0, box, sure, face),
        Window(1, 1.0, 3.0, 1 / 7, box, None),
        Window(1, 2.0, 3.33333, 0.5, box, unsure),
        Window(2, 2.0, 3.33333, 0.5, box, sure),
    )
    return VideoPrediction("v.mp4", CLASSES, True, (64, 48), 3.33333, 24, 2 / 3, windows)


def test_a_table_has_a_row_a_window_and_face(by_hand):
    table = by_hand.to_frame()
    assert list(table.columns) == [
        *("track", "start_s", "expression", "confidence", "end_s", "uncertain", "coverage"),
        *("left", "top", "right", "bottom", "prob_red", "prob_green", "prob_blue"),
    ]
    assert table["track"].tolist() == [1, 1, 1, 2]
    assert table["expression"].fillna("none").tolist() == ["red", "none", "blue", "red"]
    assert table["uncertain"].tolist() == [False, None, True, False]
    assert table["end_s"].tolist() == [2.0, 3.0, 3.333, 3.333]
    assert table["coverage"].tolist() == [1.0, 0.1429, 0.5, 0.5]
    assert table["right"].tolist() == [30.0] * 4
    assert table["confidence"].tolist() == pytest.approx([0.7, np.nan, 0.4, 0.7], nan_ok=True)
    assert table["prob_green"].tolist() == pytest.approx([0.2, np.nan, 0.3, 0.2], nan_ok=True)


def test_faces_are_summed_up_over_their_named_windows(by_hand):
    one, two = by_hand.tracks
    assert (one.track, one.start_s, one.end_s) == (1, 0.0, 3.33333)
    assert one.mean_probs == pytest.approx([0.5, 0.25, 0.25])
    assert one.shares.tolist() == [0.5, 0.0, 0.5]
    assert one.coverage == pytest.approx((1 + 1 / 7 + 0.5) / 3)
    assert (two.track, two.top, len(two.windows)) == (2, 0, 1)


def test_a_frame_in_three_lines(tmp_path, monkeypatch, checkpoint):
    path = write_tiles(tmp_path / "red.mp4", frames_of((RED, 2)))
    monkeypatch.setattr(predictor_module, "load_detector", lambda name, device: TileDetector())
    table = Predictor.from_checkpoint(checkpoint(CROP)).predict(path).to_frame()
    assert table["track"].tolist() == [1]
