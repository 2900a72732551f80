"""Bars that show how far a command's runs are, and when all of them will be done.

One for runs that this process trains, and one for those that others do: it reads what they write.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor
from tqdm import tqdm

from dfercli.data.transfer import Glance

REFRESH_S = 0.5
"""Least time between two looks at the loss (our choice)."""


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
        self._glance = Glance()

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
        """Count the clips of a step; now and then show its loss, without waiting for it."""
        self._bar.update(clips)
        if time.monotonic() - self._looked > REFRESH_S and not self._bar.disable:
            self._looked = time.monotonic()
            seen = self._glance.look(loss)
            if seen is not None:
                self._show(loss=f"{seen:.3f}", lr=f"{lr:.1e}")

    def end_epoch(self, line: Mapping[str, Any]) -> None:
        """Show the metrics of an epoch."""
        loss, war, uar = line["loss"], line["war"], line["uar"]
        self._show(loss=f"{loss:.3f}", WAR=f"{war:.1%}", UAR=f"{uar:.1%}")

    def note(self, text: str) -> None:
        """Print a line that the bar does not overwrite."""
        self._bar.write(text, file=sys.stderr)

    def _show(self, **values: str) -> None:
        self._shown |= values
        self._bar.set_postfix(self._shown, refresh=False)


@contextmanager
def following(
    files: Sequence[Path], epochs: int, anew: bool = False
) -> Iterator[Callable[[], None]]:
    """Show the epochs of several runs on one bar, as lines are added to their metrics.

    Args:
        files: Metrics of the runs, a line an epoch; they need not be there yet.
        epochs: Of all runs together.
        anew: Files that are there are of older runs, and do not count until they change.

    Yields:
        What moves the bar to where the runs are.
    """
    old = {file: _stamp(file) if anew else 0 for file in files}

    def count() -> int:
        new = [file for file in files if _stamp(file) not in (0, old[file])]
        return sum(_count_lines(file) for file in new)

    title = f"{len(files)} runs"
    with tqdm(desc=title, total=epochs, initial=count(), unit="epoch", disable=None) as bar:

        def move() -> None:
            bar.n = count()
            bar.refresh()

        yield move


def _stamp(file: Path) -> int:
    """Give a number that changes when a file does; 0 without one."""
    try:
        return file.stat().st_mtime_ns
    except OSError:  # not there, or just being replaced
        return 0


def _count_lines(file: Path) -> int:
    try:
        return file.read_bytes().count(b"\n")
    except OSError:
        return 0
