"""An ONNX file gives what its checkpoint gives, needs no dfer, and comes into being whole."""

import json
import subprocess
import sys
from itertools import product

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from dfercli.config import METHODS
from dfercli.data.transforms import normalise
from dfercli.engine.checkpoint import save_checkpoint
from dfercli.errors import ConfigError
from dfercli.faces.align import TEMPLATE
from dfercli.publish import PublishError, onnx_file
from dfercli.publish.onnx_file import MAX_DIFFERENCE, OPSET, FacesToProbs, _write, export_onnx

CROP = {"detector": "mtcnn", "size": 48, "template": "loose-five-points", "version": 2}
SMALL = {"interfit": False, "msta": False, "num_frames": 2}
"""The quickest model to export that still has a module of ours."""


@pytest.fixture
def checkpoint(make_model, tmp_path):
    """Folder of a small model that was calibrated, and the model."""
    model = make_model(**SMALL).eval()
    model.settings |= {"crop": CROP, "calibration": {"temperature": 2.5, "clips": 9}}
    save_checkpoint(model, tmp_path / "model")
    return tmp_path / "model", model


@pytest.fixture
def draw_faces():
    """Make faces (B, T, 32, 32, 3) of noise, uint8."""
    rng = np.random.default_rng(0)
    return lambda batch, frames=2: rng.integers(0, 256, (batch, frames, 32, 32, 3), dtype=np.uint8)


@torch.inference_mode()
def _logits(model, faces):
    return model(normalise(torch.from_numpy(faces).permute(0, 1, 4, 2, 3))).numpy()


def _run(path, faces):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits", "probs"], {"faces": faces})


MODULES = ("interfit", "msta", "biehpro")
MODELS = [
    *({"method": method} for method in METHODS if method != "dfer"),
    *(dict(zip(MODULES, on, strict=True)) for on in product((False, True), repeat=3)),
    {"text": False, "biehpro": False, "interfit": False},
    {"cross_attention": "all", "interfit": False, "num_frames": 16},
]


@pytest.mark.parametrize("settings", MODELS, ids=lambda each: "-".join(map(str, each.values())))
def test_every_model_gives_the_same_for_batches_of_any_size(
    settings, make_model, draw_faces, tmp_path
):
    model = make_model(**settings).eval()
    frames = model.config.num_frames
    _write(FacesToProbs(model, 2.0).eval(), draw_faces(2, frames), tmp_path / "m.onnx", "m")
    for batch in (1, 3):
        faces = draw_faces(batch, frames)
        logits, probs = _run(tmp_path / "m.onnx", faces)
        expected = _logits(model, faces)
        np.testing.assert_allclose(logits, expected, atol=2e-4)
        halved = torch.from_numpy(expected / 2).softmax(-1).numpy()
        np.testing.assert_allclose(probs, halved, atol=2e-5)


def test_the_file_says_what_it_reads_and_gives(checkpoint, tmp_path):
    path = tmp_path / "new" / "model.onnx"
    found = export_onnx(str(checkpoint[0]), path)
    assert [each.name for each in path.parent.iterdir()] == ["model.onnx"]
    assert found.size == path.stat().st_size
    assert found.inputs == {"faces": "uint8 (batch, 2, 32, 32, 3)"}
    assert found.outputs == {"logits": "float (batch, 5)", "probs": "float (batch, 5)"}
    assert (found.parity.num_clips, found.parity.num_same, found.loss) == (20, 20, None)
    assert 0 <= found.parity.mean <= found.parity.largest < MAX_DIFFERENCE / 10
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert {each.domain: each.version for each in model.opset_import}[""] == OPSET


def test_what_its_user_must_know_is_in_the_file(checkpoint, tmp_path):
    export_onnx(str(checkpoint[0]), tmp_path / "model.onnx")
    said = {each.key: each.value for each in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert json.loads(said["class_names"]) == checkpoint[1].class_names
    assert (said["num_frames"], said["image_size"]) == ("2", "32")
    assert json.loads(said["crop"]) == CROP | {"points": TEMPLATE.tolist()}
    assert said["calibration_temperature"] == "2.5"
    assert said["checkpoint"] == "model"
    assert "not for diagnosis" in said["licence"]
    assert said["dfer_version"]


@pytest.mark.parametrize("crop", [None, CROP | {"version": 1}])
def test_points_of_another_template_are_not_invented(crop, checkpoint):
    model = checkpoint[1]
    model.settings["crop"] = crop
    assert json.loads(onnx_file.describe_model(model, "model")["crop"]) == crop


def test_probs_are_calibrated_and_logits_are_not(checkpoint, draw_faces, tmp_path):
    export_onnx(str(checkpoint[0]), tmp_path / "model.onnx")
    faces = draw_faces(4)
    logits, probs = _run(tmp_path / "model.onnx", faces)
    expected = _logits(checkpoint[1], faces)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    calibrated = torch.from_numpy(expected / 2.5).softmax(-1).numpy()
    np.testing.assert_allclose(probs, calibrated, atol=1e-5)


SCRIPT = """
import json, sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
faces = np.load("faces.npy")
logits, probs = session.run(["logits", "probs"], {"faces": faces})
np.save("probs.npy", probs)
names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
print(names[probs[0].argmax()], *[name for name in ("torch", "dfercli") if name in sys.modules])
"""


def test_the_file_is_used_without_dfer_and_torch(checkpoint, draw_faces, tmp_path):
    export_onnx(str(checkpoint[0]), tmp_path / "model.onnx")
    faces = draw_faces(3)
    np.save(tmp_path / "faces.npy", faces)
    command = [sys.executable, "-I", "-c", SCRIPT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    expected = torch.from_numpy(_logits(checkpoint[1], faces) / 2.5).softmax(-1).numpy()
    assert done.stdout.split() == [checkpoint[1].class_names[expected[0].argmax()]], done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "probs.npy"), expected, atol=1e-5)


