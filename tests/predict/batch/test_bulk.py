"""Many videos: each has its outcome, none stops the others, in this process or in several."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import by_hand
import pytest
import torch

from dfercli.errors import ConfigError, DetectorError, DferError, JobsError
from dfercli.parallel import OOM_SCORE
from dfercli.predict.batch.inputs import Input
from dfercli.predict.batch.predict_all import BatchResult, Outcome, predict_videos

OOM_SCORE_FILE = Path("/proc/self/oom_score_adj")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


BROKEN = {
    "video": "cannot read it: broken off",
    "memory": "not enough memory for this video",
    "cv2": "OpenCV: OpenCV says",
    "os": "input/output error",
    "runtime": "RuntimeError: CUDA out of memory. Tried to",
}


@pytest.fixture
def some():
    """Two good videos, around one without a face, one that is missing and five that break."""
    by_hand.write_fake("v/a.mp4")
    for name in BROKEN:
        by_hand.write_fake(f"v/b-{name}.mp4", **{"raise": name})
    by_hand.write_fake("v/c.mp4", windows=[])
    by_hand.write_fake("v/d.mp4", windows=[0.0, 2.0, 4.0])
    Path("v/e.mp4").write_text("no video")
    return ["v", "gone.mp4"]


def test_where_an_error_arose_is_logged_for_those_who_look(some, caplog):
    with caplog.at_level("DEBUG", "dfercli"):
        by_hand.run(some)
    logged = {record.getMessage(): record.exc_info for record in caplog.records}
    assert set(logged) >= {f"v/b-{name}.mp4 cannot be read" for name in BROKEN}
    assert isinstance(logged["v/b-runtime.mp4 cannot be read"][1], RuntimeError)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_each_video_has_its_outcome_and_none_stops_the_others(some, jobs):
    seen, told = [], []
    done = by_hand.run(
        some,
        jobs=jobs,
        out="x.jsonl",
        on_window=lambda each, window: seen.append(each.name),
        on_video=lambda outcome, prediction: told.append((outcome.input.name, prediction)),
        artifacts=by_hand.Notes(),
    )
    names = [each.input.name for each in done.outcomes]
    assert [line for each in done.outcomes for line in each.notes] == [
        "made: v/a.mp4",
        "made: v/d.mp4",
    ]
    broken = sorted(f"v/b-{name}.mp4" for name in BROKEN)
    assert names == ["v/a.mp4", *broken, "v/c.mp4", "v/d.mp4", "v/e.mp4", "gone.mp4"]
    assert [video["video"] for video in by_hand.closing_lines("x.jsonl")] == names
    by_hand.run(some, out="here.jsonl")  # the file does not depend on the processes
    here, there = by_hand.closing_lines("here.jsonl"), by_hand.closing_lines("x.jsonl")
    changed = {"pictures": {}, "seal": ""}
    assert [line | changed for line in here] == [line | changed for line in there]
    assert sorted(path.name for path in Path("v").glob("*.note")) == ["a.mp4.note", "d.mp4.note"]
    assert (Path("v/a.mp4.note").read_text() == str(os.getpid())) == (jobs == 1)
    errors = {each.input.name: each.error for each in done.outcomes}
    assert errors == {
        "v/a.mp4": None,
        **{f"v/b-{name}.mp4": said for name, said in BROKEN.items()},
        "v/c.mp4": None,
        "v/d.mp4": None,
        "v/e.mp4": "cannot read v/e.mp4: no frame can be decoded",
        "gone.mp4": "no such file or folder",
    }
    assert [done.count(s) for s in ("ok", "no face", "unreadable")] == [2, 1, 7]
    assert done.exit_code == 4
    assert "gone.mp4: no such file or folder" in done.faults
    assert "cannot read v/e.mp4: no frame can be decoded" in done.faults  # names it itself
    assert all(line.count("\n") == 0 for line in done.faults)
    assert seen.count("v/d.mp4") == 3
    assert sorted(name for name, _ in told) == sorted(names)
    assert {name for name, prediction in told if prediction} == {"v/a.mp4", "v/c.mp4", "v/d.mp4"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_videos_whose_names_are_written_alike_are_kept_apart(jobs):
    odd = os.fsdecode(b"v/a\xff.mp4")
    by_hand.write_fake(odd, windows=[0.0])
    by_hand.write_fake("v/a\\xff.mp4", windows=[0.0, 2.0, 4.0])
    for kept in (False, True):
        done = by_hand.run([odd, "v/a\\xff.mp4"], out="x.json", jobs=jobs)
        assert [each.kept for each in done.outcomes] == [kept] * 2
        videos = json.loads(Path("x.json").read_bytes())["videos"]
        assert [(video["video"], len(video["windows"])) for video in videos] == [
            ("v/a\\xff.mp4", 1),
            ("v/a\\xff.mp4 (2)", 3),
        ]


def test_exit_codes():
    good, empty, bad = (Outcome(Input("v"), status) for status in ("ok", "no face", "unreadable"))
    bad = Outcome(Input("v"), "unreadable", error="why")
    unmade = Outcome(Input("v"), "ok", remark="why")
    codes = [BatchResult(list(each)).exit_code for each in ([good], [good, empty], [empty, bad])]
    assert codes == [0, 3, 4]
    assert BatchResult([good, unmade]).exit_code == 4


def test_a_second_call_reads_what_is_left(some):
    by_hand.run(some, out="x.json")
    by_hand.write_fake("v/b-os.mp4")  # the disk is well again
    seen = []
    done = by_hand.run(some, out="x.json", on_window=lambda each, window: seen.append(each.name))
    assert seen.count("v/b-os.mp4") == 2
    assert {"v/a.mp4", "v/c.mp4", "v/d.mp4"} & set(seen) == set()
    assert [each.input.name for each in done.outcomes if each.kept] == [
        "v/a.mp4",
        "v/c.mp4",
        "v/d.mp4",
    ]
    assert done.count("ok") == 3
    assert done.outcomes[0].frames_searched == 32


def test_what_follows_is_made_when_a_second_call_finds_it_missing():
    by_hand.write_fake("v/a.mp4")
    by_hand.write_fake("v/b.mp4")
    first = by_hand.run(["v"], out="x.jsonl", artifacts=by_hand.Notes())
    before = Path("x.jsonl").read_bytes()
    Path("v/a.mp4.note").unlink()
    again = by_hand.run(["v"], out="x.jsonl", artifacts=by_hand.Notes())
    assert Path("v/a.mp4.note").exists()
    assert [each.kept for each in again.outcomes] == [False, True]
    assert Path("x.jsonl").read_bytes() == before
    assert (first.exit_code, again.exit_code) == (0, 0)


def _notes_made_again(out="x.json", **options):
    """Call with notes; gives which videos were read for it."""
    done = by_hand.run(["v"], out=out, artifacts=by_hand.Notes(), **options)
    notes = [Path(each.input.name + ".note") for each in done.outcomes]
    assert [note.read_text() for note in notes] == [str(os.getpid())] * len(notes)
    return [each.input.name for each in done.outcomes if not each.kept]


def test_what_was_made_of_something_else_is_made_again():
    by_hand.write_fake("v/a.mp4")
    by_hand.write_fake("v/b.mp4")
    by_hand.run(["v"], out="x.json")
    without = Path("x.json").read_bytes()
    Path("v/a.mp4.note").write_text("somebody else's")
    assert _notes_made_again() == ["v/a.mp4", "v/b.mp4"]
    assert Path("x.json").read_bytes() == without
    assert _notes_made_again() == []
    Path("v/b.mp4.note").write_text("made of another checkpoint, by a call with another file")
    assert _notes_made_again() == ["v/b.mp4"]
    other = by_hand.change_origin(checkpoint_sha256="c" * 64)
    by_hand.run(["v"], out="x.json", origin=other)
    assert _notes_made_again(origin=other) == ["v/a.mp4", "v/b.mp4"]


def test_a_picture_that_cannot_be_made_is_said_and_the_prediction_kept():
    by_hand.write_fake("v/a.mp4")
    done = by_hand.run(["v"], out="x.jsonl", artifacts=by_hand.Notes(suffix="fail"))
    assert (done.outcomes[0].status, done.exit_code) == ("ok", 4)
    assert done.faults == ["v/a.mp4: the disk is full"]
    assert by_hand.closing_lines("x.jsonl")[0]["error"] is None


def test_a_process_that_is_killed_loses_only_its_video():
    for name in "abc":
        by_hand.write_fake(f"v/{name}.mp4", kill=name in "ab")
    before = torch.get_num_threads()
    torch.set_num_threads(6)
    try:
        done = by_hand.run(["v"], _Threads(3), jobs=2)
    finally:
        torch.set_num_threads(before)
    assert [each.status for each in done.outcomes] == ["unreadable", "unreadable", "ok"]
    assert done.outcomes[1].error == (
        "its process was ended by SIGKILL, perhaps because memory ran out; "
        "run the command again with a lower --jobs"
    )


def test_jobs_all_see_the_one_gpu_that_is_named(monkeypatch):
    """A process that sees only its share of the GPUs would know none by the number typed."""
    for name in "ab":
        by_hand.write_fake(f"v/{name}.mp4")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    for device, seen in (("cuda:1", {"3,5"}), ("cuda", {"3", "5"})):
        done = by_hand.run(["v"], _VisibleDevices(seen), jobs=2, device=device)
        assert [each.status for each in done.outcomes] == ["ok", "ok"]


@dataclass(frozen=True)
class _VisibleDevices:
    """Makes a predictor where CUDA_VISIBLE_DEVICES is one of these."""

    expected: set[str]

    def __call__(self):
        assert os.environ["CUDA_VISIBLE_DEVICES"] in self.expected
        return by_hand.make_fake()


class _Threads:
    """Makes a predictor where torch has this many threads: its share."""

    def __init__(self, expected):
        self._expected = expected

    def __call__(self):
        if torch.get_num_threads() != self._expected:
            raise ConfigError(f"{torch.get_num_threads()} threads")
        return by_hand.make_fake()


@pytest.mark.skipif(not OOM_SCORE_FILE.is_file(), reason="only Linux has scores")
def test_for_want_of_memory_the_kernel_takes_a_worker_first():
    by_hand.write_fake("v/a.mp4")
    by_hand.write_fake("v/b.mp4")
    before = OOM_SCORE_FILE.read_text()
    done = by_hand.run(["v"], _make_at_score, jobs=2)
    assert [each.status for each in done.outcomes] == ["ok", "ok"]
    assert OOM_SCORE_FILE.read_text() == before


def _make_at_score():
    assert int(OOM_SCORE_FILE.read_text()) >= OOM_SCORE
    return by_hand.make_fake()


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_wrong_with_the_machine_is_no_videos_fault(jobs):
    by_hand.write_fake("v/a.mp4")
    by_hand.write_fake("v/b.mp4")
    with pytest.raises(DetectorError if jobs == 1 else DferError, match="no detector here"):
        by_hand.run(["v"], by_hand.make_none, jobs=jobs)


def test_a_process_that_dies_while_it_loads_ends_all():
    by_hand.write_fake("v/a.mp4")
    by_hand.write_fake("v/b.mp4")
    with pytest.raises(JobsError, match="could not start: its process was ended by SIGKILL, perh"):
        by_hand.run(["v"], by_hand.die, jobs=2)


def test_streams_need_a_job_each():
    streams = ["rtsp://a", "rtsp://b", "foo://c"]
    with pytest.raises(ConfigError) as caught:
        predict_videos(streams, by_hand.make_none)
    assert str(caught.value) == "2 streams need 2 processes; use --jobs 2, or fewer streams"
    with pytest.raises(ConfigError, match="jobs is 0; it must be at least 1"):
        predict_videos(streams, by_hand.make_none, jobs=0)


def test_an_error_of_the_one_who_prints_is_no_videos_fault():
    by_hand.write_fake("a.mp4")

    def closed(each, window):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        by_hand.run(["a.mp4"], on_window=closed)
