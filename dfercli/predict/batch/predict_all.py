"""Batch prediction: predict many videos, one after another or several at a time."""

import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import FrameType
from typing import TextIO

from dfercli.device import share_this_machine
from dfercli.errors import EXIT_SKIPPED, ConfigError, DferError, NoFaceError, require_at_least
from dfercli.parallel import Emit, WorkerDied, run_in_workers
from dfercli.predict.batch.artifacts import Artifacts, check_out, plan_artifacts
from dfercli.predict.batch.inputs import Input, OnProgress, find_inputs
from dfercli.predict.batch.journal import Journal, open_journal
from dfercli.predict.batch.read_video import (
    Event,
    VideoEnded,
    WindowEnded,
    drop_images,
    explain,
    read_video,
)
from dfercli.predict.model_info import ModelInfo
from dfercli.predict.prediction import (
    NO_FACE,
    OK,
    VideoPrediction,
    Window,
    describe_failure,
    describe_origin,
)
from dfercli.predict.predictor import ModelSource, Predictor
from dfercli.predict.settings import PredictSettings
from dfercli.text import printable


@dataclass(frozen=True)
class Outcome:
    """Result of one video.

    Attributes:
        input: The video.
        status: `ok`, `no face` or `unreadable`.
        error: Why it could not be read, in one line.
        remark: Why its timeline or annotated video could not be written, in one line.
        notes: Written files and warnings, one line each.
        kept: Whether an earlier call finished it.
        frames_searched: Number of frames that were searched for faces.
        size: Width and height of its frames.
    """

    input: Input
    status: str
    error: str | None = None
    remark: str | None = None
    notes: tuple[str, ...] = ()
    kept: bool = False
    frames_searched: int | None = None
    size: tuple[int, int] | None = None

    @property
    def line(self) -> str | None:
        """Error with the name of the video, in one line; None without an error."""
        fault = self.error or self.remark
        name = printable(self.input.title)
        return fault if fault is None or name in fault else f"{name}: {fault}"


@dataclass(frozen=True)
class BatchResult:
    """Results of all videos, in their order."""

    outcomes: list[Outcome] = field(default_factory=list)

    def count(self, status: str) -> int:
        """Return the number of videos with a status."""
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def faults(self) -> list[str]:
        """Errors, one line per video."""
        return [outcome.line for outcome in self.outcomes if outcome.line is not None]

    @property
    def exit_code(self) -> int:
        """0 if all were predicted, 4 if a video could not be read or a file written, else 3."""
        if self.faults:
            return EXIT_SKIPPED
        return NoFaceError.exit_code if self.count(NO_FACE) else 0


def _ignore(*values: object) -> None:
    """Ignore the arguments: the default callback."""


