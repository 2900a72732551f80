"""Training: it learns, is repeatable, and leaves the documented files."""

import math
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dfercli.config.presets import describe_recipe
from dfercli.data.loaders import build_dataset
from dfercli.data.manifest import read_manifest, write_manifest
from dfercli.data.transforms import normalise
from dfercli.errors import ConfigError, DataError
from dfercli.jobs.run import train_folds
from dfercli.metrics.scores import uar, war
from dfercli.models.base import build_model
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.runs.predictions import confusion_of, read_predictions
from dfercli.training import evaluation, loop
from dfercli.training.loop import train_fold

FILES = {
    "run.json",
    "metrics.jsonl",
    "curves.png",
    "best/config.json",
    "best/model.safetensors",
    "last/config.json",
    "last/model.safetensors",
    "predictions_best.csv",
    "predictions_last.csv",
}
CLASSES = ("happiness", "sadness", "anger")
MODULES = ("interfit", "msta", "biehpro")
TOGGLES = [dict(zip(MODULES, on, strict=True)) for on in product((False, True), repeat=3)]


def _files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def _times(folder):
    return {name: (folder / name).stat().st_mtime_ns for name in _files(folder)}


def _results(run):
    """Return all results of a run except times."""
    metrics = [
        {k: v for k, v in line.items() if k not in ("seconds", "clips_per_s")}
        for line in run.read_metrics()
    ]
    names = ("predictions_best.csv", "predictions_last.csv")
    return metrics, [(run.path / name).read_bytes() for name in names]


def _weights(run, which="last"):
    return load_checkpoint(str(run.checkpoint(which))).state_dict()


def test_training_learns_what_tells_the_classes_apart(trained):
    losses = [line["loss"] for line in trained.read_metrics()]
    assert all(after < before for before, after in pairwise(losses))
    assert losses[-1] < 0.5 < losses[0] < math.log(3)
    assert trained.read_metrics()[-1]["war"] == 1.0


def test_a_run_leaves_exactly_these_files(trained):
    assert _files(trained.path) == FILES
    assert trained.path.parts[-3:] == ("colours", "full", "fold1")


def test_metrics_are_a_line_an_epoch_and_follow_from_the_predictions(trained):
    metrics = trained.read_metrics()
    assert [line["epoch"] for line in metrics] == [1, 2, 3]
    for line in metrics:
        assert list(line) == ["epoch", "loss", "lr", "war", "uar", "seconds", "clips_per_s"]
        assert line["seconds"] > 0
        assert line["clips_per_s"] > 0
    matrix = confusion_of(read_predictions(trained.predictions_file("last")))
    assert (metrics[-1]["war"], metrics[-1]["uar"]) == (war(matrix), uar(matrix))
    assert metrics[-1]["lr"] == pytest.approx(1e-5)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_seed_gives_the_same_run_however_many_workers(
    workers, trained, make_run, tmp_path
):
    again = train_fold(make_run(workers=workers), tmp_path)
    assert _results(again) == _results(trained)
    weights = _weights(trained)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in _weights(again).items())


def test_another_seed_gives_another_run(trained, make_run, tmp_path):
    other = train_fold(make_run(seed=1), tmp_path)
    for ours, theirs in zip(_results(other), _results(trained), strict=True):
        assert ours[-1] != theirs[-1]


def test_the_last_checkpoint_gives_the_last_predictions_again(trained, make_run):
    config = make_run()
    manifest = read_manifest(Path(config.data.manifest))
    dataset = build_dataset(manifest, "test", config, size=32)
    model = load_checkpoint(str(trained.checkpoint("last")))
    clips = torch.stack([dataset[index][0] for index in range(len(dataset))])
    with torch.inference_mode():
        probs = model(normalise(clips)).softmax(dim=-1).numpy()
    table = read_predictions(trained.predictions_file("last"))
    assert list(table["clip_id"]) == dataset.clip_ids
    assert np.abs(table[list(CLASSES)].to_numpy() - probs).max() < 1e-5


def test_training_changes_every_parameter_and_leaves_the_text_alone(trained, make_run):
    torch.manual_seed(0)
    before = build_model(make_run().model, CLASSES)
    after = load_checkpoint(str(trained.checkpoint("last")))
    assert torch.equal(before.text_features, after.text_features)
    assert not after.text_features.requires_grad
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        assert not torch.equal(old, new), name


def test_the_last_of_the_best_epochs_is_kept(make_run, tmp_path, monkeypatch):
    # WAR 1/3, 2/3, 2/3, 0: the second epoch and the third are equally good.
    rights, seen = iter([1, 2, 2, 0]), []

    def predict(model, loader, accelerator, class_names):
        right = next(rights)
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        table = pd.DataFrame({"clip_id": ["a", "b", "c"], "label": CLASSES})
        probs = np.roll(np.eye(3), 1, axis=0)
        probs[:right] = np.eye(3)[:right]
        probs = (probs + len(seen) / 1000) / (1 + 3 * len(seen) / 1000)
        return table.join(pd.DataFrame(probs, columns=list(CLASSES)))

    monkeypatch.setattr(evaluation, "predict_clips", predict)
    run = train_fold(make_run(epochs=4), tmp_path)
    assert [round(3 * line["war"]) for line in run.read_metrics()] == [1, 2, 2, 0]
    assert all(torch.equal(seen[2][name], t) for name, t in _weights(run, "best").items())
    assert all(torch.equal(seen[3][name], t) for name, t in _weights(run, "last").items())
    assert read_predictions(run.predictions_file("best"))["sadness"].min() == pytest.approx(
        0.003 / 1.009
    )
    assert read_predictions(run.predictions_file("last"))["sadness"].min() == pytest.approx(
        0.004 / 1.012
    )


