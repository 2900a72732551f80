"""Many videos, one after another or several at a time: none of them stops the others."""

import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from types import FrameType

from dfercli.errors import EXIT_SKIPPED, ConfigError, NoFaceError, require_at_least
from dfercli.parallel import WorkerDied
from dfercli.predict.batch.attempt import AfterVideo, Event, Task, VideoEnded, WindowEnded, attempt
from dfercli.predict.batch.bars import Bars
from dfercli.predict.batch.formats import NO_FACE, OK, describe_failure
from dfercli.predict.batch.inputs import Input
from dfercli.predict.batch.journal import Journal
from dfercli.predict.batch.workers import run_in_processes
from dfercli.predict.prediction import VideoPrediction, Window
from dfercli.predict.predictor import Predictor
from dfercli.predict.settings import PredictSettings
from dfercli.text import printable


@dataclass(frozen=True)
class Outcome:
    """What became of one video.

    Attributes:
        input: The video.
        status: `ok`, `no face` or `unreadable`.
        error: Why it could not be read, in one line.
        remark: Why what follows a prediction, such as a picture, could not be made.
        said: What is to be told of what was made of it.
        kept: Whether an earlier call has finished it.
        frames_searched: In it; None where it could not be read.
        size: Width and height of its frames; None where they are not known.
    """

    input: Input
    status: str
    error: str | None = None
    remark: str | None = None
    said: tuple[str, ...] = ()
    kept: bool = False
    frames_searched: int | None = None
    size: tuple[int, int] | None = None

    @property
    def line(self) -> str | None:
        """What is wrong, with its name, in one line; None where nothing is."""
        said = self.error or self.remark
        name = printable(self.input.title)
        return said if said is None or name in said else f"{name}: {said}"


@dataclass
class BulkOutcome:
    """What became of all videos, in the order in which they were asked for."""

    outcomes: list[Outcome] = field(default_factory=list)

    def count(self, status: str) -> int:
        """Give how many have this status."""
        return sum(each.status == status for each in self.outcomes)

    @property
    def faults(self) -> list[str]:
        """What is wrong, a line a video."""
        return [each.line for each in self.outcomes if each.line is not None]

    @property
    def exit_code(self) -> int:
        """Give 0 where all were predicted, 4 where some could not be read, 3 for no face in some.

        A picture that could not be made counts as a video that could not be read.
        """
        if self.faults:
            return EXIT_SKIPPED
        return NoFaceError.exit_code if self.count(NO_FACE) else 0


def predict_all(
    inputs: Sequence[Input],
    make_predictor: Callable[[], Predictor],
    settings: PredictSettings,
    *,
    jobs: int = 1,
    device: str = "auto",
    journal: Journal | None = None,
    on_window: Callable[[Input, Window], None] = lambda each, window: None,
    on_video: Callable[[Outcome, VideoPrediction | None], None] = lambda outcome, prediction: None,
    after_video: AfterVideo | None = None,
) -> BulkOutcome:
    """Read videos; one that cannot be read is recorded, and passed over.

    A stream or camera that Ctrl-C ends is finished like one that ended by itself; anything else
    that is left over then raises KeyboardInterrupt, and the journal keeps what is finished.

    Args:
        inputs: Of `find_inputs`.
        make_predictor: Makes what reads them; for several jobs one that can be pickled, which is
            called in each process.
        settings: How they are read.
        jobs: Processes; 1 reads in this one.
        device: What the predictors run on, as it was typed. Several jobs take turns over all CUDA
            devices, unless it is one by its number.
        journal: Keeps what is finished; those that it has already are not read again.
        on_window: Is told each window as it ends, in this process.
        on_video: Is told each video as it ends, in this process. Of several jobs the predictions
            have no faces to show; those that the journal has kept come without one.
        after_video: Makes something of a prediction, in the process that has made it.

    Raises:
        ConfigError: There are more streams than jobs: the last would never be reached.
        DferError: The settings or the machine are wrong; nothing is wrong with a video then.
    """
    check_jobs(inputs, jobs)
    with Bars(len(inputs)) as bars:
        desk = _Desk(bars, journal, on_window, on_video)
        todo = []
        for each, known in _look_first(inputs, journal, after_video):
            if known is None:
                todo.append(each)
            else:
                desk.take(each, known, kept=each.error is None)
        task = Task(make_predictor, settings, after_video, device)
        with closing(_run(todo, task, jobs, bars)) as events:
            event = next(events, None)
            while event is not None:
                try:
                    with _holding_ctrl_c():
                        desk.take(*event)
                    event = next(events, None)
                except KeyboardInterrupt as stop:
                    event = _throw(events, stop)
    return BulkOutcome([desk.ended[each.name] for each in inputs])