def test_int8_is_smaller_and_its_loss_is_measured(checkpoint, draw_faces, tmp_path):
    where, model = str(checkpoint[0]), checkpoint[1]
    plain = export_onnx(where, tmp_path / "plain.onnx")
    small = export_onnx(where, tmp_path / "small.onnx", int8=True)
    assert small.size < 0.6 * plain.size  # convolution, positions and the graph stay
    assert plain.parity == small.parity
    assert small.loss.largest > 10 * small.parity.largest
    assert small.loss.largest < 0.05
    kinds = {node.op_type for node in onnx.load(tmp_path / "small.onnx").graph.node}
    assert "MatMulInteger" in kinds
    said = {each.key: each.value for each in onnx.load(tmp_path / "small.onnx").metadata_props}
    assert json.loads(said["class_names"]) == model.class_names
    assert {each.name for each in tmp_path.iterdir()} == {"model", "plain.onnx", "small.onnx"}


def test_int8_reaches_the_recurrent_weights(make_model, tmp_path):
    model = make_model(msta=False, biehpro=False, num_frames=2)
    save_checkpoint(model, tmp_path / "model")
    export_onnx(str(tmp_path / "model"), tmp_path / "small.onnx", int8=True)
    kinds = {node.op_type for node in onnx.load(tmp_path / "small.onnx").graph.node}
    assert "DynamicQuantizeLSTM" in kinds
    assert "LSTM" not in kinds


@pytest.mark.parametrize("offset", [2e-3, np.nan])
def test_a_file_that_gives_something_else_is_not_kept(offset, checkpoint, tmp_path, monkeypatch):
    predict = onnx_file.predict_by_onnx
    monkeypatch.setattr(onnx_file, "predict_by_onnx", lambda *args: predict(*args) + offset)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"an older one")
    with pytest.raises(PublishError, match=r"the bound is 0.001: nothing was written") as caught:
        export_onnx(str(checkpoint[0]), path)
    assert len(str(caught.value).splitlines()) == 1
    assert path.read_bytes() == b"an older one"
    assert {each.name for each in tmp_path.iterdir()} == {"model", "model.onnx"}


def test_a_wrong_export_is_seen(checkpoint, tmp_path, monkeypatch):
    def forward(self, faces):
        logits = self.model(faces.permute(0, 1, 4, 2, 3) / 255)  # not normalised
        return logits, logits.softmax(dim=-1)

    monkeypatch.setattr(FacesToProbs, "forward", forward)
    with pytest.raises(PublishError, match=r"gives a probability that is .* from PyTorch's"):
        export_onnx(str(checkpoint[0]), tmp_path / "model.onnx")


def test_weights_that_no_file_holds_are_refused_at_once(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "MAX_BYTES", onnx_file.GRAPH_BYTES + 1000)
    with pytest.raises(PublishError, match=r"GB of weights, and one ONNX file holds"):
        export_onnx(str(checkpoint[0]), tmp_path / "model.onnx")


def test_without_the_extra_one_line_names_it(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None)
    said = r"ONNX needs onnx, onnxruntime, onnxscript: pip install 'dfer\[onnx\]'"
    with pytest.raises(ConfigError, match=said):
        export_onnx(str(checkpoint[0]), tmp_path / "model.onnx")


def test_a_folder_is_no_file(checkpoint):
    with pytest.raises(ConfigError, match=r"--onnx .*model is a folder; name a file in it"):
        export_onnx(str(checkpoint[0]), checkpoint[0])


def test_what_cannot_be_exported_is_one_line(checkpoint, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no such operator\nsecond line")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(PublishError, match=r"cannot export .*model to ONNX \(no such op.*\)") as it:
        export_onnx(str(checkpoint[0]), tmp_path / "model.onnx")
    assert len(str(it.value).splitlines()) == 1
    assert {each.name for each in tmp_path.iterdir()} == {"model"}
