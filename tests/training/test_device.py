"""Devices, precisions, and parts of a batch that fit in memory."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from accelerate import PartialState
from accelerate.utils.memory import should_reduce_batch_size
from small_runs import small_network

from dfercli import device
from dfercli.config import (
    METHODS,
    UNTRAINED,
    WITHOUT_CLIP,
    ComputeConfig,
    DataConfig,
    ModelConfig,
    RunConfig,
)
from dfercli.device import (
    resolve_compute,
    resolve_device,
    resolve_precision,
    resolve_training,
)
from dfercli.errors import ConfigError
from dfercli.jobs.run import train_folds
from dfercli.models.dfer import DFERModel
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.training import loop
from dfercli.training.device import describe_device, make_accelerator
from dfercli.training.loop import train_fold
from dfercli.training.step import OptimizerStep

NO_CUDA = "PyTorch finds no cuda device on this machine; use --device auto or cpu"
OUT_OF_MEMORY = "DefaultCPUAllocator: can't allocate memory"


@pytest.mark.parametrize("multiplies", [True, False])
def test_auto_takes_bf16_where_the_device_multiplies_in_it(multiplies, monkeypatch):
    monkeypatch.setattr(device, "multiplies_in_bf16", lambda kind: multiplies)
    resolved = resolve_compute(ComputeConfig(device="cpu"))
    assert (resolved.device, resolved.precision) == ("cpu", "bf16" if multiplies else "fp32")
    assert resolve_compute(resolved) == resolved


def test_fp16_is_refused_on_a_cpu_alone():
    with pytest.raises(ConfigError, match="fp16 is emulated on CPUs"):
        resolve_precision("fp16", "cpu")
    assert resolve_precision("fp16", "cuda") == "fp16"


@pytest.mark.parametrize("method", METHODS)
def test_no_convolution_is_trained_in_bf16_on_a_cpu(method, monkeypatch):
    monkeypatch.setattr(device, "multiplies_in_bf16", lambda kind: True)
    data = DataConfig(dataset="none", manifest="", root="")
    run = RunConfig(data=data, fold=1, model=ModelConfig(method=method))
    run = replace(run, compute=ComputeConfig(device="cpu"))
    convolves = method in WITHOUT_CLIP and method not in UNTRAINED
    assert resolve_training(run).precision == ("fp32" if convolves else "bf16")
    assert resolve_training(replace(run, compute=resolve_training(run))) == resolve_training(run)
    in_bf16 = replace(run, compute=ComputeConfig(device="cpu", precision="bf16"))
    if not convolves:
        assert resolve_training(in_bf16).precision == "bf16"
        return
    with pytest.raises(ConfigError, match=f"bf16 on CPUs, so {method} cannot .* --precision auto"):
        resolve_training(in_bf16)


def test_bf16_is_refused_before_anything_is_trained_and_not_for_finished_runs(
    make_run, tmp_path, tiny_name, monkeypatch
):
    config = make_run(epochs=1, warmup_epochs=0, model=small_network("c3d", tiny_name))
    in_bf16 = replace(config, compute=replace(config.compute, precision="bf16"))
    with pytest.raises(ConfigError, match="so c3d cannot be trained in it"):
        train_folds(in_bf16, [1, 2], tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    with monkeypatch.context() as patched:  # as on a GPU, or by a version without this rule
        patched.setattr(loop, "resolve_training", lambda run: run.compute)
        patched.setattr(loop, "train_epoch", lambda *_: 0.5)
        train_fold(in_bf16, tmp_path / "runs")
    assert train_folds(in_bf16, [1], tmp_path / "runs")[1].finished


def test_a_launcher_that_computes_elsewhere_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with pytest.raises(ConfigError, match="accelerate is set to use cpu instead of cuda; add"):
        make_accelerator(ComputeConfig(device="cuda", precision="bf16"))


def test_networks_are_trained_in_bf16_on_a_gpu(monkeypatch):
    monkeypatch.setattr(device, "multiplies_in_bf16", lambda kind: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    data = DataConfig(dataset="none", manifest="", root="")
    run = RunConfig(data=data, fold=1, model=ModelConfig(method="p3d"))
    assert resolve_training(run).precision == "bf16"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ConfigError) as caught:
        resolve_compute(ComputeConfig(device="cuda"))
    assert str(caught.value) == NO_CUDA


@pytest.fixture
def gpus(monkeypatch):
    """Make PyTorch find some CUDA devices; returns the calls that concern them, in order."""
    asked = []

    def find(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "set_device", lambda gpu: asked.append(("set", gpu)))
        return asked

    return find


@pytest.mark.parametrize(
    ("count", "name", "device"),
    [(1, "auto", "cuda"), (2, "cuda", "cuda"), (1, "cuda:0", "cuda:0"), (12, "cuda:11", "cuda:11")],
)
def test_a_gpu_may_be_named_by_number(count, name, device, gpus):
    gpus(count)
    assert resolve_device(name) == device


@pytest.mark.parametrize(
    ("count", "name", "message"),
    [
        (0, "cuda:0", NO_CUDA),
        (
            1,
            "cuda:1",
            "--device cuda:1 does not exist; this machine has 1 CUDA device: cuda:0",
        ),
        (
            2,
            "cuda:300",
            "--device cuda:300 does not exist; this machine has 2 CUDA devices: cuda:0, cuda:1",
        ),
        (
            2,
            "cuda:x",
            "no device 'cuda:x'; known: auto, cpu, cuda, mps, or a GPU by number, such as cuda:1",
        ),
    ],
)
def test_a_gpu_that_is_not_there_is_one_line(count, name, message, gpus):
    gpus(count)
    with pytest.raises(ConfigError) as caught:
        resolve_device(name)
    assert str(caught.value) == message


def test_each_gpu_is_asked_for_its_own_precision(gpus, monkeypatch):
    current = []
    monkeypatch.setattr(torch.cuda, "device", lambda gpu: nullcontext(current.append(gpu)))
    answers = {"cuda": True, "cuda:1": False}
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: answers[current[-1]]
    )
    gpus(2)
    assert resolve_compute(ComputeConfig(device="cuda")).precision == "bf16"
    resolved = resolve_compute(ComputeConfig(device="cuda:1"))
    assert (resolved.device, resolved.precision) == ("cuda:1", "fp32")
    assert resolve_precision("fp16", "cuda:1") == "fp16"


def test_a_gpu_by_number_is_current_before_accelerate_takes_one(gpus, monkeypatch):
    asked = gpus(2)

    def accelerate(**settings):
        asked.append(("accelerate", settings["cpu"]))
        return SimpleNamespace(device=torch.device("cpu" if settings["cpu"] else "cuda"))

    monkeypatch.setattr("dfercli.training.device.Accelerator", accelerate)
    for name in ("cuda:1", "cuda", "cpu"):
        make_accelerator(ComputeConfig(device=name, precision="fp32"))
    assert asked == [
        ("set", "cuda:1"),
        ("accelerate", False),
        ("accelerate", False),
        ("accelerate", True),
    ]


def test_accelerate_takes_the_current_gpu_by_naming_none(gpus):
    """The previous test relies on it: `cuda` without a number is PyTorch's current device."""
    gpus(2)
    state = PartialState.__new__(PartialState)
    assert state.default_device == torch.device("cuda")


