"""Commands that train runs and report them: one variant, its figures, and the paper's tables."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfercli.cli import checkpoints
from dfercli.cli import options as opt
from dfercli.cli import printing as docs
from dfercli.cli.options import find_variant, parse_folds
from dfercli.config import (
    ALL_DATA,
    UNTRAINED,
    AugmentConfig,
    ComputeConfig,
    DataConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    require_device,
)
from dfercli.config.presets import VARIANT, apply_preset, describe_recipe
from dfercli.errors import ConfigError, require_at_least

if TYPE_CHECKING:
    from dfercli.ablation.paper_tables import Row
    from dfercli.evaluation.results import Results

ABLATED = tuple(name for name in VARIANT if name != "cross_attention")
"""Settings that the rows of the paper's tables decide."""

OF_CHECKPOINT = (
    "folds_by",
    "root",
    "manifests",
    "workers",
    "cache",
    "cache_dir",
    "allow_other_crop",
    "device",
)
"""Options of `eval` that say how a checkpoint is run."""

NO_DATA = DataConfig(dataset="", manifest="", root="")
"""Stands where only costs are counted."""


@opt.expand_configs()
def train(
    context: typer.Context,
    options: opt.RunOptions,
    model: ModelConfig,
    recipe: TrainConfig,
    augment: AugmentConfig,
    compute: ComputeConfig,
    all_data: Annotated[
        bool,
        typer.Option(
            "--all-data",
            help="Train one model on all clips and test none, for as many epochs as the folds "
            "chose; `dfer predict` prefers it.",
        ),
    ] = False,
) -> None:
    """Train on each fold's other folds and test on it. Defaults are the paper's recipe."""
    typed = opt.find_typed(context)
    _check_typed(model, typed)
    if all_data:
        _check_all_data(model, options)
    config, folds = opt.find_run(options, model, recipe, augment, compute, typed)
    if all_data:
        _train_final(config, options)
        return
    from dfercli.data.manifest import mark_partial
    from dfercli.evaluation.results import summarise_runs
    from dfercli.evaluation.tables import LABELS
    from dfercli.jobs.run import train_folds
    from dfercli.runs.run_folder import list_deviations
    from dfercli.training.selection import protocols_of

    _note_estimate([replace(config, fold=fold) for fold in folds], options)
    runs = train_folds(config, folds, options.runs, _command(), **opt.how_to_run(options))
    if not opt.is_main_process():
        return
    trained = {fold: run.load() for fold, run in runs.items()}
    names = ", ".join(map(str, folds))
    title = f"{config.data.dataset} {config.variant}, mean over folds {names}:"
    print(mark_partial(title, list_deviations(trained.values())))
    for protocol in protocols_of(config.train.val_fraction):
        summary = summarise_runs(trained, protocol)
        print(f"  {LABELS[protocol]}: WAR {summary.mean_war:.2%}, UAR {summary.mean_uar:.2%}")
    print(f"  chance: UAR {1 / len(summary.recalls[0]):.2%}")
    print(f"  recipe: {describe_recipe(config)}")
    variant = shlex.quote(str(next(iter(trained.values())).path.parent))
    print(
        f"  models: {variant}/fold{folds[0]}" + (f" and {len(folds) - 1} more" * (len(folds) > 1))
    )
    print(f"next: `dfer eval {variant}` prints all figures, `dfer report {variant}` draws them,")
    print(f"`dfer predict video.mp4 --checkpoint {variant}` reads a video")
    if config.model.method not in UNTRAINED:
        print("the same command with --all-data, without --folds, trains one model on all clips")


