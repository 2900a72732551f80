"""Bars of progress: each thing that is done with a video has its own way through it."""

import io
import time
from contextlib import redirect_stderr
from pathlib import Path
from types import SimpleNamespace

import by_hand
import pytest

from dfercli.predict import PredictSettings
from dfercli.predict.batch import bars as bars_module
from dfercli.predict.batch.artifacts import Pictures
from dfercli.predict.batch.attempt import Task, attempt
from dfercli.predict.batch.bars import Bars
from dfercli.predict.batch.inputs import Input


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


def test_reading_then_what_follows_is_told(tmp_path, monkeypatch):
    """Of a picture and an annotated video: each by its name, and how far it is."""
    told = []
    monkeypatch.chdir(tmp_path)
    pictures = Pictures({"v": Path("v.png")}, {"v": Path("v.mp4")})
    task = Task(by_hand.make_fake, PredictSettings(), pictures)

    def annotate(prediction, video, out, on_frame):
        on_frame(1.5)
        out.write_bytes(b"x")
        return SimpleNamespace(why_silent=None)

    monkeypatch.setattr("dfercli.visualize.annotate_video", annotate)
    monkeypatch.setattr("dfercli.visualize.plot_prediction", lambda prediction, out: out.touch())
    by_hand.write_fake("v")
    watch = lambda phase, position: told.append((phase, position))  # noqa: E731
    list(attempt(by_hand.make_fake(), Input("v"), task, watch))
    assert [phase for phase, _ in told] == ["", "drawing", "annotating"]
    assert [told[0][1](), told[-1][1]()] == [4.0, 1.5]
