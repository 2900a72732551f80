"""Damaged files, files that change while they are read, signals, and killed processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from predict.batch import by_hand

from dfercli.errors import CheckpointError, ConfigError
from dfercli.faces.crop_files import RECORD_FILE, crop_video, read_record
from dfercli.files import scratch_folder, write_json
from dfercli.media.video_writer import write_video
from dfercli.parallel import ending_on_sigterm, take_ending_signals
from dfercli.predict.batch.inputs import Input
from dfercli.predict.batch.journal import open_journal
from dfercli.predict.batch.read_video import read_video
from dfercli.predict.model_info import PredictSettings
from dfercli.runs import lookup
from dfercli.runs.lookup import find_runs, find_variant_folds
from dfercli.runs.run_folder import RunFolder
from dfercli.training.selection import EpochKeeper
from dfercli.training.state import find_state, reporting_failed_save

DAMAGED = (b"", b"{", b"[1]", b"{}", b"null", b'{"config": []}', b'{"config": {"data": 3}}')
DAMAGED += (bytes(300), b"\xff\xfe")


def _write_run(folder, content):
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes(content)


@pytest.fixture(autouse=True)
def _forget_notes():
    lookup._REPORTED.clear()


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_run_is_passed_over_with_a_note(tmp_path, capsys, content):
    whole = json.dumps({"config": {"data": {"dataset": "mine"}}, "finished": True}).encode()
    _write_run(tmp_path / "demo" / "full" / "fold1", whole)
    _write_run(tmp_path / "demo" / "msta" / "fold1", content)
    for name in ("fold1~", "fold1 (conflicted copy)", "fold", f"fold{'9' * 30}"):
        _write_run(tmp_path / "demo" / "full" / name, whole)
    for _ in range(2):
        folds, _ = find_variant_folds(tmp_path)
        assert [run.path for run in folds.values()] == [tmp_path / "demo" / "full" / "fold1"]
    assert len(find_runs(tmp_path)) == 1
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith(f"skipped: {tmp_path / 'demo' / 'msta' / 'fold1' / 'run.json'} is ")
    with pytest.raises(CheckpointError, match=r"is damaged \(.*\); remove"):
        RunFolder(tmp_path / "demo" / "msta" / "fold1").read()


def test_foreign_names_among_states_are_no_states(tmp_path):
    run = RunFolder(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    for name in ("epoch2", "epoch3~", "epoch4 (conflicted copy)", "epoch"):
        (run.resume_folder / name).mkdir(parents=True)
    (run.resume_folder / "epoch9").touch()
    assert find_state(run) == run.resume_folder / "epoch2"


class _ReplacingPredictor(by_hand.FakePredictor):
    """Reads a video that somebody replaces meanwhile, by one of the same size."""

    def open(self, video, settings, keep_paths=False):
        reading = super().open(video, settings, keep_paths)
        other = Path(f"{video}.other")
        other.write_bytes(Path(video).read_bytes()[:-1] + b" ")
        other.replace(video)
        return reading


def test_a_video_that_is_replaced_while_it_is_read_is_not_certified(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").write_text('{"windows": [0.0]}\n')
    settings = PredictSettings()
    *_, (_, ended) = read_video(_ReplacingPredictor(), Input("a.mp4"), settings)
    assert ended.record["status"] == "unreadable"
    assert ended.record["error"] == "a.mp4 was changed while it was read; predict it again"
    *_, (_, ended) = read_video(by_hand.FakePredictor(), Input("a.mp4"), settings)
    assert ended.record["status"] == "ok"


@pytest.fixture
def cropped(tmp_path):
    """A video of a grey square that nobody is seen in, and its record."""
    write_video(tmp_path / "a.avi", [np.full((64, 64, 3), 90, np.uint8)] * 3, 25.0)

    class Blind:
        def detect(self, image_rgb):
            return []

    record = crop_video(tmp_path, "a.avi", tmp_path / "faces" / "a", 32, Blind())
    assert read_record(tmp_path / "faces" / "a", tmp_path, "a.avi") == record
    return tmp_path


def _is_reused(root):
    return read_record(root / "faces" / "a", root, "a.avi") is not None


def test_a_video_from_the_future_is_cropped_once(tmp_path):
    video = tmp_path / "a.avi"
    write_video(video, [np.full((64, 64, 3), 90, np.uint8)] * 3, 25.0)
    later_s = time.time() + 1e6  # a camera whose clock is wrong
    os.utime(video, (later_s, later_s))

    class Blind:
        def detect(self, image_rgb):
            return []

    crop_video(tmp_path, "a.avi", tmp_path / "faces" / "a", 32, Blind())
    assert _is_reused(tmp_path)


def test_a_replaced_video_of_the_same_size_and_an_older_time_is_cropped_again(cropped):
    video = cropped / "a.avi"
    os.utime(video, (1e9, 1e9))
    assert not _is_reused(cropped)


def test_records_of_earlier_versions_count_by_the_crops_age(cropped):
    path = cropped / "faces" / "a" / RECORD_FILE
    values = json.loads(path.read_text())
    del values["source_changed_ns"]
    write_json(path, values)
    assert _is_reused(cropped)
    later_s = time.time() + 100
    os.utime(cropped / "a.avi", (later_s, later_s))
    assert not _is_reused(cropped)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_a_hangup_ends_as_sigterm_does_unless_it_is_ignored():
    for number, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        with pytest.raises(SystemExit) as ended, ending_on_sigterm():
            os.kill(os.getpid(), number)
            time.sleep(5)
        assert ended.value.code == code
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` has it
    try:
        with ending_on_sigterm():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.SIGHUP not in take_ending_signals(signal.getsignal(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGHUP, before)


KILLED = """
import os, sys
from pathlib import Path
from dfercli.files import scratch_folder
with scratch_folder(".dfer-", Path(sys.argv[1])) as folder:
    (folder / "half.mp4").write_bytes(b"half")
    os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_a_killed_process_left_goes_at_the_next_start_and_nothing_else(tmp_path):
    (tmp_path / ".dfer-mine").mkdir()  # without a lock: nobody knows whose
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    (left,) = tmp_path.glob(".dfer-*/half.mp4")
    with scratch_folder(".dfer-", tmp_path) as first:
        assert not left.exists()
        with scratch_folder(".dfer-", tmp_path) as second:  # of another process: it is in use
            assert first.exists()
            assert second != first
    assert [path.name for path in tmp_path.iterdir()] == [".dfer-mine"]


def test_a_run_that_is_moved_while_it_is_trained_is_noticed(tmp_path):
    keeper = EpochKeeper(RunFolder(tmp_path / "fold1"), None, lambda _: None, saved=1)
    with pytest.raises(CheckpointError) as caught:
        keeper.keep([{"epoch": 1}, {"epoch": 2}], {}, last=True)
    assert str(caught.value) == (
        f"{tmp_path / 'fold1'} was moved or removed during training; restore it and run "
        f"the same command again to continue after epoch 1"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (28, "free some space and run"),
        (5, "check the disk, which fails to read or write and run"),
    ],
)
def test_a_broken_disk_is_not_told_to_free_space(tmp_path, number, said):
    with pytest.raises(CheckpointError, match=said), reporting_failed_save(RunFolder(tmp_path), 2):
        raise OSError(number, "")


def test_a_journal_of_zeros_says_what_may_be_removed(tmp_path):
    out = tmp_path / "x.json"
    (tmp_path / ".x.json.journal").write_bytes(bytes(4096))
    with (
        pytest.raises(ConfigError, match=r"\.x\.json\.journal is damaged or .*; remove it to"),
        open_journal([out], by_hand.ORIGIN, []),
    ):
        pytest.fail("it was opened")
