"""`dfer train --lora-rank`: runs with LoRA leave ordinary checkpoints, and resume."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from run_outcomes import outcome_of, stop_after

from dfercli.config import TrainConfig
from dfercli.config.presets import default_model
from dfercli.errors import ConfigError
from dfercli.evaluation.checkpoint import evaluate_checkpoint
from dfercli.models.lora import add_lora
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.runs.predictions import read_predictions
from dfercli.training.loop import train_fold
from dfercli.training.recipe import build_optimizer, check_recipe

RECIPE = {"lora_rank": 4, "lora_on": "q,v,mlp", "lr": 1e-2, "new_layers_lr": 0.1}
CLASSES = ["happiness", "sadness", "anger"]


@pytest.mark.slow
def test_a_run_leaves_an_ordinary_checkpoint_that_predicts_the_same(make_run, trained, tmp_path):
    run = train_fold(make_run(**RECIPE), tmp_path)
    model, plain = (load_checkpoint(str(r.checkpoint("last"))) for r in (run, trained))
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert "lora_rank 4, lora_on q,v,mlp" in model.settings["trained"]["recipe"]
    results = evaluate_checkpoint(str(run.checkpoint("last")), make_run().data)
    expected = read_predictions(run.predictions_file("last"))[CLASSES]
    np.testing.assert_allclose(results.predictions["checkpoint"][1][CLASSES], expected, atol=1e-5)
    metrics = run.read_metrics()
    assert metrics[-1]["loss"] < metrics[0]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"ema": 0.9}])
def test_an_interrupted_run_ends_the_same(more, make_run, tmp_path, monkeypatch):
    config = make_run(**RECIPE, **more)
    undisturbed = outcome_of(train_fold(config, tmp_path / "undisturbed").path)
    stop_after(2, monkeypatch, config, tmp_path / "stopped")
    assert outcome_of(train_fold(config, tmp_path / "stopped").path) == undisturbed


@pytest.mark.slow
def test_other_projections_and_layers_of_clip_stay_as_they_were(make_run, tmp_path):
    runs = [
        train_fold(make_run(**RECIPE | {"epochs": n, "warmup_epochs": 0}), tmp_path / str(n))
        for n in (1, 2)
    ]
    first, second = (load_checkpoint(str(run.checkpoint("last"))).state_dict() for run in runs)
    block = "backbone.visual.transformer.resblocks.0"
    width = first[f"{block}.attn.in_proj_weight"].shape[1]
    parts = [w[f"{block}.attn.in_proj_weight"].split(width) for w in (first, second)]
    changed = [not torch.equal(a, b) for a, b in zip(*parts, strict=True)]
    assert changed == [True, False, True]  # q, k, v
    for name in (f"{block}.attn.out_proj.weight", f"{block}.ln_1.weight", "logit_scale"):
        assert torch.equal(first[name], second[name])
    assert not torch.equal(first[f"{block}.mlp.c_fc.weight"], second[f"{block}.mlp.c_fc.weight"])


def test_changes_learn_at_the_rate_of_new_layers(make_model):
    model = make_model()
    add_lora(model, 2, ("q",))
    config = TrainConfig(lr=1e-3, new_layers_lr=10.0, layer_decay=0.5)
    optimizer = build_optimizer(model, config)
    trained = {p for group in optimizer.param_groups for p in group["params"]}
    assert {group["lr"] for group in optimizer.param_groups} == {1e-2}
    assert trained == {p for p in model.parameters() if p.requires_grad}


@pytest.mark.slow
def test_compiled_steps_give_the_same(make_run, tmp_path):
    eager, compiled = (
        train_fold(make_run(**RECIPE | {"epochs": 2}, compute={"steps": way}), tmp_path / way)
        for way in ("eager", "compiled")
    )
    assert compiled.read().steps == "compiled"
    losses = [[line["loss"] for line in run.read_metrics()] for run in (eager, compiled)]
    np.testing.assert_allclose(*losses, rtol=1e-3)


def test_a_network_without_clip_refuses_lora(make_run):
    config = make_run(**RECIPE)
    check_recipe(config)
    with pytest.raises(ConfigError, match="former-dfer has no visual tower of CLIP for LoRA"):
        check_recipe(replace(config, model=default_model("former-dfer")))
