"""Commands that train: one variant, and the rows of the paper's tables."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated

import typer

from dfercli.cli import options as opt
from dfercli.cli import printing
from dfercli.cli.defaults import find_repeated
from dfercli.config import (
    ALL_DATA,
    PARTS,
    STILL_IMAGE,
    TRAINING_SETTINGS,
    UNTRAINED,
    WITHOUT_CLIP,
    AugmentConfig,
    ComputeConfig,
    DataConfig,
    InitConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    to_dict,
)
from dfercli.config.model import OF_NETWORKS
from dfercli.config.presets import VARIANT, WITHOUT_BLOCKS, apply_preset, describe_recipe
from dfercli.errors import ConfigError, require_at_least
from dfercli.text import as_option

if TYPE_CHECKING:
    from dfercli.ablation.paper_tables import Row
    from dfercli.data.manifest import Manifest
    from dfercli.runs.run_folder import RunFolder

ABLATED = tuple(name for name in VARIANT if name != "cross_attention")
"""Settings that the rows of the paper's tables determine."""

APART = ("sampling", *OF_NETWORKS)
"""Settings that the rows take where they fit, because the model that they change lacks them."""

SETTINGS = {
    setting.name
    for part in (ModelConfig, TrainConfig, AugmentConfig, ComputeConfig)
    for setting in fields(part)
}
"""Settings that a repeated run takes from its record instead of its preset."""

NO_DATA = DataConfig(dataset="", manifest="", root="")
"""Placeholder for the data if only costs are counted."""


@opt.expand_configs()
def train(
    context: typer.Context,
    options: opt.RunOptions,
    model: ModelConfig,
    recipe: TrainConfig,
    augment: AugmentConfig,
    compute: ComputeConfig,
    repeat: Annotated[
        str | None,
        opt.in_runs(
            "Repeat a run (folder or name; for a variant, all its folds) with its recorded data, "
            "recipe, seed and fold. Options on the command line take precedence."
        ),
    ] = None,
    init: Annotated[
        str | None,
        opt.in_runs(
            "Start from a checkpoint (folder, run or name on the Hub), on other data or with other "
            "classes. It decides the model's settings; classes with the same name keep what they "
            "have learnt."
        ),
    ] = None,
    all_data: Annotated[
        bool,
        opt.in_runs(
            "Train one model on all clips, without a test, for the median number of epochs that "
            "the finished folds chose. `dfer predict` prefers this model.",
            "--all-data",
        ),
    ] = False,
) -> None:
    """Train one model per fold on all other folds and test it; defaults are the paper's recipe."""
    typed = opt.find_typed(context)
    _check_typed(model, typed)
    if all_data:
        _check_all_data(model, options, repeat if "all_data" not in typed else None)
    decided = typed if repeat is None else typed | SETTINGS
    initial = None
    if init is not None and model.method in UNTRAINED:
        raise ConfigError(f"{model.method} trains nothing: --init has no effect; remove it")
    if init is not None:
        from dfercli.runs.checkpoint import find_initial

        initial = find_initial(init, options.runs)
        decided = decided | {setting.name for setting in fields(ModelConfig)}
    config, folds, manifest = opt.find_run(
        options, model, recipe, augment, compute, decided, initial
    )
    _check_effects(config, typed)
    if initial is not None:
        _note_initial(initial, manifest)
    if repeat is not None:
        targets = [ALL_DATA] if all_data else folds
        _note_repeat(repeat, replace(config, fold=targets[0]), targets, manifest, options)
    if all_data:
        repeated = {} if repeat is None else find_repeated(repeat, options.runs)
        _train_final(config, options, manifest, repeated)
        return
    from dfercli.data.manifest import mark_partial
    from dfercli.evaluation.results import summarise_runs
    from dfercli.evaluation.tables import LABELS
    from dfercli.jobs.run import train_folds
    from dfercli.runs.run_folder import list_deviations, protocols_of

    _note_estimate([replace(config, fold=fold) for fold in folds], options, manifest)
    how = opt.how_to_run(options) | {"manifest": manifest}
    runs = train_folds(config, folds, options.runs, _command(), **how)
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
    others = f" and {len(folds) - 1} more" if len(folds) > 1 else ""
    print(f"  models: {variant}/fold{folds[0]}{others}")
    print(f"next: `dfer eval {variant}` prints all results, `dfer report {variant}` draws them,")
    print(f"`dfer predict video.mp4 --checkpoint {variant}` classifies the faces in a video")
    if config.model.method not in UNTRAINED:
        print("to train one model on all clips: the same command with --all-data, without --folds")


