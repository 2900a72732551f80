"""A bidirectional LSTM that can be compiled and captured as a CUDA graph."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.models import functional

NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
"""Parameters of one direction, named as in `nn.LSTM`; those of the other end in `_reverse`."""


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
            for name in NAMES:
                shape = (4 * width, width) if "weight" in name else (4 * width,)
                self.register_parameter(name + suffix, nn.Parameter(torch.empty(shape)))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (B, T, D) to the hidden states of both directions, (B, T, 2D)."""
        if functional.prefers_few_kernels(inputs):
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
            torch.stack([getattr(self, name), getattr(self, f"{name}_reverse")]) for name in NAMES
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
