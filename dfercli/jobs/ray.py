"""Jobs on a Ray cluster: a job whose machine is lost runs again on another."""

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

from dfercli.errors import (
    ConfigError,
    DataError,
    DferError,
    JobsError,
    explain_system_error,
    first_line,
)
from dfercli.jobs.job import Ended, Failure, Job, Work
from dfercli.parallel import TICK_S
from dfercli.progress import write_line

RETRIES = 3
"""How often a job is restarted whose process or machine is lost (our choice, and Ray's)."""

CONNECT_S = 5.0
"""Timeout of a connection to the cluster in seconds (our choice)."""

SILENT_S = 20.0
"""Seconds without an answer after which the cluster's head counts as lost (our choice): after 60,
Ray ends this process."""

NO_MACHINE = "no machine in the cluster is large enough for a run; waiting for one to join"


@dataclass(frozen=True)
class Need:
    """The resources of a job: CPUs, which are also the threads of torch, and GPUs."""

    cpus: int
    gpus: int

    def fits(self, machine: Mapping[str, float]) -> bool:
        """Return whether a machine with these resources, named as in Ray, can run a job."""
        return machine.get("CPU", 0) >= self.cpus and machine.get("GPU", 0) >= self.gpus


def need_of_job(machines: Sequence[Mapping[str, float]]) -> Need:
    """Return the resources of a job, such that every suitable machine can run at least one.

    If there are GPUs, a job gets one and its share of the CPUs; otherwise all CPUs of the smallest
    machine, so that larger ones run several jobs. Resources are named as in Ray.

    Raises:
        ConfigError: No machine offers a CPU.
    """
    with_gpu = [m for m in machines if m.get("GPU", 0) >= 1 and m.get("CPU", 0) >= 1]
    if with_gpu:
        return Need(max(1, min(int(m["CPU"] / m["GPU"]) for m in with_gpu)), 1)
    cpus = [int(machine.get("CPU", 0)) for machine in machines]
    if not any(cpus):
        raise ConfigError("no machine in the cluster offers a CPU; add one with `ray start`")
    return Need(min(number for number in cpus if number), 0)


@dataclass(frozen=True)
class Place:
    """The shared folder in which jobs run on every machine.

    Paths are relative to `folder`; `marker` is a file that is visible only on a shared file system.
    """

    folder: str
    marker: Path

    def enter(self, job: Job) -> None:
        """Change to the working folder.

        Raises:
            DataError: This machine does not see the same files.
        """
        here, shared = socket.gethostname(), "all machines must share one file system"
        try:
            os.chdir(self.folder)
        except PermissionError as error:
            raise DataError(
                f"{here} cannot enter {self.folder}: {explain_system_error(error)}"
            ) from error
        except OSError as error:
            raise DataError(f"{here} has no folder {self.folder}; {shared}") from error
        for path in (self.marker, Path(job.config.data.manifest)):
            if not path.is_file():
                raise DataError(f"{here} has no file {path}; {shared}")


def run_on_cluster(
    jobs: Sequence[Job], address: str, work: Work, tick: Callable[[], None]
) -> Iterator[Ended]:
    """Run jobs on a Ray cluster, whose machines have dfer installed and share a file system.

    Closing the generator, or an exception thrown into it, ends the jobs. The address is `auto` for
    the cluster of this machine; `tick` is called about once per second. Yields each job as it ends.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster.
        JobsError: The cluster's head is lost; finished runs are kept.
    """
    with _connected(address) as ray, _marked(jobs[0].runs) as marker:
        need = need_of_job(_machines(ray))
        place = Place(str(Path.cwd()), marker)
        task = ray.remote(_run_job).options(
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
                    raise JobsError(_describe_loss(head.address, jobs))
                continue
            was_short, short = short, not any(map(need.fits, _machines(ray)))
            if short and not was_short:
                write_line(NO_MACHINE)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Connect to a cluster for the duration of the block; yields the module `ray`."""
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--cluster needs Ray: pip install '.[ray]' in the clone") from error
    _check_reachable(address)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise ConfigError(
            f"no Ray cluster at {address!r} ({first_line(error)}); start one with `ray start`"
        ) from error
    except RuntimeError as error:  # such as a cluster of another version
        raise ConfigError(
            f"cannot connect to the Ray cluster at {address!r}: {first_line(error)}"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Check that a cluster answers at an address; Ray itself would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise ConfigError(f"invalid cluster address {address!r}; use auto or HOST:PORT")
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot connect to {address} ({first_line(error)}); use the address that `ray start` "
            f"printed"
        ) from error


@contextmanager
def _marked(runs: Path) -> Iterator[Path]:
    """Keep a file in the folder of all runs by which other machines recognise it."""
    runs.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(prefix=".shared-", dir=runs) as marker:
        yield runs / Path(marker.name).name


class _Head:
    """The head process of a cluster, at a host and port."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._silent_since_s: float | None = None

    @property
    def silent_s(self) -> float:
        """Seconds since it stopped answering; 0 if it answers."""
        return 0.0 if self._silent_since_s is None else time.monotonic() - self._silent_since_s

    def answers(self) -> bool:
        """Return whether it accepts connections; Ray itself would wait for it."""
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
        except OSError:
            if self._silent_since_s is None:
                self._silent_since_s = time.monotonic()
            return False
        self._silent_since_s = None
        return True


def _describe_loss(address: str, jobs: Sequence[Job]) -> str:
    """Return the error line for a lost head, listing the runs found finished on disk."""
    finished = [job.title for job in jobs if job.run.finished]
    named = f" ({', '.join(finished)})" if finished else ""
    return (
        f"lost the head of the Ray cluster at {address}; {len(finished)} of {len(jobs)} runs are "
        f"finished{named}; restart the cluster and run the same command again to train the others"
    )


def _machines(ray: Any) -> list[dict[str, float]]:
    """Return the resources of each machine that is up."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _run_job(job: Job, work: Work, place: Place, threads: int) -> Failure | None:
    """Run a job, on the machine that Ray chose."""
    torch.set_num_threads(threads)
    try:
        place.enter(job)
    except DferError as error:
        return Failure(error.line)
    return work(job)


def _result(ray: Any, reference: Any) -> Failure | None:
    """Return how a job ended, as the job or else Ray reports it."""
    try:
        failure: Failure | None = ray.get(reference)
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return Failure(f"{type(error).__name__}: {lines[-1] if lines else 'no reason given'}")
    return failure
