"""Interrupted runs: whatever stops them, they go on and end as if nothing had."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from dfercli.config import to_dict
from dfercli.engine import train
from dfercli.engine.checkpoint import load_checkpoint
from dfercli.engine.jobs import train_folds
from dfercli.engine.runlog import RunFolder
from dfercli.engine.train import train_fold
from dfercli.errors import CheckpointError, ConfigError

NUM_KILLS = int(os.environ.get("DFER_TEST_KILLS", "2"))

TRAIN = """
import json, sys
from pathlib import Path
import open_clip
from dfercli.config import RunConfig, from_dict
from dfercli.engine.jobs import train_folds
open_clip.add_model_config(sys.argv[1])
train_folds(from_dict(RunConfig, json.loads(sys.argv[2])), [1, 2], Path(sys.argv[3]))
"""


class _StoppedError(BaseException):
    """Stops a run where no handler of errors sees it, as a kill does."""


@pytest.fixture
def config(make_run):
    """A run of two epochs, with augmentation."""
    return make_run(epochs=2)


@pytest.fixture
def undisturbed(config, tmp_path_factory):
    return _outcome(train_fold(config, tmp_path_factory.mktemp("undisturbed")).path)


def _outcome(folder):
    """Every byte that a run leaves, without how long it took and that it was interrupted."""
    outcome = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            outcome[name] = [line | {"seconds": 0} for line in lines]
        elif name == "run.json":
            entries = json.loads(path.read_text())
            outcome[name] = {**entries, "resumed": None, "command": None, "commit": None}
        elif path.is_file():
            outcome[name] = path.read_bytes()
    return outcome


def _stop_at(monkeypatch, call):
    """Stop at the n-th time that a file or folder gets its name."""
    calls = iter(range(call))

    def stopping(function):
        def replace(path, target):
            if next(calls, None) is None:
                raise _StoppedError
            return function(path, target)

        return replace

    for name in ("replace", "rename"):
        monkeypatch.setattr(Path, name, stopping(getattr(Path, name)))


def _check_readable(folder):
    """Open all that a user may open, at whatever moment."""
    run = RunFolder(folder)
    if run.run_file.exists():
        run.read_config()
    if run.metrics_file.exists():
        run.read_metrics()
    for path in folder.rglob("model.safetensors"):
        if ".partial" not in path.parent.name:
            load_checkpoint(str(path.parent))


def test_a_run_ends_the_same_wherever_it_was_stopped(config, undisturbed, tmp_path, monkeypatch):
    call, stops = 0, 0
    while True:
        runs = tmp_path / str(call)
        with monkeypatch.context() as patched:
            _stop_at(patched, call)
            try:
                train_fold(config, runs)
                break
            except _StoppedError:
                stops += 1
        folder = runs / "colours" / "full" / "fold1"
        _check_readable(folder)
        before = RunFolder(folder).resume_folder
        done = [int(path.name.removeprefix("epoch")) for path in before.glob("epoch*")]
        run = train_fold(config, runs)
        assert _outcome(run.path) == undisturbed
        resumed = run.read().get("resumed", [])
        assert [each["after_epoch"] for each in resumed] == [max(done)] if done else not resumed
        shutil.rmtree(runs)
        call += 1
    assert stops >= 10  # files and folders that got their names


def test_a_finished_fold_and_finished_epochs_are_not_trained_again(config, tmp_path, monkeypatch):
    epochs = []
    seed_epoch = train.seed_epoch

    def stop_in_second_epoch(seed, epoch, rank):
        epochs.append(epoch)
        if len(epochs) == 4:
            raise _StoppedError
        seed_epoch(seed, epoch, rank)

    monkeypatch.setattr(train, "seed_epoch", stop_in_second_epoch)
    with pytest.raises(_StoppedError):
        train_folds(config, [1, 2], tmp_path)
    assert epochs == [0, 1, 0, 1]
    train_folds(config, [1, 2], tmp_path)
    assert epochs[4:] == [1]


def _stop_after(monkeypatch, config, runs, epochs):
    """Leave a run with so many finished epochs."""
    seed_epoch = train.seed_epoch
    with monkeypatch.context() as patched:

        def stop(seed, epoch, rank):
            if epoch == epochs:
                raise _StoppedError
            seed_epoch(seed, epoch, rank)

        patched.setattr(train, "seed_epoch", stop)
        with pytest.raises(_StoppedError):
            train_fold(config, runs)
    return RunFolder(runs / "colours" / "full" / "fold1")


@pytest.mark.parametrize("balance", ["prior", "oversample"])
def test_all_that_a_strong_recipe_draws_is_drawn_again(balance, make_run, tmp_path, monkeypatch):
    settings = {"layer_decay": 0.75, "label_smoothing": 0.1, "mixup": 0.8, "drop_path": 0.5}
    config = make_run(epochs=2, balance=balance, **settings)
    undisturbed = _outcome(train_fold(config, tmp_path / "undisturbed").path)
    run = _stop_after(monkeypatch, config, tmp_path, 1)
    assert train_fold(config, tmp_path).read()["resumed"][0]["after_epoch"] == 1
    assert _outcome(run.path) == undisturbed


def test_other_settings_do_not_go_on(config, make_run, tmp_path, monkeypatch):
    run = _stop_after(monkeypatch, config, tmp_path, 1)
    with pytest.raises(ConfigError) as caught:
        train_fold(make_run(epochs=2, lr=0.5), tmp_path)
    assert str(caught.value) == (
        f"{run.path} holds a run with other settings (train.lr 0.001 -> 0.5); "
        "name another --runs folder, or give --overwrite"
    )
    assert train_fold(make_run(epochs=2, lr=0.5), tmp_path, overwrite=True).finished
    assert "resumed" not in run.read()


def test_a_damaged_state_is_named(config, tmp_path, monkeypatch):
    run = _stop_after(monkeypatch, config, tmp_path, 1)
    state = run.resume_folder / "epoch1"
    for name in ("optimizer.pt", "model.safetensors", "metrics.json"):
        content = (state / name).read_bytes()
        (state / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(CheckpointError) as caught:
            train_fold(config, tmp_path)
        assert str(caught.value).startswith(f"cannot go on from {state} (")
        assert str(caught.value).endswith("); remove it to begin the fold anew")
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
    before = _outcome(run.path)
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
    assert said.endswith("); the finished epoch is kept, free some space and give the same command")
    assert "\n" not in said
    after = _outcome(run.path)
    assert {name: after[name] for name in before} == before
    assert _outcome(train_fold(config, tmp_path).path) == undisturbed


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_process_leaves_what_the_next_goes_on_from(make_run, tiny_name, tmp_path):
    config = make_run(epochs=2 + 2 * NUM_KILLS, workers=1)
    expected = train_folds(config, [1, 2], tmp_path / "undisturbed")
    backbone = tmp_path / f"{tiny_name}.json"
    import open_clip

    backbone.write_text(json.dumps(open_clip.get_model_config(tiny_name)))
    arguments = [str(backbone), json.dumps(to_dict(config)), str(tmp_path / "killed")]
    command = [sys.executable, "-c", TRAIN, *arguments]
    folders = [tmp_path / "killed" / "colours" / "full" / f"fold{fold}" for fold in (1, 2)]
    rng = random.Random(0)
    for _ in range(NUM_KILLS):
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        _wait_for_work(process, tmp_path / "killed")
        time.sleep(rng.uniform(0.0, 0.6))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for folder in folders:
            if folder.exists():
                _check_readable(folder)
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    for folder, run in zip(folders, expected.values(), strict=True):
        assert _outcome(folder) == _outcome(run.path)
        weights = load_checkpoint(str(folder / "last")).state_dict()
        for name, tensor in load_checkpoint(str(run.path / "last")).state_dict().items():
            assert torch.equal(tensor, weights[name]), name


def _wait_for_work(process, runs):
    """Wait until a process that has just started changes something in the folder of runs."""

    def newest():
        try:
            return max((path.stat().st_mtime_ns for path in runs.rglob("*.json*")), default=0)
        except OSError:  # it changed while we looked
            return None

    before = newest()
    while newest() == before and process.poll() is None:
        time.sleep(0.01)


def test_a_run_that_was_half_removed_begins_anew(config, undisturbed, tmp_path, monkeypatch):
    run = _stop_after(monkeypatch, config, tmp_path, 1)
    run.run_file.unlink()  # as a process that was killed while it removed the folder
    assert _outcome(train_fold(config, tmp_path).path) == undisturbed


def test_overwriting_leaves_no_moment_with_half_a_run(own_run, make_run, monkeypatch):
    before = _outcome(own_run.path)

    def stop(*_):
        raise _StoppedError

    monkeypatch.setattr(train, "build_model", stop)
    monkeypatch.setattr("dfercli.owned.shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(_StoppedError):
        train_fold(make_run(), own_run.path.parents[2], overwrite=True)
    assert not own_run.path.exists()  # so that it does not pass for what was asked for
    assert _outcome(own_run.path.with_name(".fold1.old")) == before
