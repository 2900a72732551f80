"""The epochs that protocols choose are those that a run tells of, wherever it was stopped."""

import errno
import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from run_outcomes import StoppedError, stop_at

from dfercli.errors import CheckpointError, DataError
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.runs.run_folder import RunFolder
from dfercli.training import loop, selection
from dfercli.training.loop import train_fold


def test_no_checkpoint_is_of_an_epoch_that_was_trained_again(make_run, tmp_path, monkeypatch):
    """A GPU does not repeat itself: what a killed run trains again comes out otherwise."""
    config = make_run(epochs=3, compute={"save_every": 1})
    seen, attempts = {}, 0
    score, seed_epoch, epoch = loop.score, loop.seed_epoch, 0

    def seed_and_note_epoch(seed, number, rank):
        nonlocal epoch
        epoch = number
        seed_epoch(seed + attempts, number, rank)

    def remember(predictions):
        seen[epoch + 1] = predictions["test"]
        war = np.random.default_rng([epoch, attempts]).random()
        return score(predictions) | {"war": war - attempts % 2}  # the second attempt is worse

    monkeypatch.setattr(loop, "score", remember)
    monkeypatch.setattr(loop, "seed_epoch", seed_and_note_epoch)
    chosen = set()
    for call in itertools.count():
        runs = tmp_path / str(call)
        attempts = 2 * call
        with monkeypatch.context() as patched:
            stop_at(patched, call)
            try:
                train_fold(config, runs)
                break
            except StoppedError:
                attempts += 1
        run = train_fold(config, runs)
        wars = [line["war"] for line in run.read_metrics()]
        best = wars.index(max(wars)) + 1
        chosen.add(best)
        for which, epoch in (("best", best), ("last", len(wars))):
            text = seen[epoch].to_csv(index=False, lineterminator="\n")
            assert run.predictions_file(which).read_text() == text
            model = load_checkpoint(str(run.checkpoint(which)))
            assert model.settings["trained"]["epoch"] == epoch
        assert not run.resume_folder.exists()
    assert chosen == {1, 2, 3}


@pytest.fixture
def stopped(make_run, tmp_path, monkeypatch):
    """A run that was killed as its last epoch was to take its place, and its configuration."""
    config = make_run(epochs=2, compute={"save_every": 1})

    def kill(run, finished):
        if finished == 2:
            raise StoppedError
        publish(run, finished)

    publish = selection.publish_epochs
    with monkeypatch.context() as patched:
        patched.setattr(selection, "publish_epochs", kill)
        with pytest.raises(StoppedError):
            train_fold(config, tmp_path)
    return config, RunFolder(tmp_path / "colours" / "full" / "fold1")


def test_what_stands_in_an_epochs_way_ends_no_run(stopped, tmp_path):
    config, run = stopped
    foreign = run.resume_folder / "epoch2-last" / "notes.txt"
    foreign.write_text("mine")
    for _ in range(2):
        with pytest.raises(DataError, match=r"epoch2-last holds notes\.txt, which dfer did not w"):
            train_fold(config, tmp_path)
        assert not run.finished
        assert foreign.read_text() == "mine"
    foreign.unlink()
    assert (
        load_checkpoint(str(train_fold(config, tmp_path).checkpoint("last"))).settings["trained"][
            "epoch"
        ]
        == 2
    )


def test_a_run_without_its_chosen_epoch_is_not_called_finished(stopped, tmp_path):
    config, run = stopped
    shutil.rmtree(run.resume_folder / "epoch2-last")
    with pytest.raises((CheckpointError, DataError), match="train"):
        train_fold(config, tmp_path)
    assert not run.finished


def test_a_run_that_cannot_be_ended_says_what_is_kept(stopped, tmp_path, monkeypatch):
    config, run = stopped

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(loop, "publish_epochs", fail)
        with pytest.raises(CheckpointError) as caught:
            train_fold(config, tmp_path)
    assert str(caught.value) == (
        f"cannot write a checkpoint into {run.path} (No space left on device); the 2 finished "
        f"epochs are kept, free some space and give the same command"
    )
    assert train_fold(config, tmp_path).finished


def test_an_epoch_that_waits_on_another_disk_takes_its_place(stopped, tmp_path, monkeypatch):
    config, run = stopped
    rename = {name: getattr(Path, name) for name in ("replace", "rename")}

    def refuse(name):
        def move(path, target):
            if "epoch2-" in str(path) and "epoch2-" not in str(target):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            return rename[name](path, target)

        return move

    for name in rename:
        monkeypatch.setattr(Path, name, refuse(name))
    assert train_fold(config, tmp_path).finished
    assert load_checkpoint(str(run.checkpoint("last"))).settings["trained"]["epoch"] == 2


def test_a_state_that_cannot_be_saved_leaves_no_epoch_that_waits(make_run, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(loop, "save_state", fail)
    with pytest.raises(CheckpointError, match="No space left on device"):
        train_fold(make_run(epochs=1, warmup_epochs=0), tmp_path)
    assert [*(tmp_path / "colours" / "full" / "fold1" / "resume").iterdir()] == []
