"""Training with the votes of raters as soft labels."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from dfercli.config import ALL_DATA, WITH_LOSSES
from dfercli.config.presets import default_model
from dfercli.data.manifest import read_manifest, write_manifest
from dfercli.errors import ConfigError, DataError
from dfercli.evaluation.results import read_results
from dfercli.jobs.run import train_folds
from dfercli.models.dfer import DFERModel
from dfercli.runs.predictions import read_predictions
from dfercli.training import loop
from dfercli.training.loop import train_fold
from dfercli.training.recipe import check_recipe

CLASSES = ("happiness", "sadness", "anger")
ONE_EPOCH = {"epochs": 1, "warmup_epochs": 0}


@pytest.fixture
def voted(make_run, write_votes):
    """Make a run on clips with votes: 3 for the label and 1 for the next class, or others."""

    def make(own=3, other=1, **settings):
        return make_run(**ONE_EPOCH | {"labels": "votes"} | settings | write_votes(own, other))

    return make


def _first_loss(config, folder, monkeypatch):
    """Train one batch of all clips; return its loss, the logits (N, K) and the clips' labels."""
    seen, forward = [], DFERModel.forward

    def look(self, clips):
        logits = forward(self, clips)
        if self.training:
            seen.append(logits.detach().clone())
        return logits

    keys = []
    draw = loop.EpochBatches._draw_keys

    def note(self):
        keys.extend(draw(self))
        return list(keys)

    with monkeypatch.context() as patched:
        patched.setattr(DFERModel, "forward", look)
        patched.setattr(loop.EpochBatches, "_draw_keys", note)
        run = train_fold(config, folder)
    manifest = read_manifest(folder.parent / "colours.csv")
    labels = [CLASSES.index(name) for name in manifest.select(1, "train")["label"]]
    return run.read_metrics()[0]["loss"], seen[-1], torch.tensor([labels[i] for _, i in keys])


@pytest.mark.parametrize("compute", [{}, {"steps": "compiled"}], ids=["eager", "fixed"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_a_batch_is_the_cross_entropy_with_the_shares(
    smoothing, compute, voted, tmp_path, monkeypatch
):
    if compute:  # the fixed buffers of compiled steps, without waiting for the compiler
        monkeypatch.setattr(torch, "compile", lambda function=None, **_: function)
    config = voted(batch_size=12, label_smoothing=smoothing, compute=compute)
    loss, logits, labels = _first_loss(config, tmp_path / "runs", monkeypatch)
    shares = 0.75 * F.one_hot(labels, 3) + 0.25 * F.one_hot((labels + 1) % 3, 3)
    shares = (1 - smoothing) * shares + smoothing / 3
    expected = -(shares * logits.log_softmax(-1)).sum(-1).mean()
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    assert abs(loss - F.cross_entropy(logits, labels).item()) > 1e-3


def test_the_label_stays_that_of_the_test(voted, tmp_path):
    """All raters chose the next class: the model learns it, and is wrong on every test clip."""
    recipe = {"epochs": 6, "warmup_epochs": 1, "lr": 3e-3}
    run = train_fold(voted(own=0, other=4, val_fraction=0.3, **recipe), tmp_path / "runs")
    table = read_predictions(run.predictions_file("last"))
    assert sorted(table["label"]) == sorted(CLASSES * 2)
    metrics = run.read_metrics()[-1]
    assert metrics["loss"] < 0.7
    assert (metrics["war"], metrics["uar"]) == (0, 0)
    assert run.path.parent.name == "full-votes-val30"
    assert run.read().data.votes is not None


def test_votes_for_the_label_alone_train_as_the_label_does(voted, make_run, tmp_path):
    settings = {"batch_size": 5, "mixup": 0.8, "label_smoothing": 0.1, "balance": "prior"}
    votes = train_fold(voted(own=2, other=0, **settings), tmp_path / "votes")
    hard = train_fold(make_run(**ONE_EPOCH, **settings), tmp_path / "hard")
    ours, theirs = votes.read_metrics()[0], hard.read_metrics()[0]
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-6)
    assert ours["war"] == theirs["war"]


def test_the_prior_is_that_of_the_votes(voted, tmp_path, monkeypatch):
    counts, build = [], loop.build_loss

    def note(config, class_counts, device):
        counts.append(class_counts)
        return build(config, class_counts, device)

    monkeypatch.setattr(loop, "build_loss", note)
    config = voted(balance="prior")
    manifest = read_manifest(tmp_path / "colours.csv")
    rows = manifest.rows[(manifest.rows["label"] != "sadness") | (manifest.rows["test_fold"] == 1)]
    write_manifest(replace(manifest, rows=rows.reset_index(drop=True)), tmp_path / "colours.csv")
    train_fold(config, tmp_path / "runs")
    # 4 clips of happiness and 4 of anger: a quarter of the former's votes are for sadness, and a
    # quarter of the latter's for happiness.
    assert counts == [[4.0, 1.0, 3.0]]


@pytest.mark.slow
def test_a_run_resumes_on_the_same_votes_only(voted, tmp_path):
    config = voted(epochs=2, stop_epoch=1)
    train_folds(config, [1], tmp_path / "runs")
    train_folds(config, [1], tmp_path / "runs")  # finished
    voted(own=2)
    with pytest.raises(ConfigError, match=r"contains a run with other settings \(votes "):
        train_folds(config, [1], tmp_path / "runs")


@pytest.mark.slow
def test_folds_with_the_same_votes_are_one_variant(voted, tmp_path):
    train_folds(voted(), [1, 2, 3], tmp_path / "runs")
    results = read_results(tmp_path / "runs", "colours", "full-votes")
    assert sorted(results.runs) == [1, 2, 3]


def test_a_manifest_without_votes_is_refused_before_anything_is_written(make_run, tmp_path):
    config = make_run(**ONE_EPOCH, labels="votes")
    for fold in (1, ALL_DATA):
        with pytest.raises(DataError) as caught:
            train_folds(config, [fold], tmp_path / "runs")
        assert str(caught.value) == (
            "manifest colours has no votes; remove --labels votes, or prepare CREMA-D with its "
            "tabulatedVotes.csv"
        )
    assert not (tmp_path / "runs").exists()


def test_losses_that_need_one_label_per_clip_refuse_votes(voted):
    config = voted()
    check_recipe(config)
    for method in WITH_LOSSES:
        with pytest.raises(ConfigError, match=f"the losses of {method} need .* --labels hard"):
            check_recipe(replace(config, model=default_model(method)))
    with pytest.raises(ConfigError, match="need one label per clip; use --labels hard"):
        check_recipe(replace(config, train=replace(config.train, ec_stfl=0.1)))


def test_all_clips_can_be_trained_on_with_votes(voted, tmp_path):
    run = train_fold(replace(voted(), fold=ALL_DATA), tmp_path / "runs")
    assert run.finished
