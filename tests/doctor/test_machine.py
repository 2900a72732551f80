"""The diagnosis of a machine, and all results as a whole."""

import json
import shutil
from importlib.metadata import version

import pytest
import torch

from dfercli import doctor as module
from dfercli.doctor import diagnose, inspect_machine
from dfercli.errors import DetectorError


class _Detector:
    """Finds nothing, or fails."""

    def __init__(self, fails):
        self._fails = fails

    def detect(self, image_rgb):
        if self._fails:
            raise DetectorError("mtcnn cannot be set up")
        return []


@pytest.fixture
def machine(monkeypatch):
    """Return a function that changes the machine and returns state and text by topic."""

    def look(cached=True, missing=(), fails=False, free_gb=100):
        monkeypatch.setattr("dfercli.models.pretrained.is_cached", lambda name, weights: cached)
        monkeypatch.setattr(module, "find_missing_weights", lambda name: list(missing))
        monkeypatch.setattr(module, "load_detector", lambda name: _Detector(fails))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        usage = shutil.disk_usage(".")._replace(free=free_gb * 1e9)
        monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage)
        return {finding.topic: (finding.state, finding.text) for finding in inspect_machine()}

    return look


def test_a_machine_that_has_all_is_told(machine):
    found = machine()
    assert {topic: state for topic, (state, _) in found.items()} == {
        "python": "ok",
        "device": "note",
        "CLIP weights": "ok",
        "face-alignment": "ok",
        "mtcnn": "ok",
        "disk": "ok",
    }
    assert f"torch {version('torch')}" in found["python"][1]
    assert found["CLIP weights"][1] == "ViT-B-32-quickgelu (openai) is cached"
    assert (found["mtcnn"][1], found["disk"][1][:12]) == ("works", "100 GB free ")


def test_what_has_to_be_fetched_is_noted(machine):
    found = machine(cached=False, missing=["s3fd.pth", "2DFAN4.pth"], free_gb=9)
    text = "ViT-B-32-quickgelu (openai) is not cached; the first run with CLIP downloads it"
    assert found["CLIP weights"] == ("note", text)
    text = "not cached: s3fd.pth, 2DFAN4.pth; the first use downloads them"
    assert found["face-alignment"] == ("note", text)
    assert found["disk"][0] == "note"


def test_a_detector_that_fails_is_wrong(machine):
    found = machine(fails=True)
    assert found["mtcnn"] == found["face-alignment"] == ("wrong", "mtcnn cannot be set up")


def test_a_page_is_plain_json_and_one_fault_is_enough(machine, tmp_path):
    machine()
    assert diagnose({}).healthy
    page = diagnose({tmp_path / "gone.csv": None})
    values = json.loads(json.dumps(page.to_dict()))
    assert (values["healthy"], len(values["machine"])) == (False, len(page.machine))
    text = f"no manifest {tmp_path / 'gone.csv'}; `dfer preprocess` writes it"
    assert values["datasets"] == [
        {
            "name": "gone",
            "manifest": str(tmp_path / "gone.csv"),
            "root": None,
            "findings": [{"topic": "manifest", "state": "wrong", "text": text}],
            "sheet": None,
        }
    ]