def evaluate(
    context: typer.Context,
    run: Annotated[
        list[str] | None,
        typer.Argument(
            help="Variants to report, several side by side: folders such as runs/demo/full, or "
            "their names; by default the one finished last.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Test whether the run differs from this one by more than chance."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset of the runs; by default that of the run finished last."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Run this checkpoint (folder, name of a run, or Hub name) on a manifest's test "
            "clips instead."
        ),
    ] = None,
    folds: opt.Folds = None,
    folds_by: opt.FoldsBy = DataConfig.folds_by,
    root: opt.Root = None,
    manifests: opt.Manifests = opt.MANIFESTS,
    runs: opt.Runs = opt.RUNS,
    workers: opt.Workers = DataConfig.workers,
    cache: opt.Cache = False,
    cache_dir: opt.CacheDir = None,
    allow_other_crop: Annotated[
        bool, typer.Option("--allow-other-crop", help="Test on faces that were cropped otherwise.")
    ] = False,
    device: checkpoints.Device = "auto",
    confusion: Annotated[
        bool, typer.Option("--confusion", help="Add the confusion matrix over all folds.")
    ] = False,
    table_format: docs.Format = docs.SCREEN,
    out: docs.Out = None,
) -> None:
    """Report WAR, UAR, recalls and F1: per fold, their mean, and how far it can be trusted."""
    chosen = parse_folds(folds) if folds else None
    table_format = docs.check_format(table_format, out)
    idle = [name for name in OF_CHECKPOINT if name in opt.find_typed(context)]
    if checkpoint is None and idle:
        option = f"--{idle[0].replace('_', '-')}"
        raise ConfigError(f"finished runs are read, not run: {option} goes with --checkpoint")
    require_device(device)
    if checkpoint is not None and (run or against):
        raise ConfigError("a run and --checkpoint both say what to report; give one of them")
    if against is not None and len(run or ()) > 1:
        raise ConfigError("--against compares one run with one; name a single run before it")
    if confusion and (against is not None or len(run or ()) > 1):
        raise ConfigError("--confusion is of a single run; name one, without --against")
    from dfercli.evaluation.tables import (
        comparison_document,
        results_document,
        side_by_side_document,
    )

    if checkpoint is not None:
        from dfercli.evaluation.checkpoint import evaluate_checkpoint

        decoded = opt.find_cache(cache, cache_dir)
        from dfercli.runs.lookup import find_checkpoint

        checkpoint = find_checkpoint(checkpoint, runs)
        data = opt.find_data(dataset, root, manifests, workers, decoded, folds_by)
        results = evaluate_checkpoint(checkpoint, data, chosen, allow_other_crop, device)
        docs.show_document(results_document(results, confusion), table_format, out)
        return
    names: list[str | None] = [*run] if run else [None]
    every = [_read(names[0], runs, dataset, chosen)]
    every += [_read(name, runs, dataset or every[0].dataset, chosen) for name in names[1:]]
    if every[0].others and not run:
        opt.note(f"other variants there: {', '.join(every[0].others)}")
    if against is not None:
        other = _read(against, runs, every[0].dataset, chosen)
        document = comparison_document(every[0], other)
    elif len(every) > 1:
        document = side_by_side_document(every)
    else:
        document = results_document(every[0], confusion)
    docs.show_document(document, table_format, out)


