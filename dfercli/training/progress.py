"""Progress of training: a bar on a terminal, in a log one line per epoch and per minute.

`Progress` shows runs that this process trains. `following` shows runs that other processes train,
by reading their metrics files.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from dfercli.data.loaders import DelayedReader
from dfercli.progress import on_terminal, show_progress, write_line
from dfercli.runs.record import EpochMetrics

BAR = "{desc}{percentage:3.0f}%|{bar}| {remaining} left{postfix}, {rate_fmt}"
"""Layout of the bar; at 80 columns its end is cut off, the speed first."""

SHOWN = ("epoch", "WAR", "loss")
"""Figures beside the bar, in this order; UAR and learning rate are in the metrics file."""

REFRESH_S = 0.5
"""Least time between two updates of the loss (our choice)."""


class Progress:
    """Progress over the clips of all epochs of all runs; the time left is that of the command.

    Args:
        clips: Training clips of all epochs of all runs.
        shown: Whether this process shows it.
    """

    def __init__(self, clips: int, shown: bool) -> None:
        self._bar = show_progress(total=clips, unit="clip", shown=shown, bar_format=BAR)
        self._title = ""
        self._epochs = 0
        self._shown: dict[str, str] = {}
        self._updated_s = 0.0
        self._reader = DelayedReader()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def begin_run(self, title: str, epochs: int, done: int, remark: str = "") -> None:
        """Show the title of the next run, and print its remark, if any.

        `done` clips were trained before this command, and do not count as speed.
        """
        self._title = title
        self._bar.set_description(title)
        if not self._bar.disable:
            self._bar.n += done
            self._bar.initial += done
            self._bar.last_print_n += done
        self._epochs = epochs
        self._shown = {}
        if remark:
            self.note(f"{title}: {remark}")

    def begin_epoch(self, epoch: int) -> None:
        """Show the next epoch, counted from 0."""
        self._show(epoch=f"{epoch + 1}/{self._epochs}")

    def step(self, clips: int, loss: Tensor) -> None:
        """Count the clips of a step; now and then show the loss, without waiting for the device."""
        self._bar.update(clips)
        if time.monotonic() - self._updated_s > REFRESH_S and not self._bar.disable:
            self._updated_s = time.monotonic()
            value = self._reader.read(loss)
            if value is not None:
                self._show(loss=f"{value:.3f}")

    def end_epoch(self, line: EpochMetrics) -> None:
        """Show the metrics of an epoch; in a log, as one line."""
        if "war" in line:
            self._show(WAR=f"{line['war']:.1%}")
        self._show(loss=f"{line['loss']:.3f}")
        if not self._bar.disable and not on_terminal():
            write_line(describe_epoch(self._title, line, self._epochs, self._time_left()))

    def _time_left(self) -> str:
        """Return the time left for all runs at the speed so far, e.g. `1:02:03`."""
        state = self._bar.format_dict
        done, rest = state["n"] - state["initial"], (state["total"] or 0) - state["n"]
        if done <= 0 or rest <= 0:
            return ""
        return tqdm.format_interval(rest * state["elapsed"] / done)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        write_line(text)

    def _show(self, **values: str) -> None:
        self._shown |= values
        shown = [f"{key} {self._shown[key]}" for key in SHOWN if key in self._shown]
        self._bar.set_postfix_str(", ".join(shown), refresh=False)


def describe_epoch(title: str, line: EpochMetrics, epochs: int, time_left: str) -> str:
    """Return the line of an epoch in a log."""
    parts = [f"{title}: epoch {line['epoch']} of {epochs}", f"loss {line['loss']:.3f}"]
    parts += [f"{key.upper()} {line[key]:.1%}" for key in ("war", "uar") if key in line]
    if "clips_per_s" in line:
        parts.append(f"{line['clips_per_s']:,.1f} clips/s")
    return ", ".join([*parts, f"{time_left} left"] if time_left else parts)


@contextmanager
def following(
    files: Sequence[Path], epochs: int, overwrite: bool = False
) -> Iterator[Callable[[], None]]:
    """Show the epochs of several runs on one bar, as lines are added to their metrics files.

    With `overwrite`, existing files, which are of older runs, are ignored until they change. Yields
    a function that updates the bar.
    """
    old = {file: _stamp(file) if overwrite else 0 for file in files}

    def count() -> int:
        new = [file for file in files if _stamp(file) not in (0, old[file])]
        return sum(_count_lines(file) for file in new)

    title = f"{len(files)} runs"
    with show_progress(desc=title, total=epochs, initial=count(), unit="epoch") as bar:

        def update() -> None:
            bar.n = count()
            bar.refresh()

        yield update


def _stamp(file: Path) -> int:
    """Return a number that changes when a file does; 0 if it does not exist."""
    try:
        return file.stat().st_mtime_ns
    except OSError:  # it does not exist, or is just being replaced
        return 0


def _count_lines(file: Path) -> int:
    try:
        return file.read_bytes().count(b"\n")
    except OSError:
        return 0
