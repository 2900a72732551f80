"""The bar that shows how far a command's runs are, and when all of them will be done."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from torch import Tensor
from tqdm import tqdm

REFRESH_S = 0.5
"""Least time between two looks at the loss: a look waits for the device (our choice)."""


class Progress:
    """A bar over the clips of all epochs of all runs, so that its ETA is the whole command's.

    Args:
        clips: Training clips of all epochs of all runs.
        shown: Whether this process shows it; by default also only on a terminal.
    """

    def __init__(self, clips: int, shown: bool) -> None:
        self._bar = tqdm(
            total=clips, unit="clip", disable=None if shown else True, dynamic_ncols=True
        )
        self._epochs = 0
        self._shown: dict[str, str] = {}
        self._looked = 0.0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def begin_run(self, title: str, epochs: int, done: int) -> None:
        """Show the title of the run that follows.

        Args:
            title: Of the run.
            epochs: How many it has.
            done: Clips that were trained before this command; they do not count as speed.
        """
        self._bar.set_description(title)
        if not self._bar.disable:
            self._bar.n += done
            self._bar.initial += done
            self._bar.last_print_n += done
        self._epochs = epochs
        self._shown = {}

    def begin_epoch(self, epoch: int) -> None:
        """Show the epoch that follows, counted from 0."""
        self._show(epoch=f"{epoch + 1}/{self._epochs}")

    def step(self, clips: int, loss: Tensor, lr: float) -> None:
        """Count the clips of a step; now and then look at its loss."""
        self._bar.update(clips)
        if time.monotonic() - self._looked > REFRESH_S and not self._bar.disable:
            self._looked = time.monotonic()
            self._show(loss=f"{loss.item():.3f}", lr=f"{lr:.1e}")

    def end_epoch(self, line: Mapping[str, Any]) -> None:
        """Show the metrics of an epoch."""
        loss, war, uar = line["loss"], line["war"], line["uar"]
        self._show(loss=f"{loss:.3f}", WAR=f"{war:.1%}", UAR=f"{uar:.1%}")

    def _show(self, **values: str) -> None:
        self._shown |= values
        self._bar.set_postfix(self._shown, refresh=False)
