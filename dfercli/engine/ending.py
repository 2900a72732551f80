"""Signals that end a process: of a service's manager, and of a terminal that was closed."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

ENDING = ("SIGTERM", "SIGHUP")
"""By name: Windows has no SIGHUP."""

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
