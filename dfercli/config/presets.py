"""Named recipes as tables of changes to the defaults, and a description of a run's recipe.

`paper` is the paper's recipe: all defaults. `small` fits a laptop: its backbone has random initial
weights and learns twelve clips in a minute on a CPU; its accuracy says nothing about the method.
`strong` combines ingredients of later work, which are off by default. None of them was measured
with this method:

- ViT-B/16 and 16 frames: as in DK-CLIP. From DFER-CLIP (B/32) to DK-CLIP (B/16) DFEW gains 5.34
  UAR and 4.16 WAR, but other parts of the recipe changed too. Most later work uses 16 frames.
- Layer decay 0.75, mixup 0.8, label smoothing 0.1, drop path 0.1: the published scripts of MAE-DFER
  and HiCMAE. No ablation of a single one is known. S2D's published scripts disable mixup, smoothing
  and drop path on FERV39k, so `strong` does the same there.
- Prior re-balancing: on FERV39k UAR 41.6 to 43.4, WAR 51.1 to 50.7 in an audit by others (2026).
  It costs less WAR for its UAR than oversampling: S2D gains 2.69 UAR and loses 6.35 WAR.

The methods of Table 5 that ours is compared with have their own settings in every preset: the
learning rates of their papers and code, but AdamW instead of SGD (our choice).
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from dfercli.config import (
    NAMED_PARTS,
    NETWORKS,
    OWN_LOSS,
    RANDOM_WEIGHTS,
    STILL_IMAGE,
    UNTRAINED,
    WITH_LOSSES,
    WITHOUT_CLIP,
    AugmentConfig,
    ComputeConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    to_dict,
)
from dfercli.config.recipes import find_recipe

VARIANT = ("method", *NAMED_PARTS)
"""Settings that are part of the variant's name instead of the recipe."""

Overrides = Mapping[str, Mapping[str, Any]]
"""Values by part of a run (`model`, `train`, `augment`, `compute`) and setting."""

CHANGES: dict[str, Overrides] = {
    "paper": {},
    "small": {
        "model": {"backbone": "demo-ViT-tiny", "weights": RANDOM_WEIGHTS},
        "train": {"epochs": 20, "warmup_epochs": 2, "batch_size": 8, "lr": 3e-4, "min_lr": 3e-6},
        # Stronger augmentation needs longer training than this.
        "augment": {
            "crop_scale": 0.95,
            "brightness": 0.2,
            "contrast": 0.2,
            "saturation": 0.2,
            "hue": 0.02,
        },
        "compute": {"precision": "fp32"},
    },
    "strong": {
        "model": {"backbone": "ViT-B-16-quickgelu", "num_frames": 16},
        "train": {
            "layer_decay": 0.75,
            "label_smoothing": 0.1,
            "mixup": 0.8,
            "drop_path": 0.1,
            "balance": "prior",
        },
    },
}
"""Changes of each preset to the defaults. `small` is our choice."""

ONE_RATE = {"small"}
"""Presets whose settings apply to all methods, whose own are for pretrained weights and a GPU."""

SMALL_NETWORK: Overrides = {
    "model": {"width": 0.25, "image_size": 48},
    "train": {"lr": 1e-3, "min_lr": 1e-5},
}
"""Further changes of `small` for networks without CLIP (our choice)."""

SMALL_RECIPES: Mapping[str, Mapping[str, Any]] = {
    "aen": {"stage1_epochs": 4, "stage1_lr": 1e-3},
    "cliper": {"stage1_epochs": 2, "stage1_lr": 1e-2},
    **{name: {"lr": 3e-4, "min_lr": 3e-6} for name in ("ec-stfl", "i3d", "m3dfel", "p3d")},
    **{name: {"lr": 1e-4, "min_lr": 1e-6} for name in ("c3d", "est", "t-esfl")},
}
"""Further changes of `small` for one network (our choice). The rates are of networks that stayed at
chance on the demo's data at those of the others."""

