"""Progress of long tasks: a bar on a terminal, and in a log about one line per minute."""

import io
import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

LINE_S = 60.0
"""Seconds between two lines in a log (our choice)."""

_hidden = False


def hide_progress() -> None:
    """Show no progress in this process: its parent shows it on the same terminal."""
    global _hidden
    _hidden = True


def on_terminal() -> bool:
    """Return whether progress is shown as a bar."""
    return sys.stderr is not None and sys.stderr.isatty()


def write_line(text: str) -> None:
    """Print a line on stderr, above any bar."""
    if sys.stderr is not None:
        if _hidden:  # only on a terminal, see `hide_progress`
            sys.stderr.write("\r\x1b[K")  # erase the parent's bar, which redraws itself
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()


def show_progress(
    iterable: Iterable[Any] | None = None, *, shown: bool = True, **options: Any
) -> "tqdm[Any]":
    """Return a progress bar for a terminal or a log."""
    shown = shown and not _hidden and sys.stderr is not None
    if not shown or on_terminal():
        return tqdm(iterable, disable=not shown, dynamic_ncols=True, **options)
    # With a separate file, tqdm does not redraw it after other output.
    options |= {"file": io.StringIO(), "mininterval": LINE_S, "delay": LINE_S, "miniters": 1}
    return LogLines(iterable, **options)


class LogLines(tqdm):
    """Progress as plain lines on stderr, such as `faces: 120 of 900 clips (13%), 05:40 left`."""

    closing = False

    def refresh(self, nolock: bool = False, lock_args: Any = None) -> None:
        """Print a line if the last one was printed more than `LINE_S` ago."""
        now_s = time.time()
        if now_s - self.last_print_t >= LINE_S:
            self.last_print_t = now_s
            super().refresh(nolock, lock_args)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Print a line instead of a bar."""
        if not self.closing:
            write_line(self.describe())

    def close(self) -> None:
        """Close without printing a last line."""
        self.closing = True
        super().close()

    def describe(self) -> str:
        """Return the progress in words."""
        state = self.format_dict
        done, total, unit = state["n"], state["total"], state["unit"]
        unit += "s" * (unit != "s")  # the plural of words, not of `s` for seconds
        title = (state["prefix"] or "progress").removesuffix(": ")
        if total:
            text = f"{title}: {_count(done)} of {_count(total)} {unit} ({done / total:.0%})"
        else:
            text = f"{title}: {_count(done)} {unit}"
        if state["postfix"]:
            text += f", {state['postfix']}"
        rate = state["rate"] or (done - state["initial"]) / max(state["elapsed"], 1e-9)
        if total and rate > 0 and done < total:
            text += f", {self.format_interval((total - done) / rate)} left"
        return text


def _count(number: float) -> str:
    return f"{number:,.1f}".removesuffix(".0")
