"""The command that predicts expressions in videos."""

import io
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm

from dfercli.cli import options as opt
from dfercli.cli.checkpoints import ModelOptions
from dfercli.errors import ConfigError, NoFaceError
from dfercli.faces import describe_search
from dfercli.parallel import ending_on_sigterm
from dfercli.predict.settings import PredictSettings, parse_time
from dfercli.progress import on_terminal, show_progress
from dfercli.text import count_of, printable

if TYPE_CHECKING:
    from dfercli.predict import BatchResult, ModelInfo, Outcome, VideoPrediction, Window
    from dfercli.predict.batch.inputs import Input
    from dfercli.predict.batch.journal import Journal

SHOWN_FACES = 4
"""Maximum number of faces in the line of a video (our choice)."""

SHOWN_LETTERS = 30
"""Maximum length of a name beside its progress bar (our choice)."""


class Bars:
    """Progress bars: videos, if there are several, and seconds of the current video."""

    def __init__(self, total: int) -> None:
        self._several = total > 1
        self._videos = show_progress(total=total, desc="videos", unit="video", shown=self._several)
        self._bar: tqdm[Any] = tqdm(disable=True)
        self._shown: tuple[Input, str] | None = None

    def on_progress(self, video: "Input", phase: str, at_s: float, of_s: float) -> None:
        """Update the bar of a video; see `OnProgress`."""
        if (video, phase) != self._shown:
            self._bar.close()
            self._shown = (video, phase)
            name = printable(video.name)
            name = name if len(name) <= SHOWN_LETTERS else f"…{name[1 - SHOWN_LETTERS :]}"
            self._bar = show_progress(
                total=round(of_s, 1) or None,
                desc=name if phase == "reading" else f"{name}: {phase}",
                unit="s",
                leave=False,
                shown=on_terminal() or not self._several,
                position=1 if self._several else 0,
            )
        self._bar.update(round(at_s, 1) - self._bar.n)

    def step(self) -> None:
        """Count a video."""
        self._bar.close()
        self._videos.update()

    def close(self) -> None:
        """Remove all bars."""
        self._bar.close()
        self._videos.close()


class View:
    """Prints the windows and the summary of one video, or one line for each of several videos.

    If `quiet`, only errors and notes are printed, on stderr, because stdout is for the document.
    """

    def __init__(self, count: int, quiet: bool) -> None:
        self.bars = Bars(count)
        self._single = count == 1
        self._quiet = quiet
        self._info: ModelInfo | None = None
        self._began_s = time.monotonic()

    def on_model(self, info: "ModelInfo") -> None:
        """Print the model."""
        self._info = info
        _note_model(info)

    def on_resume(self, journal: "Journal", out: Path | None) -> None:
        """Print how many videos earlier calls have finished."""
        if journal.kept:
            opt.note(f"already predicted, skipped: {len(journal.kept):,}")
        if journal.dropped:
            opt.note(
                f"changed or predicted with other settings, predicted again: {journal.dropped:,}"
            )
        if journal.unasked:
            opt.note(
                f"predicted earlier, but not requested now: {journal.unasked:,}; will be removed "
                f"from {out} when this command finishes"
            )

    def on_window(self, video: "Input", window: "Window") -> None:
        """Print a window of a single video."""
        if self._single and not self._quiet and self._info is not None:
            from dfercli.cli.prediction_screen import print_window

            with tqdm.external_write_mode(file=sys.stdout):  # clears the bars
                print_window(window, self._info.class_names, self._info.calibrated)
                sys.stdout.flush()

    def on_video(self, outcome: "Outcome", prediction: "VideoPrediction | None") -> None:
        """Print the result of a video."""
        with tqdm.external_write_mode(file=sys.stdout):  # clears the bars
            if outcome.line is not None:
                opt.note(f"error: {outcome.line}")
            if outcome.error is None and not self._quiet:
                self._print_video(outcome, prediction)
        self.bars.step()

    def _print_video(self, outcome: "Outcome", prediction: "VideoPrediction | None") -> None:
        if not self._single or prediction is None:
            print(describe_outcome(outcome, prediction), flush=True)
        elif outcome.status == "ok":
            from dfercli.cli.prediction_screen import print_prediction

            print_prediction(prediction)

    def finish(self, result: "BatchResult", out: Path | None) -> None:
        """Print the summary and the written files, and exit with the code of the result."""
        statuses = {"ok": "predicted", "no face": "without a face", "unreadable": "unreadable"}
        counts = {text: result.count(status) for status, text in statuses.items()}
        if not self._single:
            text = ", ".join(f"{count:,} {text}" for text, count in counts.items() if count)
            seconds = time.monotonic() - self._began_s
            summary = f"{len(result.outcomes):,} videos in {seconds:,.0f} s: {text}"
            opt.note(summary) if self._quiet else print(summary)
        for note in [note for outcome in result.outcomes for note in outcome.notes]:
            opt.note(note)
        if out is not None:
            opt.note(f"written: {out}")
        if self._single and self._info and result.exit_code == NoFaceError.exit_code:
            outcome = result.outcomes[0]
            searched = count_of(outcome.frames_searched or 0, "frame")
            verb = "was" if outcome.frames_searched == 1 else "were"
            raise NoFaceError(
                f"no face in {printable(outcome.input.title)}: {searched} {verb} searched "
                f"{describe_search(self._info.detector_name, outcome.size)}"
            )
        if result.exit_code:
            raise typer.Exit(result.exit_code)


