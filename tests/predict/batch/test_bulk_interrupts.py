"""Ctrl-C: streams are finished, files broken off, and what is finished is kept."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import by_hand
import pytest


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


def test_a_stream_that_is_interrupted_is_finished():
    by_hand.write_fake("a", **{"raise": "interrupt"})
    by_hand.write_fake("b.mp4")
    done = by_hand.run(["b.mp4", "rtsp://a"], out="x.jsonl")
    assert [each.status for each in done.outcomes] == ["ok", "ok"]
    assert [video["sha256"] is None for video in by_hand.closing_lines("x.jsonl")] == [False, True]
    with pytest.raises(KeyboardInterrupt):  # something is left
        by_hand.run(["rtsp://a", "b.mp4"], out="y.jsonl")
    assert [video["video"] for video in by_hand.closing_lines("y.jsonl")] == ["rtsp://a"]


def test_a_stream_that_is_interrupted_while_a_window_is_printed_is_finished():
    by_hand.write_fake("a")

    def interrupt(each, window):
        raise KeyboardInterrupt

    done = by_hand.run(["rtsp://a"], out="x.json", on_window=interrupt)
    assert done.exit_code == 0
    (video,) = json.loads(Path("x.json").read_bytes())["videos"]
    assert len(video["windows"]) == 1


def test_ctrl_c_waits_until_a_window_is_printed_and_written():
    by_hand.write_fake("a", windows=[0.0, 2.0, 4.0])
    printed = []

    def press(each, window):
        if window.start_s == 2.0:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        printed.append(window.start_s)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells may ignore it
    try:
        done = by_hand.run(["rtsp://a"], out="x.json", on_window=press)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert printed == [0.0, 2.0]
    assert done.exit_code == 0
    (video,) = json.loads(Path("x.json").read_bytes())["videos"]
    assert [window["start_s"] for window in video["windows"]] == printed


def test_a_file_that_is_interrupted_is_not():
    by_hand.write_fake("v/a.mp4")
    by_hand.write_fake("v/b.mp4", **{"raise": "interrupt"})
    with pytest.raises(KeyboardInterrupt):
        by_hand.run(["v"], out="x.csv")
    assert not Path("x.csv").exists()
    by_hand.write_fake("v/b.mp4")
    assert [each.kept for each in by_hand.run(["v"], out="x.csv").outcomes] == [True, False]


SCRIPT = """
import sys
import by_hand

def say(each, window):
    print(each.name, flush=True)

if __name__ == "__main__":
    try:
        by_hand.run(sys.argv[1:], out="x.jsonl", jobs=2, on_window=say)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.slow
def test_ctrl_c_finishes_a_stream_and_breaks_a_file_off():
    """Nobody is left over."""
    by_hand.write_fake("a", sleep=60)
    by_hand.write_fake("b", sleep=60)
    Path("script.py").write_text(SCRIPT)
    call = [sys.executable, "script.py", "rtsp://a", "b"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True, start_new_session=True) as run:
        said = [run.stdout.readline() for _ in range(4)]
        assert sorted(said) == ["b\n", "b\n", "rtsp://a\n", "rtsp://a\n"]
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 130  # half of what each video would have taken
        began_s = time.monotonic()
        with pytest.raises(ProcessLookupError):
            while time.monotonic() - began_s < 15:  # what watches over semaphores ends last
                os.killpg(run.pid, 0)
                time.sleep(0.1)
    assert [video["video"] for video in by_hand.closing_lines("x.jsonl")] == ["rtsp://a"]
