"""Steps of a fixed size, and the way that is taken: what of it a machine without a GPU can show."""

import math
from types import SimpleNamespace

import pytest
import torch

from dfercli.config import ComputeConfig
from dfercli.data.augment import change_batch
from dfercli.data.loaders import DelayedReader, prefetch, send
from dfercli.errors import ConfigError
from dfercli.models.backbone import run_block
from dfercli.training import execution, step
from dfercli.training.execution import choose_way, fit_steps
from dfercli.training.loop import train_fold
from dfercli.training.step import EagerGradients, FixedGradients, FixedModel

CPU = torch.device("cpu")


def _gradient(model):
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("recipe", [{}, {"label_smoothing": 0.1, "balance": "prior"}])
@pytest.mark.parametrize("shares", [False, True], ids=["labels", "shares"])
@pytest.mark.parametrize("count", [4, 3, 1])
def test_a_fixed_size_gives_the_loss_and_gradient_of_the_clips_alone(
    count, shares, recipe, make_trainer, make_clips
):
    trainer, clips = make_trainer(**recipe), make_clips(count, 4)
    trainer.model.train()
    labels = torch.tensor([0, 4, 2, 1])[:count]
    room = torch.zeros(4, dtype=torch.long)
    if shares:
        labels, room = torch.rand(count, 5).softmax(-1), torch.zeros(4, 5)
    eager = trainer.gradients
    fixed = FixedGradients(
        trainer.model,
        trainer.accelerator,
        trainer.loss,
        torch.zeros(4, *clips.shape[1:]),
        room,
        accumulate=False,
        capture=False,
    )
    losses, grads = [], []
    for way in (eager, fixed):
        way.clear()
        # What an earlier and larger batch has left must not count.
        way.add(make_clips(4, 4).flip(0), labels.repeat_interleave(4, 0)[:4], 1.0, last=True)
        way.clear()
        losses.append(way.add(clips, labels, 0.25, last=True))
        grads.append(_gradient(trainer.model))
    torch.testing.assert_close(losses[0], losses[1], atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_parts_add_up(make_trainer, make_clips):
    trainer, clips, labels = make_trainer(micro_batch=2), make_clips(4, 4), torch.arange(4)
    trainer.model.train()
    whole, parts = (
        trainer.gradients,
        FixedGradients(
            trainer.model,
            trainer.accelerator,
            trainer.loss,
            torch.zeros(2, *clips.shape[1:]),
            torch.zeros(2, dtype=torch.long),
            accumulate=True,
            capture=False,
        ),
    )
    whole.add(clips, labels, 0.25, last=True)
    expected = _gradient(trainer.model)
    whole.clear()
    for part in (slice(0, 2), slice(2, 4)):
        parts.add(clips[part], labels[part], 0.25, last=part.stop == 4)
    for ours, theirs in zip(_gradient(trainer.model), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_trying_a_pass_leaves_no_gradient_and_moves_no_generator(make_trainer, make_clips):
    trainer, clips = make_trainer(), make_clips(4, 4)
    trainer.model.backbone.drop_path = 0.5
    before = torch.get_rng_state()
    FixedGradients(
        trainer.model,
        trainer.accelerator,
        trainer.loss,
        clips,
        torch.arange(4),
        accumulate=False,
        capture=False,
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert not _gradient(trainer.model)


@torch.no_grad()
def test_a_model_of_fixed_size_gives_the_logits_of_the_clips_alone(make_model, make_clips):
    model, clips = make_model(num_frames=4).eval(), make_clips(4, 4)
    fixed = FixedModel(model, torch.zeros_like(clips), capture=False)
    for count in (4, 1, 3):
        ours = fixed(clips[:count])
        torch.testing.assert_close(ours, model(clips[:count]), atol=1e-5, rtol=1e-5)
    kept = ours.clone()
    fixed(clips.flip(0))
    assert torch.equal(ours, kept)  # what was given out is not written over


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
    with pytest.raises(ConfigError, match="captured steps need one process on a CUDA device"):
        choose_way(ComputeConfig(steps="captured"), _accelerator(device, processes), 10)


def _fail(error):
    def fail(*arguments, **settings):
        raise error

    return fail


def test_where_compiling_fails_the_slower_way_is_taken_and_named(make_trainer, monkeypatch):
    trainer = make_trainer()
    monkeypatch.setattr(torch, "compile", _fail(RuntimeError("no compiler\nlong trace")))
    taken = fit_steps(trainer, "compiled", 4, ComputeConfig())
    assert taken.way == "eager"
    assert taken.remark == (
        "compiled steps do not work here (no compiler); taking eager steps, which are slower"
    )
    assert isinstance(trainer.gradients, EagerGradients)
    assert taken.tester is trainer.prepared
    assert taken.change is change_batch
    assert trainer.model.backbone.run_block is run_block


def test_where_the_first_pass_fails_nothing_compiled_stays(make_trainer, monkeypatch):
    trainer = make_trainer()
    monkeypatch.setattr(execution.FixedGradients, "_run", _fail(RuntimeError("no kernel")))
    monkeypatch.setattr(torch, "compile", lambda function, **_: _fail(RuntimeError("compiled")))
    taken = fit_steps(trainer, "compiled", 4, ComputeConfig())
    assert "no kernel" in taken.remark
    assert trainer.model.backbone.run_block is run_block
    assert "embed_patches" not in vars(trainer.model.backbone)


def test_a_way_that_was_asked_for_is_not_replaced(make_trainer, monkeypatch):
    monkeypatch.setattr(torch, "compile", _fail(RuntimeError("no compiler")))
    with pytest.raises(ConfigError, match=r"no compiler\); leave --steps out, or give --steps eag"):
        fit_steps(make_trainer(), "compiled", 4, ComputeConfig(steps="compiled"))


class _Room:
    """Stands for a device that has room for so many clips."""

    def __init__(self, clips):
        self.clips, self.tried = clips, []

    def __call__(self, trainer, way, accumulate, remark):
        self.tried.append((trainer.micro_batch, accumulate))
        if trainer.micro_batch > self.clips:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step.Steps(way, trainer.prepared)


def test_parts_are_halved_until_a_capture_fits(make_trainer, monkeypatch):
    trainer, room = make_trainer(micro_batch=10), _Room(3)
    monkeypatch.setattr(execution, "_take_way", room)
    fit_steps(trainer, "captured", 10, ComputeConfig(batch="auto"))
    assert room.tried == [(10, False), (5, True), (3, True)]
    assert trainer.micro_batch == 3


@pytest.mark.parametrize(("batch", "clips"), [("fixed", 3), ("auto", 0)])
def test_clips_that_do_not_fit_are_one_line(batch, clips, make_trainer, monkeypatch):
    monkeypatch.setattr(execution, "_take_way", _Room(clips))
    with pytest.raises(ConfigError, match=r"do not fit in the device's memory"):
        fit_steps(make_trainer(), "captured", 4, ComputeConfig(batch=batch))


def test_compiled_steps_train_as_eager_ones_do(make_run, tmp_path, monkeypatch):
    """Through `train_fold`; the graphs are found by the compiler and run by PyTorch."""
    graphs, compile_function = [], torch.compile

    def run_as_it_is(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def compile_quickly(function, **options):
        return compile_function(function, backend=run_as_it_is, **options)

    eager = train_fold(make_run(), tmp_path / "eager")
    monkeypatch.setattr(torch, "compile", compile_quickly)
    compiled = train_fold(make_run(compute={"steps": "compiled"}), tmp_path / "compiled")
    assert compiled.read().steps == "compiled"
    # A block and the patches, each in training and in tests, for batches of 4 and 2 alike.
    assert len(graphs) == 4
    for ours, theirs in zip(compiled.read_metrics(), eager.read_metrics(), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
        assert ours["war"] == theirs["war"]


def test_the_real_compiler_takes_a_step(make_run, tmp_path):
    pytest.importorskip("torch._inductor")
    settings = {"epochs": 1, "warmup_epochs": 0}
    compiled = train_fold(make_run(compute={"steps": "compiled"}, **settings), tmp_path / "ours")
    eager = train_fold(make_run(**settings), tmp_path / "theirs")
    losses = [run.read_metrics()[0]["loss"] for run in (compiled, eager)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_what_is_sent_and_delivered_to_a_cpu_is_as_it_was():
    values = torch.arange(6).numpy()
    assert torch.equal(send(values, CPU), torch.arange(6))
    batches = [(torch.rand(2, 3), torch.tensor([1, 0]), ("keys", n)) for n in range(3)]
    delivered = list(prefetch(batches, CPU))
    assert [keys for *_, keys in delivered] == [keys for *_, keys in batches]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(delivered, batches, strict=True))


def test_a_reader_at_a_cpu_tells_the_number_itself():
    reader = DelayedReader()
    assert [reader.read(torch.tensor(value)) for value in (1.5, math.inf)] == [1.5, math.inf]
