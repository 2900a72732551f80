"""Gradients of a step: eager or at a fixed size, whole or in parts, and their capture."""

import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from dfercli.data.loaders import DelayedReader, prefetch, send
from dfercli.models import layers
from dfercli.training import step
from dfercli.training.step import EagerGradients, FixedGradients, FixedModel, capture_graph

CPU = torch.device("cpu")


def _gradient(model):
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def _eager(setup):
    return EagerGradients(setup)


def _fixed(setup, clips, labels, accumulate=False):
    return FixedGradients(setup, clips, labels, accumulate, capture=False)


def _assert_same_gradient(model, expected):
    for ours, theirs in zip(_gradient(model), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("recipe", [{}, {"label_smoothing": 0.1, "balance": "prior"}])
@pytest.mark.parametrize("shares", [False, True], ids=["labels", "shares"])
@pytest.mark.parametrize("count", [4, 3, 1])
def test_a_fixed_size_gives_the_loss_and_gradient_of_the_clips_alone(
    count, shares, recipe, make_setup, make_clips
):
    setup, clips = make_setup(**recipe), make_clips(count, 4)
    setup.model.train()
    labels = torch.tensor([0, 4, 2, 1])[:count]
    buffer = torch.zeros(4, dtype=torch.long)
    if shares:
        labels, buffer = torch.rand(count, 5).softmax(-1), torch.zeros(4, 5)
    losses, grads = [], []
    for way in (_eager(setup), _fixed(setup, torch.zeros(4, *clips.shape[1:]), buffer)):
        way.clear()
        # What an earlier and larger batch has left in the buffers must not count.
        way.add(make_clips(4, 4).flip(0), labels.repeat_interleave(4, 0)[:4], 1.0, last=True)
        way.clear()
        losses.append(way.add(clips, labels, 0.25, last=True))
        grads.append(_gradient(setup.model))
    torch.testing.assert_close(losses[0], losses[1], atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_parts_add_up(make_setup, make_clips):
    setup, clips, labels = make_setup(), make_clips(4, 4), torch.arange(4)
    setup.model.train()
    whole = _eager(setup)
    buffers = torch.zeros(2, *clips.shape[1:]), torch.zeros(2, dtype=torch.long)
    parts = _fixed(setup, *buffers, accumulate=True)
    whole.add(clips, labels, 0.25, last=True)
    expected = _gradient(setup.model)
    whole.clear()
    for part in (slice(0, 2), slice(2, 4)):
        parts.add(clips[part], labels[part], 0.25, last=part.stop == 4)
    _assert_same_gradient(setup.model, expected)


@pytest.mark.parametrize("fixed", [False, True], ids=["eager", "fixed"])
def test_parts_add_up_as_a_gpu_computes_them(fixed, make_setup, make_clips, monkeypatch):
    """There, the two biases of an LSTM's gates get one and the same gradient."""
    monkeypatch.setattr(layers, "prefers_few_kernels", lambda tensor: True)
    setup, clips, labels = make_setup(), make_clips(3, 4), torch.arange(3)
    setup.model.train()
    for layer in setup.model.interfit:  # which starts at 0, so that nothing reaches the LSTM
        torch.nn.init.normal_(layer.attention.out_proj.weight)
    parts = _eager(setup)
    parts.add(clips, labels, 1 / 3, last=True)
    expected = _gradient(setup.model)
    parts.clear()
    if fixed:
        buffers = torch.zeros(1, *clips.shape[1:]), torch.zeros(1, dtype=torch.long)
        parts = _fixed(setup, *buffers, accumulate=True)
    for index in range(3):
        parts.add(clips[index : index + 1], labels[index : index + 1], 1 / 3, last=index == 2)
    _assert_same_gradient(setup.model, expected)


def test_trying_a_pass_leaves_no_gradient_and_moves_no_generator(make_setup, make_clips):
    setup, clips = make_setup(), make_clips(4, 4)
    setup.model.backbone.drop_path = 0.5
    before = torch.get_rng_state()
    _fixed(setup, clips, torch.arange(4))
    assert torch.equal(torch.get_rng_state(), before)
    assert not _gradient(setup.model)


@torch.no_grad()
def test_a_model_of_fixed_size_gives_the_logits_of_the_clips_alone(make_model, make_clips):
    model, clips = make_model(num_frames=4).eval(), make_clips(4, 4)
    fixed = FixedModel(model, torch.zeros_like(clips), capture=False)
    for count in (4, 1, 3):
        logits = fixed(clips[:count])
        torch.testing.assert_close(logits, model(clips[:count]), atol=1e-5, rtol=1e-5)
    before = logits.clone()
    fixed(clips.flip(0))
    assert torch.equal(logits, before)  # the next pass does not overwrite what was returned


class _FailingCapture:
    """Stands for `torch.cuda.graph`: ends with an error of its own if anything failed in it."""

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


def test_batches_on_a_cpu_are_delivered_unchanged():
    values = torch.arange(6).numpy()
    assert torch.equal(send(values, CPU), torch.arange(6))
    batches = [(torch.rand(2, 3), torch.tensor([1, 0]), ("keys", n)) for n in range(3)]
    delivered = list(prefetch(batches, CPU))
    assert [keys for *_, keys in delivered] == [keys for *_, keys in batches]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(delivered, batches, strict=True))


def test_a_reader_on_a_cpu_returns_the_number_itself():
    reader = DelayedReader()
    assert [reader.read(torch.tensor(value)) for value in (1.5, math.inf)] == [1.5, math.inf]
