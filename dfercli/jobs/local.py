"""Jobs on this machine, several at a time, each in a process of its own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial

from dfercli.device import share_this_machine
from dfercli.jobs.job import Ended, Failure, Job, Work
from dfercli.parallel import Emit, WorkerDied, run_in_workers


def run_processes(
    jobs: Sequence[Job], count: int, work: Work, tick: Callable[[], None]
) -> Iterator[Ended]:
    """Run jobs, each in a new process, so that one that dies fails its own job only.

    Closing the generator, or an exception thrown into it, ends the processes. All jobs are for one
    device and `count` of them run at a time; `tick` is called about once per second. Yields each
    job as it ends.
    """
    shares = share_this_machine(count, jobs[0].config.compute.device)
    results = run_in_workers(
        jobs,
        partial(_start, work),
        shares,
        purpose="trains",
        advice="--jobs or --batch-size",
        fresh=True,
        tick=tick,
    )
    with closing(results):
        for job, result in results:
            yield job, Failure(result.reason) if isinstance(result, WorkerDied) else result


def _start(work: Work) -> Callable[[Job, Emit], Failure | None]:
    return lambda job, emit: work(job)
