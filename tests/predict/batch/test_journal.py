"""What is finished is kept, and nothing else; the file is the same however often it was stopped."""

import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import by_hand
import numpy as np
import pandas as pd
import pytest

from dfercli.errors import ConfigError, DataError
from dfercli.media.images import write_image
from dfercli.predict.batch.inputs import Input
from dfercli.predict.batch.journal import journal_file, open_journal
from dfercli.predict.hashes import hash_checkpoint, hash_content
from dfercli.predict.prediction import describe_failure, describe_video, describe_window

NAMES = ("a.mp4", "b.mp4", "c.mp4")
INPUTS = [Input(name) for name in NAMES]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        Path(name).write_text(name)


def _predict(journal, name, windows=None):
    prediction = by_hand.make_prediction(name, windows)
    for window in reversed(prediction.windows):
        journal.add_window(name, describe_window(window, by_hand.CLASSES, True))
    journal.add_video(describe_video(prediction, hash_content(Path(name))))


def _run(out, names=NAMES, origin=by_hand.ORIGIN, inputs=INPUTS):
    """Predict what is not finished; gives what was, and how many were dropped."""
    with open_journal([Path(out)], origin, inputs) as journal:
        for name in names:
            if name not in journal.kept:
                _predict(journal, name)
        journal.finish([each.name for each in inputs])
        return journal.kept, journal.dropped


def _lines(path):
    return [json.loads(line) for line in Path(path).read_bytes().splitlines()]


def test_hashes_are_of_the_content(tmp_path):
    assert hash_content(Path("a.mp4")) == hash_content(Path("a.mp4"))
    assert len({hash_content(Path(name)) for name in NAMES}) == 3
    folder = Path("frames")
    folder.mkdir()
    for index in (1, 2):
        write_image(folder / f"{index}.png", np.full((8, 8, 3), index, np.uint8))
    before = hash_content(folder)
    (folder / "notes.txt").write_text("not a frame")
    assert hash_content(folder) == before
    (folder / "2.png").rename(folder / "3.png")
    assert hash_content(folder) != before


def test_a_checkpoint_is_hashed_wherever_it_lies():
    for folder in ("run/best", "copy"):
        Path(folder).mkdir(parents=True)
        Path(folder, "config.json").write_text("{}")
        assert hash_checkpoint("copy") is None
        Path(folder, "model.safetensors").write_text("weights")
    Path("copy/README.md").write_text("a card")
    assert hash_checkpoint("run") == hash_checkpoint("run/best") == hash_checkpoint("copy")
    Path("copy/config.json").write_text("{...}")
    assert hash_checkpoint("copy") != hash_checkpoint("run")
    assert hash_checkpoint("some/model-that-is-not-cached") is None


def test_lines_are_there_as_they_come_and_the_file_is_in_order():
    with open_journal([Path("x.jsonl")], by_hand.ORIGIN, INPUTS) as journal:
        _predict(journal, "b.mp4")
        assert [line["type"] for line in _lines("x.jsonl")] == [
            "settings",
            *["window"] * 4,
            "video",
        ]
        _predict(journal, "a.mp4")
        journal.finish(["a.mp4", "b.mp4"])
    lines = _lines("x.jsonl")
    assert [line.get("video") for line in lines] == [None, *["a.mp4"] * 5, *["b.mp4"] * 5]
    assert [(line["start_s"], line["track"]) for line in lines[1:5]] == [
        (0.0, 1),
        (0.0, 2),
        (2.0, 1),
        (2.0, 2),
    ]


