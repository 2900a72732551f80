"""The worker pool: what a worker inherits, what its death costs, and what ends with what."""

import copy
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import active_children, forkserver
from pathlib import Path

import cv2
import pytest
import torch

from dfercli import parallel
from dfercli.errors import DataError, DferError, JobsError, UnknownNameError
from dfercli.parallel import Share, WorkerDied, run_in_workers

ON_LINUX = pytest.mark.skipif(not parallel.FORKSERVER, reason="workers are spawned here")

BOTH_KINDS = pytest.mark.parametrize(
    "kind", [pytest.param("forked", marks=ON_LINUX), "spawned"], indirect=True
)


@pytest.fixture
def kind(request, monkeypatch):
    """Fork workers from the server, or spawn them."""
    monkeypatch.setattr(parallel, "FORKSERVER", request.param == "forked")


def run(tasks, start, count=2, **options):
    return list(run_in_workers(tasks, start, [Share(1)] * count, purpose="tests", **options))


def start_describing():
    """Prepare a worker that says what it finds."""

    def work(task, emit):
        emit(os.getpid())
        return {
            "threads": (torch.get_num_threads(), cv2.getNumThreads()),
            "device": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "variable": os.environ.get("DFER_TEST"),
            "safe_path": os.environ.get("PYTHONSAFEPATH"),
            "folder": str(Path.cwd()),
            "modules": sys.path[0],
            "cuda": torch.cuda.is_initialized(),
            "ctrl_c": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        }

    return work


def start_failing():
    """Prepare a worker that does what a task says."""

    def work(task, emit):
        if task == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if isinstance(task, Exception):
            raise task
        if task == "unknown":
            raise UnknownNameError("thing", "x", ["y"])
        return task

    return work


def start_in_vain():
    raise DataError("no weights here")


def start_dead():
    os._exit(3)


def start_sleeping():
    def work(task, emit):
        emit("begun")
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            return "interrupted"

    return work


@pytest.mark.slow
@BOTH_KINDS
def test_a_worker_has_its_share_and_the_environment_of_now(kind, monkeypatch, tmp_path):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    for value in ("one", "two"):  # the server may have been started long before
        monkeypatch.setenv("DFER_TEST", value)
        monkeypatch.chdir(tmp_path)
        shares = [Share(2, "5"), Share(2, "5")]
        results = list(run_in_workers(["a"], start_describing, shares, purpose="tests"))
        (_, pid), (task, found) = results
        assert (task, pid == os.getpid()) == ("a", False)
        assert found == {
            "threads": (2, 2),
            "device": "5",
            "variable": value,
            "safe_path": None,
            "folder": str(tmp_path),
            "modules": sys.path[0],
            "cuda": False,
            "ctrl_c": True,
        }