@pytest.mark.slow
def test_a_finished_fold_is_not_trained_again(own_run, make_run):
    before, runs = _times(own_run.path), own_run.path.parents[2]
    trained = train_folds(make_run(), [1, 2], runs)
    assert list(trained) == [1, 2]
    assert trained[1].path == own_run.path
    assert _times(own_run.path) == before
    assert trained[2].finished
    assert trained[2].read().config.fold == 2


def test_other_settings_are_refused_and_overwrite_trains_anew(own_run, make_run):
    before, runs = _times(own_run.path), own_run.path.parents[2]
    other = make_run(lr=2e-3, epochs=2)
    with pytest.raises(ConfigError) as caught:
        train_folds(other, [2, 1], runs)
    assert str(caught.value) == (
        f"{own_run.path} contains a run with other settings (train.epochs 3 -> 2; train.lr 0.001 "
        f"-> 0.002); use another --runs folder, or --overwrite to replace it"
    )
    assert _times(own_run.path) == before
    assert [path.name for path in own_run.path.parent.iterdir()] == ["fold1"]
    train_folds(other, [1], runs, overwrite=True)
    assert own_run.read().config == other
    assert len(own_run.read_metrics()) == 2


def test_overwrite_removes_nothing_before_all_has_been_checked(own_run, make_run):
    before = _times(own_run.path)
    with pytest.raises(DataError, match="no fold 4 in manifest colours; its folds: 1, 2, 3"):
        train_folds(make_run(), [1, 4], own_run.path.parents[2], overwrite=True)
    assert _times(own_run.path) == before


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops(value, make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "build_loss", lambda *_: lambda logits, labels: logits.sum() * value)
    with pytest.raises(ConfigError) as caught:
        train_fold(make_run(), tmp_path)
    message = str(caught.value)
    assert message.startswith("colours full fold 1: the loss is ")
    assert message.endswith(" in epoch 1; lower --lr and train again with --overwrite")
    assert _files(tmp_path / "colours/full/fold1") == {"run.json"}


def test_run_and_checkpoint_remember_that_their_data_was_partial(make_run, colours, tmp_path):
    manifest = replace(read_manifest(colours), deviations=("clip 3 is not there",))
    write_manifest(manifest, tmp_path / "colours.csv")
    config = make_run(epochs=1, warmup_epochs=0, manifest=tmp_path / "colours.csv")
    config = replace(config, data=replace(config.data, root=str(colours.parent)))
    run = train_fold(config, tmp_path)
    assert run.read().data.deviations == ("clip 3 is not there",)
    assert load_checkpoint(str(run.path)).settings["trained"] == {
        "dataset": "colours",
        "fold": 1,
        "folds_by": "official",
        "seed": 0,
        "data_fingerprint": manifest.fingerprint,
        "deviations": ["clip 3 is not there"],
        "drawn": False,
        "clips": 12,
        "recipe": describe_recipe(config),
        "clip_s": None,
        "epoch": 1,
    }


@pytest.mark.parametrize(("kind", "clip_s"), [("folder", None), ("dfew", 2.4)])
def test_clips_cut_out_of_films_have_a_length(kind, clip_s, colours):
    manifest = read_manifest(colours)
    rows = manifest.rows.assign(n_frames=[10, 60, 300] * (len(manifest.rows) // 3))
    assert loop.measure_clips(replace(manifest, rows=rows, kind=kind)) == clip_s


def test_nothing_is_trained_where_frames_are_missing(make_run, colours, tmp_path):
    manifest = read_manifest(colours)
    manifest.rows.loc[3, "n_frames"] = 6
    write_manifest(manifest, tmp_path / "more.csv")
    config = make_run(manifest=tmp_path / "more.csv")
    (tmp_path / "happiness0").symlink_to(colours.parent / "happiness0")
    with pytest.raises(
        DataError, match=r"folder .*happiness1 does not exist; check that .* is the data root"
    ):
        train_folds(config, [1], tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_fold_that_leaves_nothing_to_train_on_is_refused(make_run, colours, tmp_path):
    manifest = read_manifest(colours)
    manifest.rows["test_fold"] = 1
    manifest.rows["path"] = str(colours.parent.name) + "/" + manifest.rows["path"]
    write_manifest(manifest, tmp_path / "one.csv")
    (tmp_path / colours.parent.name).symlink_to(colours.parent)
    with pytest.raises(DataError, match="no clips to train on when fold 1 is tested"):
        train_folds(make_run(manifest=tmp_path / "one.csv"), [1], tmp_path / "runs")


@pytest.mark.parametrize("settings", [*TOGGLES, {"biehpro": False, "text": False}], ids=str)
def test_every_variant_takes_its_steps(settings, make_run, tmp_path):
    run = train_fold(make_run(epochs=1, warmup_epochs=0, model=settings), tmp_path)
    (line,) = run.read_metrics()
    assert math.isfinite(line["loss"])
    assert _files(run.path) == FILES
    assert run.path.parent.name == run.read().config.model.variant


def test_half_precision_learns_too(trained, make_run, tmp_path):
    run = train_fold(make_run(compute={"precision": "bf16"}), tmp_path)
    losses = [[line["loss"] for line in r.read_metrics()] for r in (run, trained)]
    assert losses[0] != losses[1]  # it was rounded on the way
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert run.read_metrics()[-1]["war"] == 1.0
    assert run.read_metrics()[-1]["loss"] < 0.5
    assert {tensor.dtype for tensor in _weights(run).values()} == {torch.float32}
