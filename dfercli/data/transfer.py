"""To a device and back without waiting for what it has to do."""

from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

AHEAD = 2
"""Steps that may wait on a GPU at a time, which bounds the memory of what they read (our choice).
"""


@cache
def side_stream(index: int, purpose: str) -> torch.cuda.Stream:
    """Return the CUDA stream of a device that serves a purpose, always the same one.

    PyTorch keeps freed memory, and a workspace for matrix products, for each stream that was ever
    used: a new stream per epoch or capture would let them add up.

    Args:
        index: Number of the CUDA device.
        purpose: A name.
    """
    return torch.cuda.Stream(torch.device("cuda", index))


def send(values: np.ndarray, device: torch.device) -> Tensor:
    """Return an array as a tensor on a device."""
    tensor = torch.from_numpy(values)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def deliver(loader: Iterable[Any], device: torch.device) -> Iterator[tuple[Tensor, Tensor, Any]]:
    """Yield the batches of a training loader with clips and labels on a device.

    On CUDA the copy of a batch runs beside the step on the batch before it.

    Args:
        loader: Yields clips (N, T, 3, H, W), labels (N,), and their keys, in pinned memory.
        device: Where clips and labels go; the keys stay.
    """
    if device.type != "cuda":
        for clips, labels, keys in loader:
            yield clips.to(device), labels.to(device), keys
        return
    computing = torch.cuda.current_stream(device)
    copying = side_stream(computing.device.index, "copy")
    # Batches are held until their steps are done: their memory belongs to the copying stream.
    launched: deque[tuple[torch.cuda.Event, Tensor, Tensor]] = deque()
    try:
        for clips, labels, keys in loader:
            with torch.cuda.stream(copying):
                clips, labels = (each.to(device, non_blocking=True) for each in (clips, labels))
            computing.wait_stream(copying)
            yield clips, labels, keys
            launched.append((computing.record_event(), clips, labels))
            if len(launched) > AHEAD:
                launched.popleft()[0].synchronize()
    finally:
        copying.wait_stream(computing)


class Glance:
    """Reads a number off a device now and then, when it has arrived by itself."""

    def __init__(self) -> None:
        self._arriving: tuple[Tensor, torch.cuda.Event] | None = None

    def look(self, value: Tensor) -> float | None:
        """Return the number that was asked for last, and ask for this one.

        Args:
            value: (), on any device.

        Returns:
            `value` itself where the device is the CPU; elsewhere an earlier one, or None while
            nothing has arrived.
        """
        if value.device.type != "cuda":
            return value.item()
        arrived = None
        if self._arriving is not None:
            number, event = self._arriving
            if not event.query():
                return None
            arrived = number.item()
        number = value.detach().to("cpu", non_blocking=True)
        event = torch.cuda.current_stream(value.device).record_event()
        self._arriving = number, event
        return arrived
