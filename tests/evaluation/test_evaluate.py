"""Results of runs and of checkpoints: which are read, which are refused, and their provenance."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dfercli
from dfercli.config import DataConfig
from dfercli.config.presets import describe_recipe
from dfercli.data.manifest import Manifest, read_manifest, write_manifest
from dfercli.errors import CheckpointError, DataError
from dfercli.evaluation import checkpoint
from dfercli.evaluation.checkpoint import evaluate_checkpoint
from dfercli.evaluation.results import read_results
from dfercli.evaluation.tables import results_document
from dfercli.jobs.run import train_folds
from dfercli.models.settings import seal
from dfercli.runs.predictions import confusion_of, read_predictions
from dfercli.runs.run_folder import RunFolder
from dfercli.tables import render

CLASSES = ["happiness", "sadness", "anger"]


def _summary(results):
    """Return the only summary of a checkpoint's results."""
    (summary,) = results.summaries.values()
    return summary


@pytest.fixture(scope="module")
def runs(make_run, tmp_path_factory):
    """The full model on folds 1 and 2, finished first, and the baseline on fold 3."""
    folder = tmp_path_factory.mktemp("runs")
    off = {"interfit": False, "msta": False, "biehpro": False}
    settings = {"epochs": 1, "warmup_epochs": 0}
    train_folds(make_run(**settings), [1, 2], folder)
    train_folds(make_run(**settings, model=off), [3], folder)
    for age, name in enumerate(("baseline/fold3", "full/fold2", "full/fold1")):
        os.utime(folder / "colours" / name / "run.json", (10**9 - age, 10**9 - age))
    return folder


@pytest.mark.slow
def test_results_are_of_the_variant_that_was_finished_last(runs, tiny_name):
    results = read_results(runs)
    recipe = (
        f"paper, changed: backbone {tiny_name}, weights random, num_frames 4, epochs 1, "
        "warmup_epochs 0, batch_size 4, lr 0.001, min_lr 1e-05"
    )
    assert (results.dataset, results.name) == ("colours", "baseline")
    entries = json.loads(results.runs[3].run_file.read_text())
    assert results.provenance == {
        "dataset": f"colours, fingerprint {entries['data_fingerprint']}",
        "data": "complete",
        "folds": "PARTIAL: 3 of 1, 2, 3 (assigned by dfer, clip by clip)",
        "held out to choose an epoch": "none",
        "seeds": "0",
        "backbone": f"{tiny_name} (random), 4 frames",
        "recipe": recipe,
        "crops": ", ".join(f"{name} {value}" for name, value in entries["crop"].items()),
        "precision": "fp32",
        "dfer": f"{dfercli.__version__}, commit {entries['commit']}",
    }
    assert results.class_names == CLASSES
    assert results.others == ["full"]
    assert set(results.summaries) == {"best", "last"}
    assert results.deviations == []


def test_results_of_a_named_variant_have_all_its_folds(runs):
    results = read_results(runs, "colours", "full")
    folds = "PARTIAL: 1, 2 of 1, 2, 3 (assigned by dfer, clip by clip)"
    assert results.provenance["folds"] == folds
    assert results.others == ["baseline"]
    for protocol, summary in results.summaries.items():
        assert summary.folds == (1, 2)
        for fold, found in zip(summary.folds, summary.war, strict=True):
            path = runs / "colours" / "full" / f"fold{fold}" / f"predictions_{protocol}.csv"
            table = pd.read_csv(path)
            assert found == (table[CLASSES].idxmax(axis=1) == table["label"]).mean()


def test_results_of_some_folds_are_of_these_alone(runs):
    summaries = read_results(runs, "colours", "full", [2]).summaries
    assert summaries["last"].folds == (2,)
    with pytest.raises(CheckpointError, match=r"fold 3 of .*full is not finished; train it first"):
        read_results(runs, "colours", "full", [1, 3])


def test_results_without_a_run_or_without_predictions_say_so(runs, tmp_path):
    with pytest.raises(CheckpointError, match=r"no finished run in .*colours.nothing; train one"):
        read_results(runs, "colours", "nothing")
    shutil.copytree(runs / "colours", tmp_path / "colours")
    (tmp_path / "colours" / "full" / "fold1" / "predictions_best.csv").unlink()
    with pytest.raises(DataError, match=r"no predictions in .*fold1.predictions_best\.csv"):
        read_results(tmp_path, "colours", "full")


def test_a_checkpoint_gives_the_figures_of_its_run(trained, make_run):
    run = RunFolder(trained.path)
    results = evaluate_checkpoint(str(trained.path), make_run().data, [1])
    recipe = describe_recipe(make_run())
    assert (results.name, results.class_names) == (str(trained.path), CLASSES)
    assert results.provenance["recipe"] == recipe
    assert results.provenance["trained on"] == "colours, tested fold 1"
    assert (results.deviations, results.others) == ([], [])
    summary = _summary(results)
    best = confusion_of(read_predictions(run.predictions_file("best")))
    assert summary.matrix.tolist() == best.tolist()
    assert summary.folds == (1,)
    again = evaluate_checkpoint(str(trained.checkpoint("last")), make_run().data)
    assert _summary(again).folds == (1,)


