"""Progress of many videos, and within one."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tqdm import tqdm

from dfercli.media.video import declared_duration_s
from dfercli.predict.batch.inputs import Input
from dfercli.progress import on_terminal, show_progress
from dfercli.text import printable

LOOK_S = 0.5
"""Seconds between two looks at how far a video is (our choice)."""

SHOWN_LETTERS = 30
"""Letters of a name beside its bar, the last ones (our choice)."""


class Bars:
    """Progress: a bar of videos where there are several, and one of the seconds of a video."""

    def __init__(self, total: int) -> None:
        self._several = total > 1
        self._videos = show_progress(total=total, desc="videos", unit="video", shown=self._several)

    def __enter__(self) -> "Bars":
        return self

    def __exit__(self, *error: object) -> None:
        self._videos.close()

    def step(self) -> None:
        """Count a video."""
        self._videos.update()

    def aside(self) -> AbstractContextManager[None]:
        """Clear the bars while something else is printed."""
        return tqdm.external_write_mode(file=sys.stdout)

    @contextmanager
    def within(self, each: Input) -> Iterator["Phases"]:
        """Show the progress of a video; yields the object that phases are reported to."""
        length_s = declared_duration_s(each.path) if each.path is not None else 0.0
        phases = Phases(_shorten(printable(each.name)))
        done = threading.Event()
        with show_progress(
            total=round(length_s, 1) or None,
            desc=phases.title,
            unit="s",
            leave=False,
            shown=on_terminal() or not self._several,
            position=1 if self._several else 0,
        ) as bar:
            follow = threading.Thread(target=_follow, args=(bar, phases, done), daemon=True)
            if not bar.disable:
                follow.start()
            try:
                yield phases
            finally:
                done.set()
                if not bar.disable:
                    follow.join()


class Phases:
    """What is done with a video at the moment, and how far that is.

    Attributes:
        title: What stands beside the bar.
        count: How many phases have begun.
    """

    def __init__(self, name: str) -> None:
        self.title = self._name = name
        self.count = 0
        self._position: Callable[[], float] = lambda: 0.0

    @property
    def position_s(self) -> float:
        """Seconds of the video that the phase has behind it."""
        return self._position()

    def __call__(self, phase: str, position: Callable[[], float]) -> None:
        """Begin a phase; see `attempt.Watch`."""
        self._position = position
        self.title = f"{self._name}: {phase}" if phase else self._name
        self.count += 1


def _shorten(name: str) -> str:
    return name if len(name) <= SHOWN_LETTERS else f"…{name[1 - SHOWN_LETTERS :]}"


def _follow(bar: "tqdm[Any]", phases: Phases, done: threading.Event) -> None:
    """Update the bar regularly: without a face, no window may end for a long time."""
    shown = 1
    while not done.wait(LOOK_S):
        if phases.count > shown:
            bar.reset()
            shown = phases.count
        bar.set_description(phases.title, refresh=False)
        bar.n = round(phases.position_s, 1)
        bar.refresh()
