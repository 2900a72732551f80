"""Commands that train runs and report them: one variant, its figures, and the paper's tables."""

import json
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dfercli.cli import options as opt
from dfercli.config import (
    AugmentConfig,
    ComputeConfig,
    DataConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
)
from dfercli.errors import ConfigError
from dfercli.presets import apply_preset, describe_recipe

if TYPE_CHECKING:
    from dfercli.engine.evaluate import Results

ABLATED = ("interfit", "msta", "biehpro", "text", "text_prompt", "visual_prompt", "num_blocks")
"""Settings that the rows of the paper's tables decide."""

NO_DATA = DataConfig("", "", "")
"""Stands where only costs are counted."""


@opt.expand_configs()
def train(
    context: typer.Context,
    options: opt.RunOptions,
    model: ModelConfig,
    recipe: TrainConfig,
    augment: AugmentConfig,
    compute: ComputeConfig,
) -> None:
    """Train on each fold's other folds and test on it. Defaults are the paper's recipe."""
    typed = opt.find_typed(context)
    config, folds = opt.find_run(options, model, recipe, augment, compute, typed)
    from dfercli.data.manifest import mark_partial
    from dfercli.engine.evaluate import summarise_runs
    from dfercli.engine.jobs import train_folds
    from dfercli.engine.runlog import list_deviations

    trained = train_folds(config, folds, options.runs, _command(), **opt.how_to_run(options))
    if not opt.is_main_process():
        return
    names = ", ".join(map(str, folds))
    title = f"{config.data.dataset} {model.variant}, mean over folds {names}:"
    print(mark_partial(title, list_deviations(trained.values())))
    for protocol in ("best", "last"):
        summary = summarise_runs(trained, protocol)
        print(f"  {protocol} epoch: WAR {summary.mean_war:.2%}, UAR {summary.mean_uar:.2%}")
    print(f"  recipe: {describe_recipe(config)}")
    print("`dfer eval` prints all of it, and how the best epoch is chosen")


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
    cache: opt.Cache = False,
    cache_dir: opt.CacheDir = None,
    allow_other_crop: Annotated[
        bool, typer.Option("--allow-other-crop", help="Test on faces that were cropped otherwise.")
    ] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Report WAR, UAR and recalls: per fold and their mean, best and last epoch side by side."""
    chosen = opt.parse_folds(folds) if folds else None
    if checkpoint is None and (cache or cache_dir):
        raise ConfigError("finished runs are read, not run: --cache goes with --checkpoint")
    if checkpoint is not None and variant is not None:
        raise ConfigError("--variant chooses among runs, --checkpoint names one; give one of them")
    from dfercli.engine.evaluate import evaluate_checkpoint, read_results

    if checkpoint is not None:
        decoded = opt.find_cache(cache, cache_dir)
        data = opt.find_data(dataset, root, manifests, workers, decoded)
        results = evaluate_checkpoint(checkpoint, data, chosen, allow_other_crop)
    else:
        results = read_results(runs, dataset, variant, chosen)
    if results.others:
        opt.note(f"other variants there (--variant): {', '.join(results.others)}")
    _print_results(results, as_json)


@opt.expand_configs(*ABLATED)
def ablate(
    context: typer.Context,
    options: opt.RunOptions,
    model: ModelConfig,
    recipe: TrainConfig,
    augment: AugmentConfig,
    compute: ComputeConfig,
    table: Annotated[int, typer.Option(help="Table of the paper: 2, 3, 4 or 5.")] = 2,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count parameters and operations; train nothing.")
    ] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Train and test the rows of one of the paper's tables, or only count what they cost."""
    from dfercli.cli.tables import print_ablation, print_costs
    from dfercli.data.manifest import mark_partial
    from dfercli.engine.ablate import cost_table, run_table

    deviations: Sequence[str] = ()
    outcome = None
    typed = opt.find_typed(context)
    if dry_run:
        from dfercli.data.spec import BASIC_EXPRESSIONS

        asked = RunConfig(NO_DATA, 1, model, recipe, augment, preset=options.preset)
        config = apply_preset(asked, typed)
        model = config.model
        entries = cost_table(table, model, BASIC_EXPRESSIONS)
        title = f"Table {table}: one clip of {model.num_frames} frames, {model.backbone}, 7 classes"
        show = print_costs
    else:
        config, folds = opt.find_run(options, model, recipe, augment, compute, typed)
        entries, deviations, outcome = run_table(
            table, config, folds, options.runs, _command(), **opt.how_to_run(options)
        )
        names = ", ".join(map(str, folds))
        title = f"Table {table} on {config.data.dataset}: mean over folds {names}; "
        title += f"{config.model.backbone} ({config.model.weights}), seed {options.seed}"
        show = print_ablation
    name = describe_recipe(config)
    title += f"; recipe: {name}"
    if not opt.is_main_process():
        return
    if as_json:
        values = {"title": title, "recipe": name, "deviations": deviations, "rows": entries}
        print(json.dumps(values, indent=2))
    else:
        show(mark_partial(title, deviations), entries)
    if outcome:
        outcome.check()


def _print_results(results: "Results", as_json: bool) -> None:
    if as_json:
        values = {
            "title": results.title,
            "recipe": results.recipe,
            "deviations": results.deviations,
            "class_names": results.class_names,
            "protocols": {name: each.to_dict() for name, each in results.summaries.items()},
        }
        print(json.dumps(values, indent=2))
        return
    from dfercli.cli.tables import print_folds
    from dfercli.data.manifest import mark_partial

    title = mark_partial(results.title, results.deviations)
    print_folds(title, results.summaries, results.class_names)


def _command() -> str:
    return shlex.join(["dfer", *sys.argv[1:]])
