"""ONNX files: same probabilities as the checkpoint, usable without dfer, written atomically."""

import json
import subprocess
import sys
from shutil import copy
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import open_clip
import pytest
import torch

from dfercli.config import METHODS, NETWORKS, ModelConfig
from dfercli.config.networks import ON_CLIP
from dfercli.config.presets import default_model
from dfercli.data.transforms import normalise
from dfercli.errors import ConfigError
from dfercli.faces.align import CROP_VERSION, TEMPLATE
from dfercli.models.base import build_model
from dfercli.publish import PublishError, onnx_file
from dfercli.publish.onnx_file import MAX_DIFFERENCE, OPSET, FacesToProbs, _write, export_onnx
from dfercli.runs.checkpoint import save_checkpoint

CROP = {"detector": "mtcnn", "size": 48, "template": "loose-five-points", "version": CROP_VERSION}
NAMES = ("happiness", "sadness", "anger")
ONE_LAYER = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
"""One layer: all layers are the same, and each takes the exporter a while."""


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Return a function that builds a model with one layer from settings of ModelConfig."""
    path = tmp_path_factory.mktemp("backbones") / "test-ViT-one-layer.json"
    path.write_text(json.dumps(ONE_LAYER))
    open_clip.add_model_config(path)

    def make(method="dfer", **settings):
        torch.manual_seed(7)
        settings |= {"backbone": path.stem, "weights": "random"}
        if method not in NETWORKS:
            return build_model(ModelConfig(method=method, **settings), NAMES)
        sizes = {} if method in ON_CLIP else {"image_size": 48, "width": 0.125}
        return build_model(default_model(method, **sizes, **settings), NAMES)

    return make


@pytest.fixture(scope="module")
def shared(build, tmp_path_factory):
    """A calibrated model, the folder of its checkpoint, and its ONNX file; not to be changed."""
    model = build(msta=False, biehpro=False, num_frames=2).eval()
    model.settings |= {"crop": CROP, "calibration": {"temperature": 2.5, "clips": 9}}
    folder = tmp_path_factory.mktemp("shared")
    save_checkpoint(model, folder / "model")
    found = export_onnx(str(folder / "model"), folder / "new" / "model.onnx")
    return SimpleNamespace(model=model, where=str(folder / "model"), path=found.path, found=found)


@pytest.fixture
def exported_before(shared, monkeypatch):
    """Replace the export by the file of `exported`, to test what follows it."""
    monkeypatch.setattr(onnx_file, "_write", lambda _, __, path, ___: copy(shared.path, path))


@pytest.fixture
def draw_faces():
    """Return faces (B, T, S, S, 3) of noise, uint8."""
    rng = np.random.default_rng(0)
    return lambda batch, frames=2, side=32: rng.integers(
        0, 256, (batch, frames, side, side, 3), dtype=np.uint8
    )


@torch.inference_mode()
def _logits(model, faces):
    clips = normalise(torch.from_numpy(faces).permute(0, 1, 4, 2, 3), model.config.pixels)
    return model(clips).numpy()


def _calibrate(logits, temperature):
    return torch.from_numpy(logits / temperature).softmax(-1).numpy()


def _metadata(path):
    return {each.key: each.value for each in onnx.load(path).metadata_props}


def _run(path, faces):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits", "probs"], {"faces": faces})


OFF = {"interfit": False, "msta": False, "biehpro": False}
MODELS = {
    **{method: {"method": method} for method in METHODS},
    "baseline": OFF,
    "interfit": OFF | {"interfit": True},
    "msta-16": OFF | {"msta": True, "num_frames": 16},
    "biehpro-all": OFF | {"biehpro": True, "cross_attention": "all"},
    "notext": OFF | {"text": False},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_gives_the_same_for_batches_of_any_size(name, build, draw_faces, tmp_path):
    model = build(**MODELS[name]).eval()
    frames, path = model.config.num_frames, tmp_path / "model.onnx"
    side = model.image_size
    _write(FacesToProbs(model, 2.0).eval(), draw_faces(2, frames, side), path, name)
    for batch in (1, 3):
        faces = draw_faces(batch, frames, side)
        logits, probs = _run(path, faces)
        expected = _logits(model, faces)
        np.testing.assert_allclose(logits, expected, atol=2e-4)
        np.testing.assert_allclose(probs, _calibrate(expected, 2.0), atol=2e-5)


@pytest.mark.slow
def test_the_file_says_what_it_reads_and_gives(shared):
    found = shared.found
    assert [each.name for each in found.path.parent.iterdir()] == ["model.onnx"]
    assert found.size == found.path.stat().st_size
    assert found.inputs == {"faces": "uint8 (batch, 2, 32, 32, 3)"}
    assert found.outputs == {"logits": "float (batch, 3)", "probs": "float (batch, 3)"}
    assert (found.parity.num_clips, found.parity.num_same, found.loss) == (20, 20, None)
    assert 0 <= found.parity.mean <= found.parity.largest < MAX_DIFFERENCE / 10
    model = onnx.load(found.path)
    onnx.checker.check_model(model)
    assert {each.domain: each.version for each in model.opset_import}[""] == OPSET


def test_what_its_user_must_know_is_in_the_file(shared):
    said = _metadata(shared.path)
    assert json.loads(said["class_names"]) == list(NAMES)
    assert (said["num_frames"], said["image_size"]) == ("2", "32")
    assert said["sampling"] == "segments"
    assert json.loads(said["crop"]) == CROP | {"points": TEMPLATE.tolist()}
    assert said["calibration_temperature"] == "2.5"
    assert said["checkpoint"] == "model"
    assert "not for diagnosis" in said["licence"]
    assert said["dfer_version"]


def test_the_version_of_crops_before_has_the_same_points(build):
    model = build(**OFF)
    model.settings["crop"] = CROP | {"version": 2}
    entries = onnx_file.describe_metadata(model, "model")
    assert json.loads(entries["crop"])["points"] == TEMPLATE.tolist()


def test_the_sampling_of_a_network_is_in_the_file(build):
    assert onnx_file.describe_metadata(build("freq-hd"), "model")["sampling"] == "freq-hd"


@pytest.mark.parametrize("crop", [None, CROP | {"version": 1}])
def test_points_of_another_template_are_not_invented(crop, build):
    model = build(**OFF)
    model.settings["crop"] = crop
    assert json.loads(onnx_file.describe_metadata(model, "model")["crop"]) == crop


def test_probs_are_calibrated_and_logits_are_not(shared, draw_faces):
    faces = draw_faces(4)
    logits, probs = _run(shared.path, faces)
    expected = _logits(shared.model, faces)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(probs, _calibrate(expected, 2.5), atol=1e-5)


SCRIPT = """
import json, sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
logits, probs = session.run(["logits", "probs"], {"faces": np.load("faces.npy")})
np.save("probs.npy", probs)
names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
print(names[probs[0].argmax()], *[name for name in ("torch", "dfercli") if name in sys.modules])
"""


def test_the_file_is_used_without_dfer_and_torch(shared, draw_faces, tmp_path):
    copy(shared.path, tmp_path / "model.onnx")
    faces = draw_faces(3)
    np.save(tmp_path / "faces.npy", faces)
    command = [sys.executable, "-I", "-c", SCRIPT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    expected = _calibrate(_logits(shared.model, faces), 2.5)
    assert done.stdout.split() == [NAMES[expected[0].argmax()]], done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "probs.npy"), expected, atol=1e-5)


@pytest.mark.usefixtures("exported_before")
def test_int8_is_smaller_and_its_loss_is_measured(shared, tmp_path):
    small = export_onnx(shared.where, tmp_path / "small.onnx", int8=True)
    assert small.size < 0.6 * shared.found.size  # convolution, positions and the graph stay
    assert small.parity == shared.found.parity
    assert 10 * small.parity.largest < small.loss.largest < 0.05
    kinds = {node.op_type for node in onnx.load(small.path).graph.node}
    assert {"MatMulInteger", "DynamicQuantizeLSTM"} <= kinds
    assert "LSTM" not in kinds
    assert _metadata(small.path).items() >= _metadata(shared.path).items()
    assert [each.name for each in tmp_path.iterdir()] == ["small.onnx"]


@pytest.mark.usefixtures("exported_before")
@pytest.mark.parametrize("offset", [2e-3, np.nan])
def test_a_file_that_gives_something_else_is_not_kept(offset, shared, tmp_path, monkeypatch):
    predict = onnx_file.predict_by_onnx
    monkeypatch.setattr(onnx_file, "predict_by_onnx", lambda *args: predict(*args) + offset)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"an older one")
    with pytest.raises(PublishError, match=r"more than 0.001, so nothing was written") as caught:
        export_onnx(shared.where, path)
    assert len(str(caught.value).splitlines()) == 1
    assert path.read_bytes() == b"an older one"
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.slow
def test_a_wrong_export_is_seen(shared, tmp_path, monkeypatch):
    def forward(self, faces):
        logits = self.model(faces.permute(0, 1, 4, 2, 3) / 255)  # not normalised
        return logits, logits.softmax(dim=-1)

    monkeypatch.setattr(FacesToProbs, "forward", forward)
    with pytest.raises(PublishError, match=r"in ONNX differ by .* from PyTorch's"):
        export_onnx(shared.where, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_no_file_holds_are_refused_at_once(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "MAX_BYTES", onnx_file.GRAPH_BYTES + 1000)
    with pytest.raises(PublishError, match=r"GB of weights, but an ONNX file holds"):
        export_onnx(shared.where, tmp_path / "model.onnx")


def test_without_the_extra_one_line_names_it(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None)
    said = r"--onnx needs onnx, onnxruntime, onnxscript: pip install '.\[onnx\]' in the"
    with pytest.raises(ConfigError, match=said):
        export_onnx(shared.where, tmp_path / "model.onnx")


def test_a_folder_is_no_file(shared, tmp_path):
    with pytest.raises(ConfigError, match=r"--onnx .* is a folder; use the path of a file"):
        export_onnx(shared.where, tmp_path)


def test_what_cannot_be_exported_is_one_line(shared, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no such operator\nsecond line")

    monkeypatch.setattr(torch.export, "export", fail)
    with pytest.raises(PublishError, match=r"cannot export .*model to ONNX \(no such op.*\)") as it:
        export_onnx(shared.where, tmp_path / "model.onnx")
    assert len(str(it.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
