"""What an interrupted run goes on from: the state after its last finished epoch.

All that is random in an epoch follows from the seed and the epoch (and the process), so weights,
the optimizer and the rate are the whole state. It is written as a new folder whose renaming is
the moment from which the epoch counts; only then the state before it is removed.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from filelock import Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file

from dfercli.errors import CheckpointError, ConfigError, DferError, UnexpectedError
from dfercli.files import hash_file, locking, replacing_files, write_json
from dfercli.models.settings import CONFIG_FILE, WEIGHTS_FILE
from dfercli.runs.checkpoint import write_sealed
from dfercli.runs.run_folder import STATE, RunFolder
from dfercli.system_errors import advise, describe_system_error, find_system_error, first_line
from dfercli.training.trainer import Trainer

OPTIMIZER_FILE = "optimizer.pt"
METRICS_FILE = "metrics.json"
SEALS_FILE = "seals.json"
SEALED = (CONFIG_FILE, WEIGHTS_FILE, OPTIMIZER_FILE, METRICS_FILE)
"""Files of a state of which it keeps the hash."""

UNREADABLE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError),
    *(SafetensorError, UnpicklingError),
)
"""What reading a damaged state raises: files, JSON, torch's archives, entries of other kinds."""

STATE_FOLDER = r"epoch[0-9]+|\.epoch[0-9]+\.partial"
"""Names of the folders of states, and of those that were being written when dfer was killed."""


def seed_epoch(seed: int, epoch: int, rank: int) -> None:
    """Set all generators for an epoch, counted from 0, whatever was drawn before it."""
    set_seed(int(np.random.default_rng([seed, epoch, rank]).integers(2**32)))


def save_state(run: RunFolder, trainer: Trainer, metrics: Sequence[Mapping[str, Any]]) -> None:
    """Write the state after an epoch; from then on the run goes on from there.

    Args:
        run: The run.
        trainer: Its weights, optimizer and rate.
        metrics: A line for each finished epoch.

    Raises:
        CheckpointError: It cannot be written; the state before it is still there.
    """
    folder = run.resume_folder / f"epoch{len(metrics)}"
    scaler = trainer.accelerator.scaler
    with replacing_files(folder, STATE) as partial:
        write_sealed(trainer.model.state_dict(), trainer.model.settings, partial)
        state = {
            "optimizer": trainer.optimizer.state_dict(),
            "scheduler": trainer.scheduler.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        with (partial / OPTIMIZER_FILE).open("wb") as stream:
            torch.save(state, stream)
        write_json(partial / METRICS_FILE, metrics)
        write_json(partial / SEALS_FILE, {name: hash_file(partial / name) for name in SEALED})
    _drop_states(run, but=folder)


def load_state(run: RunFolder, trainer: Trainer) -> list[dict[str, Any]]:
    """Bring a trainer to where an interrupted run was.

    Args:
        run: The run.
        trainer: Of the same configuration; changed in place.

    Returns:
        The metrics, a line for each finished epoch; none if there is no state.

    Raises:
        CheckpointError: The state cannot be read.
    """
    folder = find_state(run)
    if folder is None:
        return []
    try:
        _check_seals(folder)
        metrics: list[dict[str, Any]] = json.loads((folder / METRICS_FILE).read_text("utf-8"))
        state = torch.load(folder / OPTIMIZER_FILE, map_location="cpu", weights_only=True)
        trainer.model.load_state_dict(load_file(folder / WEIGHTS_FILE))
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.scheduler.load_state_dict(state["scheduler"])
        if trainer.accelerator.scaler is not None:
            trainer.accelerator.scaler.load_state_dict(state["scaler"])
    except torch.OutOfMemoryError as error:
        raise CheckpointError(
            f"not enough memory on {trainer.accelerator.device} to go on from {folder}; free some "
            f"and give the same command"
        ) from error
    except UNREADABLE as error:
        cause = find_system_error(error)
        if cause is not None and not isinstance(cause, FileNotFoundError):
            raise CheckpointError(
                f"cannot read {folder} ({describe_system_error(cause)}); {advise(cause)} and give "
                f"the same command"
            ) from error
        raise CheckpointError(
            f"cannot go on from {folder} ({first_line(error)}); remove it to begin the fold anew"
        ) from error
    return metrics


def _check_seals(folder: Path) -> None:
    """Refuse a state of which a file is not as it was written; earlier versions sealed none."""
    if not (folder / SEALS_FILE).is_file():
        return
    for name, seal in json.loads((folder / SEALS_FILE).read_text("utf-8")).items():
        if name in SEALED and hash_file(folder / name) != seal:
            raise ValueError(f"{name} is damaged")


def find_state(run: RunFolder) -> Path | None:
    """Give the folder of the last finished epoch's state, if the run has one."""
    found = run.resume_folder.glob("epoch*") if run.run_file.is_file() else ()
    ours = [path for path in found if re.fullmatch("epoch[0-9]+", path.name) and path.is_dir()]
    return max(ours, key=count_epochs, default=None)


def count_epochs(state: Path) -> int:
    """Return how many epochs were finished when a state was saved."""
    return int(state.name.removeprefix("epoch"))


def drop_state(run: RunFolder) -> None:
    """Remove the state of a run that is finished."""
    _drop_states(run)
    with suppress(OSError):  # there is none, or somebody keeps something in it
        run.resume_folder.rmdir()


def _drop_states(run: RunFolder, but: Path | None = None) -> None:
    """Remove the states in a run's folder, and what is left of them, but for one."""
    for path in run.resume_folder.glob("*epoch*"):
        if path != but and re.fullmatch(STATE_FOLDER, path.name):
            STATE.drop(path)


@contextmanager
def reporting_failed_save(run: RunFolder, finished: int) -> Iterator[None]:
    """Turn any error while an epoch is saved into one line: its cause, what is kept, what to do.

    Args:
        run: The run.
        finished: Epochs that are safe.

    Raises:
        CheckpointError: The system cannot write it, such as for want of space or permission.
        UnexpectedError: Anything else went wrong.
    """
    try:
        yield
    except DferError:
        raise
    except Exception as error:
        where = f"the {finished} finished epochs are" if finished != 1 else "the finished epoch is"
        kept = f"{where} kept" if finished else ""
        cause = find_system_error(error)
        if cause is not None:
            raise CheckpointError(
                f"cannot write a checkpoint into {run.path} ({describe_system_error(cause)}); "
                f"{kept and f'{kept}, '}{advise(cause)} and give the same command"
            ) from error
        raise UnexpectedError(
            f"unexpected {type(error).__name__} while writing a checkpoint into {run.path}: "
            f"{first_line(error)}; {kept and f'{kept}; '}`dfer --debug` shows where it arose"
        ) from error


@contextmanager
def training_alone(run: RunFolder) -> Iterator[None]:
    """Keep a second process from training the same run at the same time.

    Raises:
        ConfigError: Another one does.
    """
    run.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locking(run.lock_file):
            yield
    except Timeout as error:
        raise ConfigError(
            f"another dfer is training {run.path}; wait for it, or name another --runs folder"
        ) from error
