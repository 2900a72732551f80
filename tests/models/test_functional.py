"""The quick ways compute what the plain ones do, and their gradients."""

import pytest
import torch
from torch.nn import functional as F

from dfercli.models import functional
from dfercli.models.functional import QuickGELU, attention, keep_attention


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_is_scaled_dot_product_attention(dtype):
    torch.manual_seed(0)
    given = [torch.randn(3, 2, n, 8, dtype=dtype, requires_grad=True) for n in (4, 5, 5)]
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    ours, expected = attention(*given), F.scaled_dot_product_attention(*exact)
    weights = torch.randn_like(expected)
    (ours * weights).sum().backward()
    (expected * weights).sum().backward()
    bound = 1e-5 if dtype == torch.float32 else 3e-2
    assert (ours - expected).abs().max() < bound
    for tensor, other in zip(given, exact, strict=True):
        assert (tensor.grad - other.grad).abs().max() < bound * 3


def test_training_in_bf16_on_a_cpu_leaves_the_fused_kernel_alone(monkeypatch):
    def refuse(*_):
        raise AssertionError("called")

    monkeypatch.setattr(functional.F, "scaled_dot_product_attention", refuse)
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
    with keep_attention() as kept:
        ours = attention(*heads)
    assert (ours - expected).abs().max() < 1e-6
    (weights,) = kept
    assert weights.shape == (3, 2, 4, 5)
    assert torch.allclose(weights @ heads[2], ours)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(3, 2, 4))
    assert weights.requires_grad is recorded


def test_the_gradient_in_the_weights_is_to_be_had():
    values = torch.tensor([[[[1.0], [-2.0], [3.0]]]])
    zeros = torch.zeros(1, 1, 3, 1, requires_grad=True)
    with keep_attention() as kept:
        score = attention(zeros, zeros, values)[0, 0, 0].sum()
    (gradient,) = torch.autograd.grad(score, kept)
    assert gradient[0, 0, 0].tolist() == [1.0, -2.0, 3.0]  # d (weights @ values) / d weights
    assert gradient[0, 0, 1:].abs().max() == 0


def test_nothing_is_kept_outside_the_block_also_after_an_error():
    heads = torch.randn(1, 1, 2, 4)
    with pytest.raises(RuntimeError, match="stop"), keep_attention() as kept:
        attention(heads, heads, heads)
        raise RuntimeError("stop")
    attention(heads, heads, heads)
    assert len(kept) == 1


def test_blocks_inside_each_other_keep_their_own():
    heads = torch.randn(1, 1, 2, 4)
    with keep_attention() as outer:
        with keep_attention() as inner:
            attention(heads, heads, heads)
        assert (len(outer), len(inner)) == (0, 1)
        attention(heads, heads, heads)
    assert (len(outer), len(inner)) == (1, 1)