def test_a_checkpoint_is_not_tested_on_what_it_was_trained_on(trained, make_run, write_other):
    with pytest.raises(CheckpointError, match="trained on the clips of fold 2; test it on fold 1"):
        evaluate_checkpoint(str(trained.path), make_run().data, [1, 2])
    grown = write_other(dataset="colours", fold_of_first=2)  # the same data, changed a little
    with pytest.raises(CheckpointError, match="trained on the clips of fold 3; test it on fold 1"):
        evaluate_checkpoint(str(trained.path), grown, [3])
    assert _summary(evaluate_checkpoint(str(trained.path), grown)).folds == (1,)
    other = write_other(fold_of_first=2)  # other data: all folds are new to it
    summary = _summary(evaluate_checkpoint(str(trained.path), other))
    assert summary.folds == (1, 2, 3)
    assert summary.matrix.sum() == len(read_manifest(Path(other.manifest)).rows)


def test_folds_that_were_not_trained_alike_are_not_averaged(runs, tmp_path):
    shutil.copytree(runs / "colours", tmp_path / "colours")
    run = RunFolder(tmp_path / "colours" / "full" / "fold2")
    entries = json.loads(run.run_file.read_text())
    entries["config"]["seed"] = 7
    run.run_file.write_text(json.dumps(entries), encoding="utf-8")
    message = r"folds 1 and 2 of .*have different settings \(seed 0 -> 7"
    with pytest.raises(CheckpointError, match=message):
        read_results(tmp_path, "colours", "full")
    os.utime(run.run_file, (9e9, 9e9))  # the newest, so what is named must not be taken from it
    for fold, seed in ((1, 0), (2, 7)):
        results = read_results(tmp_path, "colours", "full", [fold])
        assert results.summaries["best"].folds == (fold,)
        assert results.provenance["seeds"] == str(seed)


def test_partial_data_is_told_from_runs_and_manifests(runs, trained, write_other, tmp_path):
    shutil.copytree(runs / "colours", tmp_path / "colours")
    run = RunFolder(tmp_path / "colours" / "full" / "fold2")
    entries = json.loads(run.run_file.read_text()) | {"deviations": ["fold 2 lacks a clip"]}
    run.run_file.write_text(json.dumps(entries))
    assert read_results(tmp_path, "colours", "full").deviations == ["fold 2 lacks a clip"]
    assert read_results(tmp_path, "colours", "full", [1]).deviations == []
    data = write_other(deviations=("clip 3 is not there",))
    results = evaluate_checkpoint(str(trained.path), data, [1])
    assert results.deviations == ["clip 3 is not there"]


@pytest.fixture
def write_other(colours, tmp_path):
    """Return a function that writes the same clips with a change, and returns their DataConfig."""

    def write(
        class_names=tuple(CLASSES),
        crop=None,
        labels=None,
        fold_of_first=None,
        dataset="other",
        deviations=(),
        groups=False,
    ):
        manifest = read_manifest(colours)
        rows = manifest.rows.assign(label=manifest.rows["label"].replace(labels or {}))
        if groups:
            rows["group"] = rows["clip_id"]
        if fold_of_first is not None:
            rows.loc[0, "test_fold"] = fold_of_first
        crop = manifest.crop if crop is None else crop
        other = Manifest(
            dataset, rows, class_names, crop, str(colours.parent), deviations=deviations
        )
        write_manifest(other, tmp_path / "other.csv")
        return DataConfig(
            dataset="other",
            manifest=str(tmp_path / "other.csv"),
            root=str(colours.parent),
            workers=0,
        )

    return write


@pytest.mark.parametrize(
    ("class_names", "labels"),
    [
        (("sadness", "happiness", "anger"), {}),  # the same in another order
        (("happiness", "sadness", "fear"), {"anger": "fear"}),
        (("happiness", "sadness", "anger", "fear"), {}),
    ],
)
def test_data_of_other_classes_is_refused(class_names, labels, trained, write_other):
    data = write_other(class_names, labels=labels)
    with pytest.raises(CheckpointError) as caught:
        evaluate_checkpoint(str(trained.path), data, [1], allow_other_crop=True)
    assert str(caught.value) == (
        "the checkpoint was trained on the classes happiness, sadness, anger, but the "
        f"data has {', '.join(class_names)}; use a checkpoint with the same classes"
    )


