"""Jobs on one machine, several at a time, each in a process of its own."""

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context, get_start_method, set_start_method
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

import torch

from dfercli.config import is_numbered
from dfercli.jobs.run import TERMINATED, TICK_S, Ended, Failure, Job, Work
from dfercli.parallel import ENDING, begin_worker, take_ending_signals
from dfercli.progress import hide_progress, on_terminal

STOP_S = 10.0
"""Seconds that a process gets to end by itself when it is told to (our choice)."""


@dataclass(frozen=True)
class Share:
    """What a job may use of its machine.

    Attributes:
        threads: Threads of torch.
        device: The CUDA device, by the name that CUDA_VISIBLE_DEVICES takes; None leaves all.
    """

    threads: int
    device: str | None = None


def share_machine(count: int, threads: int, devices: Sequence[str]) -> list[Share]:
    """Divide a machine among jobs that run at a time.

    Args:
        count: Jobs at a time.
        threads: Threads that torch would use if it were alone.
        devices: Names of the CUDA devices.
    """
    each = max(1, threads // count)
    return [Share(each, devices[i % len(devices)] if devices else None) for i in range(count)]


def share_this_machine(count: int, device: str) -> list[Share]:
    """Divide this machine among jobs that run at a time.

    Args:
        count: Jobs at a time.
        device: What each of them runs on. They take turns over all CUDA devices, unless it is one
            by its number: then all run on that one.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = [] if is_numbered(device) else visible_devices(torch.cuda.device_count(), named)
    return share_machine(count, torch.get_num_threads(), devices)


def visible_devices(count: int, named: str | None) -> list[str]:
    """Name the CUDA devices that there are.

    Args:
        count: How many torch sees.
        named: Value of CUDA_VISIBLE_DEVICES, by which they are chosen and numbered.
    """
    names = named.split(",") if named else [str(index) for index in range(count)]
    return [name.strip() for name in names[:count]]


@dataclass(frozen=True)
class _Running:
    job: Job
    process: SpawnProcess
    answer: Connection

    @property
    def ended(self) -> bool:
        """Whether it has answered or died; its own children may hold the pipe open for a while."""
        return not self.process.is_alive() or self.answer.poll()

    def result(self) -> Failure | None:
        """Give how the job ended: as its process says, or as the process itself did."""
        try:
            if self.answer.poll():
                failure: Failure | None = self.answer.recv()
                self.process.join()
                return failure
        except (EOFError, OSError):  # it died before it could say anything, or in the middle
            self.process.join()
        return Failure(describe_exit(self.process.exitcode or 0))


def describe_exit(code: int, options: str = "--jobs or --batch-size") -> str:
    """Return how a process ended that left no answer.

    Args:
        code: Its exit code; a negative one is the signal that ended it.
        options: What to lower where there was not enough memory.
    """
    if code == TERMINATED:  # it has taken the signal, and cleaned up
        code = -signal.SIGTERM
    if code >= 0:
        return f"its process ended with exit code {code}"
    killed = -code == getattr(signal, "SIGKILL", None)  # Windows has none
    advice = f"; out of memory? lower {options}" * killed
    return f"its process was ended by {signal.Signals(-code).name}{advice}"


def run_processes(
    jobs: Sequence[Job], count: int, work: Work, tick: Callable[[], None]
) -> Iterator[Ended]:
    """Run jobs, each in a new process: one that dies fails its own job alone.

    When the generator is closed or left by an exception, the processes are ended.

    Args:
        jobs: The jobs, all for one device.
        count: How many run at a time.
        work: Does a job; a function of a module.
        tick: Called about once a second.

    Yields:
        Each job as it ends.
    """
    shares = share_this_machine(count, jobs[0].config.compute.device)
    waiting = list(reversed(jobs))
    running: dict[int, _Running] = {}
    try:
        while waiting or running:
            for slot, share in enumerate(shares):
                if waiting and slot not in running:
                    running[slot] = _start(waiting.pop(), work, share)
            wait([each.answer for each in running.values()], TICK_S)
            tick()
            for slot in [slot for slot, each in running.items() if each.ended]:
                ended = running.pop(slot)
                yield ended.job, ended.result()
    finally:
        stop_processes([each.process for each in running.values()])


def _start(job: Job, work: Work, share: Share) -> _Running:
    context = get_context("spawn")
    answer, given = context.Pipe(duplex=False)
    arguments = (job, work, share, get_start_method(), given)
    process = context.Process(target=_do, args=arguments, name=job.title)
    process.start()
    given.close()  # so that the pipe ends when the process does
    return _Running(job, process, answer)


def stop_processes(processes: Sequence[SpawnProcess]) -> None:
    """End processes, and wait until they are gone."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(STOP_S)
        process.kill()
        process.join()


class NoTerminal(io.TextIOWrapper):
    """Writes to the terminal and denies it: progress is shown by the process that started this."""

    def isatty(self) -> bool:
        """Deny it."""
        return False


def _do(job: Job, work: Work, share: Share, start_method: str, answer: Connection) -> None:
    """Do a job; the whole life of its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is told to all; the parent ends us
    take_ending_signals(end_at_once)
    begin_worker()
    set_start_method(start_method, force=True)  # so that clips are loaded as in the parent
    if share.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = share.device  # read when CUDA is first used
    torch.set_num_threads(share.threads)
    if on_terminal():
        hide_progress()
    sys.stderr = NoTerminal(sys.stderr.buffer, line_buffering=True)
    answer.send(work(job))


def end_at_once(number: int, frame: FrameType | None) -> None:
    """End this process by an exception, so that nothing half is left; takes one signal, once."""
    for name in ENDING:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    sys.exit(TERMINATED)
