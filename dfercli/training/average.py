"""Exponential moving average of the weights in training."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """Moving average of the trained weights of a model; it does not affect the training.

    The running statistics of batch normalisation are averaged, too, as they belong to the weights.

    After step n, counted from 1, the average moves by 1 - min(decay, (1 + n) / (10 + n)) of its
    distance to the weights, so that it does not stay close to the first weights in a short run.

    Source: Polyak and Juditsky, 1992; the lower decay of early steps is that of TensorFlow's
        `ExponentialMovingAverage`.

    Args:
        model: The model, on its device.
        decay: Share of the average that remains in a late step, above 0 and below 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = model
        self._decay = decay
        self._steps = 0
        trained: dict[str, Tensor] = {
            name: p for name, p in model.named_parameters() if p.requires_grad
        }
        trained |= find_statistics(model)
        self._names = list(trained)
        self._weights = [parameter.detach() for parameter in trained.values()]
        self._averages = [weights.clone() for weights in self._weights]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights; called after each step of the optimizer."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have the averaged weights in the block, in place."""
        weights = [tensor.clone() for tensor in self._weights]
        torch._foreach_copy_(self._weights, self._averages)
        try:
            yield
        finally:
            torch._foreach_copy_(self._weights, weights)

    def model_weights(self) -> dict[str, Tensor]:
        """Return the state dict of the model with the averaged weights."""
        averages = dict(zip(self._names, self._averages, strict=True))
        return {**self._model.state_dict(), **averages}

    def state_dict(self) -> dict[str, Any]:
        """Return the state to resume from."""
        averages = dict(zip(self._names, self._averages, strict=True))
        return {"steps": self._steps, "averages": averages}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the result of `state_dict`."""
        self._steps = state["steps"]
        averages = [state["averages"][name].to(self._averages[0].device) for name in self._names]
        torch._foreach_copy_(self._averages, averages)


def find_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Return the running means and variances of batch normalisation, by name."""
    return {
        name: buffer
        for name, buffer in model.named_buffers()
        if name.rpartition(".")[2] in ("running_mean", "running_var")
    }
