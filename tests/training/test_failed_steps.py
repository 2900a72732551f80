"""Gradients of parts of a step, and what is left where a way of taking steps fails."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch

from dfercli.config import ComputeConfig
from dfercli.models import functional
from dfercli.training import execution, step
from dfercli.training.execution import Steps, fit_steps
from dfercli.training.step import EagerGradients, FixedGradients, capture_graph


def _gradient(model):
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("fixed", [False, True], ids=["eager", "fixed"])
def test_parts_add_up_as_a_gpu_computes_them(fixed, make_trainer, make_clips, monkeypatch):
    """There, the two biases of an LSTM's gates get one and the same gradient."""
    monkeypatch.setattr(functional, "prefers_few_kernels", lambda tensor: True)
    trainer, clips, labels = make_trainer(micro_batch=1), make_clips(3, 4), torch.arange(3)
    trainer.model.train()
    for layer in trainer.model.interfit:  # which starts at 0, so that nothing reaches the LSTM
        torch.nn.init.normal_(layer.attention.out_proj.weight)
    parts = trainer.gradients
    parts.add(clips, labels, 1 / 3, last=True)
    expected = _gradient(trainer.model)
    parts.clear()
    if fixed:
        parts = FixedGradients(
            trainer.model,
            trainer.accelerator,
            trainer.loss,
            torch.zeros(1, *clips.shape[1:]),
            torch.zeros(1, dtype=torch.long),
            accumulate=True,
            capture=False,
        )
    for index in range(3):
        parts.add(clips[index : index + 1], labels[index : index + 1], 1 / 3, last=index == 2)
    for ours, theirs in zip(_gradient(trainer.model), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def _compile_nothing(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)


def test_a_way_that_fails_late_leaves_no_gradient_and_no_graph(make_trainer, monkeypatch):
    """What a graph was captured with but never replayed is noise, and must not be added to."""
    trainer = make_trainer()

    def fail(prepared, clips, capture):
        trainer.model.logit_scale.grad = torch.tensor(float("nan"))
        raise RuntimeError("no room for a test")

    _compile_nothing(monkeypatch)
    monkeypatch.setattr(execution, "FixedModel", fail)
    taken = fit_steps(trainer, "compiled", 4, ComputeConfig())
    assert "no room for a test" in taken.remark
    assert isinstance(trainer.gradients, EagerGradients)
    assert _gradient(trainer.model) == []


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: out of memory"),  # of a driver without room for a graph
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_full_memory_is_known_whoever_reports_it(error, wrapped, make_trainer, monkeypatch):
    trainer, tried = make_trainer(micro_batch=4), []

    def take(trainer, way, accumulate, remark):
        tried.append(trainer.micro_batch)
        if len(tried) == 1 and wrapped:
            raise RuntimeError("the compiler failed") from error
        if len(tried) == 1:
            raise error
        return Steps(way, trainer.prepared)

    monkeypatch.setattr(execution, "_take_way", take)
    taken = fit_steps(trainer, "captured", 4, ComputeConfig(batch="auto"))
    assert (tried, taken.way, taken.remark) == ([4, 2], "captured", "")


def test_a_way_is_tried_beside_what_the_optimizer_will_hold(make_trainer, monkeypatch):
    trainer, held = make_trainer(), []
    trainer_type = type(trainer)

    @contextmanager
    def reserve(self):
        held.append("reserved")
        yield
        held.append("released")

    def take(trainer, way, accumulate, remark):
        held.append("tried")
        return Steps(way, trainer.prepared)

    monkeypatch.setattr(trainer_type, "reserving_moments", reserve)
    monkeypatch.setattr(execution, "_take_way", take)
    fit_steps(trainer, "captured", 4, ComputeConfig())
    assert held == ["reserved", "tried", "released"]


class _FailingCapture:
    """Stands for `torch.cuda.graph`: ends with an error of its own where anything has failed."""

    def __init__(self, graph, **settings):
        pass

    def __enter__(self):
        pass

    def __exit__(self, kind, error, trace):
        if error is not None:
            raise RuntimeError("operation failed due to a previous error during capture")


@pytest.fixture
def capturing(monkeypatch):
    """Let a capture run on a CPU."""
    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(step, "side_stream", lambda index, purpose: stream)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
    monkeypatch.setattr(torch.cuda, "graph", _FailingCapture)


def test_a_failed_capture_reports_what_failed_first(capturing):
    passes = iter(range(step.WARM_UP_PASSES))

    def run():
        if next(passes, None) is None:
            raise RuntimeError("operation not permitted when stream is capturing")
        return torch.zeros(())

    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        capture_graph(run, torch.device("cuda:0"))


def test_a_capture_runs_after_passes_that_build_its_kernels(capturing):
    calls = []

    def run():
        calls.append("run")
        return torch.tensor(float(len(calls)))

    replay = capture_graph(run, torch.device("cuda:0"), lambda: calls.append("reset"))
    assert calls == ["reset", "run"] * step.WARM_UP_PASSES + ["reset", "run"]
    assert replay() is replay()