def _note_model(info: "ModelInfo") -> None:
    opt.note(f"model: {info.describe()}")


def describe_outcome(outcome: "Outcome", prediction: "VideoPrediction | None") -> str:
    """Return the line that is printed for one of several videos."""
    name = printable(outcome.input.title)
    if outcome.kept:
        return f"{name}: {outcome.status}, already predicted"
    if outcome.status != "ok" or prediction is None:
        return f"{name}: {outcome.status}; frames searched: {outcome.frames_searched}"
    tracks = sorted(prediction.tracks, key=lambda track: -len(track.windows))
    faces = [
        f"{prediction.class_names[track.top]} {track.mean_probs[track.top]:.0%}"
        for track in tracks[:SHOWN_FACES]
    ]
    if len(tracks) > SHOWN_FACES:
        faces.append(f"{len(tracks) - SHOWN_FACES} more")
    count = count_of(len(tracks), "face")
    return f"{name}: {prediction.length_text}, {count}: {', '.join(faces)}"


_Videos = Annotated[
    list[str],
    typer.Argument(
        help="Files, folders of videos or of the frames of one video, patterns such as "
        "`*.mp4`, URLs of streams, camera numbers, or - to read names from standard input.",
        show_default=False,
    ),
]
_Start = Annotated[
    str | None,
    opt.in_data("Time in the video at which to start: seconds, MM:SS or HH:MM:SS."),
]
_End = Annotated[
    str | None,
    opt.in_data("Time at which to end, in the same form; by default the end of the video."),
]


