"""Bars of progress: each thing that is done with a video has its own way through it."""

import io
import time
from contextlib import redirect_stderr

import pytest

from dfercli.bulk import bars as bars_module
from dfercli.bulk.bars import Bars
from dfercli.bulk.inputs import Input


class Terminal(io.StringIO):
    """A terminal that keeps all that was shown."""

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(bars_module, "LOOK_S", 0.01)
    monkeypatch.setattr(bars_module, "declared_duration_s", lambda path: 4.0)
    return Terminal()


def _wait_for(terminal, text):
    for _ in range(500):
        if text in terminal.getvalue():
            return
        time.sleep(0.01)
    pytest.fail(f"{text!r} is not in {terminal.getvalue()!r}")


def test_each_phase_is_named_and_begins_at_nothing(terminal):
    with redirect_stderr(terminal), Bars(1) as bars, bars.within(Input("film.mp4")) as watch:
        watch("", lambda: 4.0)
        _wait_for(terminal, "film.mp4: 100%")
        done_s = [0.0]
        watch("annotating", lambda: done_s[0])
        _wait_for(terminal, "film.mp4: annotating:   0%")
        done_s[0] = 2.0
        _wait_for(terminal, "film.mp4: annotating:  50%")


def test_without_a_terminal_nothing_is_shown():
    plain = io.StringIO()
    with redirect_stderr(plain), Bars(2) as bars, bars.within(Input("film.mp4")) as watch:
        watch("", lambda: 1.0)
    assert plain.getvalue() == ""
