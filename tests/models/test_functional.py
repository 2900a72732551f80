"""The quick ways compute what the plain ones do, and their gradients."""

import pytest
import torch
from torch.nn import functional as F

from dfercli.models import functional
from dfercli.models.functional import QuickGELU, attention


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
