"""Which epochs of a run are kept: how each protocol chooses one, and how they reach the disk.

A process may be killed at any moment, and a GPU does not repeat an epoch bit for bit. So that no
checkpoint is of an epoch that will be trained again, a chosen epoch is first staged beside the
state to resume from, and replaces its predecessor only once the state that includes it is whole.
"""

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from torch import Tensor

from dfercli.config import ALL_DATA
from dfercli.data.folds import Part
from dfercli.errors import CheckpointError
from dfercli.files import check_place, move_file, move_files, replacing_files
from dfercli.models.base import ExpressionModel, read_settings
from dfercli.models.lora import merge_lora
from dfercli.runs.checkpoint import write_sealed
from dfercli.runs.curves import draw_curves
from dfercli.runs.predictions import fit_held_out, write_predictions
from dfercli.runs.record import EpochMetrics
from dfercli.runs.run_folder import CHECKPOINT, CHOSEN, Protocol, RunFolder
from dfercli.training.average import WeightAverage
from dfercli.training.state import drop_state, reporting_failed_save

Metric = Literal["war", "val_war"]
CHOSEN_BY: dict[Protocol, Metric] = {"best": "war", "val": "val_war"}
"""Metric whose highest value a protocol chooses; `rank_epoch` breaks ties."""

SAVE_SHARE = 0.05
"""Largest share of a run's time that saving may take (our choice): 3 GB per save would dominate
epochs of ten seconds."""

SaveState = Callable[[Sequence[EpochMetrics]], None]
"""Saves the state to resume from, given the metrics of all epochs so far."""

TEST_FILE, HELD_OUT_FILE = "predictions.csv", "validation.csv"
TABLE_FILES: dict[Part, str] = {"test": TEST_FILE, "val": HELD_OUT_FILE}

STAGED_FOLDER = re.compile(r"\.?epoch([0-9]+)-([a-z]+)(\.partial)?")
"""Name of a staged epoch's folder: the number of epochs that its state includes, and the protocol;
`.partial` if dfer was killed while writing it."""


def rank_epoch(line: EpochMetrics, metric: Metric) -> tuple[float, float, int]:
    """Return the rank of an epoch in its run by a metric; the highest is chosen.

    With few clips many epochs reach the same WAR, and the first of them has learnt the least. Ties
    go to the lower loss on the held-out clips if there are any, else to the later epoch (our
    choice).
    """
    return line[metric], -line.get("val_loss", math.inf), line["epoch"]


def chosen_now(metrics: Sequence[EpochMetrics], last: bool) -> list[Protocol]:
    """Return the protocols that choose the newest epoch; `last` if the run ends with it."""
    *earlier, newest = metrics
    protocols: list[Protocol] = [
        protocol
        for protocol, metric in CHOSEN_BY.items()
        if metric in newest
        and all(rank_epoch(newest, metric) > rank_epoch(line, metric) for line in earlier)
    ]
    return [*protocols, "last"] if last else protocols


def chosen_epochs(metrics: Sequence[EpochMetrics]) -> dict[str, int]:
    """Return the epoch of a finished run that each protocol chooses, counted from 1."""
    epochs: dict[str, int] = {
        protocol: max(metrics, key=partial(rank_epoch, metric=metric))["epoch"]
        for protocol, metric in CHOSEN_BY.items()
        if metric in metrics[0]
    }
    return {**epochs, "last": metrics[-1]["epoch"]}


@dataclass(frozen=True)
class ChosenEpoch:
    """Weights, settings with calibration, and predictions of an epoch that a protocol chooses."""

    weights: Mapping[str, Tensor]
    settings: Mapping[str, Any]
    predictions: Mapping[Part, pd.DataFrame]


