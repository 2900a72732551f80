"""The built-in network that reads single frames."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dfercli.config import ModelConfig
from dfercli.data.transforms import normalise
from dfercli.errors import ConfigError
from dfercli.models.base import build_model
from dfercli.models.flops import measure_cost
from dfercli.models.settings import BUILT_IN, BUILT_IN_FOLDER
from dfercli.models.still_image import EXPRESSIONS, IMAGE_SIZE, READ_PX, TEMPERATURE
from dfercli.runs.checkpoint import load_checkpoint

SCRIPT = Path(__file__).parents[2] / "scripts" / "convert_built_in.py"

ORIGINAL = {  # logits on `_inputs` by the package's own JavaScript (TensorFlow.js on the CPU)
    "neutral": (-2.859260, -0.835637),
    "happiness": (-2.632909, -2.106839),
    "sadness": (-1.821190, -5.248751),
    "anger": (-1.323803, -3.084195),
    "fear": (-3.651680, -8.775758),
    "disgust": (-5.379004, -6.170785),
    "surprise": (-3.133790, -4.739290),
}


def _inputs():
    """Return two images (2, 112, 112, 3) uint8: noise, and a gradient in each channel."""
    images = np.random.RandomState(0).randint(0, 256, (2, READ_PX, READ_PX, 3), dtype=np.uint8)
    y, x = np.mgrid[:READ_PX, :READ_PX]
    images[1] = np.stack([2 * y, 2 * x, x + y], axis=-1).astype(np.uint8)
    return images


def _clips(images, frames=1):
    """Put images in the middle of crops, and repeat each as a clip."""
    edge = (IMAGE_SIZE - READ_PX) // 2
    crops = torch.full((len(images), 3, IMAGE_SIZE, IMAGE_SIZE), 255.0)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    crops[..., edge : edge + READ_PX, edge : edge + READ_PX] = pixels
    return normalise(crops)[:, None].repeat(1, frames, 1, 1, 1)


@pytest.fixture(scope="module")
def built_in():
    return load_checkpoint(BUILT_IN)


@torch.no_grad()
def test_the_built_in_model_gives_the_originals_logits(built_in):
    expected = torch.tensor([ORIGINAL[name] for name in built_in.class_names]).T
    logits = TEMPERATURE * built_in(_clips(_inputs()))
    # Its weights are stored in float16, whose steps are 0.05 % of a number.
    assert (logits - expected).abs().max() < 0.01
    probs, own = logits.softmax(-1), expected.softmax(-1)
    assert (probs - own).abs().max() < 1e-3


@torch.no_grad()
def test_the_answer_is_the_mean_of_the_frames_logits(built_in):
    single = built_in(_clips(_inputs()))
    both = built_in(_clips(_inputs()).transpose(0, 1))  # one clip of two frames
    assert torch.allclose(both, single.mean(dim=0, keepdim=True), atol=1e-5)
    assert torch.allclose(built_in(_clips(_inputs(), frames=16)), single, atol=1e-5)


def test_it_is_small_and_in_the_package(built_in):
    assert sum(path.stat().st_size for path in BUILT_IN_FOLDER.iterdir()) < 700_000
    assert sum(parameter.numel() for parameter in built_in.parameters()) == 323_687
    cost = measure_cost(ModelConfig(method="still-image", num_frames=1), EXPRESSIONS)
    assert (cost.trainable, cost.total) == (0, 323_687)
    macs, channels, positions = 256 * 7, 3, 56 * 56
    for width in (32, 64, 128, 256):
        first = 9 * channels * width if channels == 3 else channels * (9 + width)
        macs += positions * (first + 3 * width * (9 + width))
        channels, positions = width, positions // 4
    assert cost.paper_macs == cost.true_macs == macs == 51_538_816


@torch.no_grad()
def test_classes_are_found_by_name_and_unknown_ones_are_never_predicted(built_in):
    names = ["Angry", "contempt", "happy", "anxiety", "Surprise"]
    model = build_model(ModelConfig(method="still-image"), names).eval()
    clips = _clips(_inputs(), frames=8)
    own = dict(zip(built_in.class_names, built_in(clips).T, strict=True))
    logits = dict(zip(names, model(clips).T, strict=True))
    for theirs, ours in (("Angry", "anger"), ("happy", "happiness"), ("Surprise", "surprise")):
        assert torch.allclose(logits[theirs], own[ours])
    assert (model(clips).softmax(-1)[:, [1, 3]] < 1e-4).all()


def test_data_without_two_known_classes_is_refused():
    with pytest.raises(ConfigError, match=r"still-image knows happiness, .*fewer than two"):
        build_model(ModelConfig(method="still-image"), ["fear", "contempt", "calm"])


def _write_package(path, values):
    """Write an npm package whose tensors are quantised, and hold 0 to 255 again and again."""
    state = load_checkpoint(BUILT_IN).state_dict()
    entries, count = [], 0
    for block in range(4):
        for number in range(4):
            ours = f"backbone.blocks.{block}." + ("halve" if number == 0 else f"add.{number - 1}")
            first = state[f"{ours}.1.weight"].permute(2, 3, 1, 0).shape
            if f"{ours}.2.weight" in state:
                second = state[f"{ours}.2.weight"].permute(2, 3, 1, 0).shape
                depthwise = (3, 3, first[3], 1)
                kinds = {"depthwise_filter": depthwise, "pointwise_filter": second}
            else:
                kinds = {"filters": first}
            kinds["bias"] = list(kinds.values())[-1][3:]
            for kind, shape in kinds.items():
                entries.append({"name": f"dense{block}/conv{number}/{kind}", "shape": list(shape)})
    entries += [{"name": "fc/weights", "shape": [256, 7]}, {"name": "fc/bias", "shape": [7]}]
    for entry in entries:
        entry |= {"dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -3.0}}
        count += int(np.prod(entry["shape"]))
    files = {
        "face_expression_model-weights_manifest.json": json.dumps([{"weights": entries}]).encode(),
        "face_expression_model.bin": bytes(values(count)),
    }
    with tarfile.open(path, "w:gz") as package:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/model/{name}")
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))


def _convert(package, out):
    command = [sys.executable, str(SCRIPT), str(package), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_script_converts_a_package(tmp_path):
    _write_package(tmp_path / "p.tgz", lambda count: (i % 256 for i in range(count)))
    result = _convert(tmp_path / "p.tgz", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    state = load_checkpoint(str(tmp_path / "out")).state_dict()
    first = state["backbone.blocks.0.halve.1.weight"]  # (32, 3, 3, 3), the first 864 bytes
    expected = (torch.arange(864) % 256 * 0.5 - 3).reshape(3, 3, 3, 32).permute(3, 2, 0, 1)
    assert torch.equal(first, expected)
    assert (
        json.loads((tmp_path / "out" / "config.json").read_text())["crop"]
        == json.loads((BUILT_IN_FOLDER / "config.json").read_text())["crop"]
    )


@pytest.mark.slow
def test_a_package_of_another_length_is_refused(tmp_path):
    _write_package(tmp_path / "p.tgz", lambda count: [0] * (count + 1))
    result = _convert(tmp_path / "p.tgz", tmp_path / "out")
    assert result.returncode == 1
    assert "bytes of weights, but the manifest lists" in result.stderr
    assert not (tmp_path / "out").exists()


def test_predicting_with_the_built_in_model_imports_nothing_that_it_does_not_need():
    code = (
        "import sys\n"
        "from dfercli.predict import Predictor\n"
        "Predictor.from_checkpoint('built-in')\n"
        "print(*sorted({'accelerate', 'open_clip', 'pandas', 'torchvision'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.split() == []
