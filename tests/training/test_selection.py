"""The epochs that are kept: by the test fold, by held-out clips, the last; when they are saved."""

import errno
import itertools
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from run_outcomes import StoppedError, stop_after, stop_at

from dfercli.data.folds import select_rows
from dfercli.data.manifest import read_manifest
from dfercli.errors import CheckpointError, DataError
from dfercli.evaluation.compare import calibrate
from dfercli.evaluation.results import read_results
from dfercli.metrics import calibration
from dfercli.metrics.calibration import fit_temperature
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.runs.predictions import name_classes, probs_of, read_predictions, read_tested
from dfercli.runs.run_folder import PROTOCOLS, RunFolder, protocols_of
from dfercli.training import loop, selection
from dfercli.training.loop import train_fold
from dfercli.training.selection import (
    SAVE_SHARE,
    EpochKeeper,
    chosen_epochs,
    chosen_now,
)

CLASSES = ["happiness", "sadness", "anger"]
FILES = [
    ".",
    *("best", "best/config.json", "best/model.safetensors"),
    "curves.png",
    *("last", "last/config.json", "last/model.safetensors"),
    "metrics.jsonl",
    *("predictions_best.csv", "predictions_last.csv", "predictions_val.csv"),
    "run.json",
    *("val", "val/config.json", "val/model.safetensors"),
    *("validation_best.csv", "validation_last.csv", "validation_val.csv"),
]


@pytest.fixture(scope="module")
def with_val(make_run, tmp_path_factory):
    """A finished run that held out a quarter of its training clips."""
    return train_fold(make_run(val_fraction=0.25), tmp_path_factory.mktemp("runs"))


def test_a_run_has_the_protocols_that_its_parts_allow():
    assert list(PROTOCOLS) == ["best", "val", "last"]
    assert protocols_of(0.0) == ("best", "last")
    assert protocols_of(0.2) == ("best", "val", "last")


@pytest.mark.parametrize(
    ("wars", "val_wars", "last", "chosen"),
    [
        ([0.5], None, False, ["best"]),
        ([0.0], None, False, ["best"]),  # however bad, the first is the best so far
        ([0.5, 0.5], None, False, ["best"]),  # the later one of equals has learnt more
        ([0.5, 0.6], [0.7, 0.6], False, ["best"]),
        ([0.5, 0.4], [0.6, 0.7], False, ["val"]),
        ([0.5, 0.4], [0.6, 0.7], True, ["val", "last"]),
        ([0.5, 0.4], None, True, ["last"]),
    ],
)
def test_the_newest_epoch_is_kept_where_it_is_chosen(wars, val_wars, last, chosen):
    metrics = [{"epoch": epoch, "war": war} for epoch, war in enumerate(wars, start=1)]
    for line, war in zip(metrics, val_wars or [], strict=False):
        line["val_war"] = war
    assert chosen_now(metrics, last) == chosen


@pytest.mark.parametrize(
    ("wars", "val_losses", "best", "val"),
    [
        ([0.5, 0.5, 0.5], None, 3, None),
        ([0.5, 0.7, 0.7, 0.6], None, 3, None),
        ([0.5, 0.5, 0.5], [0.9, 0.2, 0.4], 2, 2),
        ([0.5, 0.6, 0.5], [0.9, 0.4, 0.2], 2, 3),
        ([0.5, 0.5, 0.4], [0.3, 0.3, 0.1], 2, 3),  # equal in everything: the later one
    ],
)
def test_ties_go_to_the_lower_held_out_loss_else_to_the_later_epoch(wars, val_losses, best, val):
    metrics = [{"epoch": epoch, "war": war} for epoch, war in enumerate(wars, start=1)]
    for line, loss in zip(metrics, val_losses or [], strict=False):
        line |= {"val_war": 0.5, "val_loss": loss}
    expected = {"best": best, "last": len(wars)} | ({"val": val} if val else {})
    assert chosen_epochs(metrics) == expected
    published = {}  # what a run leaves if each epoch replaces the one that it beats
    for epoch in range(1, len(wars) + 1):
        published |= dict.fromkeys(chosen_now(metrics[:epoch], epoch == len(wars)), epoch)
    assert published == expected


def test_a_run_with_a_validation_part_leaves_these_files(with_val):
    files = sorted(str(path.relative_to(with_val.path)) for path in with_val.path.rglob("*"))
    assert [".", *files] == sorted(FILES)
    assert with_val.path.parent.name == "full-val25"


def test_clips_that_were_held_out_are_not_trained_on_and_not_tested(with_val, colours):
    config, manifest = with_val.read().config, read_manifest(colours)
    held_out = read_predictions(with_val.validation_file("last"))
    assert list(held_out["clip_id"]) == list(select_rows(manifest, "val", config)["clip_id"])
    assert held_out["label"].value_counts().to_dict() == dict.fromkeys(CLASSES, 1)
    tested = read_tested(with_val, "val")
    assert not set(held_out["clip_id"]) & set(tested["clip_id"])
    assert len(tested) == 6