@opt.expand_configs(*ABLATED, apart=APART)
def ablate(
    context: typer.Context,
    options: opt.RunOptions,
    model: ModelConfig,
    recipe: TrainConfig,
    augment: AugmentConfig,
    compute: ComputeConfig,
    table: Annotated[
        int | None,
        typer.Option(help="Table of the paper: 1 (all systems), 2, 3, 4 or 5; by default 2."),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="Rows of Table 1, such as former-dfer,m3dfel,baseline,ours; by default all."
        ),
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(
            help="Train all combinations of these modules, such as interfit,msta,biehpro."
        ),
    ] = None,
    still_image: Annotated[
        bool,
        typer.Option(
            "--still-image",
            help="Add the built-in network, which reads single frames, as the last row: a "
            "baseline that is not in the paper.",
        ),
    ] = False,
    seeds: Annotated[int, typer.Option(help="Number of seeds per row, counted from --seed.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count parameters and operations without training.")
    ] = False,
    table_format: printing.Format = printing.SCREEN,
    out: printing.Out = None,
) -> None:
    """Train and test the rows of a table of the paper, or only count their operations."""
    title, rows = _find_rows(table, grid, still_image, models)
    require_at_least("seeds", seeds, 1)
    table_format = printing.check_format(table_format, out)
    typed = opt.find_typed(context)
    reads = {name: context.params[name] for name in APART if name in typed}
    if dry_run:
        from dfercli.ablation.plan import list_unaffected
        from dfercli.ablation.run import cost_document, cost_table
        from dfercli.data.sources.base import BASIC_EXPRESSIONS

        requested = RunConfig(
            data=NO_DATA, fold=1, model=model, train=recipe, augment=augment, preset=options.preset
        )
        base = apply_preset(requested, typed)
        entries = cost_table(rows, base, BASIC_EXPRESSIONS, typed, reads)
        notes = list_unaffected(rows, base, typed, reads)
        document = cost_document(title, base.model, entries, base.train, notes)
        printing.show_document(document, table_format, out)
        return
    from dfercli.ablation.plan import list_unaffected
    from dfercli.ablation.run import ablation_document, run_table

    config, folds, manifest = opt.find_run(options, model, recipe, augment, compute, typed)
    how = opt.how_to_run(options) | {"command": _command(), "manifest": manifest}
    how |= {"reads": reads, "class_names": manifest.class_names}
    ablation = run_table(rows, config, folds, options.runs, seeds, typed, **how)
    if opt.is_main_process():
        notes = list_unaffected(rows, config, typed, reads)
        document = ablation_document(title, ablation, notes)
        printing.show_document(document, table_format, out)
        ablation.outcome.check()


def _check_typed(model: ModelConfig, typed: set[str]) -> None:
    """Refuse settings of the training for a method without training, and of CLIP without it."""
    unused = [name for name in TRAINING_SETTINGS if name in typed]
    if model.method in UNTRAINED and unused:
        option = as_option(unused[0])
        raise ConfigError(f"{model.method} trains nothing: {option} has no effect; remove it")
    unused = [name for name in _of_clip(model.method) if name in typed]
    if model.method in WITHOUT_CLIP and unused:
        option = as_option(unused[0])
        raise ConfigError(f"{model.method} does not use CLIP: {option} has no effect; remove it")


def _check_effects(config: RunConfig, typed: set[str]) -> None:
    """Refuse options that the rest of the recipe leaves without effect."""
    from dfercli.training.recipe import find_unused

    for name, reason in find_unused(config).items():
        if name in typed:
            raise ConfigError(f"{as_option(name)} has no effect with {reason}; remove it")


def _of_clip(method: str) -> list[str]:
    """Return the settings that affect only methods with CLIP."""
    if method == STILL_IMAGE:
        return [s.name for s in fields(ModelConfig) if s.name not in ("method", "num_frames")]
    return ["backbone", "prompt_template", *PARTS, *WITHOUT_BLOCKS, "lora_rank", "lora_on"]


def _note_initial(init: InitConfig, manifest: "Manifest") -> None:
    """Print which checkpoint the run starts from, and which classes it knows."""
    from dfercli.models.base import read_settings

    known = read_settings(init.where)["class_names"]
    shared = [name for name in manifest.class_names if name in known]
    new = [name for name in manifest.class_names if name not in known]
    opt.note(f"starts from: {init.name} (SHA-256 {init.sha256[:12]}); classes that it knows:")
    opt.note(f"  {', '.join(shared) or 'none'}; new: {', '.join(new) or 'none'}")


