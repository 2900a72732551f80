"""Steps on a GPU: the same loss and gradient in every way, whatever the batch and the precision.

A gradient is compared as one vector, by the norm of the difference over the norm. Where a CPU takes
the layers as a GPU does, it differs by 6e-7 in fp32, and by 0.03 to 0.08 in bf16, whose numbers
have 7 bits after the first; those of fp16 have 10. A clip that is missing or counts twice is worth
0.3 or more. Half precision is compared without MSTA: where it rounds, other frames are the maxima,
and the gradient jumps (by 0.18 on a CPU).
"""

import gc

import pytest
import torch
from accelerate.utils import set_seed
from torch.nn import functional as F

from dfercli.training.step import EagerGradients, FixedGradients

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
WAYS = ("eager", "captured", "compiled")
TOLERANCES = {"fp32": 1e-4, "fp16": 0.02, "bf16": 0.1}
"""Of gradients; losses, of about 1.1, are allowed the same."""

SMOOTH = {"msta": False}
"""A model without maxima."""


def _draw(count):
    generator = torch.Generator().manual_seed(11)
    clips = torch.randn(4, 4, 3, 32, 32, generator=generator)
    return clips[:count], torch.tensor([0, 2, 1, 1])[:count]


def _add(prepared, parts):
    """Return the loss and the gradient of the mean over some parts of a batch."""
    setup, gradients = prepared.setup, prepared.execution.step.gradients
    device, total = setup.accelerator.device, sum(len(labels) for _, labels in parts)
    setup.prepared.train()
    loss = 0.0
    for number, (clips, labels) in enumerate(parts, start=1):
        clips, labels = clips.to(device), labels.to(device)
        part = gradients.add(clips, labels, 1 / total, last=number == len(parts))
        loss += part.item() * len(labels) / total
    scaler = setup.accelerator.scaler
    scale = 1.0 if scaler is None else scaler.get_scale()
    grads = [p.grad.cpu().flatten() / scale for p in setup.model.parameters() if p.requires_grad]
    gradients.clear()
    return loss, torch.cat(grads)


def _check_close(ours, theirs, tolerance):
    assert ours[0] == pytest.approx(theirs[0], abs=tolerance)
    assert float((ours[1] - theirs[1]).norm() / theirs[1].norm()) < tolerance


@pytest.fixture
def expected(prepare):
    """Loss and gradient of 4, 3 and 1 clips on the CPU, in fp32."""
    prepared = prepare("eager", compute={"device": "cpu"})
    return {count: _add(prepared, [_draw(count)]) for count in (4, 3, 1)}


@pytest.mark.parametrize("way", WAYS)
def test_losses_and_gradients_in_fp32_are_those_of_the_cpu(way, expected, prepare):
    """Neither a smaller batch nor the larger one before it makes a difference."""
    assert torch.get_float32_matmul_precision() == "highest"  # no TF32
    prepared = prepare(way)
    assert (prepared.execution.way, prepared.execution.remark) == (way, "")
    kind = EagerGradients if way == "eager" else FixedGradients
    assert isinstance(prepared.execution.step.gradients, kind)
    for count in (4, 3, 1, 4):
        _check_close(_add(prepared, [_draw(count)]), expected[count], TOLERANCES["fp32"])


