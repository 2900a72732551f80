"""CLIP models, their weights, and their text tower, run once. The only file to import open_clip."""

import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from huggingface_hub import snapshot_download
from open_clip import CLIPVisionCfg
from open_clip.transformer import QuickGELU as OpenCLIPQuickGELU
from open_clip.transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from dfercli.config import CLIP_MEAN, RANDOM_WEIGHTS
from dfercli.downloads import explain_failed_fetch, find_damage, hub_answers
from dfercli.errors import UnknownNameError, WeightsError, explain_system_error, find_local_error

open_clip.add_model_config(Path(__file__).parent / "backbones")

__all__ = ["OpenCLIPQuickGELU", "VisionTransformer"]

HUB_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
"""Names of weight files in a repository on the Hub, in the order that open_clip prefers."""

OPENAI_ONLY_KEYS = {"input_resolution", "context_length", "vocab_size"}
"""Entries that only weight files published by OpenAI have besides the parameters."""

NOT_PLAIN = {"timm_model_name", "attentional_pool", "pool_type"}
"""Entries of open_clip's vision configurations that a plain ViT lacks."""


def known_backbones() -> list[str]:
    """Return the names of open_clip's models with a plain ViT and CLIP's own text tower."""
    return [name for name in open_clip.list_models() if _is_plain(name)]


def _is_plain(name: str) -> bool:
    config = open_clip.get_model_config(name)
    vision, text = config["vision_cfg"], config["text_cfg"]
    plain_vision = isinstance(vision.get("layers"), int) and not NOT_PLAIN & vision.keys()
    plain_text = "hf_model_name" not in text and "multimodal_cfg" not in config
    return plain_vision and plain_text


def backbone_config(name: str) -> dict[str, Any]:
    """Return open_clip's configuration of a model.

    Raises:
        UnknownNameError: open_clip has no such model, or it is not a plain ViT.
    """
    known = known_backbones()
    if name not in known:
        raise UnknownNameError("backbone", name, known)
    config: dict[str, Any] = open_clip.get_model_config(name)
    return config


def find_image_size(name: str) -> int:
    """Return the side in pixels of a model's frames, without building it.

    Raises:
        UnknownNameError: open_clip has no such model.
    """
    size = backbone_config(name)["vision_cfg"].get("image_size", CLIPVisionCfg.image_size)
    return int(size if isinstance(size, int) else size[0])


def build_untrained(name: str) -> open_clip.CLIP:
    """Build both towers with random weights, on the current default device."""
    backbone_config(name)
    return _quietly(open_clip.create_model, name, device=torch.get_default_device())


def load_pretrained(name: str, weights: str) -> open_clip.CLIP:
    """Build an open_clip model with both towers and load its weights.

    Args:
        name: Name of an open_clip model.
        weights: A tag of open_clip (fetched once, then cached), a file, or `random`.

    Raises:
        UnknownNameError: open_clip has no such model.
        WeightsError: The weights are not available, or were trained with another activation.
    """
    config = backbone_config(name)
    if weights == RANDOM_WEIGHTS:
        return build_untrained(name)
    _check_activation(name, weights, bool(config.get("quick_gelu", False)))
    path = _fetch(name, weights)
    try:
        return _quietly(open_clip.create_model, name, pretrained=str(path), weights_only=True)
    except Exception as error:  # open_clip and the decoders raise many types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(f"cannot load {weights} into {name}: {reason}") from error


def ensure_weights(name: str, weights: str) -> None:
    """Fetch a model's weights unless they are cached, before several processes need them.

    Raises:
        UnknownNameError: open_clip has no such model.
        WeightsError: The weights are not available, or were trained with another activation.
    """
    config = backbone_config(name)
    if weights != RANDOM_WEIGHTS:
        _check_activation(name, weights, bool(config.get("quick_gelu", False)))
    if not is_cached(name, weights):
        _fetch(name, weights)


def is_cached(name: str, weights: str) -> bool:
    """Return whether weights can be loaded offline: a file, `random`, or a cached tag."""
    if weights == RANDOM_WEIGHTS or Path(weights).is_file():
        return True
    return _find_cached(name, weights) is not None


def _find_cached(name: str, weights: str) -> Path | None:
    """Return the weights of a tag in the Hub's cache; None if they are not there."""
    try:
        folder = Path(snapshot_download(_find_repository(name, weights), local_files_only=True))
    except (OSError, ValueError, RuntimeError):  # not cached; no such name; no home folder
        return None
    return next((folder / file for file in HUB_FILES if (folder / file).is_file()), None)


