"""Several runs as jobs: one that fails is reported, the others go on, and results are the same."""

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing import active_children

import pytest
import torch

from dfercli.engine import jobs
from dfercli.engine.ablate import run_table
from dfercli.engine.jobs import Job, run_jobs, train_folds
from dfercli.engine.processes import Share, describe_exit, share_machine, visible_devices
from dfercli.engine.progress import following
from dfercli.errors import ConfigError, DataError, JobsError, UnknownNameError, WeightsError

KNOWN_EVERYWHERE = {"backbone": "demo-ViT-tiny"}
"""A backbone that a new process knows too: the tests' own is known to this one alone."""

TOO_FAST = 1e30
"""A learning rate of which the loss is not finite after a step."""


@pytest.fixture
def one_thread():
    """As many threads here as a process has that shares two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_job(make_run):
    """Make a RunConfig of two epochs that any process can train."""
    recipe = {"epochs": 2, "warmup_epochs": 0}
    return lambda fold=1, **settings: make_run(
        fold, **{"model": KNOWN_EVERYWHERE} | recipe | settings
    )


def _results(run):
    """All that a run found out, without how long it took."""
    metrics = [{k: v for k, v in line.items() if k != "seconds"} for line in run.read_metrics()]
    names = ("predictions_best.csv", "predictions_last.csv", "last/model.safetensors")
    return metrics, [(run.path / name).read_bytes() for name in names]


def _times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_job_that_fails_is_reported_and_the_others_go_on(make_job, tmp_path, capsys):
    configs = [make_job(1), make_job(2, lr=TOO_FAST, min_lr=0.0), make_job(3)]
    outcome = run_jobs(configs, tmp_path)
    assert [job.run.finished for job in outcome.jobs] == [True, False, True]
    (failed,) = outcome.failures
    assert failed.config == configs[1]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("failed: colours full fold 2: the loss is nan in epoch ")
    assert line.endswith("; lower --lr")
    with pytest.raises(JobsError) as caught:
        outcome.check()
    assert str(caught.value) == (
        "1 of 3 runs failed (colours full fold 2), the other 2 are finished; the same command "
        "trains only what failed"
    )


def test_a_job_after_a_failed_one_is_as_if_it_were_alone(make_job, tmp_path, monkeypatch):
    """accelerate's state is the process's: one that fails in the middle of a pass leaves traces."""
    alone = run_jobs([make_job(2, accumulate=2)], tmp_path / "alone").jobs[0]
    loss, calls = jobs.train_fold.__globals__["contrastive_loss"], []

    def fail_once(logits, labels):
        calls.append(labels)
        if len(calls) == 2:  # after half of an optimizer's step, while clips are being loaded
            raise RuntimeError("out of\nmemory")
        return loss(logits, labels)

    monkeypatch.setitem(jobs.train_fold.__globals__, "contrastive_loss", fail_once)
    outcome = run_jobs([make_job(1, accumulate=2), make_job(2, accumulate=2)], tmp_path / "after")
    ((job, failure),) = outcome.failures.items()
    assert (job.config.fold, failure.line) == (1, "RuntimeError: out of memory")
    assert "in fail_once" in failure.trace
    assert _results(outcome.jobs[1].run) == _results(alone.run)


def test_the_only_job_s_error_is_raised_as_it_is(make_job, tmp_path):
    with pytest.raises(ConfigError, match=r"colours full fold 2: the loss is nan"):
        run_jobs([make_job(2, lr=TOO_FAST, min_lr=0.0)], tmp_path)


def test_what_trains_together_does_not_go_on_alone(make_job, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "PartialState", lambda: type("Two", (), {"num_processes": 2}))
    configs = [make_job(1, lr=TOO_FAST, min_lr=0.0), make_job(2)]
    with pytest.raises(ConfigError, match="the loss is nan"):
        run_jobs(configs, tmp_path)
    assert not Job(configs[1], tmp_path).run.path.exists()


@pytest.mark.parametrize("count", [1, 2])
def test_a_second_call_trains_only_what_failed(count, make_job, tmp_path, capsys):
    configs = [make_job(fold) for fold in (1, 2, 3)]
    in_the_way = Job(configs[1], tmp_path).run.path
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    outcome = run_jobs(configs, tmp_path, jobs=count)
    assert [job.config.fold for job in outcome.failures] == [2]
    assert "failed: colours full fold 2: FileExistsError: " in capsys.readouterr().err
    done = [outcome.jobs[index].run.path for index in (0, 2)]
    before = [_times(path) for path in done]
    in_the_way.unlink()
    assert run_jobs(configs, tmp_path, jobs=count).failures == {}
    assert [_times(path) for path in done] == before
    assert all(job.run.finished for job in outcome.jobs)


@pytest.mark.usefixtures("one_thread")
def test_two_processes_give_the_same_runs_bit_for_bit(make_job, tmp_path):
    here = train_folds(make_job(workers=1), [1, 2, 3], tmp_path / "here")
    there = train_folds(make_job(workers=1), [1, 2, 3], tmp_path / "there", "dfer train", jobs=2)
    assert list(there) == [1, 2, 3]
    assert there[3].read()["command"] == "dfer train"
    assert there[3].read()["device"].endswith(" 1 threads")
    for fold in here:
        assert _results(there[fold]) == _results(here[fold])


def _when(true, do):
    """Do something in a thread as soon as something is true; gives the thread."""

    def watch():
        while not true():
            time.sleep(0.01)
        do()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def _kill(title):
    (process,) = [each for each in active_children() if each.name == title]
    os.kill(process.pid, signal.SIGKILL)


def test_a_process_that_is_killed_fails_its_own_job_alone(make_job, tmp_path, capsys):
    endless = make_job(1, epochs=100_000)
    run = Job(endless, tmp_path).run
    watcher = _when(run.metrics_file.is_file, lambda: _kill("colours full fold 1"))
    outcome = run_jobs([endless, make_job(2), make_job(3)], tmp_path, jobs=2)
    watcher.join()
    assert [job.run.finished for job in outcome.jobs] == [False, True, True]
    assert capsys.readouterr().err.splitlines() == [
        "failed: colours full fold 1: its process was ended by SIGKILL; out of memory? lower "
        "--jobs or --batch-size"
    ]


def _gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_an_interruption_ends_the_processes(make_job, tmp_path):
    endless = make_job(1, epochs=100_000, workers=1)
    pids = []

    def interrupt():
        pids.extend(each.pid for each in active_children())
        os.kill(os.getpid(), signal.SIGTERM)

    watcher = _when(Job(endless, tmp_path).run.metrics_file.is_file, interrupt)
    with pytest.raises(SystemExit) as ended:
        run_jobs([endless, replace(endless, fold=2)], tmp_path, jobs=2)
    watcher.join()
    assert ended.value.code == 143
    assert len(pids) == 2
    assert all(map(_gone, pids))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_processes_follow_one_that_was_killed(make_job, tmp_path):
    """Nothing can be done in the end of a process that is killed: its children have to see it."""
    endless = make_job(1, epochs=100_000)
    code = (
        "import sys, pickle; from dfercli.engine.jobs import run_jobs\n"
        "if __name__ == '__main__': run_jobs(*pickle.loads(bytes.fromhex(sys.argv[1])), jobs=2)"
    )
    given = pickle.dumps(([endless, replace(endless, fold=2)], tmp_path)).hex()
    parent = subprocess.Popen([sys.executable, "-c", code, given])
    files = [Job(replace(endless, fold=fold), tmp_path).run.metrics_file for fold in (1, 2)]
    _when(lambda: all(file.is_file() for file in files), parent.kill).join()
    parent.wait()
    while _sizes_change(files):
        pass


def _sizes_change(files):
    before = [file.stat().st_size for file in files]
    time.sleep(1)
    return [file.stat().st_size for file in files] != before


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"fold": 4}, DataError),
        ({"model": {"backbone": "ViT-B-33"}}, UnknownNameError),
        ({"model": KNOWN_EVERYWHERE | {"weights": "gone.pt"}}, WeightsError),
    ],
    ids=str,
)
def test_nothing_is_started_where_one_job_is_wrong(wrong, error, count, make_job, tmp_path):
    with pytest.raises(error):
        run_jobs([make_job(1), make_job(**{"fold": 2} | wrong)], tmp_path, jobs=count)
    assert list(tmp_path.iterdir()) == []


def test_rows_of_which_a_fold_failed_have_no_figures(make_job, tmp_path):
    in_the_way = tmp_path / "colours" / "full" / "fold2"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    entries, deviations, outcome = run_table(3, make_job(), [1, 2], tmp_path, jobs=2)
    assert deviations == []
    assert [job.title for job in outcome.jobs] == [
        "colours interfit-msta-notext fold 1",
        "colours interfit-msta-notext fold 2",
        "colours full fold 1",
        "colours full fold 2",
    ]
    assert 0 <= entries[0]["best_war"] <= 1
    assert [entries[1][f"{p}_{m}"] for p in ("best", "last") for m in ("uar", "war")] == [None] * 4
    with pytest.raises(JobsError, match=r"1 of 4 runs failed \(colours full fold 2\), the other 3"):
        outcome.check()


def test_an_error_names_the_first_failures(make_job, tmp_path):
    every = [Job(make_job(1, seed=seed), tmp_path, overwrite=True) for seed in range(6)]
    outcome = jobs.Outcome(every, {job: jobs.Failure("") for job in every})
    with pytest.raises(JobsError) as caught:
        outcome.check()
    assert str(caught.value) == (
        f"6 of 6 runs failed ({', '.join(['colours full fold 1'] * 4)}, 2 more), the other 0 are "
        "finished; the same command without --overwrite trains only what failed"
    )


@pytest.mark.parametrize(
    ("count", "threads", "devices", "shares"),
    [
        (1, 8, [], [Share(8)]),
        (3, 8, [], [Share(2)] * 3),
        (4, 2, [], [Share(1)] * 4),
        (3, 6, ["0", "1"], [Share(2, "0"), Share(2, "1"), Share(2, "0")]),
        (2, 6, ["GPU-a", "GPU-b", "GPU-c"], [Share(3, "GPU-a"), Share(3, "GPU-b")]),
    ],
)
def test_a_machine_is_shared(count, threads, devices, shares):
    assert share_machine(count, threads, devices) == shares


@pytest.mark.parametrize(
    ("count", "named", "devices"),
    [
        (0, None, []),
        (0, "", []),
        (2, None, ["0", "1"]),
        (2, "3, 5", ["3", "5"]),
        (1, "GPU-a,-1,2", ["GPU-a"]),
    ],
)
def test_devices_have_the_names_by_which_they_were_chosen(count, named, devices):
    assert visible_devices(count, named) == devices


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "its process ended with exit code 0"),
        (7, "its process ended with exit code 7"),
        (-11, "its process was ended by SIGSEGV"),
    ],
)
def test_an_exit_without_an_answer_is_described(code, said):
    assert describe_exit(code) == said


def test_a_bar_counts_epochs_of_new_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    old.write_text("1\n2\n3\n")
    with following([old, new], 6, anew=True) as move:
        move()
        new.write_text("1\n2")
        move()
        old.write_text("1\n2\n")
        move()
    counts = re.findall(r"2 runs: .*? (\d)/6 ", capsys.readouterr().err)
    assert [int(each) for each in dict.fromkeys(counts)] == [0, 1, 3]
    with following([old, new], 6) as move:
        pass
    assert " 3/6 " in capsys.readouterr().err
