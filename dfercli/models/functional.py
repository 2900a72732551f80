"""Parts of CLIP's tower, computed the way that is quickest on the device at hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

QUICK = 1.702
"""Steepness of CLIP's activation. Source: Radford et al., 2021, their code."""


def prefers_few_kernels(tensor: Tensor) -> bool:
    """Return whether layers should run as few large products on a tensor's device.

    On a GPU every kernel costs a launch, and small ones cost nothing else. On a CPU the library's
    own layers are at least as quick, and results stay what they were bit for bit.
    """
    return tensor.is_cuda


_kept: ContextVar[list[Tensor] | None] = ContextVar("kept", default=None)


@contextmanager
def keep_attention() -> Iterator[list[Tensor]]:
    """Keep the weights of every `attention` that is computed in the block, in order.

    Inside the block the softmax is computed by itself, which changes the results by rounding only.

    Yields:
        A list that grows by (N, heads, Q, P) a call. The weights are part of the results' graph
        wherever gradients are recorded, so that one may ask for the results' gradient in them.
    """
    weights: list[Tensor] = []
    token = _kept.set(weights)
    try:
        yield weights
    finally:
        _kept.reset(token)


def attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Scaled dot-product attention.

    PyTorch's fused kernel is for long sequences. Its backward pass in bf16 on a CPU takes several
    times as long as the matrix products themselves, which a frame's 50 tokens can afford.

    Args:
        queries: (N, heads, Q, D).
        keys: (N, heads, P, D).
        values: (N, heads, P, D).

    Returns:
        (N, heads, Q, D).
    """
    kept = None if torch.compiler.is_compiling() else _kept.get()
    quicker = queries.device.type == "cpu" and queries.dtype == torch.bfloat16
    if kept is None and not (quicker and queries.requires_grad):
        return F.scaled_dot_product_attention(queries, keys, values)
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
    weights = scores.softmax(dim=-1)
    if kept is not None:
        kept.append(weights)
    return weights @ values


def unfold_patches(frames: Tensor, size: int) -> Tensor:
    """Cut frames into patches, so that a patch convolution becomes one matrix product.

    Args:
        frames: (N, 3, H, W); H and W are multiples of `size`.
        size: Side of a square patch in pixels.

    Returns:
        (N, P - 1, 3 * size * size): the patches row by row, each in the order of the
        convolution's weight.
    """
    grid = frames.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # (N, 3, rows, s, columns, s)
    return grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class QuickGELU(nn.Module):
    """CLIP's activation x * sigmoid(1.702 x), with one pass over memory in its backward."""

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor to one of its shape."""
        return _QuickGELU.apply(x)


class _QuickGELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        steep = x * QUICK
        ctx.save_for_backward(steep)
        return F.silu(steep).mul_(1 / QUICK)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (steep,) = ctx.saved_tensors
        return torch.ops.aten.silu_backward(grad, steep)