def _note_repeat(
    name: str,
    config: RunConfig,
    folds: Sequence[int],
    manifest: "Manifest",
    options: opt.RunOptions,
) -> None:
    """Print which run is repeated and what differs; refuse to replace the repeated run itself."""
    from dfercli.runs.provenance import describe_code_changes
    from dfercli.runs.record import DataRecord, RunRecord, name_differences
    from dfercli.runs.run_folder import run_folder

    sources = find_repeated(name, options.runs)
    for fold in folds:
        target = run_folder(options.runs, replace(config, fold=fold))
        source = sources.get(fold)
        same = source is not None and source.path.resolve() == target.path.resolve()
        if same and target.finished and not options.overwrite:
            raise ConfigError(
                f"{target.path} is the run to repeat, and it is finished; choose another folder "
                f"with --runs, or replace it with --overwrite"
            )
    record = next(iter(sources.values())).read()
    listed = ", ".join(str(source.path) for source in sources.values())
    opt.note(f"repeats: {listed} ({record.calls[0].command or 'command not recorded'})")
    settings = RunRecord(to_dict(config), record.data)
    votes = manifest.votes_fingerprint if config.train.labels == "votes" else None
    changes = {
        "changed settings": name_differences(record, settings, "fold"),
        "changed data": name_differences(
            RunRecord({}, record.data), RunRecord({}, DataRecord(manifest.fingerprint, votes=votes))
        ),
        "changed code": describe_code_changes(record),
    }
    for what, change in changes.items():
        if change:
            opt.note(f"{what}: {change}")


def _note_estimate(
    configs: Sequence[RunConfig], options: opt.RunOptions, manifest: "Manifest"
) -> None:
    """Print an estimate of the training time on this CPU, if it is long."""
    if options.cluster is not None or not opt.is_main_process():
        return
    from dfercli.runs.run_folder import run_folder
    from dfercli.training.estimate import LONG_S, estimate

    todo = [c for c in configs if options.overwrite or not run_folder(options.runs, c).finished]
    expected = estimate(todo, options.runs, manifest)
    if expected is not None and expected.seconds >= LONG_S:
        small = "" if options.preset == "small" else "; use a GPU, or --preset small"
        opt.note(f"estimate: {expected.describe()}{small}")


def _check_all_data(model: ModelConfig, options: opt.RunOptions, repeated: str | None) -> None:
    """Refuse options that do not go with a model on all clips.

    Args:
        model: The model.
        options: The other options.
        repeated: The run that is repeated, if it is the reason for training on all clips.
    """
    if model.method in UNTRAINED:
        raise ConfigError(f"{model.method} trains nothing; remove --all-data")
    if options.folds and repeated is not None:
        raise ConfigError(f"{repeated} was trained on all clips and has no folds; remove --folds")
    if options.folds:
        raise ConfigError("--all-data tests no fold; remove --folds")


def _train_final(
    config: RunConfig,
    options: opt.RunOptions,
    manifest: "Manifest",
    repeated: "Mapping[int, RunFolder]",
) -> None:
    """Train the model on all clips, and print where it is.

    Args:
        config: A run of the variant, of any fold.
        options: The other options.
        manifest: The data.
        repeated: The runs that are repeated, by fold.
    """
    from dfercli.jobs.run import train_folds
    from dfercli.training.final import plan_final

    plan = plan_final(config, options.runs, manifest, repeated)
    final, folds = plan.config, plan.folds
    names, epochs = ", ".join(map(str, folds)), final.train.last_epoch
    if folds:
        opt.note(f"epochs: {epochs}, the median of the epochs chosen in folds {names}")
    elif ALL_DATA in repeated:
        opt.note(f"epochs: {epochs}, as in the repeated run")
    else:
        opt.note(f"epochs: {epochs}, as configured, because no fold is finished")
    _note_estimate([final], options, manifest)
    how = opt.how_to_run(options) | {"manifest": manifest, "calibration": plan.calibration}
    trained = train_folds(final, [ALL_DATA], options.runs, _command(), **how)
    if not opt.is_main_process():
        return
    print(f"{final.title}: {epochs} epochs on all clips, not tested")
    print(f"  model: {trained[ALL_DATA].model}")
    print(f"  recipe: {describe_recipe(final)}")
    if folds:
        variant = shlex.quote(str(trained[ALL_DATA].path.parent))
        print(f"`dfer eval {variant}` prints the test results of folds {names}")
    else:
        print("to estimate its accuracy, run `dfer train` without --all-data")


def _find_rows(
    table: int | None, grid: str | None, still_image: bool, models: str | None
) -> "tuple[str, tuple[Row, ...]]":
    """Return the title and the rows of the requested table, by default of Table 2."""
    from dfercli.ablation.paper_tables import STILL_IMAGE, grid_rows, table_rows
    from dfercli.ablation.table1 import choose_rows

    baseline = (STILL_IMAGE,) if still_image else ()
    if models is not None:
        if table != 1:
            raise ConfigError("--models chooses rows of Table 1; add --table 1, or remove it")
        return "Table 1", choose_rows(models) + baseline
    if grid is None:
        number = 2 if table is None else table
        return f"Table {number}", table_rows(number) + baseline
    if table is not None:
        raise ConfigError("--table and --grid both choose the rows; remove one of them")
    modules = [name.strip() for name in grid.split(",") if name.strip()]
    return f"grid of {', '.join(modules)}", grid_rows(modules) + baseline


def _command() -> str:
    """Return the command line."""
    return shlex.join(["dfer", *sys.argv[1:]])