def test_the_built_in_model_takes_the_classes_and_crops_of_any_data(write_other):
    crop = {"detector": "mtcnn", "size": 48, "template": "loose-five-points", "version": 3}
    labels = {"anger": "calm"}
    data = write_other(("sadness", "happiness", "calm"), labels=labels, crop=crop)
    results = evaluate_checkpoint("built-in", data, [1])
    assert _summary(results).matrix.sum() == 6
    (tables,) = results.predictions.values()
    assert list(tables[1].columns[-3:]) == ["sadness", "happiness", "calm"]
    assert tables[1]["calm"].max() < 0.01  # the network does not know it
    assert results.provenance["checkpoint"].startswith("built-in still-image model: not the paper")
    assert results.provenance["trained on"] == "public still images that its authors do not name"


def test_data_cropped_otherwise_is_refused_unless_allowed(trained, write_other, colours):
    ours = read_manifest(colours).crop
    theirs = ours | {"detector": "face-alignment"}
    data = write_other(crop=theirs)
    with pytest.raises(CheckpointError) as caught:
        evaluate_checkpoint(str(trained.path), data, [1])
    assert str(caught.value) == (
        f"the checkpoint was trained on faces cropped with {ours}, but those of the data were "
        f"cropped with {theirs}; train on such crops, or use --allow-other-crop"
    )
    results = evaluate_checkpoint(str(trained.path), data, [1], allow_other_crop=True)
    summary = _summary(results)
    assert summary.matrix.sum() == 6


def test_a_fold_that_the_data_lacks_is_refused(trained, make_run):
    with pytest.raises(DataError, match="no fold 4 in manifest colours; its folds: 1, 2, 3"):
        evaluate_checkpoint(str(trained.path), make_run().data, [4])


def test_a_checkpoint_that_does_not_record_its_training_says_so(own_run, make_run, capsys):
    config_file = own_run.checkpoint("best") / "config.json"
    settings = json.loads(config_file.read_text()) | {"trained": None}
    config_file.write_text(json.dumps(settings))
    seal(config_file, config_file.with_name("model.safetensors"))
    results = evaluate_checkpoint(str(own_run.path), make_run().data)
    assert _summary(results).folds == (1, 2, 3)
    assert capsys.readouterr().err.splitlines() == [
        f"{own_run.path} does not record its training data, so the tested folds may contain clips "
        "that it was trained on"
    ]


def _train_by_group(run):
    """Make the best checkpoint of a run record that it was trained with folds by group."""
    config_file = run.checkpoint("best") / "config.json"
    settings = json.loads(config_file.read_text())
    settings["trained"]["folds_by"] = "group"
    config_file.write_text(json.dumps(settings))
    seal(config_file, config_file.with_name("model.safetensors"))


def test_a_checkpoint_is_not_tested_on_folds_that_were_dealt_otherwise(own_run, make_run, colours):
    _train_by_group(own_run)
    with pytest.raises(CheckpointError) as caught:
        evaluate_checkpoint(str(own_run.path), make_run().data)
    assert str(caught.value) == (
        "the checkpoint was trained with group folds, so official folds contain clips that it was "
        "trained on; use --folds-by group"
    )


def test_a_checkpoint_of_group_folds_is_not_tested_on_data_that_has_changed(
    own_run, write_other, colours
):
    _train_by_group(own_run)
    data = write_other(dataset="colours", groups=True)
    with pytest.raises(CheckpointError, match="so its group folds are different and contain clips"):
        evaluate_checkpoint(str(own_run.path), replace(data, folds_by="group"))


def test_two_views_are_the_mean_of_two_single_ones(trained, make_run, monkeypatch):
    data = make_run().data
    results = evaluate_checkpoint(str(trained.path), data, views=2)
    monkeypatch.setattr(checkpoint, "view_positions", lambda views: [0.0])
    other = evaluate_checkpoint(str(trained.path), data).predictions["checkpoint"][1]
    monkeypatch.undo()
    single = evaluate_checkpoint(str(trained.path), data)
    assert set(single.predictions) == {"checkpoint"}
    single_table = single.predictions["checkpoint"][1]
    assert results.predictions["checkpoint"][1].equals(single_table)
    mean = results.predictions["views"][1]
    assert mean.drop(columns=CLASSES).equals(single_table.drop(columns=CLASSES))
    expected = (single_table[CLASSES] + other[CLASSES]) / 2
    assert not np.allclose(single_table[CLASSES], other[CLASSES], atol=1e-4)
    np.testing.assert_allclose(mean[CLASSES], expected, atol=1e-7)


def test_the_table_shows_the_mean_of_views_beside_the_single_view(trained, make_run):
    results = evaluate_checkpoint(str(trained.path), make_run().data, views=3)
    text = render(results_document(results), "markdown")
    assert "checkpoint WAR" in text
    assert "mean of views WAR" in text
    assert "3 per video, and the first alone" in text
    assert "mean of views: the mean probabilities of several samplings of each video" in text
