"""`dfer train --ema`: the moving average of the weights, and what a run keeps of it."""

import numpy as np
import pytest
import torch
from run_outcomes import outcome_of, stop_after
from safetensors.torch import load_file
from torch import nn

from dfercli.errors import ConfigError
from dfercli.evaluation.checkpoint import evaluate_checkpoint
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.runs.predictions import read_predictions
from dfercli.training.average import WeightAverage
from dfercli.training.loop import train_fold
from dfercli.training.state import find_state

DECAY = 0.5


def average_by_hand(weights, decay=DECAY):
    """The average of weights before and after each step, in NumPy."""
    average = weights[0].astype(np.float64)
    for step, new in enumerate(weights[1:], 1):
        share = min(decay, (1 + step) / (10 + step))
        average = share * average + (1 - share) * new
    return average


def test_the_average_is_that_by_hand_and_leaves_the_weights_alone():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    average = WeightAverage(model, 0.25)
    weights = [model.weight.detach().numpy().copy()]
    for _ in range(20):
        model.weight.data += torch.randn(2, 3)
        average.update()
        weights.append(model.weight.detach().numpy().copy())
    expected = average_by_hand(weights, 0.25)
    kept = average.model_weights()
    np.testing.assert_allclose(kept["weight"], expected, rtol=1e-5)
    assert torch.equal(kept["bias"], model.bias)
    with average.applied():
        assert torch.equal(model.weight, kept["weight"])
    assert np.array_equal(model.weight.detach().numpy(), weights[-1])


@pytest.mark.slow
def test_a_run_keeps_and_tests_the_average_and_trains_as_without(
    make_run, trained, tmp_path, monkeypatch
):
    weights = []
    update = WeightAverage.update

    def record(self):
        if not weights:
            weights.append(before[0])
        weights.append(self._model.backbone.visual.proj.detach().numpy().copy())
        update(self)

    before = []
    init = WeightAverage.__init__

    def remember(self, model, decay):
        before.append(model.backbone.visual.proj.detach().numpy().copy())
        init(self, model, decay)

    monkeypatch.setattr(WeightAverage, "__init__", remember)
    monkeypatch.setattr(WeightAverage, "update", record)
    run = train_fold(make_run(ema=DECAY), tmp_path)
    name = "backbone.visual.proj"
    kept = load_checkpoint(str(run.checkpoint("last"))).state_dict()[name]
    assert len(weights) == 1 + 3 * 3  # three epochs of three steps
    np.testing.assert_allclose(kept, average_by_hand(weights), rtol=1e-4, atol=1e-7)

    plain = load_checkpoint(str(trained.checkpoint("last"))).state_dict()[name]
    assert np.array_equal(plain.numpy(), weights[-1]), "the training itself does not change"
    assert not torch.equal(plain, kept)
    losses = [[line["loss"] for line in made.read_metrics()] for made in (run, trained)]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_the_tested_predictions_are_those_of_the_kept_weights(make_run, tmp_path):
    run = train_fold(make_run(ema=0.9), tmp_path)
    results = evaluate_checkpoint(str(run.checkpoint("last")), make_run().data)
    table = results.predictions["checkpoint"][1]
    names = ["happiness", "sadness", "anger"]
    expected = read_predictions(run.predictions_file("last"))[names]
    np.testing.assert_allclose(table[names], expected, atol=1e-6)


@pytest.mark.slow
def test_an_interrupted_run_ends_the_same_and_its_state_has_the_training_weights(
    make_run, tmp_path, monkeypatch
):
    config = make_run(ema=0.9)
    undisturbed = outcome_of(train_fold(config, tmp_path / "undisturbed").path)
    run = stop_after(2, monkeypatch, config, tmp_path / "stopped")
    plain = stop_after(2, monkeypatch, make_run(), tmp_path / "plain")
    trained, unaveraged = (load_file(find_state(r) / "model.safetensors") for r in (run, plain))
    assert all(torch.equal(trained[name], unaveraged[name]) for name in trained)
    assert outcome_of(train_fold(config, tmp_path / "stopped").path) == undisturbed


def test_the_decay_is_below_one(make_run):
    with pytest.raises(ConfigError, match=r"ema is 1\.0; it must be at least 0, below 1"):
        make_run(ema=1.0)