@ON_LINUX
def test_the_server_has_no_threads_and_ignores_ctrl_c():
    run([1], start_failing)
    state = Path(f"/proc/{forkserver._forkserver._forkserver_pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in state.splitlines() if ":\t" in line)
    assert fields["Threads"] == "1"
    assert int(fields["SigIgn"], 16) & 1 << signal.SIGINT - 1


@pytest.mark.slow
@ON_LINUX
def test_without_a_server_workers_are_spawned(monkeypatch):
    def fail():
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(forkserver, "ensure_running", fail)
    assert run([1, 2], start_failing, 1) == [(1, 1), (2, 2)]


@pytest.mark.slow
@ON_LINUX
def test_a_server_that_is_killed_is_replaced():
    run([1], start_failing)
    server = forkserver._forkserver._forkserver_pid
    os.kill(server, signal.SIGSTOP)  # so that it ends while a worker is asked for
    timer = threading.Timer(0.5, os.kill, [server, signal.SIGKILL])
    timer.start()
    assert run([1, 2], start_failing, 1) == [(1, 1), (2, 2)]
    timer.join()
    assert run([3], start_failing, 1) == [(3, 3)]  # the call before may have spawned its worker
    assert forkserver._forkserver._forkserver_pid != server


@pytest.mark.slow
@ON_LINUX
def test_a_server_that_is_killed_costs_the_tasks_of_its_workers():
    results = run_in_workers([1], start_sleeping, [Share(1)], purpose="tests")
    assert next(results) == (1, "begun")
    (worker,) = active_children()
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
    assert [*results] == [
        (
            1,
            WorkerDied(
                "the server that its process was forked from was killed; run the command again"
            ),
        )
    ]
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(worker.pid, 0)
            time.sleep(0.1)


@pytest.mark.slow
@BOTH_KINDS
def test_a_script_from_standard_input_can_have_workers(kind):
    subprocess.run(
        [sys.executable, "-", str(Path(__file__).parent), str(parallel.FORKSERVER)],
        input=FROM_STDIN,
        text=True,
        check=True,
    )


@ON_LINUX
def test_threads_that_start_the_server_leave_the_environment_as_it_was(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "before")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    turns = iter([0.5, 0.0])  # the second thread would take the values of the first for its own
    monkeypatch.setattr(forkserver, "ensure_running", lambda: time.sleep(next(turns)))
    before = dict(os.environ)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(parallel._start_server)
        time.sleep(0.1)
        second = threads.submit(parallel._start_server)
    assert (first.result(), second.result(), dict(os.environ)) == (before, before, before)


@pytest.mark.slow
@BOTH_KINDS
def test_workers_do_without_a_closed_stderr(kind, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(CLOSED)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        subprocess.run(
            [sys.executable, str(script), str(Path(__file__).parent), str(parallel.FORKSERVER)],
            check=True,
            preexec_fn=lambda: os.close(2),
        )
    assert caught.value.returncode == 7


def test_the_server_is_started_while_ctrl_c_is_ignored(monkeypatch):
    handlers = []

    def start():
        handlers.append(signal.getsignal(signal.SIGINT))
        assert os.environ["PYTHONSAFEPATH"] == "1"
        raise OSError

    class _Process:
        def __init__(self, target, args):
            pass

        def start(self):
            handlers.append(signal.getsignal(signal.SIGINT))
            assert os.environ["PYTHONSAFEPATH"] == "1"

    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr(parallel, "FORKSERVER", True)
        monkeypatch.setattr(forkserver, "ensure_running", start)
        monkeypatch.setattr(parallel.get_context("spawn"), "Process", _Process)
        before = dict(os.environ)
        parallel._start_process(print, ())
        assert handlers == [signal.SIG_IGN, signal.SIG_IGN]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert dict(os.environ) == before
    finally:
        signal.signal(signal.SIGINT, usual)


@pytest.mark.slow
@BOTH_KINDS
def test_a_worker_that_dies_costs_its_task(kind):
    results = dict(run([1, "die", 2, 3], start_failing))
    death = WorkerDied(
        "its process was ended by SIGKILL, perhaps because memory ran out; "
        "run the command again with a lower --jobs"
    )
    assert results == {1: 1, "die": death, 2: 2, 3: 3}
    assert active_children() == []


@pytest.mark.slow
def test_every_task_may_have_a_process_of_its_own():
    results = run([1, 2, 3], start_describing, 1, fresh=True)
    pids = [value for _, value in results if isinstance(value, int)]
    assert len(set(pids)) == 3
    assert len({value for _, value in run([1, 2, 3], start_describing, 1)[::2]}) == 1


def test_a_worker_that_dies_before_it_is_ready_is_an_error():
    with pytest.raises(JobsError) as caught:
        run([1, 2], start_dead)
    expected = "a process that tests could not start: its process ended with exit code 3"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("tasks", "start", "error"),
    [
        ([1], start_in_vain, DataError("no weights here")),
        (
            [OSError(28, "No space left on device", "x")],
            start_failing,
            OSError(28, "No space", "x"),
        ),
        (["unknown"], start_failing, JobsError("no thing 'x'; known: y")),
    ],
)
def test_an_error_in_a_worker_is_raised_here(tasks, start, error):
    with pytest.raises((DferError, OSError)) as caught:
        run(tasks, start)
    assert type(caught.value) is type(error)
    if isinstance(error, OSError):
        assert (caught.value.errno, caught.value.filename) == (28, "x")
    else:
        assert str(caught.value) == str(error)
    with pytest.raises(TypeError):  # why an UnknownNameError arrives as another
        copy.copy(UnknownNameError("thing", "x", ["y"]))


def test_an_interruption_ends_live_tasks_well_and_breaks_off_the_others():
    results = run_in_workers(
        ["live", "other"],
        start_sleeping,
        [Share(1)] * 2,
        purpose="tests",
        is_live="live".__eq__,
    )
    assert sorted([next(results), next(results)]) == [("live", "begun"), ("other", "begun")]
    assert results.throw(KeyboardInterrupt()) == ("live", "interrupted")
    with pytest.raises(KeyboardInterrupt):
        next(results)
    assert active_children() == []


def test_closing_ends_the_workers():
    results = run_in_workers(["a"], start_sleeping, [Share(1)], purpose="tests")
    assert next(results) == ("a", "begun")
    results.close()
    assert active_children() == []


CLOSED = """
import sys
sys.path.insert(0, sys.argv[1])
import test_parallel
from dfercli import parallel

if __name__ == "__main__":
    parallel.FORKSERVER = sys.argv[2] == "True"
    sys.exit(7 if test_parallel.run([1], test_parallel.start_failing) == [(1, 1)] else 1)
"""

FROM_STDIN = """
import sys
sys.path.insert(0, sys.argv[1])
import test_parallel
from dfercli import parallel

parallel.FORKSERVER = sys.argv[2] == "True"
assert test_parallel.run([1], test_parallel.start_failing) == [(1, 1)]
assert __file__ == "<stdin>"
"""

SCRIPT = """
import sys
sys.path[:0] = sys.argv[1:]
import test_parallel
from dfercli.parallel import Share, run_in_workers

if __name__ == "__main__":
    start, shares = test_parallel.start_sleeping, [Share(1)] * 2
    for task, value in run_in_workers(["a", "b"], start, shares, purpose="tests"):
        print(task, flush=True)
"""


@pytest.fixture
def short_folder():
    """Make a folder with a short path: that of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="dfer-") as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_the_parent(number, tmp_path, short_folder):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    sockets = short_folder
    with subprocess.Popen(
        [sys.executable, str(script), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
        env={**os.environ, "TMPDIR": str(sockets)},
    ) as parent:
        assert sorted(parent.stdout.readline() for _ in "ab") == ["a\n", "b\n"]
        os.kill(parent.pid, number) if number == signal.SIGKILL else os.killpg(parent.pid, number)
        lines = parent.communicate(timeout=60)[1].splitlines()
    assert lines[-1:] == (["KeyboardInterrupt"] if number == signal.SIGINT else [])
    assert sum(line.startswith("Traceback") for line in lines) == (number == signal.SIGINT)
    began_s = time.monotonic()
    with pytest.raises(ProcessLookupError):
        while time.monotonic() - began_s < 15:
            os.killpg(parent.pid, 0)
            time.sleep(0.1)
    assert [*sockets.rglob("*")] == []
