"""Interrupted runs: whatever stops them, they resume and end as if nothing had happened."""

import errno
import os
import shutil
import sys

import pytest
import torch
from accelerate import Accelerator
from filelock import FileLock
from run_outcomes import STRONG, StoppedError, check_readable, outcome_of, stop_after, stop_at
from safetensors import SafetensorError

from dfercli.cli.options import note_processes
from dfercli.errors import CheckpointError, ConfigError, DataError, UnexpectedError
from dfercli.jobs.job import Job
from dfercli.jobs.run import attempt, train_folds
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.runs.run_folder import RunFolder
from dfercli.training import loop
from dfercli.training.loop import train_fold
from dfercli.training.state import count_epochs, find_state, reporting_failed_save


@pytest.fixture
def config(make_run):
    """A run of two epochs, with augmentation."""
    return make_run(epochs=2)


@pytest.fixture
def undisturbed(config, tmp_path_factory):
    return outcome_of(train_fold(config, tmp_path_factory.mktemp("undisturbed")).path)


@pytest.mark.slow
def test_a_run_ends_the_same_wherever_it_was_stopped(config, undisturbed, tmp_path, monkeypatch):
    call, stops = 0, 0
    while True:
        runs = tmp_path / str(call)
        with monkeypatch.context() as patched:
            stop_at(patched, call)
            try:
                train_fold(config, runs)
                break
            except StoppedError:
                stops += 1
        folder = runs / "colours" / "full" / "fold1"
        check_readable(folder)
        state = find_state(RunFolder(folder))
        done = [] if state is None else [count_epochs(state)]
        run = train_fold(config, runs)
        assert outcome_of(run.path) == undisturbed
        resumed = run.read().resumed
        assert [call.after_epoch for call in resumed] == done
        shutil.rmtree(runs)
        call += 1
    assert stops >= 10  # files and folders that got their names


@pytest.mark.slow
def test_a_finished_fold_and_finished_epochs_are_not_trained_again(config, tmp_path, monkeypatch):
    epochs = []
    seed_epoch = loop.seed_epoch

    def stop_in_second_epoch(seed, epoch, rank):
        epochs.append(epoch)
        if len(epochs) == 4:
            raise StoppedError
        seed_epoch(seed, epoch, rank)

    monkeypatch.setattr(loop, "seed_epoch", stop_in_second_epoch)
    with pytest.raises(StoppedError):
        train_folds(config, [1, 2], tmp_path)
    assert epochs == [0, 1, 0, 1]
    train_folds(config, [1, 2], tmp_path)
    assert epochs[4:] == [1]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("balance", ["prior", "oversample"])
def test_all_that_a_strong_recipe_draws_is_drawn_again(
    balance, workers, make_run, tmp_path, monkeypatch
):
    config = make_run(epochs=2, balance=balance, workers=workers, **STRONG)
    undisturbed = outcome_of(train_fold(config, tmp_path / "undisturbed").path)
    run = stop_after(1, monkeypatch, config, tmp_path)
    assert train_fold(config, tmp_path).read().resumed[0].after_epoch == 1
    assert outcome_of(run.path) == undisturbed


@pytest.mark.slow
def test_a_strong_recipe_is_the_same_however_many_workers_load(make_run, results_of, tmp_path):
    few, many = (
        train_fold(make_run(balance="prior", workers=workers, **STRONG), tmp_path / str(workers))
        for workers in (0, 2)
    )
    assert results_of(few) == results_of(many)


def test_other_settings_do_not_go_on(config, make_run, tmp_path, monkeypatch):
    run = stop_after(1, monkeypatch, config, tmp_path)
    with pytest.raises(ConfigError) as caught:
        train_fold(make_run(epochs=2, lr=0.5), tmp_path)
    assert str(caught.value) == (
        f"{run.path} contains a run with other settings (train.lr 0.001 -> 0.5); "
        "use another --runs folder, or --overwrite to replace it"
    )
    assert train_fold(make_run(epochs=2, lr=0.5), tmp_path, overwrite=True).finished
    assert run.read().resumed == ()


