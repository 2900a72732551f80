"""Predictions cover each test clip once, and every figure is computed from them."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from dfercli.config import DataConfig
from dfercli.data.clips import build_dataset, build_loader
from dfercli.data.manifest import read_manifest, write_manifest
from dfercli.engine.evaluate import (
    confusion_of,
    evaluate_checkpoint,
    predict_clips,
    read_predictions,
    read_results,
    summarise_runs,
    write_predictions,
)
from dfercli.engine.runlog import RunFolder
from dfercli.engine.train import train_folds
from dfercli.errors import CheckpointError, DataError

CLASSES = ["happiness", "sadness", "anger"]


class _Redness(nn.Module):
    """Gives the mean of each channel as logits: happiness where a clip is red."""

    def forward(self, clips):
        return clips.mean(dim=(1, 3, 4))


def _table(labels, predicted):
    """Predictions that are sure of one class each."""
    table = pd.DataFrame({"clip_id": [f"c{i}" for i in range(len(labels))], "label": labels})
    probs = [[0.8 if name == top else 0.1 for name in CLASSES] for top in predicted]
    return table.join(pd.DataFrame(probs, columns=CLASSES))


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


@pytest.mark.parametrize("batch_size", [1, 4, 5, 6, 50])
def test_each_test_clip_is_predicted_once_and_in_order(batch_size, make_run):
    config = make_run(fold=2)
    manifest = read_manifest(Path(config.data.manifest))
    dataset = build_dataset(manifest, "test", config, size=32)
    accelerator = Accelerator()
    loader = accelerator.prepare(build_loader(dataset, batch_size, workers=0))
    table = predict_clips(_Redness(), loader, accelerator, CLASSES)
    assert list(table.columns) == ["clip_id", "label", *CLASSES]
    tested = manifest.rows[manifest.rows["test_fold"] == 2]
    assert list(table["clip_id"]) == list(tested["clip_id"])
    assert list(table["label"]) == list(tested["label"])
    assert table[CLASSES].to_numpy().sum(axis=1) == pytest.approx(np.ones(6))
    assert (table["happiness"] > 0.5).tolist() == (table["label"] == "happiness").tolist()


def test_a_clip_that_is_lost_on_the_way_is_an_error(make_run):
    config = make_run()
    dataset = build_dataset(read_manifest(Path(config.data.manifest)), "test", config, size=32)

    class Forgetful(Accelerator):
        def gather_for_metrics(self, values):
            return tuple(value[:-1] for value in values)

    accelerator = Forgetful()
    loader = accelerator.prepare(build_loader(dataset, 6, workers=0))
    with pytest.raises(DataError, match="6 clips went in, 5 predictions came out"):
        predict_clips(_Redness(), loader, accelerator, CLASSES)


def test_a_model_is_asked_in_evaluation_mode_and_without_gradients(make_run):
    class Mode(_Redness):
        def forward(self, clips):
            assert not self.training
            assert torch.is_inference_mode_enabled()
            return super().forward(clips)

    config = make_run()
    dataset = build_dataset(read_manifest(Path(config.data.manifest)), "test", config, size=32)
    accelerator = Accelerator()
    loader = accelerator.prepare(build_loader(dataset, 3, workers=0))
    assert len(predict_clips(Mode().train(), loader, accelerator, CLASSES)) == 6


def test_a_confusion_matrix_by_hand():
    labels = ["happiness", "happiness", "happiness", "sadness", "anger", "anger"]
    predicted = ["happiness", "sadness", "happiness", "sadness", "happiness", "anger"]
    matrix = confusion_of(_table(labels, predicted))
    assert matrix.tolist() == [[2, 1, 0], [0, 1, 0], [1, 0, 1]]


def test_predictions_come_back_as_they_were_written(tmp_path):
    table = _table(["anger", "sadness"], ["anger", "anger"])
    table["clip_id"] = ["007", "NA"]  # neither a number nor a gap
    write_predictions(table, tmp_path / "p.csv")
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "p.csv"), table)
    assert (tmp_path / "p.csv").read_text().startswith("clip_id,label,happiness,sadness,anger\n")


@pytest.mark.parametrize("content", [None, "", "\0", "a\nb,c\nd,e,f,g\n"])
def test_missing_or_broken_predictions_are_named(content, tmp_path):
    path = tmp_path / "predictions_last.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_predictions(path)
    assert str(caught.value) in (
        f"no predictions in {path}; train the fold again",
        f"{path} does not begin with the columns clip_id,label",
    )


def test_another_csv_is_not_taken_for_predictions(tmp_path):
    (tmp_path / "p.csv").write_text("label,clip_id,anger\nanger,a,1\n")
    with pytest.raises(DataError, match=r"p\.csv does not begin with the columns clip_id,label"):
        read_predictions(tmp_path / "p.csv")


def test_means_over_folds_follow_from_the_files(tmp_path):
    # Fold 1: 3 of 4 right, recalls 2/3 and 1 (nobody is angry): WAR 0.75, UAR 5/6.
    # Fold 2: 1 of 2 right, recalls 0 and 1: WAR 0.5, UAR 0.5.
    folds = {
        1: (
            ["happiness", "happiness", "happiness", "sadness"],
            ["happiness", "happiness", "anger", "sadness"],
        ),
        2: (["happiness", "anger"], ["sadness", "anger"]),
    }
    runs = {fold: RunFolder(tmp_path / f"fold{fold}") for fold in folds}
    for fold, (labels, predicted) in folds.items():
        write_predictions(_table(labels, predicted), runs[fold].predictions_file("last"))
    summary = summarise_runs(runs, "last")
    assert summary.folds == (1, 2)
    assert summary.war.tolist() == [0.75, 0.5]
    assert summary.uar == pytest.approx([5 / 6, 0.5])
    assert (summary.mean_war, summary.mean_uar) == pytest.approx((0.625, 2 / 3))
    assert summary.mean_recalls == pytest.approx([1 / 3, 1.0, 1.0])
    assert summary.matrix.tolist() == [[2, 1, 1], [0, 1, 0], [0, 0, 1]]
    with pytest.raises(DataError, match=r"no predictions in .*fold1.predictions_best\.csv"):
        summarise_runs(runs, "best")


def test_results_are_of_the_variant_that_was_finished_last(runs, tiny_name):
    results = read_results(runs)
    assert results.title == f"colours, baseline: folds 3; {tiny_name} (random), seed 0"
    assert results.class_names == CLASSES
    assert results.others == ["full"]
    assert set(results.summaries) == {"best", "last"}


def test_results_of_a_named_variant_have_all_its_folds(runs):
    results = read_results(runs, "colours", "full")
    assert results.title.startswith("colours, full: folds 1, 2; ")
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
    summary, class_names = evaluate_checkpoint(str(trained.path), make_run().data, [1])
    assert class_names == CLASSES
    best = confusion_of(read_predictions(run.predictions_file("best")))
    assert summary.matrix.tolist() == best.tolist()
    assert summary.folds == (1,)
    assert evaluate_checkpoint(str(trained.checkpoint("last")), make_run().data)[0].folds == (1,)


def test_a_checkpoint_is_not_tested_on_what_it_was_trained_on(trained, make_run, write_other):
    with pytest.raises(CheckpointError, match="trained on the clips of fold 2; test it on fold 1"):
        evaluate_checkpoint(str(trained.path), make_run().data, [1, 2])
    grown = write_other(dataset="colours", fold_of_first=2)  # the same data, changed a little
    with pytest.raises(CheckpointError, match="trained on the clips of fold 3; test it on fold 1"):
        evaluate_checkpoint(str(trained.path), grown, [3])
    assert evaluate_checkpoint(str(trained.path), grown)[0].folds == (1,)
    other = write_other(fold_of_first=2)  # other data: all folds are new to it
    summary, _ = evaluate_checkpoint(str(trained.path), other)
    assert summary.folds == (1, 2, 3)
    assert summary.matrix.sum() == len(read_manifest(Path(other.manifest)).rows)


def test_folds_that_were_not_trained_alike_are_not_averaged(runs, tmp_path):
    shutil.copytree(runs / "colours", tmp_path / "colours")
    run = RunFolder(tmp_path / "colours" / "full" / "fold2")
    entries = run.read()
    entries["config"]["seed"] = 7
    run.run_file.write_text(json.dumps(entries), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"folds 1 and 2 of .*alike \(seed 0 -> 7"):
        read_results(tmp_path, "colours", "full")
    os.utime(run.run_file, (9e9, 9e9))  # the newest, so what is named must not be taken from it
    for fold, seed in ((1, 0), (2, 7)):
        results = read_results(tmp_path, "colours", "full", [fold])
        assert results.summaries["best"].folds == (fold,)
        assert results.title.endswith(f"seed {seed}")


@pytest.fixture
def write_other(colours, tmp_path):
    """Write the same clips with something changed; gives the data."""

    def write(
        class_names=tuple(CLASSES), crop=None, labels=None, fold_of_first=None, dataset="other"
    ):
        manifest = read_manifest(colours)
        rows = manifest.rows.assign(label=manifest.rows["label"].replace(labels or {}))
        if fold_of_first is not None:
            rows.loc[0, "test_fold"] = fold_of_first
        crop = manifest.crop if crop is None else crop
        other = type(manifest)(dataset, rows, class_names, crop, str(colours.parent))
        write_manifest(other, tmp_path / "other.csv")
        return DataConfig("other", str(tmp_path / "other.csv"), str(colours.parent), workers=0)

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
        "the checkpoint knows the classes happiness, sadness, anger; "
        f"the data has {', '.join(class_names)}; use a checkpoint trained on these"
    )


def test_data_cropped_otherwise_is_refused_unless_allowed(trained, write_other, colours):
    ours = read_manifest(colours).crop
    theirs = ours | {"detector": "face-alignment"}
    data = write_other(crop=theirs)
    with pytest.raises(CheckpointError) as caught:
        evaluate_checkpoint(str(trained.path), data, [1])
    assert str(caught.value) == (
        f"the checkpoint was trained on faces cropped by {ours}, the data's are by {theirs}; "
        "crop alike, or give --allow-other-crop"
    )
    summary, _ = evaluate_checkpoint(str(trained.path), data, [1], allow_other_crop=True)
    assert summary.matrix.sum() == 6


def test_a_fold_that_the_data_lacks_is_refused(trained, make_run):
    with pytest.raises(DataError, match="no fold 4 in manifest colours; its folds: 1, 2, 3"):
        evaluate_checkpoint(str(trained.path), make_run().data, [4])