@pytest.mark.parametrize("out", ["x.jsonl", "x.json", "x.csv", "x.parquet"])
@pytest.mark.parametrize("cut", [1, 7, 400, 1500])
def test_stopped_anywhere_and_called_again_is_the_same_as_never_stopped(out, cut):
    _run(f"whole/{out}")
    with open_journal([Path(out)], by_hand.ORIGIN, INPUTS) as journal:
        _predict(journal, "a.mp4")
        _predict(journal, "b.mp4")
    assert Path(out).is_file() == (out == "x.jsonl")
    for path in {journal_file(Path(out)), Path("x.jsonl")}:
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-cut])
    assert _run(out)[0] == {"a.mp4"}
    assert Path(out).read_bytes() == Path("whole", out).read_bytes()
    assert _run(out)[0] == set(NAMES)
    assert Path(out).read_bytes() == Path("whole", out).read_bytes()


def test_a_damaged_line_is_not_trusted():
    _run("x.jsonl")
    whole = Path("x.jsonl").read_bytes()
    journal = journal_file(Path("x.jsonl"))
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"coverage"', b'\0\0coverage"')  # a window of the second video
    journal.write_bytes(b"".join(lines))
    assert _run("x.jsonl")[0] == {"a.mp4", "c.mp4"}
    assert Path("x.jsonl").read_bytes() == whole


@pytest.mark.parametrize(
    "changes",
    [
        {"window_s": 3.0},
        {"faces": "largest"},
        {"detector": "face-alignment"},
        {"precision": "bf16"},
        {"checkpoint_sha256": "b" * 64},
        {"dfer_version": "9"},
        {"calibrated": False},
    ],
)
def test_what_was_made_otherwise_is_read_anew(changes):
    _run("x.csv")
    assert _run("x.csv", origin=by_hand.change_origin(**changes)) == (set(), 3)


def test_a_checkpoint_that_was_moved_is_the_same():
    _run("x.csv")
    assert _run("x.csv", origin=by_hand.change_origin(checkpoint_name="other"))[0] == set(NAMES)
    zero = by_hand.change_origin(checkpoint_name="zero-shot", checkpoint_sha256=None)
    other = by_hand.change_origin(checkpoint_name="other", checkpoint_sha256=None)
    _run("y.csv", origin=zero)
    assert _run("y.csv", origin=zero)[0] == set(NAMES)
    assert _run("y.csv", origin=other)[0] == set()


def test_a_video_of_another_content_is_read_anew():
    _run("x.csv")
    Path("b.mp4").write_text("something else")
    Path("c.mp4").unlink()
    assert _run("x.csv", names=["b.mp4"]) == ({"a.mp4"}, 2)
    assert pd.read_csv("x.csv")["video"].unique().tolist() == ["a.mp4", "b.mp4"]


def test_what_could_not_be_read_is_tried_again():
    with open_journal([Path("x.jsonl")], by_hand.ORIGIN, INPUTS) as journal:
        window = describe_window(by_hand.make_window(), by_hand.CLASSES, True)
        journal.add_window("a.mp4", window)  # it broke off after a window
        journal.add_video(describe_failure("a.mp4", "broken off"))
        journal.finish(NAMES)
    assert [line["type"] for line in _lines("x.jsonl")] == ["settings", "video"]
    assert _run("x.jsonl") == (set(), 0)
    assert [line["status"] for line in _lines("x.jsonl") if line["type"] == "video"] == ["ok"] * 3


def test_windows_of_a_face_that_was_never_named_are_left_out():
    with open_journal([Path("x.json")], by_hand.ORIGIN, INPUTS) as journal:
        other = by_hand.make_window(7, probs=None)
        journal.add_window("a.mp4", describe_window(other, by_hand.CLASSES, True))
        _predict(journal, "a.mp4")
        ((record, windows),) = journal.records(NAMES)
    assert {window["track"] for window in windows} == {track["track"] for track in record["tracks"]}