def test_a_damaged_state_is_named(config, tmp_path, monkeypatch):
    run = stop_after(1, monkeypatch, config, tmp_path)
    state = run.resume_folder / "epoch1"
    for name in ("optimizer.pt", "model.safetensors", "metrics.json"):
        content = (state / name).read_bytes()
        (state / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(CheckpointError) as caught:
            train_fold(config, tmp_path)
        assert str(caught.value).startswith(f"cannot resume from {state} (")
        assert str(caught.value).endswith("); remove it to train the fold from scratch")
        (state / name).write_bytes(content)
    assert train_fold(config, tmp_path).finished


def test_the_state_of_an_epoch_is_a_checkpoint_too(config, tmp_path, monkeypatch):
    run = stop_after(1, monkeypatch, config, tmp_path)
    assert [path.name for path in run.resume_folder.iterdir()] == ["epoch1"]
    assert load_checkpoint(str(run.resume_folder / "epoch1")).class_names


def test_two_processes_do_not_train_one_run(config, tmp_path):
    run = RunFolder(tmp_path / "colours" / "full" / "fold1")
    run.path.parent.mkdir(parents=True)
    with FileLock(run.lock_file), pytest.raises(ConfigError) as caught:
        train_fold(config, tmp_path)
    assert str(caught.value) == (
        f"another process is training {run.path}; wait until it ends, or use another --runs folder"
    )
    assert not run.path.exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("part", [0.1, 0.9])
def test_a_full_disk_is_one_line_and_keeps_the_epoch_before(
    part, config, undisturbed, tmp_path, monkeypatch
):
    import resource

    run = stop_after(1, monkeypatch, config, tmp_path)
    before = outcome_of(run.path)
    size = (run.resume_folder / "epoch1" / "model.safetensors").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size * part), limits[1]))
        with pytest.raises(CheckpointError) as caught:
            train_fold(config, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message = str(caught.value)
    assert message.startswith(f"cannot write a checkpoint into {run.path} (")
    assert "File too large" in message  # the limit's own name for it
    assert message.endswith(
        "); the finished epoch is kept, free some space or raise the limit on file sizes and run "
        "the same command again"
    )
    assert "\n" not in message
    after = outcome_of(run.path)
    assert {name: after[name] for name in before} == before
    assert outcome_of(train_fold(config, tmp_path).path) == undisturbed


@pytest.mark.slow
def test_a_run_that_was_half_removed_begins_anew(config, undisturbed, tmp_path, monkeypatch):
    run = stop_after(1, monkeypatch, config, tmp_path)
    run.run_file.unlink()  # as a process that was killed while it removed the folder
    assert outcome_of(train_fold(config, tmp_path).path) == undisturbed


def test_overwriting_leaves_no_moment_with_half_a_run(own_run, make_run, monkeypatch):
    before = outcome_of(own_run.path)

    def stop(*_):
        raise StoppedError

    monkeypatch.setattr(loop, "build_model", stop)
    monkeypatch.setattr("dfercli.files.shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(StoppedError):
        train_fold(make_run(), own_run.path.parents[2], overwrite=True)
    assert not own_run.path.exists()  # so that it does not pass for what was asked for
    assert outcome_of(own_run.path.with_name(".fold1.old")) == before


def _raiser(error):
    def fail(*arguments, **named):
        raise error

    return fail


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
    stop_after(1, monkeypatch, config, tmp_path)
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
def test_a_failed_save_reports_its_own_cause(fault, reason, advice, tmp_path):
    with pytest.raises(CheckpointError) as caught, reporting_failed_save(RunFolder(tmp_path), 2):
        raise fault
    assert str(caught.value) == (
        f"cannot write a checkpoint into {tmp_path} ({reason}); "
        f"the 2 finished epochs are kept, {advice} and run the same command again"
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
        f"`dfer --debug` shows the traceback"
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
        f"a fault; `dfer --debug` shows the traceback"
    )
    assert ", in fail\n" in failure.trace


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied"),
            "cannot read {state} (Permission denied); check the permissions and run the same "
            "command again",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
            "not enough memory on cpu to resume from {state}; free some memory and run the same "
            "command again",
        ),
        (
            SafetensorError("Error while deserializing header"),
            "cannot resume from {state} (Error while deserializing header); remove it to train the "
            "fold from scratch",
        ),
    ],
)
def test_only_a_damaged_state_is_to_be_removed(fault, expected, config, tmp_path, monkeypatch):
    run = stop_after(1, monkeypatch, config, tmp_path)
    monkeypatch.setattr("dfercli.training.state.load_file", _raiser(fault))
    with pytest.raises(CheckpointError) as caught:
        train_fold(config, tmp_path)
    assert str(caught.value) == expected.format(state=run.resume_folder / "epoch1")


def test_a_run_of_several_processes_on_cpus_is_resumed(config, tmp_path, monkeypatch):
    """Their states are of the device `cpu:0`."""
    whole = train_fold(config, tmp_path / "whole")
    monkeypatch.setattr(Accelerator, "device", property(lambda self: torch.device("cpu", 0)))
    stop_after(1, monkeypatch, config, tmp_path)
    run = train_fold(config, tmp_path)
    name = "last/model.safetensors"
    assert (run.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert RunFolder(run.path).read().processes == 1


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, ""),
        ({"WORLD_SIZE": "2"}, "training processes: 2\n"),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, "training processes: 1\n"),
    ],
)
def test_the_number_of_launched_processes_is_printed(environment, message, monkeypatch, capsys):
    for name in ("WORLD_SIZE", "ACCELERATE_MIXED_PRECISION", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    note_processes()
    assert capsys.readouterr().err == message
