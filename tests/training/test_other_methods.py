"""Methods for comparison are trained, saved and resumed by the same loop as ours."""

import pytest
import torch
from safetensors.torch import load_file

from dfercli.ablation.paper_tables import table_rows
from dfercli.ablation.run import run_table
from dfercli.config import METHODS, NETWORKS, UNTRAINED
from dfercli.evaluation.results import read_results
from dfercli.models.base import build_model
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.runs.run_folder import protocols_of
from dfercli.training import loop
from dfercli.training.loop import train_fold

CLASSES = ("happiness", "sadness", "anger")
TRAINED = [method for method in METHODS if method not in ("dfer", *UNTRAINED, *NETWORKS)]


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
    train_epoch, calls = loop.train_epoch, []

    def stop_in_the_second(*arguments):
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train_epoch(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "train_epoch", stop_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            train_fold(config, tmp_path / "parts")
    parts = train_fold(config, tmp_path / "parts")
    expected = load_file(whole.checkpoint("last") / "model.safetensors")
    for name, tensor in load_file(parts.checkpoint("last") / "model.safetensors").items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("val_fraction", [0.0, 0.25])
def test_what_has_nothing_to_learn_is_tested_as_it_is(val_fraction, make_run, tmp_path):
    config = make_run(model={"method": "zero-shot"}, val_fraction=val_fraction)
    run = train_fold(config, tmp_path)
    (line,) = run.read_metrics()
    assert (line["epoch"], line["loss"], line["lr"]) == (0, None, 0)
    assert run.finished
    results = read_results(tmp_path)
    first, *others = [results.summaries[name].to_dict() for name in protocols_of(val_fraction)]
    assert all(other == first for other in others)
    assert first["war"] == [line["war"]]
    assert run.curves_file.is_file()
    assert not run.resume_folder.exists()
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    assert train_fold(config, tmp_path) == run
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before
    torch.manual_seed(0)  # of the run
    fresh = build_model(config.model, CLASSES).state_dict()
    for name, tensor in load_checkpoint(str(run.path)).state_dict().items():
        assert torch.equal(tensor, fresh[name]), name


@pytest.mark.slow
def test_a_table_has_each_method_by_its_own_recipe(make_run, tmp_path):
    rows = [row for row in table_rows(5) if row.name in ("zero-shot CLIP", "CoOp", "DFER-CLIP")]
    base = make_run(epochs=1, warmup_epochs=0)
    ablation = run_table(rows, base, [1], tmp_path, typed={"epochs", "warmup_epochs", "min_lr"})
    assert [result.variant for result in ablation.rows] == ["zero-shot", "coop", "dfer-clip"]
    configs = {job.config.model.method: job.config for job in ablation.outcome.jobs}
    assert "expression" in configs["zero-shot"].model.prompt_template
    assert configs["coop"].train.lr == 2e-3
    assert (configs["dfer-clip"].train.lr, configs["dfer-clip"].train.new_layers_lr) == (1e-5, 100)
    typed = {"epochs", "warmup_epochs", "lr", "min_lr"}
    (coop,) = run_table(rows[1:2], base, [2], tmp_path, typed=typed).outcome.jobs
    assert coop.config.train.lr == base.train.lr
