"""The entries of a checkpoint's `config.json`: checking them, and sealing them with a hash."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from dfercli.config import ModelConfig
from dfercli.files import has_controls, hash_file

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
"""Names of a checkpoint's files: the Hugging Face layout."""

BUILT_IN = "built-in"
"""Name of the checkpoint that comes with the package."""

BUILT_IN_FOLDER = Path(__file__).parent / "built_in"

BUILT_IN_NAME = "built-in still-image model"

BUILT_IN_LIMITS = "not the paper's method, no motion, recalls 88/70/63/54/44/29/4 on public stills"
"""Recalls in % of happiness, neutral, anger, surprise, sadness, fear and disgust, measured on 1,147
public stills with noisy labels."""

BUILT_IN_TRAINING = "public still images that its authors do not name"

BUILT_IN_LICENCE = (
    "MIT; the weights are those of FaceExpressionNet in @vladmandic/face-api 1.7.15, copyright "
    "Vincent Mühler and Vladimir Mandic"
)

SEAL = "seal"
"""Entry of `config.json`; checkpoints of earlier versions have none."""


def make_seal(settings: Mapping[str, Any], weights: Path) -> str:
    """Return the hash of a configuration and a weights file; takes a second per gigabyte.

    A seal among the settings is ignored.
    """
    entries = {name: value for name, value in settings.items() if name != SEAL}
    return hash_file(weights, prefix=json.dumps(entries, sort_keys=True).encode() + b"\0")


def seal(config: Path, weights: Path) -> None:
    """Write the seal of a checkpoint into its configuration."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings[SEAL] = make_seal(settings, weights)
    config.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


LARGEST = {"num_frames": 1024, "num_blocks": 64}
"""Largest values of settings that decide the size of a model (our choice)."""

MAX_CLASSES = 10_000
"""Largest number of classes of a checkpoint (our choice)."""

MAX_TOKENS = 1024
"""Largest number of tokens of a class's description in a checkpoint (our choice)."""

CROP_SIDES = range(8, 4097)
"""Sides of crops in pixels that a checkpoint may request (our choice)."""


def find_settings_fault(settings: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the entries of a checkpoint's configuration; None if nothing is.

    Unknown entries are left to `from_dict`, which reports them.
    """
    return (
        _find_class_fault(settings["class_names"])
        or _find_model_fault(settings["model"])
        or _find_crop_fault(settings.get("crop"))
        or _find_training_fault(settings.get("trained"))
        or _find_calibration_fault(settings.get("calibration"))
        or _find_prompt_fault(settings.get("prompt_tokens", 1))
    )


def _find_prompt_fault(length: Any) -> str | None:
    if type(length) is int and 0 < length <= MAX_TOKENS:
        return None
    return f"prompt_tokens is {length!r}"[:100]


def _find_class_fault(names: list[Any]) -> str | None:
    if not 0 < len(names) <= MAX_CLASSES:
        return f"{len(names)} classes"
    if not all(isinstance(name, str) and name and not has_controls(name) for name in names):
        return "a class name is empty or not text"
    return "a class name occurs twice" if len(set(names)) < len(names) else None


def _find_model_fault(values: Mapping[str, Any]) -> str | None:
    hints = get_type_hints(ModelConfig)
    for name in (field.name for field in fields(ModelConfig)):
        if name not in values:
            continue
        value = values[name]
        if not _is_of(hints[name], value):
            return f"{name} is {value!r}"[:100]
        if name in LARGEST and value > LARGEST[name]:
            return f"{name} is {value}, more than {LARGEST[name]}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"{name} is {value}"
    return None


def _is_of(hint: Any, value: Any) -> bool:
    """Return whether a value from JSON has the type of a setting."""
    if isinstance(hint, UnionType):
        return any(_is_of(option, value) for option in get_args(hint))
    if get_origin(hint) is tuple:
        item_hint = get_args(hint)[0]
        return isinstance(value, list | tuple) and all(_is_of(item_hint, item) for item in value)
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint


def _find_crop_fault(crop: Any) -> str | None:
    if crop is None:
        return None
    if not isinstance(crop, Mapping):
        return "crop is not an object"
    if "detector" not in crop:
        return None
    size = crop.get("size")
    sound = isinstance(crop["detector"], str) and type(size) is int and size in CROP_SIDES
    return None if sound else "crop lacks a detector or a valid size"


def _find_training_fault(trained: Any) -> str | None:
    if trained is None:
        return None
    if not isinstance(trained, Mapping):
        return "trained is not an object"
    clip_s = trained.get("clip_s")
    for name in ("fold", "epoch"):
        if type(trained.get(name, 1)) is not int:
            return f"{name} is {trained[name]!r}"[:100]
    if clip_s is not None and not (type(clip_s) in (int, float) and 0 <= clip_s < math.inf):
        return f"clip_s is {clip_s!r}"[:100]
    return None


def _find_calibration_fault(calibration: Any) -> str | None:
    if calibration is None:
        return None
    if isinstance(calibration, Mapping) and isinstance(calibration.get("refused"), str):
        refused = "temperature" not in calibration and not has_controls(calibration["refused"])
        return None if refused else "calibration is both refused and fitted"
    temperature = calibration.get("temperature") if isinstance(calibration, Mapping) else None
    sound = type(temperature) in (int, float) and 0 < float(temperature or 0) < math.inf
    return None if sound else f"the temperature is {temperature!r}"[:100]
