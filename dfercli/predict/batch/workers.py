"""Videos in several processes, each with a predictor of its own and its share of the machine."""

import math
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any

import cv2
import torch

from dfercli.errors import DferError, JobsError
from dfercli.jobs.local import (
    STOP_S,
    NoTerminal,
    Share,
    describe_exit,
    end_at_once,
    share_this_machine,
    stop_processes,
)
from dfercli.parallel import begin_worker, take_ending_signals
from dfercli.predict.batch.attempt import Event, Task, VideoEnded, attempt, explain
from dfercli.predict.batch.formats import describe_failure
from dfercli.predict.batch.inputs import Input


@dataclass(frozen=True)
class _Ready:
    """A process has its predictor."""


@dataclass(frozen=True)
class _Failed:
    """A process cannot go on, and no other could."""

    line: str


@dataclass
class _Worker:
    """A process, seen from the one that started it."""

    share: Share
    process: SpawnProcess
    pipe: Connection
    each: Input | None = None  # what it is at

    def receive(self) -> Any:
        """Give its next message; None where it is dead."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            return None

    @property
    def has_news(self) -> bool:
        """Whether it has a message, or is dead."""
        return self.pipe.poll() or not self.process.is_alive()


def run_in_processes(todo: Sequence[Input], task: Task, count: int) -> Generator[Event, None, None]:
    """Read videos in several processes; one that dies loses only its video.

    After KeyboardInterrupt, also by `throw`, streams are finished as if they had ended, and all
    else is broken off. When the generator is closed, all is.

    Args:
        todo: The videos.
        task: What is done with each.
        count: Processes.

    Yields:
        Windows and ends as they come; faces and paths stay in the processes.

    Raises:
        JobsError: A process died before it had its predictor.
        DferError: The settings or the machine are wrong.
    """
    pool = _Pool(todo, task, min(count, len(todo)))
    try:
        try:
            yield from pool.run()
        except KeyboardInterrupt:
            broken_off = pool.interrupt()
            yield from pool.run(STOP_S)
            if broken_off or pool.workers:
                raise
    finally:
        pool.stop()


class _Pool:
    """The processes, and what is left to do."""

    def __init__(self, todo: Sequence[Input], task: Task, count: int) -> None:
        self._waiting = deque(todo)
        self._task = task
        shares = share_this_machine(count, task.device)
        self._events: deque[Event] = deque()
        self.workers: list[_Worker] = []
        for share in shares:
            self.workers.append(self._start(share))

    def run(self, limit_s: float = math.inf) -> Iterator[Event]:
        """Give what comes until all is done, or the time is over."""
        until_s = time.monotonic() + limit_s
        while self._events or (self.workers and time.monotonic() < until_s):
            while self._events:
                yield self._events.popleft()
            if self.workers:
                self._collect()

    def _start(self, share: Share) -> _Worker:
        context = get_context("spawn")  # OpenCV and torch do not survive a fork
        pipe, given = context.Pipe()
        process = context.Process(target=_work, args=(self._task, share, given))
        process.start()
        given.close()  # so that the pipe ends when the process does
        return _Worker(share, process, pipe)

    def _collect(self) -> None:
        """Wait for news, and keep those that are of a video."""
        pipes = [each.pipe for each in self.workers]
        wait([*pipes, *(each.process.sentinel for each in self.workers)], STOP_S)
        for worker in [each for each in self.workers if each.has_news]:
            event = self._take(worker, worker.receive())
            if event is not None:
                self._events.append(event)

    def _take(self, worker: _Worker, message: Any) -> Event | None:
        if message is None:
            return self._bury(worker)
        if isinstance(message, _Failed):
            raise DferError(message.line)
        each = worker.each
        if isinstance(message, (_Ready, VideoEnded)):
            self._give_next(worker)
        return None if isinstance(message, _Ready) or each is None else (each, message)

    def _give_next(self, worker: _Worker) -> None:
        """Give a process its next video, or its leave."""
        worker.each = self._waiting.popleft() if self._waiting else None
        try:
            worker.pipe.send(worker.each)
        except OSError:  # it has died meanwhile, which is seen next time
            return
        if worker.each is None:
            self.workers.remove(worker)
            worker.pipe.close()
            worker.process.join(STOP_S)
            stop_processes([worker.process])

    def _bury(self, worker: _Worker) -> Event | None:
        """Say what a dead process leaves, and start another in its place."""
        said = describe_exit(worker.process.exitcode or 0, "--jobs")
        self.workers.remove(worker)
        worker.pipe.close()
        if worker.each is None:
            raise JobsError(f"a process that reads videos could not start: {said}")
        if self._waiting:
            self.workers.append(self._start(worker.share))
        return worker.each, VideoEnded(describe_failure(worker.each.title, said))

    def interrupt(self) -> bool:
        """End streams well and all else at once; gives whether there was anything else."""
        live = [each for each in self.workers if each.each is not None and each.each.is_live]
        others = [each for each in self.workers if each not in live]
        broken_off = bool(self._waiting) or any(each.each is not None for each in others)
        self._waiting.clear()
        self.workers = live
        stop_processes([each.process for each in others])
        for worker in live:
            os.kill(worker.process.pid or 0, signal.SIGINT)
        return broken_off

    def stop(self) -> None:
        """End all processes."""
        stop_processes([each.process for each in self.workers])


def _work(task: Task, share: Share, pipe: Connection) -> None:
    """Read one video after another; the whole life of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is told to all; the parent ends us
    take_ending_signals(end_at_once)
    begin_worker()
    if share.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = share.device  # read when CUDA is first used
    torch.set_num_threads(share.threads)
    cv2.setNumThreads(share.threads)
    sys.stderr = NoTerminal(sys.stderr.buffer, line_buffering=True)
    try:
        predictor = task.make_predictor()
        pipe.send(_Ready())
        while (each := pipe.recv()) is not None:
            if each.is_live:
                signal.signal(signal.SIGINT, _interrupt_once)
            for _, event in attempt(predictor, each, task):
                pipe.send(event.without_pictures())
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except (DferError, OSError, MemoryError, RuntimeError) as error:
        pipe.send(_Failed(explain(error, also=(DferError,))))


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal and the parent both tell us
    raise KeyboardInterrupt
