"""How steps are executed: the choice of a way, failures and memory, as far as a CPU can show."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from dfercli.config import ComputeConfig
from dfercli.data.augment import change_batch
from dfercli.errors import ConfigError
from dfercli.models.backbone import run_block
from dfercli.training import execution
from dfercli.training.execution import Execution, choose_way, fit_execution
from dfercli.training.loop import train_fold
from dfercli.training.step import EagerGradients, OptimizerStep


def _accelerator(device, processes=1):
    return SimpleNamespace(device=torch.device(device), num_processes=processes)


LONG, SHORT = execution.COMPILE_FROM_STEPS, execution.COMPILE_FROM_STEPS - 1


@pytest.mark.parametrize(
    ("asked", "device", "processes", "count", "way"),
    [
        ("auto", "cpu", 1, LONG, "eager"),
        ("auto", "mps", 1, LONG, "eager"),
        ("auto", "cuda", 1, LONG, "compiled"),
        ("auto", "cuda", 1, SHORT, "captured"),
        ("auto", "cuda", 2, LONG, "compiled"),
        ("auto", "cuda", 2, SHORT, "eager"),
        ("eager", "cuda", 1, LONG, "eager"),
        ("captured", "cuda", 1, LONG, "captured"),
        ("compiled", "cpu", 1, SHORT, "compiled"),
        ("compiled", "cuda", 2, SHORT, "compiled"),
    ],
)
def test_the_way_follows_from_the_device_and_the_length_of_the_run(
    asked, device, processes, count, way
):
    compute = ComputeConfig(steps=asked)
    assert choose_way(compute, _accelerator(device, processes), count) == way


@pytest.mark.parametrize(("device", "processes"), [("cpu", 1), ("cuda", 2)])
def test_captured_steps_where_nothing_can_be_captured_are_refused(device, processes):
    with pytest.raises(ConfigError, match="captured steps need a single process on a CUDA device"):
        choose_way(ComputeConfig(steps="captured"), _accelerator(device, processes), 10)


def _fail(error):
    def fail(*arguments, **settings):
        raise error

    return fail


def _fit(setup, way="compiled", micro_batch=4, share=4, **compute):
    return fit_execution(setup, ComputeConfig(**compute), way, micro_batch, share)


def _gradients(model):
    return [p.grad for p in model.parameters() if p.grad is not None]


def test_where_compiling_fails_the_slower_way_is_taken_and_named(make_setup, monkeypatch):
    setup = make_setup()
    monkeypatch.setattr(torch, "compile", _fail(RuntimeError("no compiler\nlong trace")))
    result = _fit(setup)
    assert result.way == "eager"
    assert result.remark == (
        "compiled steps do not work here (no compiler); using eager steps, which are slower"
    )
    assert isinstance(result.step.gradients, EagerGradients)
    assert result.tester is setup.prepared
    assert result.change is change_batch
    assert setup.model.backbone.run_block is run_block


def test_where_the_first_pass_fails_nothing_compiled_stays(make_setup, monkeypatch):
    setup = make_setup()
    monkeypatch.setattr(execution.FixedGradients, "_run", _fail(RuntimeError("no kernel")))
    monkeypatch.setattr(torch, "compile", lambda function, **_: _fail(RuntimeError("compiled")))
    assert "no kernel" in _fit(setup).remark
    assert setup.model.backbone.run_block is run_block
    assert "embed_patches" not in vars(setup.model.backbone)


def test_a_way_that_was_requested_is_not_replaced(make_setup, monkeypatch):
    monkeypatch.setattr(torch, "compile", _fail(RuntimeError("no compiler")))
    with pytest.raises(ConfigError, match=r"no compiler\); omit --steps, or use --steps eag"):
        _fit(make_setup(), steps="compiled")


def test_a_way_that_fails_late_leaves_no_gradient_and_no_graph(make_setup, monkeypatch):
    """The gradients of a graph that was captured but not replayed are noise."""
    setup = make_setup()

    def fail(prepared, clips, capture):
        setup.model.logit_scale.grad = torch.tensor(float("nan"))
        raise RuntimeError("no room for a test")

    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(execution, "FixedModel", fail)
    result = _fit(setup)
    assert "no room for a test" in result.remark
    assert isinstance(result.step.gradients, EagerGradients)
    assert _gradients(setup.model) == []


class _LimitedDevice:
    """Stands for `_build_fixed` on a device that has memory for so many clips."""

    def __init__(self, clips):
        self.clips, self.tried = clips, []

    def __call__(self, setup, way, micro_batch, accumulate, remark):
        self.tried.append((micro_batch, accumulate))
        if micro_batch > self.clips:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Execution(way, OptimizerStep(setup, None, micro_batch), setup.prepared)


@pytest.mark.slow
def test_parts_are_halved_until_a_capture_fits(make_setup, monkeypatch):
    device = _LimitedDevice(3)
    monkeypatch.setattr(execution, "_build_fixed", device)
    result = _fit(make_setup(), "captured", micro_batch=10, share=10, batch="auto")
    assert device.tried == [(10, False), (5, True), (3, True)]
    assert result.step.micro_batch == 3


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "clips"), [("fixed", 3), ("auto", 0)])
def test_clips_that_do_not_fit_are_one_line(batch, clips, make_setup, monkeypatch):
    monkeypatch.setattr(execution, "_build_fixed", _LimitedDevice(clips))
    with pytest.raises(ConfigError, match=r"do not fit in the device's memory"):
        _fit(make_setup(), "captured", batch=batch)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: out of memory"),  # of a driver without room for a graph
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_full_memory_is_recognised_whoever_reports_it(error, wrapped, make_setup, monkeypatch):
    tried = []

    def build(setup, way, micro_batch, accumulate, remark):
        tried.append(micro_batch)
        if len(tried) == 1 and wrapped:
            raise RuntimeError("the compiler failed") from error
        if len(tried) == 1:
            raise error
        return Execution(
            way, OptimizerStep(setup, None, micro_batch), setup.prepared, remark=remark
        )

    monkeypatch.setattr(execution, "_build_fixed", build)
    result = _fit(make_setup(), "captured", batch="auto")
    assert (tried, result.way, result.remark) == ([4, 2], "captured", "")


def test_a_way_is_tried_beside_what_the_optimizer_will_hold(make_setup, monkeypatch):
    events = []

    @contextmanager
    def reserve(model):
        events.append("reserved")
        yield
        events.append("released")

    def build(setup, way, micro_batch, accumulate, remark):
        events.append("tried")
        return Execution(way, OptimizerStep(setup, None, micro_batch), setup.prepared)

    monkeypatch.setattr(execution, "reserving_moments", reserve)
    monkeypatch.setattr(execution, "_build_fixed", build)
    _fit(make_setup(), "captured")
    assert events == ["reserved", "tried", "released"]


def test_compiled_steps_train_as_eager_ones_do(make_run, tmp_path, monkeypatch):
    """Through `train_fold`; the graphs are found by the compiler and run by PyTorch."""
    graphs, compile_function = [], torch.compile

    def run_unchanged(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def compile_quickly(function, **options):
        return compile_function(function, backend=run_unchanged, **options)

    eager = train_fold(make_run(), tmp_path / "eager")
    monkeypatch.setattr(torch, "compile", compile_quickly)
    compiled = train_fold(make_run(compute={"steps": "compiled"}), tmp_path / "compiled")
    assert compiled.read().steps == "compiled"
    # A block and the patches, each in training and in evaluation; batches of 4 and 2 share them.
    assert len(graphs) == 4
    for ours, theirs in zip(compiled.read_metrics(), eager.read_metrics(), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
        assert ours["war"] == theirs["war"]


@pytest.mark.slow
def test_the_real_compiler_takes_a_step(make_run, tmp_path):
    pytest.importorskip("torch._inductor")
    settings = {"epochs": 1, "warmup_epochs": 0}
    compiled = train_fold(make_run(compute={"steps": "compiled"}, **settings), tmp_path / "ours")
    eager = train_fold(make_run(**settings), tmp_path / "theirs")
    losses = [run.read_metrics()[0]["loss"] for run in (compiled, eager)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
