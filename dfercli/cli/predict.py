"""The command that predicts expressions in videos."""

import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfercli.cli import checkpoints as model
from dfercli.cli import options as opt
from dfercli.errors import ConfigError, NoFaceError
from dfercli.faces import describe_search
from dfercli.predict.settings import PredictSettings

if TYPE_CHECKING:
    from dfercli.cli.checkpoints import Reader
    from dfercli.predict import PredictSettings, VideoPrediction, Window
    from dfercli.predict.batch.artifacts import Pictures
    from dfercli.predict.batch.inputs import Input
    from dfercli.predict.batch.journal import Journal
    from dfercli.predict.batch.origin import Origin
    from dfercli.predict.batch.predict_all import BulkOutcome, Outcome

SHOWN_FACES = 4
"""Faces of a video that its line tells of (our choice)."""


class View:
    """What is printed: of one video its windows and a summary, of several a line each.

    Args:
        inputs: All videos.
        quiet: Print what is wrong alone, on stderr; stdout is for the document.
    """

    def __init__(self, inputs: Sequence["Input"], quiet: bool) -> None:
        self._single = len(inputs) == 1
        self._quiet = quiet
        self._class_names: tuple[str, ...] = ()
        self._calibrated = False
        self.detector: str | None = None  # name of the one that finds the faces, once it is known

    def introduce(self, origin: "Origin") -> None:
        """Learn what the windows will be of."""
        self._class_names, self._calibrated = origin.class_names, origin.calibrated
        self.detector = origin.detector

    def on_window(self, each: "Input", window: "Window") -> None:
        """Print a window of a single video."""
        if self._single and not self._quiet:
            from dfercli.cli.prediction_screen import print_window

            print_window(window, self._class_names, self._calibrated)
            sys.stdout.flush()

    def on_video(self, outcome: "Outcome", prediction: "VideoPrediction | None") -> None:
        """Print what a video came to."""
        if outcome.line is not None:
            opt.note(f"error: {outcome.line}")
        if outcome.error is not None or self._quiet:
            return
        if self._single and prediction is not None:
            if outcome.status == "ok":
                from dfercli.cli.prediction_screen import print_prediction

                print_prediction(prediction)
            return
        print(describe_outcome(outcome, prediction), flush=True)

    def close(self, done: "BulkOutcome", seconds: float) -> None:
        """Print the summary of several videos."""
        if self._single:
            return
        counts = [
            (done.count("ok"), "predicted"),
            (done.count("no face"), "without a face"),
            (done.count("unreadable"), "not readable"),
        ]
        told = ", ".join(f"{count:,} {what}" for count, what in counts if count)
        text = f"{len(done.outcomes):,} videos in {seconds:,.0f} s: {told}"
        if self._quiet:
            opt.note(text)
        else:
            print(text)


def describe_outcome(outcome: "Outcome", prediction: "VideoPrediction | None") -> str:
    """Give the line of one of several videos."""
    from dfercli.text import printable

    name = printable(outcome.input.title)
    if outcome.kept:
        return f"{name}: {outcome.status}, finished before"
    if outcome.status != "ok" or prediction is None:
        return f"{name}: {outcome.status}; frames searched: {outcome.frames_searched}"
    tracks = sorted(prediction.tracks, key=lambda track: -len(track.windows))
    faces = [
        f"{prediction.class_names[track.top]} {track.mean_probs[track.top]:.0%}"
        for track in tracks[:SHOWN_FACES]
    ]
    more = [f"{len(tracks) - SHOWN_FACES} more"] if len(tracks) > SHOWN_FACES else []
    count = f"{len(tracks)} face{'s' * (len(tracks) > 1)}"
    return f"{name}: {prediction.duration_s:.1f} s, {count}: {', '.join([*faces, *more])}"


@dataclass(frozen=True)
class Call:
    """A call of `predict` with all its words understood.

    Attributes:
        inputs: The videos.
        reader: Loads the model.
        settings: As typed.
        jobs: Processes.
        device: What the predictors run on, as it was typed.
        out: File of predictions.
        as_json: Print the document.
        pictures: What is drawn.
    """

    inputs: Sequence["Input"]
    reader: "Reader"
    settings: "PredictSettings"
    jobs: int
    device: str
    out: Path | None
    as_json: bool
    pictures: "Pictures | None"

    def carry_out(self, view: View) -> "BulkOutcome":
        """Predict, write and print."""
        from dfercli.predict.batch.origin import Origin, hash_checkpoint
        from dfercli.predict.batch.predict_all import check_jobs, predict_all

        check_jobs(self.inputs, self.jobs)
        info = self.reader.describe()
        opt.note(f"model: {info.describe()}")
        settings = info.resolve(self.settings)
        origin = Origin.of(info, settings, hash_checkpoint(info.checkpoint))
        view.introduce(origin)
        with self._open_journal(origin) as journal:
            done = predict_all(
                self.inputs,
                self.reader,
                settings,
                jobs=self.jobs,
                device=self.device,
                journal=journal,
                on_window=view.on_window,
                on_video=view.on_video,
                after_video=self.pictures,
            )
            if journal is not None:
                self._write(journal)
        return done

    @contextmanager
    def _open_journal(self, origin: "Origin") -> "Iterator[Journal | None]":
        """Open the journal of --out; for --json alone one that is not kept."""
        from dfercli.predict.batch.journal import open_journal

        if self.out is not None:
            with open_journal(self.out, origin, self.inputs) as journal:
                if journal.kept:
                    opt.note(f"finished before, and not read again: {len(journal.kept):,}")
                if journal.dropped:
                    opt.note(f"changed since, or predicted otherwise: {journal.dropped:,}")
                if journal.unasked:
                    opt.note(
                        f"finished before, but not asked for now: {journal.unasked:,}; dropped "
                        f"from {self.out} when this call is finished"
                    )
                yield journal
        elif self.as_json:
            with (
                tempfile.TemporaryDirectory() as folder,
                open_journal(Path(folder, "x.json"), origin, self.inputs) as journal,
            ):
                yield journal
        else:
            yield None

    def _write(self, journal: "Journal") -> None:
        titles = [each.title for each in self.inputs]
        if self.out is not None:
            journal.finish(titles)
        if self.as_json:
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(encoding="utf-8")
            journal.write_json(sys.stdout, titles)


