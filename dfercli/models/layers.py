"""Layers that are computed in the way that is fastest on the device."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

QUICK = 1.702
"""Steepness of CLIP's activation. Source: Radford et al., 2021, their code."""

LSTM_PARAMETERS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
"""Parameters of one direction, named as in `nn.LSTM`; those of the other end in `_reverse`."""


def prefers_few_kernels(tensor: Tensor) -> bool:
    """Return whether layers should run as few large products on a tensor's device.

    On a GPU every kernel costs a launch, and small ones cost little else. On a CPU the library's
    own layers are at least as fast.
    """
    return tensor.is_cuda


_recorded: ContextVar[list[Tensor] | None] = ContextVar("recorded", default=None)


@contextmanager
def keep_attention() -> Iterator[list[Tensor]]:
    """Record the weights of every `attention` that is computed in the block, in order.

    Yields a list that each call extends by weights (N, heads, Q, P), which are part of the autograd
    graph. In the block the softmax is a separate operation, which changes results by rounding only.
    """
    weights: list[Tensor] = []
    token = _recorded.set(weights)
    try:
        yield weights
    finally:
        _recorded.reset(token)


def attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Scaled dot-product attention of queries (N, heads, Q, D) to keys and values (N, heads, P, D).

    PyTorch's fused kernel is made for long sequences: in bf16 on a CPU, its backward pass takes
    several times as long as plain matrix products over a frame's 50 tokens.
    """
    recorded = None if torch.compiler.is_compiling() else _recorded.get()
    slow_if_fused = queries.device.type == "cpu" and queries.dtype == torch.bfloat16
    if recorded is None and not (slow_if_fused and queries.requires_grad):
        return F.scaled_dot_product_attention(queries, keys, values)
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
    weights = scores.softmax(dim=-1)
    if recorded is not None:
        recorded.append(weights)
    return weights @ values


def unfold_patches(frames: Tensor, size: int) -> Tensor:
    """Cut frames (N, 3, H, W) into patches, to replace a patch convolution by one matrix product.

    H and W are multiples of `size`, the side of a patch. Returns (N, P - 1, 3 * size * size): the
    patches row by row, each in the order of the convolution's weights.
    """
    grid = frames.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # (N, 3, rows, s, columns, s)
    return grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class QuickGELU(nn.Module):
    """CLIP's activation x * sigmoid(1.702 x), with a backward that passes over memory once."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to each element."""
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


class BiLSTM(nn.Module):
    """Bidirectional LSTM of one layer, with the parameters and initialisation of `nn.LSTM`.

    On a CPU it calls PyTorch's own kernel. On a GPU the steps are written out, with one batched
    product per step for both directions: cuDNN's kernel breaks the graph of `torch.compile` and
    stores the parameters as views of one buffer.

    Args:
        width: D, of the input and of the hidden state of each direction.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        bound = 1 / math.sqrt(width)
        for suffix in ("", "_reverse"):
            for name in LSTM_PARAMETERS:
                shape = (4 * width, width) if "weight" in name else (4 * width,)
                self.register_parameter(name + suffix, nn.Parameter(torch.empty(shape)))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (B, T, D) to the hidden states of both directions, (B, T, 2D)."""
        if prefers_few_kernels(inputs):
            return self.run_steps(inputs)
        states = inputs.new_zeros(2, len(inputs), self.width)  # of both directions
        outputs: Tensor = torch.lstm(
            inputs,
            (states, states),
            list(self.parameters()),
            True,  # has biases
            1,  # layers
            0.0,  # dropout
            self.training,
            True,  # bidirectional
            True,  # batch first
        )[0]
        return outputs

    def run_steps(self, inputs: Tensor) -> Tensor:
        """Compute `forward` step by step: one product for all inputs, and T batched products.

        The cell state is kept in single precision, whatever the precision of the products.
        """
        w_ih, w_hh, b_ih, b_hh = (
            torch.stack([getattr(self, name), getattr(self, f"{name}_reverse")])
            for name in LSTM_PARAMETERS
        )  # (2, 4D, D) twice, (2, 4D) twice
        # The biases are added one by one: a sum of both would give them one gradient in memory.
        projected = F.linear(inputs, w_ih.flatten(0, 1), b_ih.flatten())  # (B, T, 8D)
        projected = projected + b_hh.flatten().to(projected.dtype)
        forward, backward = projected.chunk(2, dim=-1)  # (B, T, 4D) twice
        gates = torch.stack([forward, backward.flip(1)])  # (2, B, T, 4D)
        recurrent = w_hh.transpose(1, 2)  # (2, D, 4D)
        hidden = gates.new_zeros(2, len(inputs), self.width)
        cell = hidden.float()
        states = []
        for step in gates.unbind(2):  # (2, B, 4D)
            step = torch.baddbmm(step, hidden, recurrent)
            input_gate, forget_gate, candidate, output_gate = step.float().chunk(4, dim=-1)
            cell = forget_gate.sigmoid() * cell + input_gate.sigmoid() * candidate.tanh()
            hidden = (output_gate.sigmoid() * cell.tanh()).to(gates.dtype)  # (2, B, D)
            states.append(hidden)
        forward, backward = torch.stack(states, dim=2)  # (B, T, D) twice
        return torch.cat([forward, backward.flip(1)], dim=-1)
