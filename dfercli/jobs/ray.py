"""Jobs on a cluster, through Ray: a job whose machine is lost runs again on another."""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import torch

from dfercli.errors import ConfigError, DataError, DferError, JobsError
from dfercli.jobs.job import Ended, Failure, Job, Work
from dfercli.parallel import TICK_S
from dfercli.progress import write_line
from dfercli.system_errors import explain_system_error, first_line

RETRIES = 3
"""How often a job starts again whose process or machine is lost (our choice, as is Ray's)."""

KNOCK_S = 5.0
"""Seconds that a cluster gets to answer (our choice)."""

SILENT_S = 20.0
"""Seconds without an answer of the cluster's head after which it counts as lost (our choice): after
60, Ray ends this process."""

NO_MACHINE = "no machine of the cluster can hold a run any more; waiting for one to join it"


@dataclass(frozen=True)
class Need:
    """What a job takes of its machine.

    Attributes:
        cpus: CPUs, and threads of torch.
        gpus: GPUs.
    """

    cpus: int
    gpus: int

    def fits(self, machine: Mapping[str, float]) -> bool:
        """Whether a machine with these resources can hold a job."""
        return machine.get("CPU", 0) >= self.cpus and machine.get("GPU", 0) >= self.gpus


def need_of_job(machines: Sequence[Mapping[str, float]]) -> Need:
    """Decide what a job takes, such that every machine that is worth it holds one at least.

    One GPU and its share of the CPUs where there are GPUs; else all CPUs of the smallest machine,
    so that larger ones hold several.

    Args:
        machines: Resources of each, as Ray names them.

    Raises:
        ConfigError: No machine has a CPU to give.
    """
    with_gpu = [each for each in machines if each.get("GPU", 0) >= 1 and each.get("CPU", 0) >= 1]
    if with_gpu:
        return Need(max(1, min(int(each["CPU"] / each["GPU"]) for each in with_gpu)), 1)
    cpus = [int(each.get("CPU", 0)) for each in machines]
    if not any(cpus):
        raise ConfigError("no machine of the cluster has a CPU to give; start one: `ray start`")
    return Need(min(number for number in cpus if number), 0)


@dataclass(frozen=True)
class Place:
    """Where the jobs' files are, on every machine.

    Attributes:
        folder: Working folder, which relative paths start from.
        marker: A file that only a shared file system shows.
    """

    folder: str
    marker: Path

    def enter(self, job: Job) -> None:
        """Go to the working folder.

        Raises:
            DataError: This machine does not see the same files.
        """
        here, shared = socket.gethostname(), "all machines need one file system for data and runs"
        try:
            os.chdir(self.folder)
        except PermissionError as error:
            raise DataError(
                f"{here} cannot enter {self.folder}: {explain_system_error(error)}"
            ) from error
        except OSError as error:
            raise DataError(f"{here} does not see the folder {self.folder}; {shared}") from error
        for path in (self.marker, Path(job.config.data.manifest)):
            if not path.is_file():
                raise DataError(f"{here} does not see {path}, written elsewhere; {shared}")


def run_on_cluster(
    jobs: Sequence[Job], address: str, work: Work, tick: Callable[[], None]
) -> Iterator[Ended]:
    """Run jobs on a Ray cluster, which must have dfer installed and one file system.

    When the generator is closed or left by an exception, the jobs are ended.

    Args:
        jobs: The jobs.
        address: Of the cluster; `auto` for that of this machine.
        work: Does a job; a function of a module.
        tick: Called about once a second.

    Yields:
        Each job as it ends.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster.
        JobsError: The cluster's head is lost; what is finished is kept.
    """
    with _connected(address) as ray, _marked(jobs[0].runs) as marker:
        need = need_of_job(_machines(ray))
        place = Place(str(Path.cwd()), marker)
        task = ray.remote(_do).options(
            num_cpus=need.cpus, num_gpus=need.gpus, max_retries=RETRIES, retry_exceptions=False
        )
        head = _Head(ray.get_runtime_context().gcs_address)
        waiting = {task.remote(job, work, place, need.cpus): job for job in jobs}
        short = False
        while waiting:
            done, _ = ray.wait(list(waiting), timeout=TICK_S)
            tick()
            for reference in done:
                yield waiting.pop(reference), _result(ray, reference)
            if not head.answers():
                if head.silent_s > SILENT_S:
                    raise JobsError(_tell_lost(head.address, jobs))
                continue
            was_short, short = short, not any(map(need.fits, _machines(ray)))
            if short and not was_short:
                write_line(NO_MACHINE)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Connect to a cluster for as long as the block takes; gives Ray."""
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--cluster needs Ray: pip install '.[ray]' in the checkout") from error
    _knock(address)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise ConfigError(
            f"no Ray cluster at {address!r} ({first_line(error)}); start one: `ray start`"
        ) from error
    except RuntimeError as error:  # such as a cluster of another version
        raise ConfigError(
            f"cannot connect to the Ray cluster at {address!r}: {first_line(error)}"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """See whether somebody is there; Ray would knock for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise ConfigError(f"cannot read the address {address!r}; give auto, or HOST:PORT")
    try:
        socket.create_connection((host, int(port)), KNOCK_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot connect to {address} ({first_line(error)}); use the address that `ray start` "
            f"printed"
        ) from error


@contextmanager
def _marked(runs: Path) -> Iterator[Path]:
    """Keep a file in the folder of all runs by which other machines know it again."""
    runs.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(prefix=".shared-", dir=runs) as marker:
        yield runs / Path(marker.name).name


class _Head:
    """The process that leads a cluster.

    Args:
        address: Its host and port.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._silent_since_s: float | None = None

    @property
    def silent_s(self) -> float:
        """Seconds since the first of the calls that it has not answered; 0 where it has."""
        return 0.0 if self._silent_since_s is None else time.monotonic() - self._silent_since_s

    def answers(self) -> bool:
        """Return whether it is there; Ray itself would wait for it."""
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()
        except OSError:
            if self._silent_since_s is None:
                self._silent_since_s = time.monotonic()
            return False
        self._silent_since_s = None
        return True


def _tell_lost(address: str, jobs: Sequence[Job]) -> str:
    """Return the error line for a lost head, listing the runs found finished on disk."""
    finished = [job.title for job in jobs if job.run.finished]
    named = f" ({', '.join(finished)})" if finished else ""
    return (
        f"lost the head of the Ray cluster at {address}; {len(finished)} of {len(jobs)} runs are "
        f"finished{named}; start the cluster again, and the same command trains the others"
    )


def _machines(ray: Any) -> list[dict[str, float]]:
    """Give the resources of each machine that is up."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _do(job: Job, work: Work, place: Place, threads: int) -> Failure | None:
    """Do a job, on the machine that Ray chose."""
    torch.set_num_threads(threads)
    try:
        place.enter(job)
    except DferError as error:
        return Failure(error.line)
    return work(job)


def _result(ray: Any, reference: Any) -> Failure | None:
    """Give how a job ended: as it says, or as Ray does if it could not."""
    try:
        failure: Failure | None = ray.get(reference)
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return Failure(f"{type(error).__name__}: {lines[-1] if lines else 'no reason given'}")
    return failure