@opt.expand_configs(*ABLATED)
def ablate(
    context: typer.Context,
    options: opt.RunOptions,
    model: ModelConfig,
    recipe: TrainConfig,
    augment: AugmentConfig,
    compute: ComputeConfig,
    table: Annotated[
        int | None, typer.Option(help="Table of the paper: 1 (our rows), 2, 3, 4 or 5.")
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(help="All combinations of these instead, such as interfit,msta,biehpro."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds to train each row with, from --seed on.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count parameters and operations; train nothing.")
    ] = False,
    table_format: docs.Format = docs.SCREEN,
    out: docs.Out = None,
) -> None:
    """Train and test the rows of one of the paper's tables, or only count what they cost."""
    title, rows = _find_rows(table, grid)
    require_at_least("seeds", seeds, 1)
    table_format = docs.check_format(table_format, out)
    typed = opt.find_typed(context)
    if dry_run:
        from dfercli.ablation.run import cost_table
        from dfercli.ablation.tables import cost_document
        from dfercli.data.sources.base import BASIC_EXPRESSIONS

        asked = RunConfig(
            data=NO_DATA, fold=1, model=model, train=recipe, augment=augment, preset=options.preset
        )
        base = apply_preset(asked, typed).model
        entries = cost_table(rows, base, BASIC_EXPRESSIONS)
        docs.show_document(cost_document(title, base, entries), table_format, out)
        return
    from dfercli.ablation.run import run_table
    from dfercli.ablation.tables import ablation_document

    config, folds = opt.find_run(options, model, recipe, augment, compute, typed)
    how = opt.how_to_run(options) | {"command": _command()}
    ablation = run_table(rows, config, folds, options.runs, seeds, typed, **how)
    if opt.is_main_process():
        docs.show_document(ablation_document(title, ablation), table_format, out)
        ablation.outcome.check()


def _check_typed(model: ModelConfig, typed: set[str]) -> None:
    """Refuse settings of a training for what is not trained."""
    recipes = (*fields(TrainConfig), *fields(AugmentConfig))
    idle = [each.name for each in recipes if each.name in typed and each.name != "val_fraction"]
    if model.method in UNTRAINED and idle:
        option = f"--{idle[0].replace('_', '-')}"
        raise ConfigError(f"{model.method} trains nothing: {option} has no effect, leave it out")


def _note_estimate(configs: Sequence[RunConfig], options: opt.RunOptions) -> None:
    """Print what training will take on this CPU, where it is long."""
    if options.cluster is not None or not opt.is_main_process():
        return
    from dfercli.runs.run_folder import run_folder
    from dfercli.training.estimate import LONG_S, estimate

    todo = [c for c in configs if options.overwrite or not run_folder(options.runs, c).finished]
    found = estimate(todo, options.runs)
    if found is not None and found.seconds >= LONG_S:
        small = "" if options.preset == "small" else "; it is work for a GPU, or see --preset small"
        opt.note(f"estimate: {found.describe()}{small}")


def _check_all_data(model: ModelConfig, options: opt.RunOptions) -> None:
    """Refuse what does not go with a model on all clips."""
    if model.method in UNTRAINED:
        raise ConfigError(f"{model.method} trains nothing: leave out --all-data")
    if options.folds:
        raise ConfigError("--all-data tests no fold; leave out --folds")


def _train_final(config: RunConfig, options: opt.RunOptions) -> None:
    """Train the model on all clips, and print where it is and what says how good it may be."""
    from dfercli.data.folds import open_manifest
    from dfercli.jobs.run import train_folds
    from dfercli.training.final import plan_final

    final, folds = plan_final(config, options.runs, open_manifest(config.data))
    names, epochs = ", ".join(map(str, folds)), final.train.last_epoch
    if folds:
        opt.note(f"epochs: {epochs}, the median of those that folds {names} chose")
    else:
        opt.note(f"epochs: all {epochs}; no fold is finished that could say how many are best")
    _note_estimate([final], options)
    trained = train_folds(final, [ALL_DATA], options.runs, _command(), **opt.how_to_run(options))
    if not opt.is_main_process():
        return
    print(f"{final.title}: {epochs} epochs, no clip is left to test it")
    print(f"  model: {trained[ALL_DATA].model}")
    print(f"  recipe: {describe_recipe(final)}")
    if folds:
        variant = shlex.quote(str(trained[ALL_DATA].path.parent))
        print(f"`dfer eval {variant}` prints what the models of folds {names} reached")
    else:
        print("`dfer train` without --all-data says how good such a model is")


def _find_rows(table: int | None, grid: str | None) -> "tuple[str, tuple[Row, ...]]":
    """Give the title and the rows of what was asked for; Table 2 if nothing was."""
    from dfercli.ablation.paper_tables import grid_rows, table_rows

    if grid is None:
        number = 2 if table is None else table
        return f"Table {number}", table_rows(number)
    if table is not None:
        raise ConfigError("--table and --grid both say which rows to train; give one of them")
    modules = [name.strip() for name in grid.split(",") if name.strip()]
    return f"grid of {', '.join(modules)}", grid_rows(modules)


def _read(name: str | None, runs: Path, dataset: str | None, folds: list[int] | None) -> "Results":
    """Read the runs of a variant, named by its folder or by its name among the runs."""
    from dfercli.evaluation.results import read_results

    return read_results(*find_variant(name, runs, dataset), folds)


def _command() -> str:
    return shlex.join(["dfer", *sys.argv[1:]])