@pytest.mark.parametrize("out", ["x.jsonl", "x.csv"])
def test_a_call_that_does_not_end_loses_nothing(out):
    """Neither of videos that it does not ask for, nor where it asks for something else."""
    _run(out)
    whole = Path(out).read_bytes()
    other = by_hand.change_origin(window_s=3.0)
    for inputs, origin, lost in (
        ([Input("typo.mp4")], by_hand.ORIGIN, 3),
        (INPUTS[:1], by_hand.ORIGIN, 2),
        ([Input("typo.mp4")], other, 3),
    ):
        with open_journal([Path(out)], origin, inputs) as journal:
            assert journal.unasked == lost
    with open_journal([Path(out)], other, INPUTS) as journal:
        assert (journal.unasked, journal.dropped) == (0, 3)
        _predict(journal, "b.mp4")
    assert _run(out) == (set(NAMES), 0)
    assert Path(out).read_bytes() == whole
    assert _run(out, names=[], inputs=INPUTS[:1])[0] == {"a.mp4"}
    assert _run(out, names=[])[0] == {"a.mp4"}  # that call was finished


def test_windows_of_a_call_that_broke_off_are_not_mixed_with_those_of_the_next():
    _run("whole.jsonl")
    with open_journal([Path("x.jsonl")], by_hand.ORIGIN, INPUTS) as journal:
        window = describe_window(by_hand.make_window(), by_hand.CLASSES, True)
        journal.add_window("a.mp4", window)
    _run("x.jsonl")
    assert Path("x.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


def test_streams_are_never_finished():
    stream = Input("rtsp://h/a", "stream")
    with open_journal([Path("x.csv")], by_hand.ORIGIN, [stream]) as journal:
        journal.add_video(describe_video(by_hand.make_prediction(stream.name), None))
        journal.finish([stream.name])
    assert _run("x.csv", names=[], inputs=[stream]) == (set(), 1)


def test_a_file_that_is_not_ours_is_left_alone():
    for text in ('{"my": "data"}\n', "text", "[1]\n"):
        Path("x.jsonl").write_text(text)
        with pytest.raises(ConfigError) as caught:
            _run("x.jsonl")
        assert str(caught.value) == "x.jsonl was not written by dfer; choose another file"
        assert Path("x.jsonl").read_text() == text
    Path("x.jsonl").write_text("")
    assert _run("x.jsonl")[0] == set()
    journal_file(Path("x.csv")).write_text("my diary\n")
    with pytest.raises(ConfigError, match="is damaged or was not written by dfer; remove it to"):
        _run("x.csv")
    assert journal_file(Path("x.csv")).read_text() == "my diary\n"


def test_a_journal_with_a_damaged_header_is_continued():
    _run("x.csv")
    table, journal = Path("x.csv").read_bytes(), journal_file(Path("x.csv"))
    whole = journal.read_bytes()
    journal.write_bytes(b"\0" * 4 + whole[4:])
    assert _run("x.csv") == (set(NAMES), 0)
    assert (Path("x.csv").read_bytes(), journal.read_bytes()) == (table, whole)
    journal.write_bytes(whole.replace(b"\n", b"", 1))  # the header and the first video are one line
    assert _run("x.csv") == ({"b.mp4", "c.mp4"}, 0)
    assert (Path("x.csv").read_bytes(), journal.read_bytes()) == (table, whole)


def _hold(ready, go):
    with open_journal([Path("x.csv")], by_hand.ORIGIN, INPUTS):
        ready.set()
        go.wait(30)


def test_two_processes_do_not_write_one_file():
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    ready, go = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(ready, go))
    other.start()
    try:
        assert ready.wait(30)
        with pytest.raises(DataError) as caught:
            _run("x.csv")
        assert str(caught.value) == (
            "another dfer is writing x.csv; wait for it, or choose another file"
        )
    finally:
        go.set()
        other.join(30)
    assert _run("x.csv")[0] == set()


