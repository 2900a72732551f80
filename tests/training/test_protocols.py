"""The epochs that are kept: by the test fold, by clips that were held out, and the last."""

import numpy as np
import pandas as pd
import pytest

from dfercli.data.folds import select_rows
from dfercli.data.manifest import read_manifest
from dfercli.evaluation.compare import calibrate
from dfercli.evaluation.results import read_results
from dfercli.metrics import calibration, fit_temperature
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.runs.predictions import name_classes, probs_of, read_predictions, read_tested
from dfercli.runs.run_folder import PROTOCOLS, protocols_of
from dfercli.training import loop
from dfercli.training.loop import train_fold
from dfercli.training.selection import chosen_epochs, chosen_now

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
    kept = {}  # what a run leaves if each epoch takes the place of the one that it beats
    for epoch in range(1, len(wars) + 1):
        kept |= dict.fromkeys(chosen_now(metrics[:epoch], epoch == len(wars)), epoch)
    assert kept == expected


def test_a_run_with_a_validation_part_leaves_these_files(with_val):
    found = sorted(str(path.relative_to(with_val.path)) for path in with_val.path.rglob("*"))
    assert [".", *found] == sorted(FILES)
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
        found = load_checkpoint(str(with_val.checkpoint(name))).settings["calibration"]
        assert found == {
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
        found = load_checkpoint(str(run.checkpoint(name))).settings["calibration"]
        assert found == {"temperature": pytest.approx(expected), "clips": 3}


@pytest.mark.parametrize("balance", ["prior", "oversample"])
def test_a_training_that_balanced_the_classes_calibrates_nothing(
    balance, make_run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(calibration, "LEAST_CLIPS", 3)
    monkeypatch.setattr(calibration, "LEAST_ERRORS", 0)
    run = train_fold(make_run(val_fraction=0.25, balance=balance), tmp_path)
    said = f"not calibrated: with --balance {balance} the probabilities are those of equally "
    settings = load_checkpoint(str(run.checkpoint("last"))).settings
    assert settings["calibration"]["refused"].startswith(said)
    assert "temperature" not in settings["calibration"]
    results = read_results(tmp_path)
    assert calibrate(results, "last").remarks[0].startswith(said)
    assert capsys.readouterr().err.count(f"colours full-val25 fold 1: {said}") == 1


def test_a_run_says_once_that_it_is_not_calibrated(make_run, tmp_path, capsys):
    train_fold(make_run(val_fraction=0.25), tmp_path)
    (line,) = [each for each in capsys.readouterr().err.splitlines() if "calibrated" in each]
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
