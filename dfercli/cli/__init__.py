"""The command line: parse, build a configuration, make one call of the library, print.

The only folder that knows typer and rich. Everything heavy is imported inside the commands, so
that `dfer --help` does not wait for torch.
"""

import io
import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dfercli import __version__
from dfercli.cli import options as opt
from dfercli.config import AugmentConfig, DataConfig, ModelConfig, TrainConfig
from dfercli.errors import EXIT_SKIPPED, ConfigError, DferError, NoFaceError

ABLATED = ("interfit", "msta", "biehpro", "text", "text_prompt", "visual_prompt", "num_blocks")
"""Settings that the rows of the paper's tables decide."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_state = {"debug": False}


def main() -> None:
    """Run the command; an error of ours becomes one line on stderr and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without all letters is no error
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its decoders' own lines on stderr
    try:
        app()
    except DferError as error:
        if _state["debug"]:
            raise
        print(f"error: {error.line}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            opt.note(
                "interrupted; finished folds and clips are kept, the same command does the rest"
            )
        raise
    except OSError as error:
        if _state["debug"]:
            raise
        print(f"error: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(DferError.exit_code)


@app.callback(invoke_without_command=True)
def settings(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error arose.")] = False,
) -> None:
    """Dynamic facial expression recognition: name the expression in a short video of a face."""
    _state["debug"] = debug
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where the videos and their labels go.")],
    persons: Annotated[int, typer.Option(help="Drawn persons.", min=1)] = 20,
    takes: Annotated[int, typer.Option(help="Videos of each person and expression.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="The same seed draws the same pixels.", min=0)] = 0,
) -> None:
    """Draw the demo dataset: videos of drawn people who show the seven expressions."""
    from dfercli.demo import make_demo

    files = make_demo(folder, persons, takes, seed)
    print(f"{files.num_videos} videos, listed in {files.labels}")
    print(f"one of a person who is not among them: {files.unseen}")


@app.command()
def preprocess(
    dataset: Annotated[str, typer.Option(help="Kind of dataset: folder.")],
    root: Annotated[
        Path | None,
        typer.Option(help="Its folder; by default $DFER_DATA/DATASET, or data/DATASET."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the manifest; by default that of the data's folder."),
    ] = None,
    detector: Annotated[
        str, typer.Option(help="Face detector: face-alignment, or mtcnn (needs no download).")
    ] = "face-alignment",
    size: Annotated[int, typer.Option(help="Side of the face crops in pixels.")] = 224,
    num_folds: Annotated[int, typer.Option(help="Folds to deal one's own videos to.", min=1)] = 5,
    jobs: Annotated[
        int | None,
        typer.Option(help="Processes; by default one a core.", min=1),
    ] = None,
    manifests: opt.Manifests = opt.MANIFESTS,
) -> None:
    """Crop the faces of a dataset's videos and write its manifest."""
    from dfercli.faces.align import CropRecipe
    from dfercli.preprocess import preprocess as crop_dataset

    root = root or opt.usual_root(dataset)
    manifest = manifests / f"{name or root.resolve().name}.csv"
    summary = crop_dataset(dataset, root, manifest, CropRecipe(detector, size), jobs, num_folds)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(summary.counts.items()))
    print(f"{counts}; faces in {summary.faces}, manifest {summary.manifest}")
    if summary.skipped:
        opt.note(f"left out, with reasons: {summary.skipped}")
        raise typer.Exit(EXIT_SKIPPED)


@app.command()
@opt.expand_configs()
def train(
    options: opt.RunOptions, model: ModelConfig, recipe: TrainConfig, augment: AugmentConfig
) -> None:
    """Train on each fold's other folds and test on it. Defaults are the paper's recipe."""
    config, folds = opt.find_run(options, model, recipe, augment)
    from dfercli.engine.evaluate import summarise_runs
    from dfercli.engine.train import train_folds

    trained = train_folds(config, folds, options.runs, _command(), options.overwrite)
    if not opt.is_main_process():
        return
    names = ", ".join(map(str, folds))
    print(f"{config.data.dataset} {model.variant}, mean over folds {names}:")
    for protocol in ("best", "last"):
        summary = summarise_runs(trained, protocol)
        print(f"  {protocol} epoch: WAR {summary.mean_war:.2%}, UAR {summary.mean_uar:.2%}")
    print("`dfer eval` prints all of it, and how the best epoch is chosen")


@app.command(name="eval")
def evaluate(
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset of the runs; by default that of the run finished last."),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(help="Folder name of the variant; by default the one finished last."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Run this checkpoint on a manifest's test clips instead."),
    ] = None,
    folds: opt.Folds = None,
    root: opt.Root = None,
    manifests: opt.Manifests = opt.MANIFESTS,
    runs: opt.Runs = opt.RUNS,
    workers: opt.Workers = DataConfig.workers,
    allow_other_crop: Annotated[
        bool, typer.Option("--allow-other-crop", help="Test on faces that were cropped otherwise.")
    ] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Report WAR, UAR and recalls: per fold and their mean, best and last epoch side by side."""
    chosen = opt.parse_folds(folds) if folds else None
    if checkpoint is None:
        _print_results(runs, dataset, variant, chosen, as_json)
        return
    if variant is not None:
        raise ConfigError("--variant chooses among runs, --checkpoint names one; give one of them")
    from dfercli.engine.evaluate import evaluate_checkpoint

    data = opt.find_data(dataset, root, manifests, workers)
    summary, class_names = evaluate_checkpoint(checkpoint, data, chosen, allow_other_crop)
    _print_summaries(
        f"{checkpoint} on {data.dataset}", {"checkpoint": summary}, class_names, as_json
    )


@app.command()
@opt.expand_configs(*ABLATED)
def ablate(
    options: opt.RunOptions,
    model: ModelConfig,
    recipe: TrainConfig,
    augment: AugmentConfig,
    table: Annotated[int, typer.Option(help="Table of the paper: 2, 3, 4 or 5.")] = 2,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count parameters and operations; train nothing.")
    ] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Train and test the rows of one of the paper's tables, or only count what they cost."""
    from dfercli.cli.tables import print_ablation, print_costs
    from dfercli.engine.ablate import cost_table, run_table

    if dry_run:
        from dfercli.data.spec import BASIC_EXPRESSIONS

        entries = cost_table(table, model, BASIC_EXPRESSIONS)
        title = f"Table {table}: one clip of {model.num_frames} frames, {model.backbone}, 7 classes"
        show = print_costs
    else:
        config, folds = opt.find_run(options, model, recipe, augment)
        entries = run_table(table, config, folds, options.runs, _command(), options.overwrite)
        names = ", ".join(map(str, folds))
        title = f"Table {table} on {config.data.dataset}: mean over folds {names}; "
        title += f"{model.backbone} ({model.weights}), seed {options.seed}"
        show = print_ablation
    if not opt.is_main_process():
        return
    if as_json:
        print(json.dumps({"title": title, "rows": entries}, indent=2))
    else:
        show(title, entries)


@app.command()
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


def _print_results(
    runs: Path, dataset: str | None, variant: str | None, folds: list[int] | None, as_json: bool
) -> None:
    """Print the results of one variant's finished folds from their predictions."""
    from dfercli.engine.evaluate import read_results

    results = read_results(runs, dataset, variant, folds)
    if results.others:
        others = ", ".join(results.others)
        opt.note(f"other variants there (--variant): {others}")
    _print_summaries(results.title, results.summaries, results.class_names, as_json)


def _print_summaries(
    title: str, summaries: Mapping[Any, Any], class_names: list[str], as_json: bool
) -> None:
    if as_json:
        figures = {name: summary.to_dict() for name, summary in summaries.items()}
        values = {"title": title, "class_names": class_names, "protocols": figures}
        print(json.dumps(values, indent=2))
        return
    from dfercli.cli.tables import print_folds

    print_folds(title, summaries, class_names)


def _command() -> str:
    return shlex.join(["dfer", *sys.argv[1:]])
