"""Initial weights by name or file: fetched, checked, mapped, and refused in one line."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from dfercli.config.presets import default_model
from dfercli.errors import ConfigError, WeightsError
from dfercli.models.base import build_model
from dfercli.models.networks import weights
from dfercli.models.networks.resnet import ResNet
from dfercli.models.networks.torchvision_3d import VideoResNet

CLASSES = ("happiness", "sadness")


@pytest.fixture(scope="module")
def trunk():
    torch.manual_seed(0)
    return ResNet().state_dict()


@pytest.fixture
def published(monkeypatch, tmp_path):
    """Serve a state dict where torchvision's weights are fetched from."""

    def publish(state, method=None):
        torch.save(state, tmp_path / "state.pth")
        digest = hashlib.sha256((tmp_path / "state.pth").read_bytes()).hexdigest()[:8]
        file = (tmp_path / "state.pth").rename(tmp_path / f"weights-{digest}.pth")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
        source = SimpleNamespace(url=file.as_uri())
        if method is None:
            monkeypatch.setattr(weights, "ResNet18_Weights", SimpleNamespace(IMAGENET1K_V1=source))
        else:
            monkeypatch.setitem(weights.SOURCES, method, source)
        return file

    return publish


def test_imagenet_weights_are_fetched_once(published, trunk):
    torch.manual_seed(1)
    file = published(resnet18().state_dict() | trunk)
    model = build_model(default_model("resnet18-lstm"), CLASSES)
    for name, tensor in model.backbone.trunk.state_dict().items():
        assert torch.equal(tensor, trunk[name]), name
    file.unlink()
    build_model(default_model("resnet18-vit"), CLASSES)  # from the cache


@pytest.mark.slow
def test_kinetics_weights_reach_the_video_network(published):
    torch.manual_seed(0)
    state = VideoResNet("r3d-18", 1.0).state_dict()
    published({**state, "fc.weight": torch.zeros(400, 512), "fc.bias": torch.zeros(400)}, "m3dfel")
    model = build_model(default_model("m3dfel"), CLASSES)
    own = model.backbone.state_dict()
    for name, tensor in state.items():
        assert any(key.endswith(name) and torch.equal(own[key], tensor) for key in own), name


def test_changed_weights_are_refused(published, trunk):
    file = published(trunk)
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(WeightsError, match="cannot be fetched"):
        build_model(default_model("resnet18-lstm"), CLASSES)


def test_without_a_network_the_error_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    source = SimpleNamespace(url=(tmp_path / "none-00000000.pth").as_uri())
    monkeypatch.setattr(weights, "ResNet18_Weights", SimpleNamespace(IMAGENET1K_V1=source))
    with pytest.raises(WeightsError) as caught:
        weights.ensure_trunk(default_model("lstpnet"))
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("weights imagenet of lstpnet are not cached and cannot be fetched")
    assert line.endswith("run once with a network, or use --weights random")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("nested", [False, True])
def test_published_files_of_face_weights_are_read(suffix, nested, tmp_path, trunk):
    """Names begin with `module.`, and there are heads."""
    state = {f"module.{name}": tensor.clone() for name, tensor in trunk.items()}
    state |= {"module.fc.weight": torch.zeros(8, 512), "module.feature.weight": torch.zeros(4, 512)}
    path = tmp_path / f"faces{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3} if nested else state, path)
    model = build_model(default_model("resnet18-lstm", weights=str(path)), CLASSES)
    for name, tensor in model.backbone.trunk.state_dict().items():
        assert torch.equal(tensor, trunk[name]), name
    assert weights.describe_trunk(model.config) == (
        f"It started from the weights in faces{suffix}, whose terms apply."
    )


class _Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_executes_nothing(tmp_path):
    torch.save({"weight": _Hostile(tmp_path / "touched")}, tmp_path / "hostile.pth")
    with pytest.raises(WeightsError, match=r"cannot read the weights in .*hostile\.pth"):
        build_model(default_model("aen", weights=str(tmp_path / "hostile.pth")), CLASSES)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    "state",
    [
        *({}, {"conv1.weight": torch.zeros(2, 2)}, [1, 2]),
        *({"state_dict": None}, {"state_dict": [1]}, {1: torch.zeros(1)}),
    ],
)
def test_weights_of_another_network_are_one_line(state, tmp_path):
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth.*ResNet18") as caught:
        build_model(default_model("resnet18-lstm", weights=str(tmp_path / "other.pth")), CLASSES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"QF\x7f\xc9`", b"j.\xd1u\x12p", b"hello\n"])
def test_a_file_of_something_else_is_one_line(content, tmp_path):
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"cannot read the weights in .*other\.pth") as caught:
        build_model(default_model("resnet18-lstm", weights=str(path)), CLASSES)
    assert "\n" not in str(caught.value)


def test_biases_of_convolutions_are_for_the_network_that_has_them(tmp_path, trunk):
    path = tmp_path / "biased.pth"
    torch.save(trunk | {"layer1.0.conv1.bias": torch.full((64,), 3.0)}, path)
    with pytest.raises(WeightsError, match=r"has layer1\.0\.conv1\.bias, which no ResNet18"):
        build_model(default_model("resnet18-lstm", weights=str(path)), CLASSES)
    model = build_model(default_model("lstpnet", weights=str(path)), CLASSES)
    assert any((p == 3).all() for name, p in model.named_parameters() if name.endswith(".bias"))


@pytest.mark.parametrize(
    ("name", "changes", "error", "reason"),
    [
        ("c3d", {"weights": "imagenet"}, ConfigError, "c3d takes --weights random, not 'imagenet'"),
        ("r3d-18", {"weights": "faces.pth"}, ConfigError, "takes --weights kinetics400, random"),
        ("est", {"weights": "faces.pth"}, WeightsError, "no weights 'faces.pth' for est: no such"),
        ("est", {"width": 0.5}, ConfigError, "are for the full width, not 0.5; use --weights rand"),
    ],
)
def test_what_a_network_cannot_take_is_refused(name, changes, error, reason):
    with pytest.raises(error, match=reason):
        weights.check_trunk(default_model(name, **changes))
