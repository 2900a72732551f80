"""Commands that report results: tables of finished runs, a checkpoint's test, a page of a run."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from dfercli.cli import options as opt
from dfercli.cli import printing
from dfercli.cli.options import find_variant, parse_folds
from dfercli.config import DataConfig, require_device
from dfercli.errors import ConfigError

if TYPE_CHECKING:
    from dfercli.evaluation.results import Results

Dataset = Annotated[
    str | None,
    typer.Option(help="Dataset of the runs; by default that of the most recently finished run."),
]
Folds = Annotated[
    str | None, typer.Option(help="Folds to report, such as 1-5 or 1,3; by default all.")
]
Confusion = Annotated[
    bool, opt.in_output("Add the confusion matrix over all folds.", "--confusion")
]


FLAGS = ("--confusion", "--allow-other-crop", "--cache", "--no-cache")
"""Options of `dfer test` without a value."""


class EvalCommand(TyperCommand):
    """`dfer eval`, whose error for `--checkpoint` has the command that tests a checkpoint."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            ConfigError: `--checkpoint` is among them.
        """
        options = [word.partition("=")[0] for word in args]
        if "--checkpoint" not in options:
            return super().parse_args(ctx, args)
        words = args.copy()
        name = _take_option(words, "--checkpoint") or "CHECKPOINT"
        _take_option(words, "--against")  # compares runs: `dfer test` does not have it
        takes_value = [word.startswith("-") and word not in FLAGS for word in ["", *words]]
        words = [
            word
            for word, is_value in zip(words, takes_value, strict=False)
            if is_value or word.startswith("-")
        ]
        command = shlex.join(["dfer", "test", name, *words])
        raise ConfigError(f"`dfer eval` reports finished runs; to test a checkpoint: {command}")


def _take_option(words: list[str], option: str) -> str:
    """Remove an option and its value from words, and return the value; empty without one."""
    for at, word in enumerate(words):
        if word.partition("=")[0] == option:
            del words[at]
            has_value = at < len(words) and not words[at].startswith("-")
            return word.partition("=")[2] or (words.pop(at) if has_value else "")
    return ""


def evaluate(
    run: Annotated[
        list[str] | None,
        typer.Argument(
            help="Variants to report, one or several side by side: folders such as runs/demo/full, "
            "or names; by default the most recently finished one.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="Variant to compare with; tests whether the difference is due to chance."
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Report by group of people: `sex`, `age`, `race`, or any column of the manifest."
        ),
    ] = None,
    dataset: Dataset = None,
    folds: Folds = None,
    runs: opt.Runs = opt.RUNS,
    confusion: Confusion = False,
    table_format: printing.Format = printing.SCREEN,
    out: printing.Out = None,
) -> None:
    """Report the results of finished runs: WAR, UAR, recalls and F1, with confidence intervals."""
    numbers = parse_folds(folds) if folds else None
    table_format = printing.check_format(table_format, out)
    if against is not None and len(run or ()) > 1:
        raise ConfigError("--against compares two runs; name a single run before it")
    if confusion and (against is not None or len(run or ()) > 1):
        raise ConfigError("--confusion is for a single run; name one run, and remove --against")
    if by is not None and (against is not None or confusion or len(run or ()) > 1):
        raise ConfigError(
            "--by is for a single run; name one run, and remove --against and --confusion"
        )
    from dfercli.evaluation.tables import (
        comparison_document,
        results_document,
        side_by_side_document,
    )

    names: list[str | None] = [*run] if run else [None]
    results = [_read(names[0], runs, dataset, numbers)]
    results += [_read(name, runs, dataset or results[0].dataset, numbers) for name in names[1:]]
    if results[0].others and not run:
        opt.note(f"other variants of this dataset: {', '.join(results[0].others)}")
    if by is not None:
        from dfercli.evaluation.by_trait import trait_document

        record = next(iter(results[0].runs.values())).record
        document = trait_document(results[0], by, Path(record.config.data.manifest))
    elif against is not None:
        other = _read(against, runs, results[0].dataset, numbers)
        document = comparison_document(results[0], other)
    elif len(results) > 1:
        document = side_by_side_document(results)
    else:
        document = results_document(results[0], confusion)
    printing.show_document(document, table_format, out)


def _read(name: str | None, runs: Path, dataset: str | None, folds: list[int] | None) -> "Results":
    """Read the results of a variant, given by its folder or name."""
    from dfercli.evaluation.results import read_results

    return read_results(*find_variant(name, runs, dataset), folds)


def test(
    checkpoint: opt.Checkpoint,
    dataset: opt.Dataset = None,
    folds: Annotated[
        str | None,
        opt.in_data(
            "Folds to test on, such as 1-5 or 1,3; by default the test fold of the checkpoint, "
            "or all folds of another dataset."
        ),
    ] = None,
    folds_by: opt.FoldsBy = DataConfig.folds_by,
    root: opt.Root = None,
    manifests: opt.Manifests = opt.MANIFESTS,
    runs: opt.Runs = opt.RUNS,
    allow_other_crop: Annotated[
        bool,
        opt.in_data(
            "Accept faces that were cropped differently from the training data.",
            "--allow-other-crop",
        ),
    ] = False,
    views: Annotated[
        int,
        opt.in_data(
            "Samplings of each video whose probabilities are averaged; more than one also prints "
            "the first alone.",
            min=1,
        ),
    ] = 1,
    workers: opt.Workers = DataConfig.workers,
    cache: opt.Cache = False,
    cache_dir: opt.CacheDir = None,
    device: opt.Device = "auto",
    confusion: Confusion = False,
    table_format: printing.Format = printing.SCREEN,
    out: printing.Out = None,
) -> None:
    """Test a checkpoint on the test clips of a dataset, never on clips it was trained on."""
    numbers = parse_folds(folds) if folds else None
    table_format = printing.check_format(table_format, out)
    require_device(device)
    decoded = opt.find_cache(cache, cache_dir)
    from dfercli.evaluation.checkpoint import evaluate_checkpoint
    from dfercli.evaluation.tables import results_document
    from dfercli.runs.lookup import find_checkpoint

    where = find_checkpoint(checkpoint, runs)
    data, manifest = opt.find_data(dataset, root, manifests, workers, decoded, folds_by)
    results = evaluate_checkpoint(where, data, numbers, allow_other_crop, device, manifest, views)
    printing.show_document(results_document(results, confusion), table_format, out)


def report(
    run: Annotated[
        str | None,
        typer.Argument(
            help="Variant: a folder such as runs/demo/full, or its name; by default the most "
            "recently finished one.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="HTML file to write; by default report.html in the folder of the variant."
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the figures as PNG and PDF files; by default none are written."
        ),
    ] = None,
    epoch: Annotated[str, typer.Option(help="Epoch to show: `best`, `val` or `last`.")] = "best",
    fold: Annotated[
        int | None,
        typer.Option(
            help="Fold whose clips are shown; by default the first one.", show_default=False
        ),
    ] = None,
    folds: Folds = None,
    dataset: Dataset = None,
    root: opt.Root = None,
    manifests: Annotated[
        Path | None, opt.in_data("Folder of the manifests; by default the one used in training.")
    ] = None,
    runs: opt.Runs = opt.RUNS,
) -> None:
    """Write an HTML report of a variant: results, errors, and what the model looks at."""
    numbers = parse_folds(folds) if folds else None
    from dfercli.report.run import build_report

    folder, of_dataset, variant = find_variant(run, runs, dataset)
    path = build_report(
        folder,
        of_dataset,
        variant,
        numbers,
        path=out,
        figures=figures,
        protocol=epoch,
        fold=fold,
        root=root,
        manifests=manifests,
    )
    print(f"written: {path}")
    if figures is not None:
        print(f"figures: {figures}")