@opt.expand_configs("start_s", "end_s")
def predict(
    context: typer.Context,
    videos: _Videos,
    model: ModelOptions,
    windows: PredictSettings,
    out: Annotated[
        Path | None,
        opt.in_output(
            "Write the predictions to this file: .json, .jsonl, .csv or .parquet; for a single "
            "video also subtitles, .srt or .vtt, or annotations for ELAN, .eaf. The same command "
            "can be repeated: it predicts only the videos that are not finished."
        ),
    ] = None,
    annotate: Annotated[
        Path | None,
        opt.in_output(
            "Write a copy of the video with faces and expressions (.mp4; a folder for several)."
        ),
    ] = None,
    blur_others: Annotated[
        bool,
        opt.in_output("Blur all faces but the largest one in annotated videos.", "--blur-others"),
    ] = False,
    blur_all: Annotated[
        bool, opt.in_output("Blur all faces in annotated videos.", "--blur-all")
    ] = False,
    plot: Annotated[
        Path | None,
        opt.in_output(
            "Draw the timeline of the faces (.png, .pdf or .svg; a folder for several videos)."
        ),
    ] = None,
    jobs: Annotated[
        int,
        opt.in_compute(
            "Number of videos to predict at the same time, each in its own process.", min=1
        ),
    ] = 1,
    start: _Start = None,
    end: _End = None,
    as_json: opt.AsJson = False,
) -> None:
    """Classify the expressions of all faces in videos over time.

    Exit code 3: a video shows no face; 4: a video could not be read.
    """
    model.check()
    windows = _add_part(windows, start, end)
    if blur_others and blur_all:
        raise ConfigError("--blur-others and --blur-all contradict each other; remove one of them")
    opt.wait_without_spinning()
    from dfercli.predict.batch.inputs import find_inputs
    from dfercli.predict.batch.predict_all import predict_videos

    # An existing file may be a video of the user: it stays an input and is not replaced.
    outputs = [path for path in (out, annotate, plot) if path is not None and not path.is_file()]
    inputs = find_inputs(videos, _read_names() if "-" in videos else (), outputs)
    if as_json and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    view = View(len(inputs), quiet=as_json)
    with ending_on_sigterm(), closing(view.bars):
        result = predict_videos(
            inputs,
            model.choose,
            windows,
            out=() if out is None else out,
            document=sys.stdout if as_json else None,
            plot=plot,
            annotate=annotate,
            blur="all" if blur_all else "others" if blur_others else None,
            jobs=jobs,
            on_model=view.on_model,
            on_resume=partial(view.on_resume, out=out),
            on_window=view.on_window,
            on_video=view.on_video,
            on_progress=view.bars.on_progress,
        )
    view.finish(result, out)


@opt.expand_configs("start_s", "end_s")
def embed(
    context: typer.Context,
    videos: _Videos,
    model: ModelOptions,
    windows: PredictSettings,
    out: Annotated[Path, opt.in_output("File to write: .npz or .parquet.")],
    start: _Start = None,
    end: _End = None,
) -> None:
    """Write the model's embedding of each face in each window of videos, for other statistics.

    Exit code 3: a video shows no face; 4: a video could not be read.
    """
    model.check()
    windows = _add_part(windows, start, end)
    opt.wait_without_spinning()
    from dfercli.predict.batch.embed import embed_videos
    from dfercli.predict.batch.inputs import find_inputs

    inputs = find_inputs(videos, _read_names() if "-" in videos else (), [out])
    bars = Bars(len(inputs))

    def show(title: str, num_windows: int, error: str | None) -> None:
        with tqdm.external_write_mode(file=sys.stdout):  # clears the bars
            if error is None:
                print(f"{printable(title)}: {count_of(num_windows, 'window')}", flush=True)
            else:
                opt.note(f"error: {error}")
        bars.step()

    with ending_on_sigterm(), closing(bars):
        result = embed_videos(
            inputs, model.choose, windows, out=out, on_model=_note_model, on_video=show
        )
    if result.is_useful:
        opt.note(f"written: {out}")
    if result.exit_code:
        raise typer.Exit(result.exit_code)


def _add_part(windows: PredictSettings, start: str | None, end: str | None) -> PredictSettings:
    """Return checked settings with the part of the video that the options request."""
    windows = replace(
        windows,
        start_s=0.0 if start is None else parse_time(start),
        end_s=None if end is None else parse_time(end),
    )
    windows.check()
    return windows


def _read_names() -> Sequence[str]:
    """Read the names in standard input, which may have undecodable bytes."""
    raw = getattr(sys.stdin, "buffer", None)
    return [os.fsdecode(raw.read()) if raw is not None else sys.stdin.read()]
