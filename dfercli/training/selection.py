"""Which epochs of a run are kept and reported."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from dfercli.data.folds import Part
from dfercli.errors import CheckpointError
from dfercli.metrics import TemperatureFit, fit_calibration
from dfercli.models.base import ExpressionModel
from dfercli.runs.curves import draw_curves
from dfercli.runs.predictions import name_classes, probs_of
from dfercli.runs.run_folder import PROTOCOLS, Protocol, RunFolder
from dfercli.training.chosen_epochs import (
    ChosenEpoch,
    check_published,
    publish_epochs,
    stage_epochs,
)
from dfercli.training.state import drop_state, reporting_failed_save

CHOSEN_BY: dict[Protocol, str] = {"best": "war", "val": "val_war"}
"""Metric that an epoch is chosen by: its highest value; `rank_epoch` decides ties."""

SAVE_SHARE = 0.05
"""Most of a run's time that saving may take: an epoch of ten seconds leaves 3 GB (our choice)."""

SaveState = Callable[[Sequence[Mapping[str, Any]]], None]
"""Writes what a run goes on from, given the metrics of all epochs so far."""


def protocols_of(val_fraction: float) -> tuple[Protocol, ...]:
    """Give the protocols that a run with such a validation part has."""
    return tuple(name for name in PROTOCOLS if name != "val" or val_fraction > 0)


def rank_epoch(line: Mapping[str, Any], metric: str) -> tuple[float, float, int]:
    """Return the rank of an epoch among those of its run; the highest is chosen.

    On few clips many epochs reach the same WAR, and the first of them has hardly learnt anything.
    Ties go to the lower loss on the held-out clips where there are any, else to the later epoch
    (our choice).

    Args:
        line: The epoch's line of the metrics.
        metric: What epochs are compared by, such as `war`.
    """
    return line[metric], -line.get("val_loss", math.inf), line["epoch"]


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
        if metric in now
        and all(rank_epoch(now, metric) > rank_epoch(line, metric) for line in before)
    ]
    return [*found, "last"] if last else found


def chosen_epochs(metrics: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the epoch that each protocol chooses, counted from 1.

    Args:
        metrics: One line per epoch of a finished run.
    """
    found: dict[str, int] = {
        protocol: max(metrics, key=partial(rank_epoch, metric=metric))["epoch"]
        for protocol, metric in CHOSEN_BY.items()
        if metric in metrics[0]
    }
    return {**found, "last": metrics[-1]["epoch"]}


class EpochKeeper:
    """Writes what epochs leave, so seldom that it costs little of the time.

    The epochs that protocols choose between two saves wait in memory. They are written beside the
    state that the run goes on from, and take their places once that is whole: no checkpoint is of
    an epoch that a killed run trains again.

    Args:
        run: The run.
        model: What is trained.
        save_state: Writes what the run goes on from, given the metrics of all epochs so far.
        every: Epochs from one save to the next; 0 saves as often as it costs at most `SAVE_SHARE`.
        safe: Epochs that are on the disk already.
        balance: Of the training, which decides whether its probabilities can be calibrated.
    """

    def __init__(
        self,
        run: RunFolder,
        model: ExpressionModel,
        save_state: SaveState,
        every: int = 0,
        safe: int = 0,
        balance: str = "none",
    ) -> None:
        self._run = run
        self._model = model
        self._save_state = save_state
        self._every = every
        self._safe = safe
        self._balance = balance
        self._waiting: dict[str, ChosenEpoch] = {}
        self._saved_at_s = -math.inf
        self._cost_s = 0.0

    def keep(
        self,
        metrics: Sequence[Mapping[str, Any]],
        predictions: Mapping[Part, pd.DataFrame],
        last: bool,
    ) -> None:
        """Keep the newest epoch; after the last, `finish` is to be called.

        Args:
            metrics: One line per epoch, this one's at the end.
            predictions: Of the `test` fold and, where there is one, of the `val` part.
            last: Whether the run ends with it.

        Raises:
            CheckpointError: It cannot be written; what was saved before is kept.
            UnexpectedError: Anything else went wrong meanwhile.
        """
        if not self._run.run_file.is_file():
            raise CheckpointError(
                f"{self._run.path} was moved or removed while it was trained; put it back and give "
                f"the same command: it goes on after epoch {self._safe}"
            )
        started_s = time.monotonic()
        due = last or self._is_due(len(metrics), started_s)
        for protocol in chosen_now(metrics, last):
            settings = calibrate(self._model.settings, predictions, self._balance)
            if "trained" in settings:
                settings["trained"] = {**settings["trained"], "epoch": len(metrics)}
            weights = self._model.state_dict()
            if not due:
                weights = {name: w.detach().to("cpu", copy=True) for name, w in weights.items()}
            self._waiting[protocol] = ChosenEpoch(weights, settings, predictions)
        if due:
            with reporting_failed_save(self._run, self._safe):
                self._save(metrics)
            self._safe = len(metrics)
        with reporting_failed_save(self._run, self._safe):
            if due:
                publish_epochs(self._run, self._safe)
                self._waiting.clear()
            self._run.write_metrics(metrics)
        if due:
            self._saved_at_s = time.monotonic()
            self._cost_s = self._saved_at_s - started_s

    def _save(self, metrics: Sequence[Mapping[str, Any]]) -> None:
        try:
            stage_epochs(self._run, self._waiting, len(metrics))
            self._save_state(metrics)
        except Exception:
            publish_epochs(self._run, self._safe)  # drops what waits for a state that is not there
            raise

    def finish(self, metrics: Sequence[Mapping[str, Any]]) -> None:
        """End the run after its last epoch, also where an interrupted call has saved that.

        Args:
            metrics: One line per epoch.

        Raises:
            CheckpointError: A protocol's checkpoint is missing or of another epoch, or the run
                cannot be written.
        """
        check_published(self._run, chosen_epochs(metrics))
        with reporting_failed_save(self._run, self._safe):
            self._run.write_metrics(metrics)
            best = chosen_epochs(metrics).get("best")
            draw_curves(metrics, self._run.read().config.title, best, self._run.curves_file)
            self._run.finish()
        drop_state(self._run)

    def _is_due(self, epochs: int, now_s: float) -> bool:
        """Return whether to save now; the first epoch always is, which shows what it costs."""
        if self._every:
            return epochs - self._safe >= self._every
        return now_s - self._saved_at_s >= self._cost_s * (1 / SAVE_SHARE - 1)


def calibrate(
    settings: Mapping[str, Any], predictions: Mapping[Part, pd.DataFrame], balance: str
) -> dict[str, Any]:
    """Return a model's settings with the calibration of an epoch, if clips were held out."""
    held_out = predictions.get("val")
    if held_out is None:
        return dict(settings)
    found = fit_held_out(held_out, balance)
    calibration: dict[str, Any] = {"clips": found.clips}
    if found.temperature is None:
        calibration["refused"] = found.remark
    else:
        calibration["temperature"] = found.temperature
    return {**settings, "calibration": calibration}


def fit_held_out(held_out: pd.DataFrame, balance: str) -> TemperatureFit:
    """Fit a temperature to predictions of held-out clips, or say why none is fitted.

    Args:
        held_out: Table of predictions.
        balance: Of the training.
    """
    labels, _ = name_classes(held_out)
    return fit_calibration(probs_of(held_out), labels, balance)