def test_the_epoch_is_chosen_by_the_held_out_clips_alone(make_run, tmp_path, monkeypatch):
    # On the test fold the first epoch is best, on the held-out clips the second.
    rights = {"test": iter([3, 1, 2]), "val": iter([0, 2, 1])}

    def predict(model, loaders, accelerator, class_names):
        tables = {}
        for part in ("test", "val"):
            right = next(rights[part])
            probs = np.roll(np.eye(3), 1, axis=0)
            probs[:right] = np.eye(3)[:right]
            table = pd.DataFrame({"clip_id": ["a", "b", "c"], "label": CLASSES})
            tables[part] = table.join(pd.DataFrame(probs, columns=CLASSES))
        return tables

    monkeypatch.setattr(loop, "predict_parts", predict)
    run = train_fold(make_run(val_fraction=0.25), tmp_path)
    tables = {name: read_predictions(run.predictions_file(name)) for name in PROTOCOLS}
    rights_found = {
        name: int((np.equal(*name_classes(table))).sum()) for name, table in tables.items()
    }
    assert rights_found == {"best": 3, "val": 1, "last": 2}
    assert [line["val_war"] for line in run.read_metrics()] == pytest.approx([0, 2 / 3, 1 / 3])


def test_three_held_out_clips_calibrate_no_checkpoint(with_val):
    for name in PROTOCOLS:
        table = read_predictions(with_val.validation_file(name))
        labels, predicted = name_classes(table)
        fitted = load_checkpoint(str(with_val.checkpoint(name))).settings["calibration"]
        assert fitted == {
            "clips": 3,
            "refused": f"not calibrated: 3 held-out clips, {(labels != predicted).sum()} of them "
            "wrong; a temperature needs 100, 20 of them wrong: raise --val-fraction or add clips",
        }


def test_each_checkpoint_has_the_temperature_of_its_held_out_clips(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "LEAST_CLIPS", 3)
    monkeypatch.setattr(calibration, "LEAST_ERRORS", 0)
    run = train_fold(make_run(val_fraction=0.25), tmp_path)
    for name in PROTOCOLS:
        table = read_predictions(run.validation_file(name))
        labels, _ = name_classes(table)
        expected = fit_temperature(probs_of(table), labels, calibration.PRIOR_SD)
        fitted = load_checkpoint(str(run.checkpoint(name))).settings["calibration"]
        assert fitted == {"temperature": pytest.approx(expected), "clips": 3}


@pytest.mark.parametrize("balance", ["prior", "oversample"])
def test_a_training_that_balanced_the_classes_calibrates_nothing(
    balance, make_run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(calibration, "LEAST_CLIPS", 3)
    monkeypatch.setattr(calibration, "LEAST_ERRORS", 0)
    run = train_fold(make_run(val_fraction=0.25, balance=balance), tmp_path)
    reason = f"not calibrated: with --balance {balance} the probabilities are those of equally "
    settings = load_checkpoint(str(run.checkpoint("last"))).settings
    assert settings["calibration"]["refused"].startswith(reason)
    assert "temperature" not in settings["calibration"]
    results = read_results(tmp_path)
    assert calibrate(results, "last").remarks[0].startswith(reason)
    assert capsys.readouterr().err.count(f"colours full-val25 fold 1: {reason}") == 1


def test_a_run_reports_once_that_it_is_not_calibrated(make_run, tmp_path, capsys):
    train_fold(make_run(val_fraction=0.25), tmp_path)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "calibrated" in line]
    assert "colours full-val25 fold 1: not calibrated: 3 held-out clips, " in line


def test_results_have_the_third_protocol(with_val):
    results = read_results(with_val.path.parents[2])
    assert list(results.predictions) == list(results.held_out) == ["best", "val", "last"]
    assert results.provenance["held out to choose an epoch"] == "25.0% of the training clips"


def test_without_a_validation_part_nothing_is_held_out(trained):
    assert read_results(trained.path.parents[2]).held_out == {}
    assert "calibration" not in load_checkpoint(str(trained.path)).settings


def test_an_interrupted_run_chooses_the_same_epochs(with_val, make_run, tmp_path, monkeypatch):
    train_epoch, calls = loop.train_epoch, []

    def stop_in_the_third(*arguments):
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train_epoch(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "train_epoch", stop_in_the_third)
        with pytest.raises(KeyboardInterrupt):
            train_fold(make_run(val_fraction=0.25), tmp_path)
    run = train_fold(make_run(val_fraction=0.25), tmp_path)
    for name in FILES:
        if name.endswith((".csv", ".safetensors", "config.json")):
            assert (run.path / name).read_bytes() == (with_val.path / name).read_bytes(), name


KEPT = (
    "predictions_best.csv",
    "predictions_val.csv",
    "predictions_last.csv",
    "best/model.safetensors",
    "best/config.json",
    "val/model.safetensors",
    "val/config.json",
    "last/model.safetensors",
)

