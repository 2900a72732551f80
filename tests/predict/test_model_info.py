"""How a model is described: its name, what it was trained on, and whether it is calibrated."""

import pytest

from dfercli.models.settings import BUILT_IN_LIMITS
from dfercli.predict.model_info import ModelInfo


@pytest.mark.parametrize(
    ("checkpoint", "trained", "temperature", "expected"),
    [
        (None, None, None, "CLIP (zero-shot), never trained on expressions; not calibrated"),
        (
            "/home/me/runs/mine/full/fold2/best",
            {"dataset": "mine", "fold": 2, "drawn": False},
            None,
            "mine/full/fold2/best, trained on mine without fold 2; not calibrated",
        ),
        (
            "runs/mine/full/all",
            {"dataset": "mine", "fold": 0, "drawn": False},
            1.3,
            "mine/full/all, trained on mine, all clips; calibrated",
        ),
        (
            "runs/toons/full/fold1",
            {"dataset": "toons", "fold": 1, "drawn": True},
            None,
            "toons/full/fold1, trained on toons (drawn people, no real faces) without fold 1; "
            "not calibrated",
        ),
        (  # by an earlier version, which did not say that its people were drawn
            "runs/demo/full/fold1",
            {"dataset": "demo", "fold": 1},
            None,
            "demo/full/fold1, trained on demo (drawn people, no real faces) without fold 1; "
            "not calibrated",
        ),
        ("somebody/model", {}, None, "somebody/model, trained on unknown data; not calibrated"),
    ],
)
def test_a_model_in_one_line(checkpoint, trained, temperature, expected):
    settings = {"class_names": ["a", "b"], "trained": trained}
    if temperature is not None:
        settings["calibration"] = {"temperature": temperature}
    assert ModelInfo(settings, 112, checkpoint=checkpoint).describe() == expected


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("still-image", f"mine/still-image/fold1, {BUILT_IN_LIMITS}; not calibrated"),
        ("zero-shot", "mine/zero-shot/fold1, never trained on expressions; not calibrated"),
    ],
)
def test_a_run_that_trained_nothing_says_so(method, expected):
    settings = {"class_names": ["a", "b"], "model": {"method": method}, "trained": None}
    info = ModelInfo(settings, 112, checkpoint=f"runs/mine/{method}/fold1")
    assert info.describe() == expected


def test_the_folder_that_one_is_in_has_a_name(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    assert ModelInfo({"class_names": ["a"]}, 112, checkpoint=".").name.endswith("/mine")
    assert ModelInfo({"class_names": ["a"]}, 112, checkpoint="model").name == "model"
