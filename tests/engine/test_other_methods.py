"""Every method that learns is trained, kept and taken up again by the loop that trains ours."""

import pytest
import torch
from safetensors.torch import load_file

from dfercli.config import METHODS
from dfercli.engine.checkpoint import load_checkpoint
from dfercli.engine.train import train_fold
from dfercli.engine.trainer import Trainer
from dfercli.models.base import build_model

CLASSES = ("happiness", "sadness", "anger")
TRAINED = [method for method in METHODS if method not in ("dfer", "zero-shot")]


@pytest.mark.parametrize("method", TRAINED)
def test_a_run_trains_what_learns(method, make_run, tmp_path):
    config = make_run(model={"method": method}, new_layers_lr=10.0)
    run = train_fold(config, tmp_path)
    assert run.path.relative_to(tmp_path).parts == ("colours", method, "fold1")
    losses = [line["loss"] for line in run.read_metrics()]
    assert losses[-1] < losses[0]
    model = load_checkpoint(str(run.checkpoint("last")))
    assert model.config == config.model
    torch.manual_seed(0)  # of the run
    fresh = build_model(config.model, CLASSES).state_dict()
    learnt = {name for name, p in model.named_parameters() if p.requires_grad}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, fresh[name]) == (name not in learnt), name


@pytest.mark.parametrize("method", ["cocoop", "dfer-clip"])
def test_an_interrupted_run_ends_as_if_it_had_not_been(method, make_run, tmp_path, monkeypatch):
    config = make_run(model={"method": method})
    whole = train_fold(config, tmp_path / "whole")
    train_epoch, calls = Trainer.train_epoch, []

    def stop_in_the_second(self, *arguments):
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train_epoch(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train_epoch", stop_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            train_fold(config, tmp_path / "parts")
    parts = train_fold(config, tmp_path / "parts")
    expected = load_file(whole.checkpoint("last") / "model.safetensors")
    for name, tensor in load_file(parts.checkpoint("last") / "model.safetensors").items():
        assert torch.equal(tensor, expected[name]), name
