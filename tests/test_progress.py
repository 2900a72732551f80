"""Progress: a bar on a terminal, plain lines in a log, nothing in child processes."""

import io
import sys

import pytest

from dfercli import progress
from dfercli.progress import show_progress, write_line


class _Clock:
    """Stands for the time of tqdm and of ours."""

    def __init__(self, monkeypatch):
        self.now_s = 1000.0
        monkeypatch.setattr(progress.time, "time", lambda: self.now_s)

    def pass_s(self, seconds):
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch):
    return _Clock(monkeypatch)


def _bar(clock, **options):
    bar = show_progress(**options)
    bar._time = lambda: clock.now_s
    bar.start_t = bar.last_print_t = clock.now_s
    return bar


def test_a_log_gets_a_line_a_minute_and_none_of_short_work(capsys, clock):
    with _bar(clock, total=1000, desc="faces", unit="clip") as bar:
        for _ in range(100):
            clock.pass_s(1.5)
            bar.update(2)
    assert capsys.readouterr().err.splitlines() == [
        "faces: 80 of 1,000 clips (8%), 11:30 left",
        "faces: 160 of 1,000 clips (16%), 10:30 left",
    ]


def test_work_of_unknown_length_is_counted(capsys, clock):
    with _bar(clock, desc="camera", unit="frame") as bar:
        clock.pass_s(61)
        bar.update(1500)
    assert capsys.readouterr().err == "camera: 1,500 frames\n"


def test_seconds_have_no_plural(capsys, clock):
    with _bar(clock, total=60.0, desc="a.mp4", unit="s") as bar:
        clock.pass_s(61)
        bar.update(15)
    assert capsys.readouterr().err == "a.mp4: 15 of 60 s (25%), 03:03 left\n"


def test_a_thread_that_looks_twice_a_second_prints_a_line_a_minute(capsys, clock):
    with _bar(clock, total=600.0, desc="video.mp4", unit="s") as bar:
        for tick in range(240):
            clock.pass_s(0.5)
            bar.n = tick
            bar.refresh()
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_other_output_draws_no_line_again(capsys, clock):
    with _bar(clock, total=10, desc="runs", unit="epoch"):
        for number in range(5):
            write_line(f"line {number}")
    assert capsys.readouterr().err.splitlines() == [f"line {number}" for number in range(5)]


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    with show_progress(total=4, desc="faces", unit="clip") as bar:
        bar.update(4)
    assert "100%" in terminal.getvalue()
    assert "\r" in terminal.getvalue()


@pytest.mark.parametrize("how", ["hidden", "closed", "not shown"])
def test_nothing_is_shown(how, capsys, monkeypatch):
    if how == "hidden":
        monkeypatch.setattr(progress, "_hidden", True)
    if how == "closed":
        monkeypatch.setattr(sys, "stderr", None)
    with show_progress(range(3), shown=how != "not shown") as bar:
        assert bar.disable
        assert list(bar) == [0, 1, 2]
    write_line("said")
    said = {"closed": "", "hidden": "\r\x1b[Ksaid\n"}  # another process's bar is on the line
    assert capsys.readouterr().err == said.get(how, "said\n")