def _find_repository(name: str, weights: str) -> str:
    """Return the Hub repository of a tag's weights, as owner/name."""
    hub = str((open_clip.get_pretrained_cfg(name, weights) or {}).get("hf_hub", ""))
    return hub.rpartition("/")[0]


def _fetch(name: str, weights: str) -> Path:
    """Return the file of weights, which is fetched if it is not cached.

    Raises:
        WeightsError: The weights of a tag are not available, or differ from the published ones.
    """
    if Path(weights).is_file():
        return Path(weights)
    try:
        path = _find_cached(name, weights) or _download(name, weights)
    except Exception as error:  # open_clip and the Hub raise many types
        cause = find_local_error(error)
        if cause is not None:
            raise WeightsError(
                f"cannot fetch weights {weights!r} of {name}: {explain_system_error(cause)}"
            ) from error
        why = explain_failed_fetch(error)
        raise WeightsError(
            f"weights {weights!r} of {name} are not cached and cannot be fetched ({why}); "
            f"run once with a network, or use --weights FILE or --weights random"
        ) from error
    if damage := find_damage(path, _find_repository(name, weights).rpartition("/")[2]):
        raise WeightsError(
            f"weights {weights!r} of {name} are damaged, or differ from the published ones: "
            f"{damage}; remove {path.resolve()} to have them fetched again"
        )
    return path


def _download(name: str, weights: str) -> Path:
    if not hub_answers():
        raise ConnectionError("the Hugging Face Hub does not answer")
    tag = open_clip.get_pretrained_cfg(name, weights)
    return Path(_quietly(open_clip.download_pretrained, tag))


def encode_prompts(model: open_clip.CLIP, name: str, prompts: Sequence[str]) -> Tensor:
    """Encode K prompts by the text tower as (K, E), normalised, without gradient. Source: Eq. (9).

    `name` is the model's name, which selects the tokenizer.
    """
    if model.logit_scale.is_meta:  # only the shape matters; some tokenizers must be fetched
        return torch.empty(len(prompts), model.visual.output_dim)
    tokens = tokenize(name, prompts)
    with torch.no_grad():
        return F.normalize(model.encode_text(tokens).float(), dim=-1)


def tokenize(name: str, texts: Sequence[str], length: int | None = None) -> Tensor:
    """Return the tokens of texts, (N, length): start, words, end, zeros; longer texts are cut.

    By default the length is the context length of the text tower of the open_clip model `name`.
    """
    with torch.device("cpu"):
        tokens: Tensor = _find_tokenizer(name)(list(texts), length)
    return tokens


@lru_cache(maxsize=4)
def _find_tokenizer(name: str) -> Any:
    """Return the tokenizer of an open_clip model, which takes longer to read than a small model."""
    return open_clip.get_tokenizer(name)


def _check_activation(name: str, weights: str, quick_gelu: bool) -> None:
    """Refuse weights trained with another activation, which load but give wrong features."""
    tag = open_clip.get_pretrained_cfg(name, weights)
    if tag and tuple(tag.get("mean") or open_clip.OPENAI_DATASET_MEAN) != CLIP_MEAN:
        raise WeightsError(
            f"weights {weights!r} of {name} need pixels that are normalised differently from "
            f"CLIP's; use other weights"
        )
    if tag:
        trained_with = bool(tag.get("quick_gelu", False))
    elif not Path(weights).is_file():
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise WeightsError(
            f"no weights {weights!r} for {name}: no such file; available tags: {tags}"
        )
    elif _is_from_openai(Path(weights)):
        trained_with = True
    else:
        return
    if trained_with != quick_gelu:
        base = name.removesuffix("-quickgelu")
        wanted = f"{base}-quickgelu" if trained_with else base
        raise WeightsError(
            f"weights {weights!r} do not fit {name}: they were trained with "
            f"{'QuickGELU' if trained_with else 'GELU'}; use --backbone {wanted}"
        )


def _is_from_openai(path: Path) -> bool:
    if path.suffix == ".safetensors":  # has only parameters: nothing tells its origin
        return False
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # not a plain state dict: loading by open_clip reports what is wrong
        return False
    return isinstance(state, dict) and bool(OPENAI_ONLY_KEYS & state.keys())


def _quietly(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call open_clip without its log lines; what matters of them is an error or printed by us."""
    logging.disable(logging.CRITICAL)
    try:
        return function(*args, **kwargs)
    finally:
        logging.disable(logging.NOTSET)