FIVE_EPOCHS = {"epochs": 5, "val_fraction": 0.25}


@pytest.fixture
def keep_epochs(monkeypatch, tmp_path, make_model):
    """Keep epochs of `epoch_s` seconds, where a save takes `save_s`; returns the saved epochs."""

    def keep(epoch_s, save_s, epochs=40, **settings):
        now, saved = [100.0], []
        clock = SimpleNamespace(monotonic=lambda: now[0])
        monkeypatch.setattr(selection, "time", clock)
        for name in ("stage_epochs", "publish_epochs"):
            monkeypatch.setattr(selection, name, lambda *_: None)

        def save(metrics):
            now[0] += save_s
            saved.append(len(metrics))

        run = SimpleNamespace(
            path=tmp_path,
            run_file=SimpleNamespace(is_file=lambda: True),
            write_metrics=lambda _: None,
        )
        keeper, metrics = EpochKeeper(run, make_model(), save, **settings), []
        for epoch in range(epochs):
            now[0] += epoch_s
            metrics.append({"epoch": epoch + 1, "war": 0.5})
            keeper.keep(metrics, {}, last=epoch + 1 == epochs)
        return saved, len(saved) * save_s / (now[0] - 100)

    return keep


@pytest.mark.parametrize(
    ("epoch_s", "save_s", "saved"),
    [
        (10, 3, [1, 7, 13, 19, 25, 31, 37, 40]),  # of DFEW, on a GPU: every sixth, and the last
        (10, 0.5, list(range(1, 41))),  # just cheap enough for each
        (10, 0.53, [*range(1, 41, 2), 40]),
        (600, 3, list(range(1, 41))),  # on a CPU
        (1, 40, [1, 40]),
    ],
)
def test_saving_takes_a_twentieth_of_the_time_at_most(epoch_s, save_s, saved, keep_epochs):
    epochs, share = keep_epochs(epoch_s, save_s)
    assert epochs == saved
    first_and_last = 2 * save_s / (40 * epoch_s)  # the first shows what one costs
    assert share <= SAVE_SHARE + first_and_last


def test_how_often_to_save_can_be_set(keep_epochs):
    assert keep_epochs(1, 40, epochs=9, save_every=1)[0] == list(range(1, 10))
    assert keep_epochs(1000, 0, epochs=9, save_every=4)[0] == [4, 8, 9]
    assert keep_epochs(1000, 0, epochs=9, save_every=4, saved=3)[0] == [7, 9]


@pytest.fixture(scope="module")
def whole(make_run, tmp_path_factory):
    """A run that was saved after each of its five epochs."""
    return train_fold(make_run(**FIVE_EPOCHS), tmp_path_factory.mktemp("whole"))


@pytest.mark.slow
@pytest.mark.parametrize("stop", [2, 4])
def test_wherever_a_run_stops_between_two_saves_it_ends_the_same(
    stop, whole, make_run, tmp_path, monkeypatch
):
    seldom = make_run(compute={"save_every": 3}, **FIVE_EPOCHS)
    stop_after(stop, monkeypatch, seldom, tmp_path / "stopped")
    run = train_fold(seldom, tmp_path / "stopped")
    for name in KEPT:
        assert (run.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    resumed = [call.after_epoch for call in run.read().resumed]
    assert resumed == ([3] if stop >= 3 else [])


@pytest.mark.slow
def test_what_waits_is_the_epoch_that_was_chosen_not_the_one_that_is_saved(
    make_run, tmp_path, monkeypatch
):
    """The best epoch comes before the one at which the run is saved."""
    monkeypatch.setattr(loop, "score", lambda _: {"war": next(wars), "uar": 0.5})
    saved = {}
    for save_every in (1, 100):
        wars = iter([0.9, 0.2])
        config = make_run(epochs=2, compute={"save_every": save_every})
        run = train_fold(config, tmp_path / str(save_every))
        weights = {name: run.checkpoint(name) / "model.safetensors" for name in ("best", "last")}
        saved[save_every] = {name: path.read_bytes() for name, path in weights.items()}
    assert saved[1] == saved[100]
    assert saved[1]["best"] != saved[1]["last"]


def test_how_often_a_run_was_saved_makes_no_other_run(trained, make_run):
    other = make_run(compute={"save_every": 7, "steps": "compiled"})
    run = train_fold(other, trained.path.parents[2])
    assert run.read().config == make_run()  # it was finished, and stays as it is


@pytest.mark.slow
def test_no_checkpoint_is_of_an_epoch_that_was_trained_again(make_run, tmp_path, monkeypatch):
    """A GPU is not deterministic: an epoch that is trained again has other results."""
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
    """A run that was killed before its last epoch was published, and its configuration."""
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


@pytest.mark.slow
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
        f"epochs are kept, free some space and run the same command again"
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