@pytest.mark.parametrize("out", ["x.jsonl", "x.json"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"start_s": 2.0', '"start_s": 2.5'),
        ('"happiness": 0.4', '"happiness": 0.9'),
        ('"status": "ok"', '"status": "no face"'),
        ('"tracks": [', '"track": ['),
        ('{"origin": "', '{"origin" : "'),
    ],
)
def test_a_number_that_somebody_changed_is_never_taken(old, new, out):
    assert _run(out) == (set(), 0)
    written = {path: path.read_bytes() for path in (Path(out), journal_file(Path(out)))}
    assert _run(out) == (set(NAMES), 0)
    text = journal_file(Path(out)).read_text()
    assert old in text
    journal_file(Path(out)).write_text(text.replace(old, new, 1))
    Path(out).write_text(Path(out).read_text().replace(old, new, 1))
    assert _run(out) == ({"b.mp4", "c.mp4"}, 1)
    assert {path: path.read_bytes() for path in written} == written


def test_a_hash_that_somebody_changed_is_noticed():
    _run("x.json")
    journal = journal_file(Path("x.json"))
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], b"0" + lines[1], *lines[2:]]))
    assert _run("x.json") == ({"b.mp4", "c.mp4"}, 1)


def test_lines_that_somebody_changed_are_put_right():
    """A window that is missing in the output, or another number, and lines that were added."""
    _run("x.jsonl")
    whole = Path("x.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    assert json.loads(lines[1])["type"] == "window"
    for changed in ([lines[0], *lines[2:]], [*lines, b"{"], lines[:1]):
        Path("x.jsonl").write_bytes(b"".join(changed))
        assert _run("x.jsonl") == (set(NAMES), 0)
        assert Path("x.jsonl").read_bytes() == whole


def test_several_files_are_written_at_once():
    outs = [Path("x.json"), Path("x.csv"), Path("x.jsonl")]
    with open_journal(outs, by_hand.ORIGIN, INPUTS) as journal:
        for name in NAMES:
            _predict(journal, name)
        journal.finish(NAMES)
    for out in outs:
        _run(f"single/{out}")
        assert out.read_bytes() == Path("single", out).read_bytes()


def test_a_journal_that_is_not_kept_leaves_only_the_files():
    before = set(Path().iterdir())
    with open_journal([Path("x.json")], by_hand.ORIGIN, INPUTS, resume=False) as journal:
        for name in NAMES:
            _predict(journal, name)
        journal.finish(NAMES)
    assert set(Path().iterdir()) - before == {Path("x.json")}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("out", ["x.jsonl", "x.csv"])
def test_killed_at_any_moment_it_keeps_what_was_finished(out):
    """Each call is killed while it writes; the next takes over what the last one reported."""
    context = multiprocessing.get_context("fork")
    finished = set()
    for _ in range(4):
        reports, theirs = context.Pipe(duplex=False)
        other = context.Process(target=_predict_until_killed, args=(out, theirs))
        other.start()
        theirs.close()
        finished.add(reports.recv())
        os.kill(other.pid, signal.SIGKILL)
        other.join()
        with open_journal([Path(out)], by_hand.ORIGIN, MANY) as journal:
            assert finished <= journal.kept
            assert journal.dropped == 0
            finished = set(journal.kept)


MANY = [Input(f"{number}.mp4") for number in range(2000)]


def _predict_until_killed(out, reports):
    with open_journal([Path(out)], by_hand.ORIGIN, MANY) as journal:
        for video in MANY:
            if video.title not in journal.kept:
                Path(video.name).write_text(video.name)
                _predict(journal, video.name)
                reports.send(video.title)


def test_a_jsonl_file_without_its_journal_is_not_replaced():
    _run("x.jsonl")
    before = Path("x.jsonl").read_bytes()
    journal_file(Path("x.jsonl")).unlink()
    with pytest.raises(ConfigError) as caught:
        _run("x.jsonl", names=NAMES[:1], inputs=INPUTS[:1])
    assert str(caught.value) == (
        "x.jsonl has predictions, but its journal .x.jsonl.journal is missing, so they cannot be "
        "continued; move x.jsonl, or choose another file"
    )
    assert Path("x.jsonl").read_bytes() == before
    assert not journal_file(Path("x.jsonl")).exists()
