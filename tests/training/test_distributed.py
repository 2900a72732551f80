"""Several processes take the same steps as one, and test each clip once."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from small_runs import small_network

from dfercli.config import STAGED, to_dict
from dfercli.data.manifest import read_manifest, write_manifest
from dfercli.models.base import build_model
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.runs.predictions import read_predictions
from dfercli.runs.run_folder import RunFolder
from dfercli.training import loop
from dfercli.training.loop import train_fold

# Plain descent: Adam takes a whole step even along a gradient that is rounding noise.
TRAIN = """
import json, sys
from pathlib import Path
import open_clip, torch
from dfercli.config import RunConfig, from_dict
from dfercli.training import loop
open_clip.add_model_config(sys.argv[1])
loop.build_optimizer = lambda model, train: torch.optim.SGD(model.parameters(), lr=train.lr)
loop.train_fold(from_dict(RunConfig, json.loads(sys.argv[2])), Path(sys.argv[3]))
"""


@pytest.fixture
def train_in_two(tiny_name, tmp_path):
    """Train a run in two processes on the CPU."""
    import open_clip

    (tmp_path / f"{tiny_name}.json").write_text(json.dumps(open_clip.get_model_config(tiny_name)))
    (tmp_path / "train.py").write_text(TRAIN)

    def start(config):
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
        local = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
        arguments = [f"{tmp_path / tiny_name}.json", json.dumps(to_dict(config)), str(tmp_path)]
        done = subprocess.run(
            [*launch, *local, str(tmp_path / "train.py"), *arguments],
            env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return RunFolder(tmp_path / "colours" / config.variant / "fold1")

    return start


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["hard", "votes"])
def test_two_processes_take_the_steps_of_one(
    labels, make_run, colours, train_in_two, tmp_path, monkeypatch
):
    # 12 clips: a batch of 6 + 5 in parts of 3, and one in which one process has nothing to do. The
    # trial of `auto`, before the first step, must not disturb what the processes agree on.
    compute = {"accumulate": 2, "batch": "auto"}
    config = make_run(epochs=2, batch_size=11, lr=0.1, compute=compute, labels=labels)
    if labels == "votes":
        manifest = read_manifest(colours)
        votes = {"votes:happiness": range(18), "votes:anger": 4}
        path = tmp_path / "colours.csv"
        write_manifest(replace(manifest, rows=manifest.rows.assign(**votes)), path)
        data = replace(config.data, manifest=str(path), root=str(colours.parent))
        config = replace(config, data=data)
    monkeypatch.setattr(
        loop, "build_optimizer", lambda model, _: torch.optim.SGD(model.parameters(), lr=0.1)
    )
    one, two = train_fold(config, tmp_path / "one"), train_in_two(config)
    for ours, theirs in zip(two.read_metrics(), one.read_metrics(), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        for name in ("epoch", "lr", "war", "uar"):
            assert ours[name] == theirs[name], name
    expected = load_checkpoint(str(one.checkpoint("last"))).state_dict()
    for name, tensor in load_checkpoint(str(two.checkpoint("last"))).state_dict().items():
        assert torch.allclose(tensor, expected[name], rtol=0, atol=1e-5), name
    tables = [read_predictions(run.predictions_file("last")) for run in (two, one)]
    assert list(tables[0]["clip_id"]) == list(tables[1]["clip_id"])


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGED)
def test_two_processes_train_both_stages(name, make_run, tiny_name, train_in_two):
    """Some parameters have no gradient in an epoch, for which the processes must not wait."""
    model = small_network(name, tiny_name)
    recipe = {"epochs": 3, "warmup_epochs": 0, "stage1_epochs": 1, "stage1_lr": 1e-3, "lr": 1e-3}
    run = train_in_two(make_run(model=model, **recipe))
    assert all(math.isfinite(line["loss"]) for line in run.read_metrics())
    trained = load_checkpoint(str(run.checkpoint("last")))
    torch.manual_seed(0)  # of the run
    fresh = build_model(trained.config, trained.class_names)
    weights, learnt = fresh.state_dict(), set()
    for stage in (1, 2):
        fresh.set_stage(stage)
        learnt |= {key for key, p in fresh.named_parameters() if p.requires_grad}
    for key, parameter in trained.named_parameters():
        assert (not torch.equal(parameter, weights[key])) == (key in learnt), key
