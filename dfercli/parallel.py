"""Processes that end together with the one that started them."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import parent_process
from pathlib import Path
from types import FrameType
from typing import Any

ENDING = ("SIGTERM", "SIGHUP")
"""By name: Windows has no SIGHUP."""

OOM_SCORE = 500
"""A worker's least `oom_score_adj`, by which the Linux kernel chooses the process that it ends: as
if it had half of the machine's memory more than it has (our choice)."""

Handler = Callable[[int, FrameType | None], Any]


def take_ending_signals(handler: Handler) -> dict[int, Any]:
    """Handle them; one that is ignored, as `nohup` has it, stays so.

    Returns:
        What handled each of them before.
    """
    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    taken = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in taken}


def leave(number: int, frame: FrameType | None) -> None:
    """End this process by an exception, with the exit code that shells have for a signal."""
    raise SystemExit(128 + number)


def begin_worker() -> None:
    """Do what a process does first that works for another: it ends with that one, or before it.

    It ends when the process that started it is gone, however that went. Where memory runs out, the
    Linux kernel takes it rather than the one that knows what else is to be done.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    score = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):  # another system, or one that does not let us
        score.write_text(str(max(OOM_SCORE, int(score.read_text()))))


def _end_with_parent() -> None:
    """Wait until the process that started this one is gone, and follow it."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