EXCEPTIONS: dict[tuple[str, str], Overrides] = {
    ("strong", "ferv39k"): {"train": {"label_smoothing": 0.0, "mixup": 0.0, "drop_path": 0.0}}
}
"""Further changes of a preset for a kind of dataset."""

DFER_CLIP_RATES: Overrides = {"train": {"lr": 1e-5, "new_layers_lr": 100.0}}
"""1e-5 for the backbone and 1e-3 for the contexts, as in its code, which uses 1e-2 for the temporal
model, with SGD."""

METHOD_CHANGES: dict[str, Overrides] = {
    **{name: find_recipe(name) for name in NETWORKS},
    "zero-shot": {"model": {"prompt_template": "a photo of a person with an expression of {}"}},
    "coop": {"train": {"lr": 2e-3}},
    "cocoop": {"train": {"lr": 2e-3}},
    "dfer-clip": DFER_CLIP_RATES,
    "dfer-clip-no-tm": DFER_CLIP_RATES,
}
"""Changes of each method in every preset. The prompt of zero-shot is our choice."""


WITHOUT_BLOCKS = {"layer_decay": 1.0, "drop_path": 0.0, "new_layers_lr": 1.0}
"""Settings of the recipe that only concern CLIP's tower, at their defaults."""

PARTS_OF_METHOD = ("ec_stfl",)
"""Settings of a recipe that are part of a method whatever the preset."""


def default_model(method: str, **changes: Any) -> ModelConfig:
    """Return the model of a method with the settings of its paper, except those changed."""
    defaults: Mapping[str, Any] = METHOD_CHANGES.get(method, {}).get("model", {})
    return ModelConfig(method=method, **{**defaults, **changes})


def apply_preset(run: RunConfig, typed: Collection[str] = ()) -> RunConfig:
    """Return a run with the settings of its preset and its method, except those in `typed`."""
    kind = run.data.kind or run.data.dataset
    for changes in (CHANGES[run.preset], EXCEPTIONS.get((run.preset, kind), {})):
        run = _change(run, changes, typed)
    return apply_method(run, typed)


def apply_method(run: RunConfig, typed: Collection[str] = ()) -> RunConfig:
    """Return a run with the settings of its method.

    A learning rate of the user, or of a preset in `ONE_RATE`, applies to all layers: the method's
    multiplier for new layers belongs to its own rate. A method without CLIP loses all settings that
    do not affect it, so that it is the same run in every table.
    """
    method = run.model.method
    if method in UNTRAINED:
        train = TrainConfig(epochs=1, warmup_epochs=0, val_fraction=run.train.val_fraction)
        run = replace(run, train=train, augment=AugmentConfig())
    if method == STILL_IMAGE:
        model = ModelConfig(method=method, num_frames=run.model.num_frames)
        precision = run.compute.precision if "precision" in typed else ComputeConfig.precision
        run = replace(run, model=model, compute=replace(run.compute, precision=precision))
    if method in NETWORKS:
        return _apply_network(run, typed)
    one_rate = "lr" in typed or run.preset in ONE_RATE
    rates = {"lr", "new_layers_lr"} if one_rate else set()
    return _change(run, METHOD_CHANGES.get(method, {}), {*typed, *rates})


def _apply_network(run: RunConfig, typed: Collection[str]) -> RunConfig:
    """Return a run with the settings of a system of Table 1.

    Its own recipe replaces that of the preset, except what a preset in `ONE_RATE` sets; what only
    concerns CLIP is reset.
    """
    method = run.model.method
    one_rate = run.preset in ONE_RATE
    of_preset: set[str] = set()
    if one_rate:
        of_preset = {name for values in CHANGES[run.preset].values() for name in values}
    if method in WITHOUT_CLIP:
        run = replace(run, model=replace(run.model, backbone=ModelConfig.backbone))
        run = _change(run, {"train": WITHOUT_BLOCKS}, ())
    if method in (*WITH_LOSSES, "ec-stfl"):
        run = _change(run, {"train": {"mixup": TrainConfig.mixup}}, typed)
    if method in OWN_LOSS:
        run = _change(run, {"train": {"label_smoothing": 0.0, "balance": "none"}}, typed)
    changes = METHOD_CHANGES[method]
    if one_rate:
        own = {n: v for n, v in changes["train"].items() if n in PARTS_OF_METHOD}
        changes = {**changes, "train": own}
    changes = {**changes, "train": _shorten_stage(changes["train"], run.train, typed)}
    run = _change(run, changes, {*typed, *of_preset})
    if not one_rate:
        return run
    if method in WITHOUT_CLIP:
        run = _change(run, SMALL_NETWORK, typed)
    small = _shorten_stage(SMALL_RECIPES.get(method, {}), run.train, typed)
    return _change(run, {"train": small}, typed)


