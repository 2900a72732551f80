"""The command that names expressions in videos."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfercli.cli import checkpoints as model
from dfercli.cli import options as opt
from dfercli.cli.bulk import Call, View, report_missing
from dfercli.cli.outputs import check_out, plan_pictures
from dfercli.errors import ConfigError, NoFaceError
from dfercli.faces import describe_search
from dfercli.predict.settings import PredictSettings

if TYPE_CHECKING:
    from dfercli.bulk.run import BulkOutcome


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
    from dfercli.bulk.inputs import find_inputs

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
        from dfercli.engine.jobs import ending_on_sigterm

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
        from dfercli.predict.signs import printable

        outcome = done.outcomes[0]
        count = outcome.frames_searched
        searched = "1 frame was searched" if count == 1 else f"{count} frames were searched"
        raise NoFaceError(
            f"no face in {printable(outcome.input.title)}: {searched} "
            f"{describe_search(detector, outcome.size)}"
        )
    if done.exit_code:
        raise typer.Exit(done.exit_code)
