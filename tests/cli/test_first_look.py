"""`dfer predict` looks at its model before it begins a file, and loads it no sooner than needed."""

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import hostile
import pytest

from dfercli.config import ModelConfig
from dfercli.faces.align import CropRecipe
from dfercli.models import base
from dfercli.models.base import build_model
from dfercli.runs.checkpoint import save_checkpoint

INPUTS = Path(__file__).parents[1] / "media" / "inputs"


@pytest.fixture
def model(dfer):
    """A video, and a checkpoint."""
    config = ModelConfig(backbone="demo-ViT-tiny", weights="random")
    crop = asdict(CropRecipe("mtcnn", 48))
    save_checkpoint(build_model(config, ("happiness", "sadness"), crop), Path("model"))
    hostile.write(Path("a.mp4"), hostile.draw_faces(), "mp4v")
    return Path("model")


@pytest.mark.parametrize("video", ["a.mp4", "missing.mp4"])
@pytest.mark.parametrize("fault", ["detector", "damaged", "no weights"])
def test_a_model_that_cannot_be_used_leaves_no_file(fault, video, model, dfer):
    line = f"predict {video} --checkpoint model --out r.json"
    if fault == "detector":
        done, said = dfer(f"{line} --detector nosuch"), "no detector 'nosuch'; known: "
    elif fault == "damaged":
        weights = model / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        done, said = dfer(line), "model is damaged: config.json or model.safetensors has changed"
    else:
        (model / "model.safetensors").unlink()
        done, said = (
            dfer(line),
            "no model.safetensors in model; it is not a checkpoint, or incomplete: copy it again",
        )
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith(f"error: {said}")
    assert sorted(path.name for path in Path().iterdir()) == ["a.mp4", "model"]


def test_a_model_of_the_hub_is_known_by_its_hash_from_the_first_call(model, dfer, monkeypatch):
    hub = Path("hub")
    fetched = []

    def fetch(name, file, **options):
        fetched.append(file)
        hub.mkdir(exist_ok=True)
        return shutil.copyfile(model / file, hub / file)

    monkeypatch.setattr(base, "hf_hub_download", fetch)
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        lambda name, file: str(hub / file) if (hub / file).is_file() else None,
    )
    call = "predict a.mp4 --checkpoint someone/model --out r.json"
    assert dfer(call).code == 0
    assert len(json.loads(Path("r.json").read_text())["checkpoint"]["sha256"]) == 64
    again = dfer(call)
    assert again.code == 0
    assert "already predicted, skipped: 1" in again.err


@pytest.mark.slow
@pytest.mark.usefixtures("model")
def test_a_video_that_is_cut_off_is_predicted_as_far_as_it_goes_and_said(dfer):
    for name in ("whole.mp4", "cut.mp4"):
        shutil.copy(INPUTS / name, name)
    done = dfer("predict whole.mp4 cut.mp4 --checkpoint model --out r.json")
    assert done.code == 0
    said = r"^cut\.mp4 may be incomplete: it ends after 1\.[23] s and 32% of its frames$"
    assert re.search(said, done.err, re.M)
    assert "whole.mp4: cut off" not in done.err
