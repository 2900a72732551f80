"""Initial weights of the networks of Table 1: torchvision's, by name, or those of a file.

`imagenet` is ResNet18, `kinetics400` the network's own weights, both trained by torchvision and
fetched once. Files are state dicts of a ResNet18, such as those that are published for MS-Celeb-1M
and FER+ beside Emotion-FAN, whose names begin with `module.` and whose heads are left out.
"""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import ResNet18_Weights, WeightsEnum, resnet18
from torchvision.models.video import MC3_18_Weights, R2Plus1D_18_Weights, R3D_18_Weights

from dfercli.config import NETWORKS, RANDOM_WEIGHTS, ModelConfig
from dfercli.errors import ConfigError, WeightsError, first_line

SOURCES: Mapping[str, WeightsEnum] = {
    "r3d-18": R3D_18_Weights.KINETICS400_V1,
    "m3dfel": R3D_18_Weights.KINETICS400_V1,
    "mc3-18": MC3_18_Weights.KINETICS400_V1,
    "r2plus1d-18": R2Plus1D_18_Weights.KINETICS400_V1,
}
"""Weights by method; those of all others are of ResNet18."""

SKIPPED = ("fc.", "feature.", "feature_", "classifier.", "head.")
"""Beginnings of the names of layers after the trunk in published files."""


NOTES = {
    RANDOM_WEIGHTS: "It was trained from random weights.",
    "imagenet": "It started from torchvision's ResNet18, trained on ImageNet, whose images are for "
    "research only.",
    "kinetics400": "It started from torchvision's weights, trained on Kinetics-400 (CC BY 4.0).",
}
"""What the initial weights are, and the terms of what they were trained on; torchvision itself is
under the BSD licence."""


TRAINED_WEIGHTS = tuple(name for name in NOTES if name != RANDOM_WEIGHTS)
"""Names of torchvision's weights."""


def describe_trunk(config: ModelConfig) -> str:
    """Return what a network started from, with its terms, in a sentence."""
    other = f"It started from the weights in {Path(config.weights).name}, whose terms apply."
    return NOTES.get(config.weights, other)


def load_trunk(config: ModelConfig) -> dict[str, Tensor] | None:
    """Return the initial weights of a network's trunk, without its classifier; None if random.

    Raises:
        ConfigError: The network cannot take them.
        WeightsError: They are not available.
    """
    check_trunk(config)
    if config.weights == RANDOM_WEIGHTS:
        return None
    if config.weights in NETWORKS[config.method].weights:
        return _skip_heads(_fetch(config))
    weights = _read_file(Path(config.weights))
    _check_resnet(weights, config)
    return weights


def check_trunk(config: ModelConfig) -> None:
    """Check that a network can take the weights of its settings, without loading them.

    Raises:
        ConfigError: It cannot, or its width is not that of the weights.
        WeightsError: There is no such file.
    """
    network, weights = NETWORKS[config.method], config.weights
    if weights == RANDOM_WEIGHTS:
        return
    if weights not in network.weights:
        known = ", ".join(network.weights) + (" or a file" if network.file else "")
        if not network.file:
            raise ConfigError(f"{config.method} takes --weights {known}, not {weights!r}")
        if not Path(weights).is_file():
            raise WeightsError(f"no weights {weights!r} for {config.method}: no such file; {known}")
    if config.width != 1:
        raise ConfigError(
            f"--weights {weights} are for the full width, not {config.width}; use --weights random"
        )


def ensure_trunk(config: ModelConfig) -> None:
    """Fetch the weights of a network unless they are cached, before several processes need them.

    Raises:
        ConfigError: The network cannot take them.
        WeightsError: They are not available.
    """
    check_trunk(config)
    if config.weights in NETWORKS[config.method].weights and config.weights != RANDOM_WEIGHTS:
        _fetch(config)


def find_source(config: ModelConfig) -> str:
    """Return where torchvision publishes the weights of a network."""
    url: str = SOURCES.get(config.method, ResNet18_Weights.IMAGENET1K_V1).url
    return url


def _fetch(config: ModelConfig) -> dict[str, Tensor]:
    """Return weights of torchvision, fetched into PyTorch's cache if they are not there."""
    url = find_source(config)
    try:
        weights = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError, UnpicklingError, ValueError) as error:
        raise WeightsError(
            f"weights {config.weights} of {config.method} are not cached and cannot be fetched "
            f"from {url} ({first_line(error)}); run once with a network, or use --weights "
            f"random"
        ) from error
    return dict(weights)


def _read_file(path: Path) -> dict[str, Tensor]:
    """Return the weights of a ResNet18 in a file, with the names of torchvision's."""
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, UnpicklingError, ValueError, EOFError, SafetensorError) as error:
        raise WeightsError(f"cannot read the weights in {path} ({first_line(error)})") from error
    except (LookupError, AttributeError, TypeError) as error:  # name a part of what was unpickled
        raise WeightsError(
            f"cannot read the weights in {path}; it is not a PyTorch file"
        ) from error
    if isinstance(state, dict):
        state = state.get("state_dict", state)
    weights = {
        name.removeprefix("module."): tensor
        for name, tensor in (state.items() if isinstance(state, dict) else ())
        if isinstance(name, str) and isinstance(tensor, Tensor)
    }
    return _skip_heads(weights)


def _check_resnet(weights: Mapping[str, Tensor], config: ModelConfig) -> None:
    """Check that weights are those of a ResNet18, with biases of convolutions for LSTPNet only."""
    with torch.device("meta"):
        expected = _skip_heads(resnet18().state_dict())
    biases = {f"{name.rpartition('.')[0]}.bias" for name, t in expected.items() if t.ndim == 4}
    allowed = biases if config.method == "lstpnet" else set()
    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name not in weights or weights[name].shape != tensor.shape:
            fault = "lacks" if name not in weights else "has other sizes of"
            raise WeightsError(f"{config.weights} {fault} {name}; it does not hold a ResNet18")
    if others := sorted(set(weights) - set(expected) - allowed):
        raise WeightsError(f"{config.weights} has {others[0]}, which no ResNet18 of ours has")


def _skip_heads(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in weights.items() if not name.startswith(SKIPPED)}
