"""What an interrupted run goes on from: the state after its last finished epoch.

All that is random in an epoch follows from the seed and the epoch (and the process), so weights,
the optimizer and the rate are the whole state. It is written as a new folder whose renaming is
the moment from which the epoch counts; only then the state before it is removed.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file

from dfercli.engine.checkpoint import write_model
from dfercli.engine.runlog import RunFolder
from dfercli.engine.trainer import Trainer
from dfercli.errors import CheckpointError, ConfigError, DferError, UnexpectedError
from dfercli.files import replacing_files, write_json
from dfercli.models.base import WEIGHTS_FILE
from dfercli.system_errors import (
    advise,
    describe_system_error,
    find_system_error,
    first_line,
)

OPTIMIZER_FILE = "optimizer.pt"
METRICS_FILE = "metrics.json"


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
    with replacing_files(folder) as partial:
        write_model(trainer.model, partial)
        state = {
            "optimizer": trainer.optimizer.state_dict(),
            "scheduler": trainer.scheduler.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        with (partial / OPTIMIZER_FILE).open("wb") as stream:
            torch.save(state, stream)
        write_json(partial / METRICS_FILE, metrics)
    for path in run.resume_folder.iterdir():
        if path != folder:
            shutil.rmtree(path, ignore_errors=True)


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
    device = trainer.accelerator.device
    try:
        metrics: list[dict[str, Any]] = json.loads((folder / METRICS_FILE).read_text("utf-8"))
        state = torch.load(folder / OPTIMIZER_FILE, map_location=device, weights_only=True)
        trainer.model.load_state_dict(load_file(folder / WEIGHTS_FILE))
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.scheduler.load_state_dict(state["scheduler"])
        if trainer.accelerator.scaler is not None:
            trainer.accelerator.scaler.load_state_dict(state["scaler"])
    except torch.OutOfMemoryError as error:
        raise CheckpointError(
            f"not enough memory on {device} to go on from {folder}; free some and give the same "
            f"command"
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, SafetensorError) as error:
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


def find_state(run: RunFolder) -> Path | None:
    """Give the folder of the last finished epoch's state, if the run has one."""
    found = run.resume_folder.glob("epoch*") if run.run_file.is_file() else ()
    return max(found, key=lambda path: int(path.name.removeprefix("epoch")), default=None)


def drop_state(run: RunFolder) -> None:
    """Remove the state of a run that is finished."""
    shutil.rmtree(run.resume_folder, ignore_errors=True)


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
        with FileLock(run.lock_file, timeout=0):
            yield
    except Timeout as error:
        raise ConfigError(
            f"another dfer is training {run.path}; wait for it, or name another --runs folder"
        ) from error
