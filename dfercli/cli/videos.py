"""The command that names expressions in a video."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dfercli.cli import options as opt
from dfercli.errors import NoFaceError


def predict(
    video: Annotated[Path, typer.Argument(help="A video file.")],
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Folder or Hub name; by default the run finished last, its best epoch."),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(help="Face detector; by default that of the checkpoint."),
    ] = None,
    window_s: Annotated[float, typer.Option(help="Length of a window in seconds.")] = 2.0,
    stride_s: Annotated[float, typer.Option(help="Seconds from window to window.")] = 1.0,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw faces and time line here (.png, .pdf, .svg)."),
    ] = None,
    runs: opt.Runs = opt.RUNS,
    as_json: opt.AsJson = False,
) -> None:
    """Name the expressions of the main face in a video, over time."""
    from dfercli.engine.runlog import find_newest_run
    from dfercli.predict import Predictor
    from dfercli.report import check_picture, plot_prediction

    if plot:
        check_picture(plot)
    where = checkpoint or str(find_newest_run(runs).checkpoint("best"))
    opt.note(f"checkpoint: {where}")
    prediction = Predictor.from_checkpoint(where, detector).predict(video, window_s, stride_s)
    if as_json:
        print(json.dumps(prediction.to_dict() | {"checkpoint": where}, indent=2))
    elif prediction.mean_probs is not None:
        from dfercli.cli.tables import print_prediction

        print_prediction(prediction)
    if prediction.mean_probs is None:
        raise NoFaceError(f"no face in {video}: {prediction.num_frames} frames were searched")
    if plot:
        plot_prediction(prediction, plot)
        opt.note(f"picture: {plot}")
