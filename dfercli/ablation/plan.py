"""The runs of a table's rows, checked before anything is trained."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch

from dfercli.ablation.row import Row
from dfercli.ablation.table1 import CHANGED
from dfercli.config import NETWORKS, WITHOUT_CLIP, ModelConfig, RunConfig, to_dict
from dfercli.config.model import OF_NETWORKS
from dfercli.config.presets import describe_recipe
from dfercli.errors import ConfigError, DferError
from dfercli.models.base import assemble
from dfercli.models.networks.weights import TRAINED_WEIGHTS, check_trunk
from dfercli.models.pretrained import find_image_size
from dfercli.runs.provenance import name_weights
from dfercli.text import as_option
from dfercli.training.recipe import check_recipe, find_unused


def plan_rows(
    rows: Sequence[Row],
    base: RunConfig,
    class_names: Sequence[str],
    typed: Collection[str] = (),
    reads: Mapping[str, Any] | None = None,
    with_weights: bool = False,
) -> list[RunConfig | None]:
    """Return the run of each row; None for systems that cannot be built.

    Args:
        rows: Rows of a table.
        base: The run of the full model.
        class_names: The K classes.
        typed: Settings of the user.
        reads: Values of those that say what networks read, see `Row.plan`.
        with_weights: Whether to check also the initial weights.

    Raises:
        ConfigError: A setting affects no row, or rows cannot have the settings; all are listed.
    """
    unaffecting = [_find_unaffecting(row, base, typed, reads) for row in rows if row.can_be_trained]
    for name in sorted(typed):
        if all(name in settings for settings in unaffecting):
            option = as_option(name)
            reasons = {settings[name] for settings in unaffecting} - {""}
            why = f" with {reasons.pop()}" if len(reasons) == 1 else ""
            raise ConfigError(f"{option} has no effect on any row of this table{why}; remove it")
    runs: list[RunConfig | None] = []
    errors: dict[str, DferError] = {}
    for row in rows:
        run = None
        if row.can_be_trained:
            try:
                run = row.plan(base, typed, reads)
                _check_run(run, class_names, with_weights)
            except DferError as error:
                if row.system is None:
                    raise
                errors[row.system.name] = error
        runs.append(run)
    if errors:
        raise ConfigError(_list_errors(rows, errors))
    return runs


def _check_run(run: RunConfig, class_names: Sequence[str], with_weights: bool) -> None:
    check_recipe(run)
    if run.model.method in NETWORKS and run.model.method in WITHOUT_CLIP:
        with torch.device("meta"):
            assemble(run.model, class_names, None)
        if with_weights:
            check_trunk(run.model)
    elif with_weights and run.model.weights in TRAINED_WEIGHTS:
        raise ConfigError(f"{run.model.weights} are not weights of CLIP")


def _list_errors(rows: Sequence[Row], errors: Mapping[str, DferError]) -> str:
    """Return why rows cannot be trained, and how to train the others, in one line."""
    names = [row.system.name for row in rows if row.system is not None and row.can_be_trained]
    if len(names) == 1:
        return next(iter(errors.values())).line
    reasons: dict[str, list[str]] = {}
    for name, error in errors.items():  # rows with one reason are listed together
        reasons.setdefault(error.line.removeprefix(f"{name} "), []).append(name)
    listed = "; ".join(f"{', '.join(found)} ({reason})" for reason, found in reasons.items())
    others = ",".join(name for name in names if name not in errors)
    advice = f", or train the others with --models {others}" if others else ""
    return (
        f"{len(errors)} of {len(names)} rows cannot be trained with these settings: {listed}; "
        f"change the settings{advice}"
    )


def _find_unaffecting(
    row: Row, base: RunConfig, typed: Collection[str], reads: Mapping[str, Any] | None
) -> dict[str, str]:
    """Return the settings of the user that do not affect a row, with the option that is why."""
    unaffecting = {name: "" for name in typed if not row.affected_by(name)}
    with suppress(DferError):  # reported with the row
        unused = find_unused(row.plan(base, typed, reads))
        unaffecting |= {name: reason for name, reason in unused.items() if name in typed}
    return unaffecting


def list_unaffected(
    rows: Sequence[Row],
    base: RunConfig,
    typed: Collection[str],
    reads: Mapping[str, Any] | None = None,
) -> list[str]:
    """Return a note for each setting of the user that does not affect all rows.

    The arguments are those of `plan_rows`.
    """
    notes = []
    trained = [row for row in rows if row.can_be_trained]
    unaffecting = {row.name: _find_unaffecting(row, base, typed, reads) for row in trained}
    for name in sorted(typed):
        affected = [row.name for row in trained if name not in unaffecting[row.name]]
        others = [row.name for row in trained if name in unaffecting[row.name]]
        option = as_option(name)
        if others and len(affected) < len(others):
            notes.append(f"{option} affects only {', '.join(affected)}")
        elif others:
            notes.append(f"{option} does not affect {', '.join(others)}")
    return notes


def has_own_size(row: Row, run: RunConfig) -> bool:
    """Return whether a row's model is as large, and reads as much, as that of its paper."""
    return _size(run.model) == _size(_plan_own(row, run).model)


def _has_own_recipe(row: Row, run: RunConfig) -> bool:
    own = _plan_own(row, run)
    chosen = ("sampling", "pixels", "weights")
    same_model = all(getattr(run.model, name) == getattr(own.model, name) for name in chosen)
    ignored = {"val_fraction", *find_unused(run)}
    recipes = [
        {name: value for name, value in to_dict(part).items() if name not in ignored}
        for part in (run.train, own.train, run.augment, own.augment)
    ]
    return same_model and recipes[::2] == recipes[1::2]


def _plan_own(row: Row, run: RunConfig) -> RunConfig:
    """Return the row's run with all settings of its paper."""
    return row.plan(RunConfig(data=run.data, fold=run.fold))


def _size(model: ModelConfig) -> list[Any]:
    settings = [getattr(model, name) for name in ("num_frames", *OF_NETWORKS)]
    return [model.backbone.removesuffix("-quickgelu"), *settings]


def describe_reading(row: Row, run: RunConfig) -> dict[str, Any]:
    """Return what a row's model reads, what it starts from, and how it is trained.

    `network` and `recipe` say how far they are those of the paper, or that the user changed them.
    """
    model, system = run.model, row.system
    without_clip = model.method in WITHOUT_CLIP
    own_network, own_recipe = (system.network, system.recipe) if system else ("", "")
    return {
        "network": own_network + ("" if has_own_size(row, run) else CHANGED),
        "recipe": own_recipe + ("" if _has_own_recipe(row, run) else CHANGED),
        "num_frames": model.num_frames,
        "image_size": model.image_size if without_clip else find_image_size(model.backbone),
        "sampling": model.sampling,
        "weights": name_weights(model.weights),
        "epochs": run.train.last_epoch,
        "preset": run.preset,
        "settings": describe_recipe(run),
    }
