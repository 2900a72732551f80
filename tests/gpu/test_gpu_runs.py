"""Whole runs on a GPU: trained, killed, resumed, evaluated, used to predict, exported."""

import json
import os
import signal
import subprocess
import sys
from importlib import metadata

import numpy as np
import pandas as pd
import pytest
import torch
from small_runs import small_network

import dfercli
from dfercli.config import METHODS, NETWORKS, STAGED, UNTRAINED, to_dict
from dfercli.demo.drawing import make_person
from dfercli.demo.videos import FPS, draw_video
from dfercli.evaluation.checkpoint import evaluate_checkpoint
from dfercli.media.video_writer import write_video
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.runs.predictions import probs_of, read_tested
from dfercli.training.loop import train_fold

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
SMALL = {"backbone": "demo-ViT-tiny"}
"""A backbone that new processes know too."""

BASELINE = {"interfit": False, "msta": False, "biehpro": False}
VARIANTS = [
    {},
    BASELINE,
    *({**BASELINE, name: True} for name in BASELINE),
    *({name: False} for name in BASELINE),
    {"biehpro": False, "text": False},
    {"text_prompt": False},
    {"visual_prompt": False},
    {"cross_attention": "all"},
    {"num_frames": 16},
    *({"method": method} for method in METHODS if method not in ("dfer", *NETWORKS)),
]

TRAIN_AND_DIE = """
import json, os, signal, sys
from pathlib import Path
from dfercli.config import RunConfig, from_dict
from dfercli.training.progress import Progress
from dfercli.training.loop import train_fold

class Deadly(Progress):
    def begin_epoch(self, epoch):
        self.epoch = epoch

    def step(self, clips, loss):
        if self.epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

config = from_dict(RunConfig, json.loads(sys.argv[1]))
train_fold(config, Path(sys.argv[2]), progress=Deadly(1, shown=False))
"""
"""Trains a run and is killed at the first step of the second epoch."""


def _name(settings):
    return "-".join(f"{name}={value}" for name, value in settings.items()) or "full"


def _run_python(*arguments, **settings):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, **settings)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folder for the run that `config` describes."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def config(make_gpu_run):
    """Two epochs of a recipe with every source of randomness."""
    augment = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.02}
    recipe = {"epochs": 2, "mixup": 0.8, "drop_path": 0.5, "label_smoothing": 0.1}
    return make_gpu_run(model=SMALL, workers=1, augment=augment, **recipe)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(config, killed, tmp_path):
    """The order of sums may differ; other random numbers would make a far larger difference."""
    undisturbed = train_fold(config, tmp_path)
    arguments = ("-c", TRAIN_AND_DIE, json.dumps(to_dict(config)), str(killed))
    died = _run_python(*arguments)
    assert died.returncode == -signal.SIGKILL, died.stderr
    run = train_fold(config, killed)
    assert run.finished
    assert [call.after_epoch for call in run.read().resumed] == [1]
    assert run.read().calls[0].device == torch.cuda.get_device_name()
    ours, theirs = run.read_metrics(), undisturbed.read_metrics()
    assert len(ours) == len(theirs) == 2
    for line, expected in zip(ours, theirs, strict=True):
        assert line["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert ours[0]["loss"] != ours[1]["loss"]
    tables = [probs_of(read_tested(each, "last")) for each in (run, undisturbed)]
    np.testing.assert_allclose(*tables, atol=1e-3)


@pytest.fixture
def finished(config, killed):
    """The run that was killed, finished; also where only one of these tests is run."""
    return train_fold(config, killed)


def test_it_is_evaluated(finished, config):
    """In single precision, kernel by kernel, as it was tested by a replayed graph."""
    results = evaluate_checkpoint(str(finished.path), config.data, device=DEVICE)
    (table,) = results.predictions["checkpoint"].values()
    expected = read_tested(finished, "best")
    assert list(table["clip_id"]) == list(expected["clip_id"])
    np.testing.assert_allclose(probs_of(table), probs_of(expected), atol=1e-4)


def test_it_predicts_a_video(finished, tmp_path):
    frames = list(draw_video(make_person(0, 0), "happiness", np.random.default_rng(5)))
    write_video(tmp_path / "a.mp4", frames, FPS)
    options = ["--checkpoint", str(finished.path), "--device", DEVICE, "--out", "x.csv"]
    done = _run_python("-m", "dfercli", "predict", "a.mp4", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "x.csv")
    assert table["confidence"].notna().any()


def test_it_is_exported(finished, tmp_path):
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason=f"the extra `onnx` is not installed: no {package}")
    from dfercli.publish.onnx_file import export_onnx

    export_onnx(str(finished.path), tmp_path / "model.onnx")  # compares both itself
    assert (tmp_path / "model.onnx").stat().st_size > 10**5


