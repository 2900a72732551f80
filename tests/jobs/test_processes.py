"""Jobs in processes: the same runs, a process that dies, and what ends when something ends."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import active_children, get_start_method

import pytest
import torch

from dfercli.device import list_devices, share_machine, share_this_machine
from dfercli.jobs.job import Failure, Job
from dfercli.jobs.run import attempt, run_jobs, run_processes, train_folds
from dfercli.parallel import Share, describe_exit, run_in_workers


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_two_processes_give_the_same_runs_bit_for_bit(make_job, results_of, tmp_path):
    here = train_folds(make_job(workers=1), [1, 2], tmp_path / "here")
    there = train_folds(make_job(workers=1), [1, 2], tmp_path / "there", "dfer train", jobs=2)
    assert list(there) == [1, 2]
    assert there[2].read().calls[0].command == "dfer train"
    assert there[2].read().calls[0].device.endswith(" 1 threads")
    for fold in here:
        assert results_of(there[fold]) == results_of(here[fold])


def _describe(job):
    """In place of training: say what a job finds in its process."""
    import multiprocessing

    found = {
        "threads": torch.get_num_threads(),
        "device": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "terminal": sys.stderr.isatty(),
        "start_method": multiprocessing.get_start_method(),
    }
    return Failure(json.dumps(found))


def _start():
    """Prepare a worker that returns its tasks."""
    return lambda task, emit: task


@contextmanager
def _terminal():
    """A terminal as stderr, also of processes that are started; pytest undoes it in a fixture.

    Processes are started before, too: the server that later ones are forked from keeps the stderr
    that it was started with, and this terminal will be gone.
    """
    assert list(run_in_workers([1], _start, [Share(1)], purpose="tests")) == [(1, 1)]
    kept, (ours, theirs) = os.dup(2), os.openpty()
    os.dup2(theirs, 2)
    yield
    os.dup2(kept, 2)
    for file in (kept, ours, theirs):
        os.close(file)


@pytest.mark.usefixtures("one_thread")
def test_a_process_keeps_to_its_share_and_draws_no_bar(make_job, tmp_path, monkeypatch):
    torch.set_num_threads(3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    job = Job(make_job(), tmp_path)
    with _terminal():
        ((done, found),) = run_processes([job], 1, _describe, lambda: None)
    assert done == job
    assert json.loads(found.line) == {
        "threads": 3,
        "device": "7",
        "terminal": False,
        "start_method": get_start_method(),
    }


def _when(true, do):
    """Do something in a thread as soon as something is true; gives the thread."""

    def watch():
        while not true():
            time.sleep(0.01)
        do()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def _train_or_die(job, progress=None):
    """In place of training: fold 1 kills its process."""
    if job.config.fold == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt(job, progress)


@pytest.mark.slow
def test_a_process_that_is_killed_fails_its_own_job_alone(make_job, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dfercli.jobs.run.attempt", _train_or_die)
    outcome = run_jobs([make_job(1), make_job(2), make_job(3)], tmp_path, jobs=2)
    assert [job.run.finished for job in outcome.jobs] == [False, True, True]
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("failed:")] == [
        "failed: colours full fold 1: its process was ended by SIGKILL, perhaps because memory "
        "ran out; run the command again with a lower --jobs or --batch-size"
    ]
    assert [line.split(": WAR")[0] for line in lines if line.startswith("finished:")] == [
        "finished: colours full fold 2",
        "finished: colours full fold 3",
    ]


def _gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_an_interruption_ends_the_processes(make_job, tmp_path):
    endless = make_job(1, epochs=100_000, workers=1)
    pids, before = [], signal.getsignal(signal.SIGTERM)

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
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.slow
def test_processes_follow_one_that_was_killed(make_job, tmp_path):
    """Nothing can be done in the end of a process that is killed: its children have to see it."""
    endless = make_job(1, epochs=3000)
    code = (
        "import sys, pickle; from dfercli.jobs.run import run_jobs\n"
        "if __name__ == '__main__': run_jobs(*pickle.loads(bytes.fromhex(sys.argv[1])), jobs=2)"
    )
    given = pickle.dumps(([endless, replace(endless, fold=2)], tmp_path)).hex()
    parent = subprocess.Popen([sys.executable, "-c", code, given])
    files = [Job(replace(endless, fold=fold), tmp_path).run.metrics_file for fold in (1, 2)]
    _when(lambda: all(file.is_file() for file in files), parent.kill).join()
    parent.wait()
    assert any(not _sizes_change(files) for _ in range(20))


def _sizes_change(files):
    before = [file.stat().st_size for file in files]
    time.sleep(1)
    return [file.stat().st_size for file in files] != before


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


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("device", "devices"),
    [("auto", ["3", "5"]), ("cuda", ["3", "5"]), ("cuda:1", [None, None])],
)
def test_jobs_take_turns_over_all_gpus_or_share_the_one_that_is_named(device, devices, monkeypatch):
    torch.set_num_threads(4)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert share_this_machine(2, device) == [Share(2, name) for name in devices]


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
    assert list_devices(count, named) == devices


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "its process ended with exit code 0"),
        (7, "its process ended with exit code 7"),
        (-11, "its process was ended by SIGSEGV"),
        (143, "its process was ended by SIGTERM"),
    ],
)
def test_an_exit_without_an_answer_is_described(code, said):
    assert describe_exit(code) == said
