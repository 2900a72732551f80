"""Which epochs of a run are kept and reported: the protocols, each of which says what it is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from dfercli.data.folds import Part
from dfercli.engine.checkpoint import save_checkpoint
from dfercli.engine.curves import draw_curves
from dfercli.engine.predictions import name_classes, probs_of, write_predictions
from dfercli.engine.resume import drop_state, reporting_full_disk
from dfercli.engine.runlog import RunFolder
from dfercli.errors import CheckpointError
from dfercli.metrics import fit_temperature
from dfercli.models.base import ExpressionModel

Protocol = Literal["best", "val", "last"]
PROTOCOLS: dict[Protocol, str] = {
    "best": "the epoch of the highest WAR on the test fold, as the field publishes: it flatters",
    "val": "the epoch of the highest WAR on a part held out of the training folds",
    "last": "the last epoch, whatever it is worth",
}
"""Which epoch of a run is reported."""

CHOSEN_BY: dict[Protocol, str] = {"best": "war", "val": "val_war"}
"""Metric that an epoch is chosen by: its first highest value."""


def protocols_of(val_fraction: float) -> tuple[Protocol, ...]:
    """Give the protocols that a run with such a validation part has."""
    return tuple(name for name in PROTOCOLS if name != "val" or val_fraction > 0)


def chosen_now(metrics: Sequence[Mapping[str, Any]], last: bool) -> list[Protocol]:
    """Give the protocols that choose the newest epoch so far.

    Args:
        metrics: A line for each epoch.
        last: Whether the run ends with it.
    """
    *before, now = metrics
    found: list[Protocol] = [
        protocol
        for protocol, metric in CHOSEN_BY.items()
        if metric in now and now[metric] > max((line[metric] for line in before), default=-1.0)
    ]
    return [*found, "last"] if last else found


def keep_epoch(
    run: RunFolder,
    model: ExpressionModel,
    metrics: Sequence[Mapping[str, Any]],
    predictions: Mapping[Part, pd.DataFrame],
    save_state: Callable[[], None] | None,
) -> None:
    """Write what an epoch leaves: from then on it is finished, whatever happens next.

    Args:
        run: The run.
        model: As it is after the epoch.
        metrics: A line for each epoch, this one's at the end.
        predictions: Of the `test` fold and, where there is one, of the `val` part.
        save_state: Writes what the run goes on from; None if it ends with this epoch.

    Raises:
        CheckpointError: It cannot be written; the epoch before is kept.
    """
    if not run.run_file.is_file():
        raise CheckpointError(
            f"{run.path} was moved or removed while it was trained; put it back, and give the same "
            f"command: it goes on after epoch {len(metrics) - 1}"
        )
    with reporting_full_disk(run, len(metrics) - 1):
        for protocol in chosen_now(metrics, last=save_state is None):
            _keep(run, protocol, model, predictions)
        if save_state is not None:
            save_state()
        run.write_metrics(metrics)
    if save_state is None:
        draw_curves(metrics, run.read_config().title, run.curves_file)
        run.finish()
        drop_state(run)


def _keep(
    run: RunFolder, which: str, model: ExpressionModel, predictions: Mapping[Part, pd.DataFrame]
) -> None:
    held_out = predictions.get("val")
    if held_out is not None:
        labels, _ = name_classes(held_out)
        temperature = fit_temperature(probs_of(held_out), labels)
        model.settings["calibration"] = {"temperature": temperature, "clips": len(held_out)}
        write_predictions(held_out, run.validation_file(which))
    save_checkpoint(model, run.checkpoint(which))
    write_predictions(predictions["test"], run.predictions_file(which))
