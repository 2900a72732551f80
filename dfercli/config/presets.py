"""Named recipes: plain tables of changes against the defaults, and what a run changed in its own.

`paper` is the paper's recipe: all defaults. `small` fits a laptop: its backbone starts from random
weights and learns twelve clips in a minute on a CPU, and never shows how accurate the method is.
`strong` is made of ingredients of later work, each off by default. None of them was measured with
this method:

- ViT-B/16 and 16 frames: as in DK-CLIP. From DFER-CLIP (B/32) to DK-CLIP (B/16) DFEW gains 5.34
  UAR and 4.16 WAR, but the recipe was changed too. 16 frames are what most later work reads.
- Layer decay 0.75, mixup 0.8, label smoothing 0.1, drop path 0.1: the published scripts of MAE-DFER
  and HiCMAE. No ablation of a single one is known. On FERV39k S2D's published scripts switch mixup,
  smoothing and dropping off, so `strong` leaves these three out there.
- Prior re-balancing: on FERV39k UAR 41.6 to 43.4, WAR 51.1 to 50.7 in an audit by others (2026).
  It trades WAR for UAR by less than oversampling does: S2D's 2.69 UAR for 6.35 WAR.

The methods of Table 5 that ours is compared with have settings of their own, whatever the preset:
the rates of their papers and code, which take SGD where we take AdamW for all (our choice).
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from dfercli.config import (
    NAMED_PARTS,
    RANDOM_WEIGHTS,
    UNTRAINED,
    AugmentConfig,
    RunConfig,
    TrainConfig,
    to_dict,
)

VARIANT = ("method", *NAMED_PARTS)
"""Settings of the model that the name of its variant tells: no part of a recipe."""

Changes = Mapping[str, Mapping[str, Any]]
"""Values by part of a run (`model`, `train`, `augment`) and setting."""

CHANGES: dict[str, Changes] = {
    "paper": {},
    "small": {
        "model": {"backbone": "demo-ViT-tiny", "weights": RANDOM_WEIGHTS},
        "train": {
            "epochs": 20,
            "warmup_epochs": 2,
            "batch_size": 8,
            "lr": 3e-4,
            "min_lr": 3e-6,
        },
        # Strong changes of the pictures need longer training than this.
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
"""What a preset changes in the defaults, which are the paper's. `small` is all our choice."""

ONE_RATE = {"small"}
"""Presets whose rates all methods train with: theirs are for weights that CLIP has learnt."""

EXCEPTIONS: dict[tuple[str, str], Changes] = {
    ("strong", "ferv39k"): {"train": {"label_smoothing": 0.0, "mixup": 0.0, "drop_path": 0.0}},
}
"""What a preset changes otherwise for a kind of dataset."""

OF_DFER_CLIP: Changes = {"train": {"lr": 1e-5, "new_layers_lr": 100.0}}
"""1e-5 for the backbone and 1e-3 for the contexts, as in its code; which has 1e-2 for the temporal
model, with SGD."""

OF_METHOD: dict[str, Changes] = {
    "zero-shot": {"model": {"prompt_template": "a photo of a person with an expression of {}"}},
    "coop": {"train": {"lr": 2e-3}},
    "cocoop": {"train": {"lr": 2e-3}},
    "dfer-clip": OF_DFER_CLIP,
    "dfer-clip-no-tm": OF_DFER_CLIP,
}
"""What a method changes in every preset. The words of zero-shot's prompt are our choice."""


def apply_preset(run: RunConfig, typed: Collection[str] = ()) -> RunConfig:
    """Give a run the values of its preset, and those of its method.

    Args:
        run: With defaults, and with what was asked for.
        typed: Names of the settings that were asked for, and keep their values.
    """
    kind = run.data.kind or run.data.dataset
    for changes in (CHANGES[run.preset], EXCEPTIONS.get((run.preset, kind), {})):
        run = _change(run, changes, typed)
    return apply_method(run, typed)


def apply_method(run: RunConfig, typed: Collection[str] = ()) -> RunConfig:
    """Give a run the settings of its method alone.

    Where a rate is typed, or the preset has one for all methods, it is the rate of all parts: a
    method's factor belongs to its own rate.

    Args:
        run: With the values of its preset.
        typed: Names of the settings that were asked for, and keep their values.
    """
    if run.model.method in UNTRAINED:
        val_fraction = run.train.val_fraction
        nothing = TrainConfig(epochs=1, warmup_epochs=0, val_fraction=val_fraction)
        run = replace(run, train=nothing, augment=AugmentConfig())
    one_rate = "lr" in typed or run.preset in ONE_RATE
    rates = {"lr", "new_layers_lr"} if one_rate else set()
    return _change(run, OF_METHOD.get(run.model.method, {}), {*typed, *rates})


def _change(run: RunConfig, changes: Changes, typed: Collection[str]) -> RunConfig:
    for part, values in changes.items():
        wanted = {name: value for name, value in values.items() if name not in typed}
        run = replace(run, **{part: replace(getattr(run, part), **wanted)})
    return run


def describe_recipe(run: RunConfig) -> str:
    """Return the name of a run's recipe, and the settings that its method or the user changed.

    Data, fold, seed, the way it is computed and the parts in the variant's name are not included.
    """
    if run.model.method in UNTRAINED:
        return f"nothing trained, prompt_template {run.model.prompt_template!r}"
    plain, own, requested = _stages(run)
    of_method = {n: v for n, v in own.items() if v != plain[n] and v == requested[n]}
    changed = {name: value for name, value in requested.items() if value != own[name]}
    text = run.preset
    if of_method:
        text += f", of {run.model.method}: {_list(of_method)}"
    return text + (f", changed: {_list(changed)}" if changed else "")


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
    return options


def _stages(run: RunConfig) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the recipe of a run's preset, that of its method in the preset, and its own."""
    of_preset = apply_preset(RunConfig(data=run.data, fold=run.fold, preset=run.preset))
    of_method = apply_method(
        replace(of_preset, model=replace(of_preset.model, method=run.model.method))
    )
    return _values(of_preset), _values(of_method), _values(run)


def _list(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _values(run: RunConfig) -> dict[str, Any]:
    """Give the settings that make up a recipe."""
    values = to_dict(run.model) | to_dict(run.train) | to_dict(run.augment)
    return {name: value for name, value in values.items() if name not in (*VARIANT, "stop_epoch")}
