"""The command that draws finished runs into a page."""

from pathlib import Path
from typing import Annotated

import typer

from dfercli.cli import options as opt
from dfercli.cli.options import find_variant, parse_folds


def report(
    run: Annotated[
        str | None,
        typer.Argument(
            help="The variant: a folder such as runs/demo/full, or its name; by default the one "
            "finished last.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The page, an .html file; by default report.html in the run's folder."),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(help="Write each picture into this folder too, as PNG and PDF."),
    ] = None,
    epoch: Annotated[str, typer.Option(help="Epoch that is drawn: `best`, `val` or `last`.")] = (
        "best"
    ),
    fold: Annotated[
        int | None,
        typer.Option(help="Fold whose clips are drawn; by default the first.", show_default=False),
    ] = None,
    folds: opt.Folds = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset of the run; by default that of the run finished last."),
    ] = None,
    root: opt.Root = None,
    manifests: Annotated[
        Path | None,
        typer.Option(help="Folder of the manifests; by default where it was in training."),
    ] = None,
    runs: opt.Runs = opt.RUNS,
) -> None:
    """Draw a run into one page that opens offline: figures, errors, and what the model looks at."""
    chosen = parse_folds(folds) if folds else None
    from dfercli.report import build_report

    where, of, variant = find_variant(run, runs, dataset)
    path = build_report(
        where,
        of,
        variant,
        chosen,
        path=out,
        figures=figures,
        protocol=epoch,
        fold=fold,
        root=root,
        manifests=manifests,
    )
    print(f"written: {path}")
    if figures is not None:
        print(f"pictures: {figures}")
