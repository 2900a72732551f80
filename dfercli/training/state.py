"""The state that an interrupted run resumes from: that after its last saved epoch.

All randomness of an epoch follows from the seed, the epoch and the process, so the weights, the
optimizer and the schedule are the whole state. It is written into a new folder; the epoch counts as
saved from the moment that folder is renamed, and only then is the previous state removed.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from accelerate.utils import set_seed
from filelock import Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file

from dfercli.errors import (
    CheckpointError,
    ConfigError,
    DferError,
    UnexpectedError,
    advise,
    describe_system_error,
    find_system_error,
    first_line,
)
from dfercli.files import hash_file, locking, replacing_files, write_json
from dfercli.models.settings import CONFIG_FILE, WEIGHTS_FILE
from dfercli.runs.checkpoint import write_sealed
from dfercli.runs.record import EpochMetrics
from dfercli.runs.run_folder import STATE, RunFolder
from dfercli.training.step import TrainingSetup

OPTIMIZER_FILE = "optimizer.pt"
METRICS_FILE = "metrics.json"
SEALS_FILE = "seals.json"
SEALED = (CONFIG_FILE, WEIGHTS_FILE, OPTIMIZER_FILE, METRICS_FILE)
"""Files of a state whose hashes it records."""

UNREADABLE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError),
    *(SafetensorError, UnpicklingError),
)
"""Exceptions that reading a damaged state raises: of files, JSON, torch's archives, odd entries."""

STATE_FOLDER = r"epoch[0-9]+|\.epoch[0-9]+\.partial"
"""Name of a state's folder; `.partial` if dfer was killed while writing it."""


def seed_epoch(seed: int, epoch: int, rank: int) -> None:
    """Seed all random generators for an epoch, counted from 0."""
    set_seed(int(np.random.default_rng([seed, epoch, rank]).integers(2**32)))


def save_state(run: RunFolder, setup: TrainingSetup, metrics: Sequence[EpochMetrics]) -> None:
    """Save the state after an epoch, and remove the previous one."""
    folder = run.resume_folder / f"epoch{len(metrics)}"
    scaler = setup.accelerator.scaler
    with replacing_files(folder, STATE) as partial:
        write_sealed(setup.model.state_dict(), setup.model.settings, partial)
        state = {
            "optimizer": setup.optimizer.state_dict(),
            "scheduler": setup.scheduler.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        if setup.average is not None:
            state["average"] = setup.average.state_dict()
        with (partial / OPTIMIZER_FILE).open("wb") as stream:
            torch.save(state, stream)
        write_json(partial / METRICS_FILE, metrics)
        write_json(partial / SEALS_FILE, {name: hash_file(partial / name) for name in SEALED})
    _drop_states(run, keep=folder)


def load_state(run: RunFolder, setup: TrainingSetup) -> list[EpochMetrics]:
    """Load the state of an interrupted run, and return the metrics of its finished epochs.

    Without a state nothing is changed, and there are no metrics.

    Raises:
        CheckpointError: The state cannot be read.
    """
    folder = find_state(run)
    if folder is None:
        return []
    try:
        _check_seals(folder)
        metrics: list[EpochMetrics] = json.loads((folder / METRICS_FILE).read_text("utf-8"))
        state = torch.load(folder / OPTIMIZER_FILE, map_location="cpu", weights_only=True)
        setup.model.load_state_dict(load_file(folder / WEIGHTS_FILE))
        setup.optimizer.load_state_dict(state["optimizer"])
        setup.scheduler.load_state_dict(state["scheduler"])
        if setup.accelerator.scaler is not None:
            setup.accelerator.scaler.load_state_dict(state["scaler"])
        if setup.average is not None:
            setup.average.load_state_dict(state["average"])
    except torch.OutOfMemoryError as error:
        raise CheckpointError(
            f"not enough memory on {setup.accelerator.device} to resume from {folder}; free some "
            f"memory and run the same command again"
        ) from error
    except UNREADABLE as error:
        cause = find_system_error(error)
        if cause is not None and not isinstance(cause, FileNotFoundError):
            raise CheckpointError(
                f"cannot read {folder} ({describe_system_error(cause)}); {advise(cause)} and run "
                f"the same command again"
            ) from error
        raise CheckpointError(
            f"cannot resume from {folder} ({first_line(error)}); remove it to train the fold from "
            f"scratch"
        ) from error
    return metrics


def _check_seals(folder: Path) -> None:
    """Refuse a state with a changed file; states of earlier versions have no seals."""
    if not (folder / SEALS_FILE).is_file():
        return
    for name, seal in json.loads((folder / SEALS_FILE).read_text("utf-8")).items():
        if name in SEALED and hash_file(folder / name) != seal:
            raise ValueError(f"{name} is damaged")


def find_state(run: RunFolder) -> Path | None:
    """Return the folder of the newest state of a run; None if it has no state."""
    folders = run.resume_folder.glob("epoch*") if run.run_file.is_file() else ()
    states = [path for path in folders if re.fullmatch("epoch[0-9]+", path.name) and path.is_dir()]
    return max(states, key=count_epochs, default=None)


def count_epochs(state: Path) -> int:
    """Return the number of epochs that a state includes."""
    return int(state.name.removeprefix("epoch"))


def drop_state(run: RunFolder) -> None:
    """Remove the state of a finished run."""
    _drop_states(run)
    with suppress(OSError):  # it does not exist, or holds other files
        run.resume_folder.rmdir()


def _drop_states(run: RunFolder, keep: Path | None = None) -> None:
    """Remove all states of a run but one, and what is left of half-written ones."""
    for path in run.resume_folder.glob("*epoch*"):
        if path != keep and re.fullmatch(STATE_FOLDER, path.name):
            STATE.drop(path)


@contextmanager
def reporting_failed_save(run: RunFolder, finished: int) -> Iterator[None]:
    """Turn any error while saving into one line: the cause, what is kept, what to do next.

    Raises:
        CheckpointError: The system cannot write, for lack of space or permission for example.
        UnexpectedError: Anything else went wrong.
    """
    try:
        yield
    except DferError:
        raise
    except Exception as error:
        epochs = "the finished epoch is" if finished == 1 else f"the {finished} finished epochs are"
        saved = [f"{epochs} kept"] if finished else []
        cause = find_system_error(error)
        if cause is not None:
            advice = ", ".join([*saved, advise(cause)])
            raise CheckpointError(
                f"cannot write a checkpoint into {run.path} ({describe_system_error(cause)}); "
                f"{advice} and run the same command again"
            ) from error
        advice = "; ".join([*saved, "`dfer --debug` shows the traceback"])
        raise UnexpectedError(
            f"unexpected {type(error).__name__} while writing a checkpoint into {run.path}: "
            f"{first_line(error)}; {advice}"
        ) from error


@contextmanager
def training_alone(run: RunFolder) -> Iterator[None]:
    """Return a context that locks a run, so that only one process trains it.

    Raises:
        ConfigError: Another process is training the run.
    """
    run.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locking(run.lock_file):
            yield
    except Timeout as error:
        raise ConfigError(
            f"another process is training {run.path}; wait until it ends, or use another --runs "
            f"folder"
        ) from error