def report_missing(inputs: Sequence["Input"], view: View) -> "BulkOutcome":
    """Tell of videos none of which can be read; no model is needed for that."""
    from dfercli.predict.batch.predict_all import BulkOutcome, Outcome

    outcomes = [Outcome(each, "unreadable", each.error) for each in inputs]
    for outcome in outcomes:
        view.on_video(outcome, None)
    return BulkOutcome(outcomes)


def predict(
    videos: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders (searched for videos, or holding the frames of one), patterns, "
            "addresses of streams, numbers of cameras, or - for names from standard input.",
            show_default=False,
        ),
    ],
    checkpoint: model.Checkpoint = None,
    zero_shot: model.ZeroShot = False,
    detector: model.Detector = None,
    window_s: Annotated[
        float | None,
        typer.Option(help="Seconds of a window; by default as the checkpoint's training clips."),
    ] = None,
    stride_s: Annotated[
        float | None,
        typer.Option(help="Seconds from window to window; by default as long as one."),
    ] = None,
    faces: Annotated[str, typer.Option(help="`all`, or in each window the `largest`.")] = "all",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write predictions here: .json, .jsonl (line by line), .csv or .parquet. Called "
            "again, only what is not finished is read."
        ),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option(
            help="Write the video with faces and expressions (.mp4); of several a folder."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw faces and time line (.png, .pdf, .svg); of several a folder."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(help="Videos at a time, each in a process of its own.", min=1)
    ] = 1,
    device: model.Device = "auto",
    precision: model.Precision = "auto",
    runs: opt.Runs = opt.RUNS,
    as_json: opt.AsJson = False,
) -> None:
    """Name the expressions of all faces in videos, over time.

    Exit code 3: no face in some video; 4: some could not be read.
    """
    model.check_choice(checkpoint, zero_shot, detector, device, precision)
    settings = PredictSettings(window_s, stride_s, faces)
    settings.check()
    opt.wait_without_spinning()
    from dfercli.predict.batch.artifacts import check_out, plan_pictures
    from dfercli.predict.batch.inputs import find_inputs

    # A file that is there may be somebody's own: it stays an input, and is not replaced.
    outputs = [path for path in (out, annotate, plot) if path is not None and not path.is_file()]
    inputs = find_inputs(videos, _read_names() if "-" in videos else (), outputs)
    if not inputs:
        raise ConfigError("no video is named; name files, folders, streams, or a camera's number")
    if out is not None:
        check_out(out, inputs)
    after = plan_pictures(inputs, plot, annotate)
    view = View(inputs, quiet=as_json)
    began_s = time.monotonic()
    if any(each.error is None for each in inputs) or out is not None or as_json:
        from dfercli.parallel import ending_on_sigterm

        reader = model.choose_predictor(checkpoint, zero_shot, runs, detector, device, precision)
        call = Call(inputs, reader, settings, jobs, device, out, as_json, after)
        with ending_on_sigterm():
            done = call.carry_out(view)
    else:
        done = report_missing(inputs, view)
    view.close(done, time.monotonic() - began_s)
    told = [said for outcome in done.outcomes for said in outcome.said]
    for said in (*told, *([f"written: {out}"] if out else ())):
        opt.note(said)
    _end(done, view.detector, single=len(inputs) == 1)


def _read_names() -> Sequence[str]:
    """Read names from standard input, in whatever bytes they have."""
    raw = getattr(sys.stdin, "buffer", None)
    return [os.fsdecode(raw.read()) if raw is not None else sys.stdin.read()]


def _end(done: "BulkOutcome", detector: str | None, single: bool) -> None:
    """End with the exit code of what happened; of one video with its one line."""
    if single and detector is not None and done.exit_code == NoFaceError.exit_code:
        from dfercli.text import printable

        outcome = done.outcomes[0]
        count = outcome.frames_searched
        searched = "1 frame was searched" if count == 1 else f"{count} frames were searched"
        raise NoFaceError(
            f"no face in {printable(outcome.input.title)}: {searched} "
            f"{describe_search(detector, outcome.size)}"
        )
    if done.exit_code:
        raise typer.Exit(done.exit_code)
