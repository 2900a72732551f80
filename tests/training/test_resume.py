"""Interrupted runs: whatever stops them, they go on and end as if nothing had."""

import shutil
import sys

import pytest
from filelock import FileLock
from run_outcomes import STRONG, StoppedError, check_readable, outcome_of, stop_at

from dfercli.errors import CheckpointError, ConfigError
from dfercli.jobs.run import train_folds
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.runs.run_folder import RunFolder
from dfercli.training import loop
from dfercli.training.loop import train_fold
from dfercli.training.state import count_epochs, find_state


@pytest.fixture
def config(make_run):
    """A run of two epochs, with augmentation."""
    return make_run(epochs=2)


@pytest.fixture
def undisturbed(config, tmp_path_factory):
    return outcome_of(train_fold(config, tmp_path_factory.mktemp("undisturbed")).path)


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
        assert [each["after_epoch"] for each in resumed] == done
        shutil.rmtree(runs)
        call += 1
    assert stops >= 10  # files and folders that got their names


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


def _stop_after(monkeypatch, config, runs, epochs):
    """Leave a run with so many finished epochs."""
    seed_epoch = loop.seed_epoch
    with monkeypatch.context() as patched:

        def stop(seed, epoch, rank):
            if epoch == epochs:
                raise StoppedError
            seed_epoch(seed, epoch, rank)

        patched.setattr(loop, "seed_epoch", stop)
        with pytest.raises(StoppedError):
            train_fold(config, runs)
    return RunFolder(runs / "colours" / "full" / "fold1")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("balance", ["prior", "oversample"])
def test_all_that_a_strong_recipe_draws_is_drawn_again(
    balance, workers, make_run, tmp_path, monkeypatch
):
    config = make_run(epochs=2, balance=balance, workers=workers, **STRONG)
    undisturbed = outcome_of(train_fold(config, tmp_path / "undisturbed").path)
    run = _stop_after(monkeypatch, config, tmp_path, 1)
    assert train_fold(config, tmp_path).read().resumed[0].after_epoch == 1
    assert outcome_of(run.path) == undisturbed


def test_a_strong_recipe_is_the_same_however_many_workers_load(make_run, results_of, tmp_path):
    few, many = (
        train_fold(make_run(balance="prior", workers=workers, **STRONG), tmp_path / str(workers))
        for workers in (0, 2)
    )
    assert results_of(few) == results_of(many)


def test_other_settings_do_not_go_on(config, make_run, tmp_path, monkeypatch):
    run = _stop_after(monkeypatch, config, tmp_path, 1)
    with pytest.raises(ConfigError) as caught:
        train_fold(make_run(epochs=2, lr=0.5), tmp_path)
    assert str(caught.value) == (
        f"{run.path} holds a run with other settings (train.lr 0.001 -> 0.5); "
        "name another --runs folder, or give --overwrite"
    )
    assert train_fold(make_run(epochs=2, lr=0.5), tmp_path, overwrite=True).finished
    assert run.read().resumed == ()


def test_a_damaged_state_is_named(config, tmp_path, monkeypatch):
    run = _stop_after(monkeypatch, config, tmp_path, 1)
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
    run = _stop_after(monkeypatch, config, tmp_path, 1)
    assert [path.name for path in run.resume_folder.iterdir()] == ["epoch1"]
    assert load_checkpoint(str(run.resume_folder / "epoch1")).class_names


def test_two_processes_do_not_train_one_run(config, tmp_path):
    run = RunFolder(tmp_path / "colours" / "full" / "fold1")
    run.path.parent.mkdir(parents=True)
    with FileLock(run.lock_file), pytest.raises(ConfigError) as caught:
        train_fold(config, tmp_path)
    assert str(caught.value) == (
        f"another dfer is training {run.path}; wait for it, or name another --runs folder"
    )
    assert not run.path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("part", [0.1, 0.9])
def test_a_full_disk_is_one_line_and_keeps_the_epoch_before(
    part, config, undisturbed, tmp_path, monkeypatch
):
    import resource

    run = _stop_after(monkeypatch, config, tmp_path, 1)
    before = outcome_of(run.path)
    size = (run.resume_folder / "epoch1" / "model.safetensors").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size * part), limits[1]))
        with pytest.raises(CheckpointError) as caught:
            train_fold(config, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = str(caught.value)
    assert said.startswith(f"cannot write a checkpoint into {run.path} (")
    assert "File too large" in said  # the limit's own name for it
    assert said.endswith(
        "); the finished epoch is kept, free some space or raise the limit on file sizes and give "
        "the same command"
    )
    assert "\n" not in said
    after = outcome_of(run.path)
    assert {name: after[name] for name in before} == before
    assert outcome_of(train_fold(config, tmp_path).path) == undisturbed


def test_a_run_that_was_half_removed_begins_anew(config, undisturbed, tmp_path, monkeypatch):
    run = _stop_after(monkeypatch, config, tmp_path, 1)
    run.run_file.unlink()  # as a process that was killed while it removed the folder
    assert outcome_of(train_fold(config, tmp_path).path) == undisturbed


def test_overwriting_leaves_no_moment_with_half_a_run(own_run, make_run, monkeypatch):
    before = outcome_of(own_run.path)

    def stop(*_):
        raise StoppedError

    monkeypatch.setattr(loop, "build_model", stop)
    monkeypatch.setattr("dfercli.owned.shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(StoppedError):
        train_fold(make_run(), own_run.path.parents[2], overwrite=True)
    assert not own_run.path.exists()  # so that it does not pass for what was asked for
    assert outcome_of(own_run.path.with_name(".fold1.old")) == before