@dataclass
class EpochKeeper:
    """Keeps the epochs that protocols choose, and saves seldom enough to cost little time.

    Epochs chosen between two saves wait in memory.

    Attributes:
        run: The run.
        model: The model being trained.
        save_state: Saves the state to resume from.
        save_every: Epochs from one save to the next; 0 saves as often as `SAVE_SHARE` allows.
        saved: Epochs that are on disk already.
        balance: The recipe's class balancing, which decides whether its probabilities can be
            calibrated.
        average: Moving average of the weights, which is kept in place of them, if any.
    """

    run: RunFolder
    model: ExpressionModel
    save_state: SaveState
    save_every: int = 0
    saved: int = 0
    balance: str = "none"
    average: WeightAverage | None = None
    _waiting: dict[str, ChosenEpoch] = field(default_factory=dict, init=False)
    _saved_at_s: float = field(default=-math.inf, init=False)
    _cost_s: float = field(default=0.0, init=False)

    def keep(
        self,
        metrics: Sequence[EpochMetrics],
        predictions: Mapping[Part, pd.DataFrame],
        last: bool,
    ) -> None:
        """Keep the newest epoch, and save if it is time to. Call `finish` after the last one.

        Raises:
            CheckpointError: It cannot be written; what was saved before is kept.
            UnexpectedError: Anything else went wrong while writing.
        """
        if not self.run.run_file.is_file():
            raise CheckpointError(
                f"{self.run.path} was moved or removed during training; restore it and run the "
                f"same command again to continue after epoch {self.saved}"
            )
        started_s = time.monotonic()
        due = last or self._is_due(len(metrics), started_s)
        for protocol in chosen_now(metrics, last):
            settings = add_calibration(self.model.settings, predictions, self.balance)
            if "trained" in settings:
                settings["trained"] = {**settings["trained"], "epoch": len(metrics)}
            weights = self._read_weights()
            if not due:
                weights = {name: w.detach().to("cpu", copy=True) for name, w in weights.items()}
            self._waiting[protocol] = ChosenEpoch(weights, settings, predictions)
        if due:
            with reporting_failed_save(self.run, self.saved):
                self._save(metrics)
            self.saved = len(metrics)
        with reporting_failed_save(self.run, self.saved):
            if due:
                publish_epochs(self.run, self.saved)
                self._waiting.clear()
            self.run.write_metrics(metrics)
        if due:
            self._saved_at_s = time.monotonic()
            self._cost_s = self._saved_at_s - started_s

    def _read_weights(self) -> dict[str, Tensor]:
        """Return the weights to keep, as those of an ordinary checkpoint."""
        averaged = self.average
        return merge_lora(self.model.state_dict() if averaged is None else averaged.model_weights())

    def _save(self, metrics: Sequence[EpochMetrics]) -> None:
        try:
            stage_epochs(self.run, self._waiting, len(metrics))
            self.save_state(metrics)
        except Exception:
            publish_epochs(self.run, self.saved)  # drops what was staged for the missing state
            raise

    def finish(self, metrics: Sequence[EpochMetrics]) -> None:
        """Finish the run; its last epoch may have been saved by an interrupted command.

        Raises:
            CheckpointError: A protocol's checkpoint is missing or of another epoch, or the run
                cannot be written.
        """
        check_published(self.run, chosen_epochs(metrics))
        with reporting_failed_save(self.run, self.saved):
            self.run.write_metrics(metrics)
            best = chosen_epochs(metrics).get("best")
            draw_curves(metrics, self.run.read().config.title, best, self.run.curves_file)
            self.run.finish()
        drop_state(self.run)

    def _is_due(self, epochs: int, now_s: float) -> bool:
        """Return whether to save now; the first epoch always is saved, to measure the cost."""
        if self.save_every:
            return epochs - self.saved >= self.save_every
        return now_s - self._saved_at_s >= self._cost_s * (1 / SAVE_SHARE - 1)


def add_calibration(
    settings: Mapping[str, Any], predictions: Mapping[Part, pd.DataFrame], balance: str
) -> dict[str, Any]:
    """Return a model's settings with the calibration of an epoch, if clips were held out."""
    held_out = predictions.get("val")
    if held_out is None:
        return dict(settings)
    fit = fit_held_out(held_out, balance)
    calibration: dict[str, Any] = {"clips": fit.clips}
    if fit.temperature is None:
        calibration["refused"] = fit.remark
    else:
        calibration["temperature"] = fit.temperature
    return {**settings, "calibration": calibration}


def stage_epochs(run: RunFolder, epochs: Mapping[str, ChosenEpoch], finished: int) -> None:
    """Write chosen epochs by protocol beside the state, which includes `finished` epochs."""
    for protocol, epoch in epochs.items():
        with replacing_files(run.resume_folder / f"epoch{finished}-{protocol}", CHOSEN) as partial:
            write_sealed(epoch.weights, epoch.settings, partial)
            for part, name in TABLE_FILES.items():
                if part in epoch.predictions:
                    write_predictions(epoch.predictions[part], partial / name)


def publish_epochs(run: RunFolder, finished: int) -> None:
    """Move the epochs staged for a state into place, and remove those staged for any other.

    May be interrupted and called again.

    Raises:
        DataError: A staged folder, or the place of one, holds something that dfer did not write.
    """
    for folder in sorted(run.resume_folder.glob("*epoch*-*")):
        name = STAGED_FOLDER.fullmatch(folder.name)
        if name is None:
            continue
        if int(name[1]) == finished and not name[3]:
            CHOSEN.check(folder)
            _publish(folder, run, protocol=name[2])
        CHOSEN.drop(folder)


def _publish(folder: Path, run: RunFolder, protocol: str) -> None:
    """Move the files of one epoch; an interrupted call may have moved some of them already."""
    tables = {
        TEST_FILE: run.predictions_file(protocol),
        HELD_OUT_FILE: run.validation_file(protocol),
    }
    check_place(run.checkpoint(protocol), CHECKPOINT)
    for name, place in tables.items():
        if (folder / name).is_file():
            move_file(folder / name, place)
    move_files(folder, run.checkpoint(protocol), CHECKPOINT)


def check_published(run: RunFolder, epochs: Mapping[str, int]) -> None:
    """Check that a run's checkpoints are of the epochs that its metrics choose.

    Raises:
        CheckpointError: A checkpoint or a table is missing, or of another epoch.
    """
    for protocol, epoch in epochs.items():
        settings = read_settings(str(run.checkpoint(protocol)))
        saved_epoch = (settings.get("trained") or {}).get("epoch", epoch)  # old runs lack it
        tested = run.fold == ALL_DATA or run.predictions_file(protocol).is_file()
        if saved_epoch != epoch or not tested:
            raise CheckpointError(
                f"{run.checkpoint(protocol)} and {run.predictions_file(protocol).name} are not "
                f"from epoch {epoch}, the {protocol} epoch; train the fold again with --overwrite"
            )
