"""Layers that depend on the device: each way gives the same results and gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dfercli.models import layers
from dfercli.models.layers import BiLSTM, QuickGELU, attention, keep_attention


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_is_scaled_dot_product_attention(dtype):
    torch.manual_seed(0)
    inputs = [torch.randn(3, 2, n, 8, dtype=dtype, requires_grad=True) for n in (4, 5, 5)]
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    ours, expected = attention(*inputs), F.scaled_dot_product_attention(*exact)
    weights = torch.randn_like(expected)
    (ours * weights).sum().backward()
    (expected * weights).sum().backward()
    bound = 1e-5 if dtype == torch.float32 else 3e-2
    assert (ours - expected).abs().max() < bound
    for tensor, other in zip(inputs, exact, strict=True):
        assert (tensor.grad - other.grad).abs().max() < bound * 3


def test_training_in_bf16_on_a_cpu_leaves_the_fused_kernel_alone(monkeypatch):
    def refuse(*_):
        raise AssertionError("called")

    monkeypatch.setattr(layers.F, "scaled_dot_product_attention", refuse)
    heads = torch.randn(1, 1, 2, 4, dtype=torch.bfloat16)
    attention(heads.requires_grad_(), heads, heads)
    with pytest.raises(AssertionError, match="called"):
        attention(heads.detach(), heads, heads)


def test_quick_gelu_and_its_gradient():
    x = torch.linspace(-6, 6, 101, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(QuickGELU()(x), x * torch.sigmoid(1.702 * x), rtol=1e-12)
    assert torch.autograd.gradcheck(QuickGELU(), (x,))


@pytest.mark.parametrize("recorded", [False, True])
def test_keeping_the_weights_changes_nothing_but_rounding(recorded):
    torch.manual_seed(0)
    heads = [torch.randn(3, 2, n, 8) for n in (4, 5, 5)]
    heads[0].requires_grad_(recorded)
    expected = attention(*heads)
    with keep_attention() as kept_weights:
        ours = attention(*heads)
    assert (ours - expected).abs().max() < 1e-6
    (weights,) = kept_weights
    assert weights.shape == (3, 2, 4, 5)
    assert torch.allclose(weights @ heads[2], ours)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(3, 2, 4))
    assert weights.requires_grad is recorded


def test_the_gradient_in_the_weights_is_to_be_had():
    values = torch.tensor([[[[1.0], [-2.0], [3.0]]]])
    zeros = torch.zeros(1, 1, 3, 1, requires_grad=True)
    with keep_attention() as recorded:
        score = attention(zeros, zeros, values)[0, 0, 0].sum()
    (gradient,) = torch.autograd.grad(score, recorded)
    assert gradient[0, 0, 0].tolist() == [1.0, -2.0, 3.0]  # d (weights @ values) / d weights
    assert gradient[0, 0, 1:].abs().max() == 0


def test_nothing_is_kept_outside_the_block_also_after_an_error():
    heads = torch.randn(1, 1, 2, 4)
    with pytest.raises(RuntimeError, match="stop"), keep_attention() as recorded:
        attention(heads, heads, heads)
        raise RuntimeError("stop")
    attention(heads, heads, heads)
    assert len(recorded) == 1


def test_blocks_inside_each_other_keep_their_own():
    heads = torch.randn(1, 1, 2, 4)
    with keep_attention() as outer:
        with keep_attention() as inner:
            attention(heads, heads, heads)
        assert (len(outer), len(inner)) == (0, 1)
        attention(heads, heads, heads)
    assert (len(outer), len(inner)) == (1, 1)


WIDTH = 48


@pytest.fixture
def pair():
    """Our LSTM and PyTorch's, with the same weights, each started from the same seed."""
    torch.manual_seed(3)
    ours = BiLSTM(WIDTH)
    torch.manual_seed(3)
    theirs = nn.LSTM(WIDTH, WIDTH, batch_first=True, bidirectional=True)
    return ours, theirs


def _gradients(module, outputs):
    grads = torch.autograd.grad(outputs.square().sum(), list(module.parameters()))
    return dict(zip([name for name, _ in module.named_parameters()], grads, strict=True))


def test_parameters_names_and_start_are_those_of_pytorch(pair):
    ours, theirs = (module.state_dict() for module in pair)
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("num_frames", [1, 2, 8, 16])
def test_on_a_cpu_it_is_pytorch_s_own_bit_for_bit(pair, num_frames):
    ours, theirs = pair
    inputs = torch.randn(3, num_frames, WIDTH)
    outputs, expected = ours(inputs), theirs(inputs)[0]
    assert torch.equal(outputs, expected)
    grads, wanted = _gradients(ours, outputs), _gradients(theirs, expected)
    assert all(torch.equal(grads[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("num_frames", [1, 2, 8, 16])
def test_step_by_step_it_equals_pytorch_s_own(pair, num_frames):
    ours, theirs = pair
    inputs = torch.randn(3, num_frames, WIDTH, requires_grad=True)
    outputs, expected = ours.run_steps(inputs), theirs(inputs)[0]
    torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=0)
    grads, wanted = _gradients(ours, ours.run_steps(inputs)), _gradients(theirs, expected)
    for name in wanted:
        torch.testing.assert_close(grads[name], wanted[name], atol=1e-4, rtol=1e-4)


def test_step_by_step_in_bf16_it_stays_near_single_precision(pair):
    ours, _ = pair
    inputs = torch.randn(4, 8, WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = ours.run_steps(inputs)
    assert outputs.dtype == torch.bfloat16
    # Two products per step, rounded to 8 bits: their error stays of the order of 2^-8.
    torch.testing.assert_close(outputs.float(), ours(inputs), atol=0.02, rtol=0)


def test_the_device_decides_which_way_is_taken(pair, monkeypatch):
    ours, _ = pair
    inputs = torch.randn(2, 5, WIDTH)
    monkeypatch.setattr(layers, "prefers_few_kernels", lambda tensor: True)
    assert torch.equal(ours(inputs), ours.run_steps(inputs))