def test_a_gpu_is_described_by_its_own_name(monkeypatch):
    names = {torch.device("cuda:0"): "A", torch.device("cuda:1"): "B"}
    monkeypatch.setattr(torch.cuda, "get_device_name", names.get)
    assert [describe_device(torch.device("cuda", index)) for index in (0, 1)] == ["A", "B"]


def test_runs_of_one_process_have_each_their_own_precision():
    for precision, expected in (("bf16", "bf16"), ("fp32", "no"), ("bf16", "bf16")):
        compute = ComputeConfig(device="cpu", precision=precision)
        assert make_accelerator(compute).mixed_precision == expected


def _fail_above(monkeypatch, most):
    """Let the model run out of memory above `most` clips; returns the batch sizes it was given."""
    seen, forward = [], DFERModel.forward

    def limited(self, clips):
        seen.append(len(clips))
        if len(clips) > most:
            raise RuntimeError(OUT_OF_MEMORY)
        return forward(self, clips)

    monkeypatch.setattr(DFERModel, "forward", limited)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize(("most", "parts"), [(5, [5]), (4, [3, 2]), (1, [1, 1, 1, 1, 1])])
def test_batch_auto_halves_the_parts_and_keeps_the_batch(
    most, parts, make_run, tmp_path, monkeypatch
):
    assert should_reduce_batch_size(RuntimeError(OUT_OF_MEMORY))
    settings = {"epochs": 1, "warmup_epochs": 0, "batch_size": 5}
    whole = train_fold(make_run(**settings), tmp_path / "whole")
    seen = _fail_above(monkeypatch, most)
    steps = []
    take_step = OptimizerStep.__call__

    def note(self, clips, labels, share, batch):
        steps.append(([len(part) for part in clips.split(self.micro_batch)], batch))
        return take_step(self, clips, labels, share, batch)

    monkeypatch.setattr(OptimizerStep, "__call__", note)
    run = train_fold(make_run(**settings, compute={"batch": "auto"}), tmp_path / "auto")
    assert steps[:2] == [(parts, 5)] * 2
    assert max(seen) == 5  # it was tried
    assert run.read_metrics()[0]["loss"] == pytest.approx(whole.read_metrics()[0]["loss"], rel=0.02)
    assert load_checkpoint(str(run.path)).class_names


@pytest.mark.slow
def test_one_clip_that_does_not_fit_is_one_line(make_run, tmp_path, monkeypatch):
    _fail_above(monkeypatch, 0)
    with pytest.raises(ConfigError, match="a single clip does not fit in memory"):
        train_fold(make_run(compute={"batch": "auto"}), tmp_path)