@pytest.mark.parametrize("way", WAYS)
def test_votes_weigh_as_on_the_cpu(way, prepare, write_votes):
    settings = {"labels": "votes", "label_smoothing": 0.1, **write_votes()}
    clips, labels = _draw(4)
    shares = 0.75 * F.one_hot(labels, 3) + 0.25 * F.one_hot((labels + 1) % 3, 3)
    parts = [[(clips[:count], shares[:count])] for count in (4, 3, 4)]
    on_cpu = prepare("eager", **settings | {"compute": {"device": "cpu"}})
    expected = [_add(on_cpu, part) for part in parts]
    on_gpu = prepare(way, **settings)
    assert (on_gpu.execution.way, on_gpu.execution.remark) == (way, "")
    for part, theirs in zip(parts, expected, strict=True):
        _check_close(_add(on_gpu, part), theirs, TOLERANCES["fp32"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_lora_has_the_gradient_of_the_cpu(way, precision, prepare):
    """Of three clips and of two: those of four nearly cancel each other here."""
    recipe = {"lora_rank": 4, "lora_on": "q,v,mlp", "batch_size": 3, "model": SMOOTH}
    on_cpu = prepare("eager", **recipe, compute={"device": "cpu"})
    _fill_lora(on_cpu.setup.model)
    expected = {count: _add(on_cpu, [_draw(count)]) for count in (3, 2)}
    on_gpu = prepare(way, precision, **recipe)
    assert (on_gpu.execution.way, on_gpu.execution.remark) == (way, "")
    _fill_lora(on_gpu.setup.model)
    assert any(p.requires_grad for p in on_gpu.setup.model.backbone.lora.parameters())
    for count, theirs in expected.items():
        _check_close(_add(on_gpu, [_draw(count)]), theirs, TOLERANCES[precision])


def _fill_lora(model):
    """Let the updates change something, as after some steps."""
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in model.backbone.lora.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_all_ways_agree_at_half_precision(precision, prepare):
    on_cpu = prepare("eager", model=SMOOTH, compute={"device": "cpu"})
    expected = {count: _add(on_cpu, [_draw(count)]) for count in (4, 3)}
    for way in WAYS:
        prepared = prepare(way, precision, model=SMOOTH)
        for count in (4, 3):
            _check_close(_add(prepared, [_draw(count)]), expected[count], TOLERANCES[precision])
        del prepared
        gc.collect()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("way", ["eager", "captured"])
def test_parts_of_a_step_add_up(way, precision, expected, prepare):
    prepared = prepare(way, precision, compute={"accumulate": 2})
    assert prepared.execution.step.micro_batch == 2
    clips, labels = _draw(3)
    parts = list(zip(clips.split(2), labels.split(2), strict=True))
    for _ in range(2):  # the second step starts from nothing
        _check_close(_add(prepared, parts), expected[3], TOLERANCES[precision])


def test_weights_may_change_after_a_capture(prepare):
    """As the optimizer changes them, and as an interrupted run loads them."""
    prepared = prepare("captured")
    before, model = _add(prepared, [_draw(4)]), prepared.setup.model
    saved = {name: weight.cpu().clone() for name, weight in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    assert abs(_add(prepared, [_draw(4)])[0] - before[0]) > 1e-3
    model.load_state_dict(saved)
    after = _add(prepared, [_draw(4)])
    _check_close(after, before, 1e-6)  # the same kernels


def test_each_replay_drops_other_paths_and_a_seed_brings_them_back(prepare):
    prepared = prepare("captured", drop_path=0.5)
    draws = []
    for _ in range(2):
        set_seed(3)
        draws.append([_add(prepared, [_draw(4)])[0] for _ in range(6)])
    assert draws[0] == draws[1]
    assert len(set(draws[0])) >= 4  # 2 branches of 4 clips: 256 cases
    set_seed(4)
    assert [_add(prepared, [_draw(4)])[0] for _ in range(6)] != draws[0]


def test_a_capture_moves_no_generator(prepare):
    states = []
    for way in ("eager", "captured"):
        prepare(way, drop_path=0.5)
        states.append((torch.get_rng_state(), torch.cuda.get_rng_state()))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*states, strict=True))


@pytest.fixture
def small_memory():
    """Let PyTorch have 2 GB of the GPU."""
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(2e9 / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("way", ["eager", "captured"])
def test_parts_are_halved_until_they_fit(way, prepare):
    """16,384 clips are 800 MB as the model reads them, and several times that in its blocks."""
    prepared = prepare(way, batch_size=2**14, compute={"batch": "auto"})
    step, model = prepared.execution.step, prepared.setup.model
    assert prepared.execution.way == way
    assert 1 < step.micro_batch < 2**14
    before = model.logit_scale.item()
    clips, labels = (tensor.to(DEVICE) for tensor in _draw(4))
    loss = step(clips.repeat(2, 1, 1, 1, 1), labels.repeat(2), share=8, batch=8)
    assert torch.isfinite(loss)
    assert model.logit_scale.item() != before


@pytest.mark.usefixtures("small_memory")
def test_too_many_clips_are_one_line(prepare):
    from dfercli.errors import ConfigError

    with pytest.raises(ConfigError, match=r"16384 clips at once do not fit .* --batch auto$"):
        prepare("captured", batch_size=2**14)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_steps_on_the_second_gpu_are_taken_there(expected, prepare):
    before = torch.cuda.memory_allocated(0)
    try:
        prepared = prepare("captured", compute={"device": "cuda:1"})
        _check_close(_add(prepared, [_draw(4)]), expected[4], TOLERANCES["fp32"])
        assert torch.cuda.memory_allocated(0) == before
    finally:
        torch.cuda.set_device(0)
