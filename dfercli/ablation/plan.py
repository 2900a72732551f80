"""The runs of a table's rows, checked before anything is trained."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from dfercli.ablation.row import Row
from dfercli.config import NETWORKS, WITHOUT_CLIP, ModelConfig, RunConfig
from dfercli.data.sampling import find_sampler
from dfercli.errors import ConfigError, DferError
from dfercli.models.base import assemble
from dfercli.models.networks.weights import TRAINED_WEIGHTS, check_trunk
from dfercli.models.pretrained import find_image_size
from dfercli.runs.provenance import name_weights
from dfercli.training.recipe import check_recipe


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
    for name in sorted(typed):
        if not any(row.affected_by(name) for row in rows if row.can_be_trained):
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option} has no effect on any row of this table; remove it")
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
    find_sampler(run.model)
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
    for name, error in errors.items():
        reasons.setdefault(error.line, []).append(name)
    listed = "; ".join(f"{', '.join(found)} ({reason})" for reason, found in reasons.items())
    others = ",".join(name for name in names if name not in errors)
    advice = f", or train the others with --models {others}" if others else ""
    return (
        f"{len(errors)} of {len(names)} rows cannot be trained with these settings: {listed}; "
        f"change the settings{advice}"
    )


def list_unaffected(rows: Sequence[Row], typed: Collection[str]) -> list[str]:
    """Return a note for each setting of the user that does not affect all rows."""
    notes = []
    trained = [row for row in rows if row.can_be_trained]
    for name in sorted(typed):
        affected = [row.name for row in trained if row.affected_by(name)]
        others = [row.name for row in trained if not row.affected_by(name)]
        option = f"--{name.replace('_', '-')}"
        if others and len(affected) < len(others):
            notes.append(f"{option} affects only {', '.join(affected)}")
        elif others:
            notes.append(f"{option} does not affect {', '.join(others)}")
    return notes


def describe_reading(run: RunConfig) -> dict[str, Any]:
    """Return what a run's model reads, what it starts from, and for how long it is trained."""
    model: ModelConfig = run.model
    without_clip = model.method in WITHOUT_CLIP
    return {
        "num_frames": model.num_frames,
        "image_size": model.image_size if without_clip else find_image_size(model.backbone),
        "sampling": model.sampling,
        "weights": name_weights(model.weights),
        "epochs": run.train.last_epoch,
    }
