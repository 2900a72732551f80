"""To a device and back without waiting for what it has to do."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

AHEAD = 2
"""Steps that may wait on a GPU at a time, which bounds the memory of what they read (our choice).
"""


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
    copying, computing = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    launched: deque[torch.cuda.Event] = deque()
    for clips, labels, keys in loader:
        with torch.cuda.stream(copying):
            clips, labels = (each.to(device, non_blocking=True) for each in (clips, labels))
        computing.wait_stream(copying)
        for each in (clips, labels):
            each.record_stream(computing)
        yield clips, labels, keys
        launched.append(computing.record_event())
        if len(launched) > AHEAD:
            launched.popleft().synchronize()


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
        event = torch.cuda.Event()
        self._arriving = value.detach().to("cpu", non_blocking=True), event
        event.record()
        return arrived
