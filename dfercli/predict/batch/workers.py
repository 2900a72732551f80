"""Videos in several processes, each with a predictor of its own and its share of the machine."""

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

from dfercli.device import share_this_machine
from dfercli.errors import DferError
from dfercli.parallel import Emit, run_in_workers
from dfercli.predict.batch.attempt import Task, VideoEnded, attempt, explain
from dfercli.predict.batch.inputs import Input


def run_in_processes(
    todo: Sequence[Input], task: Task, count: int
) -> Generator[tuple[Input, Any], None, None]:
    """Read videos in several processes; one that dies loses only its video.

    See `run_in_workers` for Ctrl-C.

    Args:
        todo: The videos.
        task: What is done with each.
        count: Processes.

    Returns:
        Windows and ends as they come, or `WorkerDied`; faces and paths stay in the processes.

    Raises:
        JobsError: A process died before it had its predictor.
        DferError: The settings or the machine are wrong.
    """
    return run_in_workers(
        todo,
        partial(_start, task),
        share_this_machine(min(count, len(todo)), task.device),
        purpose="reads videos",
        is_live=_is_live,
    )


def _is_live(each: Input) -> bool:
    return each.is_live


def _start(task: Task) -> Callable[[Input, Emit], VideoEnded]:
    """Load the model in a worker."""
    try:
        predictor = task.make_predictor()
    except (OSError, MemoryError, RuntimeError) as error:
        raise DferError(explain(error, also=(DferError,))) from error

    def read(each: Input, emit: Emit) -> VideoEnded:
        for _, event in attempt(predictor, each, task):
            if isinstance(event, VideoEnded):
                return event.without_pictures()
            emit(event.without_pictures())
        raise AssertionError  # `attempt` always ends a video

    return read