def _shorten_stage(
    values: Mapping[str, Any], train: TrainConfig, typed: Collection[str]
) -> dict[str, Any]:
    """Return a method's recipe whose first stage takes at most half of the epochs."""
    if "stage1_epochs" not in values:
        return dict(values)
    typed_values = {name: getattr(train, name) for name in typed if hasattr(train, name)}
    requested = {"epochs": train.epochs, "warmup_epochs": train.warmup_epochs, **values}
    requested |= typed_values
    most = max(0, requested["epochs"] - requested["warmup_epochs"]) // 2
    return {**values, "stage1_epochs": min(values["stage1_epochs"], most)}


def _change(run: RunConfig, overrides: Overrides, typed: Collection[str]) -> RunConfig:
    for part, values in overrides.items():
        untyped = {name: value for name, value in values.items() if name not in typed}
        run = replace(run, **{part: replace(getattr(run, part), **untyped)})
    return run


def describe_recipe(run: RunConfig) -> str:
    """Return the name of a run's recipe, and the settings that its method or the user changed.

    Data, fold, seed, the way it is computed and the parts in the variant's name are not included.
    """
    if run.model.method in UNTRAINED:
        if run.model.method in WITHOUT_CLIP:
            return "nothing trained"
        return f"nothing trained, prompt_template {run.model.prompt_template!r}"
    plain, own, requested = _stages(run)
    of_method = {n: v for n, v in own.items() if v != plain[n] and v == requested[n]}
    changed = {name: value for name, value in requested.items() if value != own[name]}
    text = run.preset
    if of_method:
        text += f", of {run.model.method}: {_list_settings(of_method)}"
    text += f", changed: {_list_settings(changed)}" if changed else ""
    return text + (f", starting from {run.init.name}" if run.init is not None else "")


def recipe_options(run: RunConfig) -> list[str]:
    """Return the options of `dfer train` that give a run's recipe, such as `--preset small`."""
    _, own, requested = _stages(run)
    options = [] if run.preset == RunConfig.preset else ["--preset", run.preset]
    changed = {name for name, value in requested.items() if value != own[name]}
    if "lr" in changed:  # a typed rate replaces the method's factor, too
        changed.add("new_layers_lr")
    for name, value in requested.items():
        option = name.replace("_", "-")
        if name not in changed or isinstance(value, tuple | list):
            continue
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        else:
            options += [f"--{option}", str(value)]
    return options if run.init is None else [*options, "--init", run.init.where]


def _stages(run: RunConfig) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the recipe of a run's preset, that of its method in the preset, and its own."""
    of_preset = apply_preset(RunConfig(data=run.data, fold=run.fold, preset=run.preset))
    of_method = apply_method(
        replace(of_preset, model=replace(of_preset.model, method=run.model.method))
    )
    return _values(of_preset), _values(of_method), _values(run)


def _list_settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _values(run: RunConfig) -> dict[str, Any]:
    """Return the settings that make up a recipe."""
    values = to_dict(run.model) | to_dict(run.train) | to_dict(run.augment)
    left_out = {*VARIANT, "stop_epoch"}
    if run.model.method in WITHOUT_CLIP:
        left_out.add("backbone")
    return {name: value for name, value in values.items() if name not in left_out}