def predict_videos(
    videos: str | Path | int | Iterable[str | Path | int | Input],
    model: Predictor | ModelSource | str | Path | Callable[[], ModelSource],
    settings: PredictSettings | None = None,
    *,
    out: str | Path | Sequence[str | Path] = (),
    document: TextIO | None = None,
    plot: str | Path | None = None,
    annotate: str | Path | None = None,
    blur: str | None = None,
    resume: bool = True,
    jobs: int = 1,
    device: str = "auto",
    on_model: Callable[[ModelInfo], object] = _ignore,
    on_resume: Callable[[Journal], object] = _ignore,
    on_window: Callable[[Input, Window], object] = _ignore,
    on_video: Callable[[Outcome, VideoPrediction | None], object] = _ignore,
    on_progress: OnProgress | None = None,
) -> BatchResult:
    """Predict the expressions of all faces in any number of videos, and write them to files.

    A video that cannot be read is recorded in its outcome and stops no other. With `out`, the same
    call continues where an earlier one was stopped.

    Args:
        videos: Paths, folders, patterns, URLs of streams and numbers of cameras.
        model: Folder of a checkpoint or a run, name of a model on the Hub, `ModelSource`, function
            that returns one (called after all checks), or, for one job only, `Predictor`.
        settings: Windows, faces and part of the videos; by default the windows of the training,
            and all faces of whole videos.
        out: Files of predictions: `.json`, `.jsonl` (line by line), `.csv` or `.parquet`.
        document: Open text file that gets the JSON document.
        plot: Picture of the timeline of each face: a file for one video, a folder for several.
        annotate: Annotated video: a file for one video, a folder for several.
        blur: Faces to blur in it: `others` than the largest one, or `all`.
        resume: Keep the videos that an earlier call with the same `out` finished, and write a
            journal beside `out`, from which a later call can continue.
        jobs: Videos at a time, each in a process that loads the model; 1 uses this process.
        device: Device of a model that is given by its name. Several jobs take turns on all CUDA
            devices, unless this is one of them by its number.
        on_model: Called with the model before any video is read.
        on_resume: Called with the journal, which counts the finished videos of earlier calls.
        on_window: Called with each window as it ends.
        on_video: Called with each outcome, and its prediction: without images of faces if there are
            several jobs, None if an earlier call finished the video.
        on_progress: Called for each frame if there is one job; see `OnProgress`.

    Raises:
        ConfigError: An argument is invalid, or a file cannot be written.
        DferError: The model cannot be loaded, or `on_progress` raised StopPrediction.
        KeyboardInterrupt: Ctrl-C interrupted a video; a stream is finished instead.
    """
    outs = [Path(path) for path in ([out] if isinstance(out, str | Path) else out)]
    plot, annotate = (None if path is None else Path(path) for path in (plot, annotate))
    settings = settings or PredictSettings()
    settings.check()
    inputs = _find_videos(videos, [path for path in (*outs, plot, annotate) if path is not None])
    _check_inputs(inputs, outs, settings)
    artifacts = plan_artifacts(inputs, plot, annotate, blur)
    recorder = Recorder(on_window, on_video)
    writes = bool(outs) or document is not None
    if not writes and all(video.error is not None for video in inputs):  # no model is needed
        for video in inputs:
            recorder.take(video, _fail(video, video.error or ""))
        return BatchResult(list(recorder.outcomes.values()))
    _check_jobs(inputs, jobs)
    if isinstance(model, str | Path):
        model = ModelSource(str(model), device=device)
    source = model() if callable(model) else model
    if isinstance(source, ModelSource):
        load, info, device = source.load, source.describe(), source.device
    elif jobs > 1:
        raise ConfigError(
            "jobs > 1 loads the model in each process; pass a checkpoint, not a Predictor"
        )
    else:
        load, info = (lambda: source), source
    on_model(info)
    task = Task(load, info.resolve(settings), artifacts, on_progress)
    if not writes:
        return predict_all(inputs, task, recorder, jobs, device)
    origin = describe_origin(info, task.settings)
    titles = [video.title for video in inputs]
    with open_journal(outs, origin, inputs, resume) as journal:
        on_resume(journal)
        recorder.journal = journal
        result = predict_all(inputs, task, recorder, jobs, device)
        journal.finish(titles)
        if document is not None:
            journal.write_json(document, titles)
    return result


def _find_videos(
    videos: str | Path | int | Iterable[str | Path | int | Input], outputs: Sequence[Path]
) -> list[Input]:
    arguments = [videos] if isinstance(videos, str | Path | int) else list(videos)
    inputs = [video for video in arguments if isinstance(video, Input)]
    if len(inputs) < len(arguments):
        names = [video.name if isinstance(video, Input) else str(video) for video in arguments]
        # An existing file may be a video of the user: it stays an input and is not replaced.
        inputs = find_inputs(names, outputs=[path for path in outputs if not path.is_file()])
    if not inputs:
        raise ConfigError("no videos to predict; name files, folders, streams or camera numbers")
    return inputs


def _check_inputs(inputs: Sequence[Input], outs: Sequence[Path], settings: PredictSettings) -> None:
    for video in inputs:
        if video.is_live:
            settings.check_not_live(video.title)
    for path in outs:
        check_out(path, inputs)


def _check_jobs(inputs: Sequence[Input], jobs: int) -> None:
    require_at_least("jobs", jobs, 1)
    live = sum(video.is_live and video.error is None for video in inputs)
    if live > jobs:
        raise ConfigError(
            f"{live} streams need {live} processes; use --jobs {live}, or fewer streams"
        )


@dataclass(frozen=True)
class Task:
    """How to predict each video; picklable without `on_progress`."""

    load: Callable[[], Predictor]
    settings: PredictSettings
    artifacts: Artifacts | None = None
    on_progress: OnProgress | None = None