@dataclass
class _Desk:
    """Where news of all videos arrive, in this process."""

    bars: Bars
    journal: Journal | None
    on_window: Callable[[Input, Window], None]
    on_video: Callable[[Outcome, VideoPrediction | None], None]
    ended: dict[str, Outcome] = field(default_factory=dict)

    def take(
        self, each: Input, event: WindowEnded | VideoEnded | WorkerDied, kept: bool = False
    ) -> None:
        if isinstance(event, WorkerDied):
            event = VideoEnded(describe_failure(each.title, event.reason))
        if isinstance(event, WindowEnded):
            if self.journal is not None:
                self.journal.add_window(each.title, event.record)
            with self.bars.aside():
                self.on_window(each, event.window)
            return
        if self.journal is not None and not kept:
            self.journal.add_video(event.record, event.made.pictures)
        told = {name: event.record[name] for name in ("status", "error", "frames_searched")}
        size = event.record["width"], event.record["height"]
        told["size"] = size if all(size) else None
        outcome = Outcome(each, remark=event.remark, said=event.made.said, kept=kept, **told)
        self.ended[each.name] = outcome
        with self.bars.aside():
            self.on_video(outcome, event.prediction)
        self.bars.step()


@contextmanager
def _holding_ctrl_c() -> Iterator[None]:
    """Let what begins come to its end before Ctrl-C counts, so that no line is written half.

    A second Ctrl-C counts at once.
    """
    here = threading.current_thread() is threading.main_thread()  # only that one is told
    if not here or not callable(signal.getsignal(signal.SIGINT)):  # nor where it is ignored
        yield
        return
    pressed = False

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _throw(events: Generator[Event, None, None], stop: KeyboardInterrupt) -> Event | None:
    """Tell what gives events of a Ctrl-C; gives the next of them, if it goes on."""
    try:
        return events.throw(stop)
    except StopIteration:
        return None


def check_jobs(inputs: Sequence[Input], jobs: int) -> None:
    """Refuse more streams and cameras than are read at a time.

    Raises:
        ConfigError: There are more, or no job at all.
    """
    require_at_least("jobs", jobs, 1)
    live = sum(each.is_live and each.error is None for each in inputs)
    if live > jobs:
        raise ConfigError(
            f"{live} streams at a time need a process each: --jobs {live}; or name fewer"
        )


def _look_first(
    inputs: Sequence[Input], journal: Journal | None, after: AfterVideo | None
) -> Iterator[tuple[Input, VideoEnded | None]]:
    """Give each video, and its end where that is known without reading it."""
    for each in inputs:
        if each.error is not None:
            yield each, VideoEnded(describe_failure(each.title, each.error))
        elif journal is None or each.title not in journal.kept:
            yield each, None
        else:
            ((record, _),) = journal.records([each.title])
            made = after is None or record["status"] != OK
            if after is not None and not made:
                made = after.is_made(each, journal.pictures(each.title))
            yield each, VideoEnded(record) if made else None


def _run(todo: Sequence[Input], task: Task, jobs: int, bars: Bars) -> Generator[Event, None, None]:
    if not todo:
        return
    if jobs > 1 and len(todo) > 1:
        yield from run_in_processes(todo, task, jobs)
        return
    predictor = task.make_predictor()
    for number, each in enumerate(todo, 1):
        with bars.within(each) as watch:
            interrupted = yield from attempt(predictor, each, task, watch)
        if interrupted and number < len(todo):
            raise KeyboardInterrupt