@pytest.mark.parametrize("settings", VARIANTS, ids=_name)
def test_a_variant_trains_saves_and_loads(settings, make_gpu_run, tmp_path):
    """What was tested by a replayed graph is what a loaded checkpoint says, kernel by kernel."""
    config = make_gpu_run(model=settings, epochs=1, warmup_epochs=0)
    run = train_fold(config, tmp_path)
    if config.model.method not in UNTRAINED:
        assert run.read().steps == "captured"
        assert np.isfinite(run.read_metrics()[0]["loss"])
    _check_saved(run, config, tmp_path)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_trains_saves_and_loads(name, make_gpu_run, tmp_path):
    stage1_epochs = 1 if name in STAGED else 0
    recipe = {"epochs": 1 + stage1_epochs, "warmup_epochs": 0, "stage1_epochs": stage1_epochs}
    model = small_network(name, SMALL["backbone"])
    config = make_gpu_run("auto", "auto", model=model, **recipe)
    run = train_fold(config, tmp_path)
    assert run.read().calls[0].device == torch.cuda.get_device_name()
    assert all(np.isfinite(line["loss"]) for line in run.read_metrics())
    _check_saved(run, config, tmp_path, tolerance=0.02)  # trained and tested in bf16


def _check_saved(run, config, folder, tolerance=1e-4):
    last, fold = str(run.checkpoint("last")), config.fold
    results = evaluate_checkpoint(last, config.data, [fold], device=DEVICE)
    table = results.predictions["checkpoint"][fold]
    expected = probs_of(read_tested(run, "last"))
    np.testing.assert_allclose(probs_of(table), expected, atol=tolerance)
    loaded = load_checkpoint(last).to(DEVICE)
    side = loaded.image_size
    clips = torch.randn(2, config.model.num_frames, 3, side, side, device=DEVICE)
    with torch.inference_mode():
        expected = loaded(clips)
        loaded.save_pretrained(folder / "again")
        again = load_checkpoint(str(folder / "again")).to(DEVICE)(clips)
    torch.testing.assert_close(again, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("recipe", [{}, {"lora_rank": 4, "lora_on": "q,v,mlp"}], ids=_name)
@pytest.mark.parametrize("way", ["eager", "captured"])
def test_averaged_weights_are_what_is_tested_and_saved(way, recipe, make_gpu_run, tmp_path):
    config = make_gpu_run(way, epochs=2, ema=0.9, **recipe)
    run = train_fold(config, tmp_path / "averaged")
    _check_saved(run, config, tmp_path)
    plain = train_fold(make_gpu_run(way, epochs=2, **recipe), tmp_path / "plain")
    for ours, theirs in zip(run.read_metrics(), plain.read_metrics(), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    weights = [load_checkpoint(str(r.checkpoint("last"))).state_dict() for r in (run, plain)]
    assert weights[0].keys() == weights[1].keys()
    assert any(not torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.parametrize("recipe", ["plain", "strong"])
def test_epochs_have_the_losses_of_a_cpu(recipe, make_run, make_gpu_run, tmp_path):
    """Batches of 5, 5 and 2 clips, in parts of 3 where the recipe is strong.

    Each step of AdamW carries rounding into the next. On a CPU that takes the layers as a GPU does,
    losses differ by 3e-7 after six steps; where another clip is drawn, by 1e-2. A GPU's own kernels
    are allowed the middle between the two, on a scale of powers.
    """
    settings = {"epochs": 2, "batch_size": 5, "lr": 1e-4}
    if recipe == "strong":
        settings |= {"mixup": 0.8, "label_smoothing": 0.1, "balance": "prior", "layer_decay": 0.75}
        settings |= {"augment": {"brightness": 0.2, "hue": 0.02}, "compute": {"accumulate": 2}}
    theirs = train_fold(make_run(**settings), tmp_path / "cpu").read_metrics()
    ways = ("captured",) if recipe == "plain" else ("eager", "captured", "compiled")
    for way in ways:
        run = train_fold(make_gpu_run(way, **settings), tmp_path / way)
        assert run.read().steps == way
        for line, expected in zip(run.read_metrics(), theirs, strict=True):
            assert line["loss"] == pytest.approx(expected["loss"], rel=1e-4), way


@pytest.mark.parametrize("precision", ["auto", "fp16"])
def test_a_run_at_half_precision_learns_the_colours(precision, make_gpu_run, tmp_path):
    """Three colours that a linear layer tells apart; chance is a third."""
    settings = {"epochs": 12, "lr": 3e-3, "batch_size": 4}
    run = train_fold(make_gpu_run("auto", precision, **settings), tmp_path)
    losses = [line["loss"] for line in run.read_metrics()]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.9 * losses[0]


def test_a_run_saves_where_packages_have_no_metadata(make_gpu_run, tmp_path, monkeypatch):
    """As with opencv-python-headless, and a source tree that was not installed."""
    real = metadata.version

    def version(name):
        if name in ("opencv-python", "dfer"):
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    run = train_fold(make_gpu_run("eager", epochs=1, warmup_epochs=0), tmp_path)
    versions = run.read().calls[0].versions
    assert versions["dfer"] == dfercli.__version__
    assert versions["torch"]
    assert load_checkpoint(str(run.path)).class_names