@dataclass
class Recorder:
    """Writes events to the journal, if there is one, and calls the callbacks."""

    on_window: Callable[[Input, Window], object] = _ignore
    on_video: Callable[[Outcome, VideoPrediction | None], object] = _ignore
    journal: Journal | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def take(self, video: Input, event: Event | WorkerDied, kept: bool = False) -> None:
        """Record a window or the end of a video."""
        if isinstance(event, WindowEnded):
            if self.journal is not None:
                self.journal.add_window(video.title, event.record)
            self.on_window(video, event.window)
            return
        if isinstance(event, WorkerDied):
            event = _fail(video, event.reason)
        record = event.record
        if self.journal is not None and not kept:
            self.journal.add_video(record, event.pictures)
        size = (record["width"], record["height"]) if record["width"] else None
        values = (record["status"], record["error"], event.remark, event.notes, kept)
        outcome = Outcome(video, *values, record["frames_searched"], size)
        self.outcomes[video.title] = outcome
        self.on_video(outcome, event.prediction)


def _fail(video: Input, reason: str) -> VideoEnded:
    return VideoEnded(describe_failure(video.title, reason))


def predict_all(
    inputs: Sequence[Input], task: Task, recorder: Recorder, jobs: int = 1, device: str = "auto"
) -> BatchResult:
    """Predict videos in this process or in worker processes; see `predict_videos`."""
    todo = []
    for video in inputs:
        end = _find_end(video, recorder.journal, task.artifacts)
        if end is None:
            todo.append(video)
        else:
            recorder.take(video, end, kept=video.error is None)
    events: Generator[tuple[Input, Event | WorkerDied], None, None]
    if jobs > 1 and len(todo) > 1:
        start = partial(_start_reading, replace(task, on_progress=None))
        shares = share_this_machine(min(jobs, len(todo)), device)
        live = attrgetter("is_live")
        events = run_in_workers(todo, start, shares, purpose="reads videos", is_live=live)
    else:
        events = _read_here(todo, task)
    with closing(events):
        event = next(events, None)
        while event is not None:
            try:
                with _delaying_ctrl_c():
                    recorder.take(*event)
                event = next(events, None)
            except KeyboardInterrupt as interruption:
                try:
                    event = events.throw(interruption)
                except StopIteration:
                    event = None
    return BatchResult([recorder.outcomes[video.title] for video in inputs])


def _find_end(
    video: Input, journal: Journal | None, artifacts: Artifacts | None
) -> VideoEnded | None:
    """Return the end of a video that is unreadable or was finished by an earlier call."""
    if video.error is not None:
        return _fail(video, video.error)
    if journal is None or video.title not in journal.kept:
        return None
    ((record, _),) = journal.records([video.title])
    if artifacts is None or record["status"] != OK:
        return VideoEnded(record)
    complete = artifacts.are_made(video, journal.pictures(video.title))
    return VideoEnded(record) if complete else None


def _read_here(
    todo: Sequence[Input], task: Task
) -> Generator[tuple[Input, Event | WorkerDied], None, None]:
    if not todo:
        return
    predictor = task.load()
    for number, video in enumerate(todo, 1):
        options = (task.settings, task.artifacts, task.on_progress)
        interrupted = yield from read_video(predictor, video, *options)
        if interrupted and number < len(todo):
            raise KeyboardInterrupt


def _start_reading(task: Task) -> Callable[[Input, Emit], Event]:
    """Load the model in a worker, and return the function that predicts a video."""
    try:
        predictor = task.load()
    except (OSError, MemoryError, RuntimeError) as error:
        raise DferError(explain(error)) from error

    def read(video: Input, emit: Emit) -> Event:
        events = read_video(predictor, video, task.settings, task.artifacts)
        while isinstance(event := drop_images(next(events)[1]), WindowEnded):
            emit(event)
        return event

    return read


@contextmanager
def _delaying_ctrl_c() -> Iterator[None]:
    """Delay Ctrl-C to the end of this context, so that no line is written incompletely.

    A second Ctrl-C takes effect at once.
    """
    main = threading.current_thread() is threading.main_thread()  # only that one has signals
    if not main or not callable(signal.getsignal(signal.SIGINT)):  # or Ctrl-C is ignored
        yield
        return
    pressed = False

    def delay(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, delay)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
