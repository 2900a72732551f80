"""Saving an epoch and reading it again: shared storages, and what failures say."""

import errno
import os

import pytest
import torch
from safetensors import SafetensorError

from dfercli.errors import CheckpointError, DataError, UnexpectedError
from dfercli.jobs.job import Job
from dfercli.jobs.run import attempt
from dfercli.runs.run_folder import RunFolder
from dfercli.training import loop
from dfercli.training.loop import train_fold
from dfercli.training.state import reporting_failed_save


class _StoppedError(BaseException):
    """Stops a run where no handler of errors sees it, as a kill does."""


@pytest.fixture
def config(make_run):
    """A run of two epochs."""
    return make_run(epochs=2)


def _raiser(error):
    def fail(*arguments, **named):
        raise error

    return fail


def _stop_after_one_epoch(monkeypatch, config, runs):
    seed_epoch = loop.seed_epoch

    def stop(seed, epoch, rank):
        if epoch == 1:
            raise _StoppedError
        seed_epoch(seed, epoch, rank)

    with monkeypatch.context() as patched, pytest.raises(_StoppedError):
        patched.setattr(loop, "seed_epoch", stop)
        train_fold(config, runs)
    return RunFolder(runs / "colours" / "full" / "fold1")


def test_a_run_whose_parameters_share_storages_is_resumed(
    config, results_of, tmp_path, monkeypatch
):
    """As on CUDA, where cuDNN makes an LSTM's parameters views of one buffer."""
    build_model = loop.build_model

    def build_flattened(*arguments):
        model = build_model(*arguments)
        for layer in model.interfit.layers:
            parameters = list(layer.lstm.parameters())
            buffer = torch.cat([parameter.detach().flatten() for parameter in parameters])
            views = buffer.split([parameter.numel() for parameter in parameters])
            for parameter, view in zip(parameters, views, strict=True):
                parameter.data = view.view_as(parameter)
        return model

    monkeypatch.setattr(loop, "build_model", build_flattened)
    undisturbed = results_of(train_fold(config, tmp_path / "undisturbed"))
    _stop_after_one_epoch(monkeypatch, config, tmp_path)
    resumed = train_fold(config, tmp_path)
    assert resumed.read().resumed[0].after_epoch == 1
    assert results_of(resumed) == undisturbed


def _system_error(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("fault", "reason", "advice"),
    [
        (_system_error(errno.ENOSPC), "No space left on device", "free some space"),
        (
            _system_error(errno.EDQUOT),
            "Disk quota exceeded",
            "free some space or raise the quota",
        ),
        (
            SafetensorError("I/O error: No space left on device (os error 28)"),
            "No space left on device",
            "free some space",
        ),
        (_system_error(errno.EACCES), "Permission denied", "check the permissions"),
        (
            _system_error(errno.EROFS),
            "Read-only file system",
            "mount the file system for writing, or choose another folder",
        ),
        (
            SafetensorError("I/O error: Input/output error (os error 5)"),
            "Input/output error",
            "check the disk, which fails to read or write",
        ),
    ],
)
def test_a_failed_save_tells_its_own_cause(fault, reason, advice, tmp_path):
    with pytest.raises(CheckpointError) as caught, reporting_failed_save(RunFolder(tmp_path), 2):
        raise fault
    assert str(caught.value) == (
        f"cannot write a checkpoint into {tmp_path} ({reason}); "
        f"the 2 finished epochs are kept, {advice} and give the same command"
    )


@pytest.mark.parametrize(
    "fault", [RuntimeError("shapes differ\nmore"), SafetensorError("no name"), KeyError("logits")]
)
def test_a_fault_that_is_not_the_systems_is_called_unexpected(fault, tmp_path):
    with pytest.raises(UnexpectedError) as caught, reporting_failed_save(RunFolder(tmp_path), 1):
        raise fault
    assert str(caught.value) == (
        f"unexpected {type(fault).__name__} while writing a checkpoint into {tmp_path}: "
        f"{str(fault).splitlines()[0]}; the finished epoch is kept; "
        f"`dfer --debug` shows where it arose"
    )
    assert caught.value.__cause__ is fault


def test_an_error_of_ours_keeps_its_words(tmp_path):
    with (
        pytest.raises(DataError, match=r"^as it is$"),
        reporting_failed_save(RunFolder(tmp_path), 1),
    ):
        raise DataError("as it is")


def test_several_runs_show_the_trace_of_an_unexpected_fault(config, tmp_path, monkeypatch):
    monkeypatch.setattr("dfercli.models.base.save_file", _raiser(RuntimeError("a fault")))
    failure = attempt(Job(config, tmp_path))
    assert failure.line == (
        f"unexpected RuntimeError while writing a checkpoint into {tmp_path}/colours/full/fold1: "
        f"a fault; `dfer --debug` shows where it arose"
    )
    assert ", in fail\n" in failure.trace


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied"),
            "cannot read {state} (Permission denied); check the permissions and give the same "
            "command",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
            "not enough memory on cpu to resume from {state}; free some and give the same command",
        ),
        (
            SafetensorError("Error while deserializing header"),
            "cannot resume from {state} (Error while deserializing header); remove it to train the "
            "fold from scratch",
        ),
    ],
)
def test_only_a_damaged_state_is_to_be_removed(fault, expected, config, tmp_path, monkeypatch):
    run = _stop_after_one_epoch(monkeypatch, config, tmp_path)
    monkeypatch.setattr("dfercli.training.state.load_file", _raiser(fault))
    with pytest.raises(CheckpointError) as caught:
        train_fold(config, tmp_path)
    assert str(caught.value) == expected.format(state=run.resume_folder / "epoch1")
