"""Options of the commands, and what their values mean."""

import inspect
import os
import re
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from dfercli.cli.places import find_root, usual_cache
from dfercli.config import (
    AugmentConfig,
    ComputeConfig,
    DataConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    is_numbered,
)
from dfercli.config.presets import CHANGES, apply_preset, describe_recipe
from dfercli.data.sources.base import MAX_FOLD
from dfercli.errors import ConfigError, DataError, require_at_least
from dfercli.text import escape_letter


def parse_folds(text: str) -> list[int]:
    """Read `1-5`, `1,3` or `2` as fold numbers.

    Raises:
        ConfigError: It is none of these.
    """
    folds: set[int] = set()
    for part in text.split(","):
        matched = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not matched:
            raise ConfigError(f"cannot read folds {text!r}; give 1-5, or 1,3, or 2")
        first, last = int(matched[1]), int(matched[2] or matched[1])
        if last < first:
            raise ConfigError(f"no fold in {part!r}; give the lower one first, as in 1-5")
        if first < 1:
            raise ConfigError("folds are counted from 1; to train on all clips, give --all-data")
        if last > MAX_FOLD:
            raise ConfigError(f"no dataset has a fold {last}; give numbers up to {MAX_FOLD}")
        folds |= set(range(first, last + 1))
    return sorted(folds)


def find_variant(
    name: str | None, runs: Path, dataset: str | None
) -> tuple[Path, str | None, str | None]:
    """Give the folder of all runs, the dataset and the variant, of which some may be open.

    Args:
        name: Of the variant, or the path of its folder; None leaves it open.
        runs: Folder of all runs, unless the path tells it.
        dataset: Its name, unless the path tells it.

    Raises:
        ConfigError: The path is that of a fold.
    """
    folder = Path(name or "")
    if re.fullmatch(r"fold\d+", folder.name) and len(folder.parts) > 1:
        fold = folder.name.removeprefix("fold")
        raise ConfigError(f"{name} is a single fold; give {folder.parent} --folds {fold}")
    if len(folder.parts) < 2:
        return runs, dataset, name
    if len(folder.parts) == 2 and not folder.is_dir() and (runs / folder).is_dir():
        return runs, folder.parts[0], folder.parts[1]  # `DATASET/VARIANT`, as --checkpoint has it
    return folder.parent.parent, folder.parent.name, folder.name


OPTION_TYPES = (str, int, float, bool, Path, str | None, Path | None)
"""Types of settings that can be typed; a setting of another type keeps its default."""

MANIFESTS = Path("data_manifests")
RUNS = Path("runs")


@dataclass(frozen=True)
class RunOptions:
    """What the commands that train share beside the configurations.

    Attributes:
        dataset: Name of a manifest; by default the one written last.
        folds: Folds to test on, such as 1-5 or 1,3; by default all.
        folds_by: `official`, the manifest's folds; or `group`, dealt anew so that no person (or
            film: the manifest's column group) is in two of them.
        preset: Recipe: `paper`; `small`, which fits a laptop's CPU; or `strong`, of later
            ingredients. Typed settings win over it.
        seed: Seed of everything random.
        workers: Processes that load clips; 0 loads in this one.
        root: Folder of the data; by default where it was, or $DFER_DATA/DATASET.
        manifests: Folder of the manifests.
        runs: Folder of the runs.
        overwrite: Train anew what is there already, or go on where it was interrupted.
        cache: Keep all frames decoded on disk, for all folds and runs: 150 kB a frame of 224 px.
        cache_dir: Folder of decoded frames; by default $DFER_CACHE, or dfer in the user's caches.
        jobs: Runs that are trained at a time on this machine, each in a process of its own.
        cluster: Train on a Ray cluster instead: its address, or `auto` on one of its machines.
    """

    dataset: str | None = None
    folds: str | None = None
    folds_by: str = DataConfig.folds_by
    preset: str = RunConfig.preset
    seed: int = RunConfig.seed
    workers: int = DataConfig.workers
    root: Path | None = None
    manifests: Path = MANIFESTS
    runs: Path = RUNS
    overwrite: bool = field(default=False, metadata={"names": ("--overwrite/--resume",)})
    cache: bool = False
    cache_dir: Path | None = None
    jobs: int = 1
    cluster: str | None = None


def _attribute_texts(cls: Any) -> dict[str, str]:
    """Read the texts of a docstring's section `Attributes:`."""
    section = (inspect.getdoc(cls) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", section, flags=re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text) for name, text in found}


_TEXTS = _attribute_texts(RunOptions)
Root = Annotated[Path | None, typer.Option(help=_TEXTS["root"])]
Manifests = Annotated[Path, typer.Option(help=_TEXTS["manifests"])]
Runs = Annotated[Path, typer.Option(help=_TEXTS["runs"])]
FoldsBy = Annotated[str, typer.Option(help=_TEXTS["folds_by"])]
Folds = Annotated[str | None, typer.Option(help=_TEXTS["folds"])]
Workers = Annotated[int, typer.Option(help=_TEXTS["workers"])]
Cache = Annotated[bool, typer.Option("--cache/--no-cache", help=_TEXTS["cache"])]
CacheDir = Annotated[Path | None, typer.Option(help=_TEXTS["cache_dir"])]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def expand_configs(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace each parameter that is a configuration by one option for each of its fields.

    Args:
        left_out: Names of fields that get no option and keep their default.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        configs: dict[str, Any] = {
            name: parameter.annotation
            for name, parameter in signature.parameters.items()
            if is_dataclass(parameter.annotation)
        }
        options = {name: _options_of(name, cls, left_out) for name, cls in configs.items()}

        @wraps(command)
        def expanded(**arguments: Any) -> None:
            changes = CHANGES.get(arguments.get("preset", ""), {})
            typed = find_typed(arguments["context"]) if changes else ()
            for values in changes.values():  # so that what is typed is checked beside the preset's
                known = {n: v for n, v in values.items() if n in arguments and n not in typed}
                arguments |= known
            for name, cls in configs.items():
                arguments[name] = cls(**{o.name: arguments.pop(o.name) for o in options[name]})
            command(**arguments)

        kept = [p for name, p in signature.parameters.items() if name not in configs]
        made = [option for name in configs for option in options[name]]
        expanded.__signature__ = signature.replace(parameters=kept + made)  # type: ignore[attr-defined]
        return expanded

    return decorate


def _options_of(panel: str, cls: Any, left_out: tuple[str, ...]) -> list[inspect.Parameter]:
    texts = _attribute_texts(cls)
    return [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.default,
            annotation=Annotated[
                each.type,
                typer.Option(
                    *each.metadata.get("names", ()),
                    help=texts[each.name],
                    rich_help_panel=panel.title(),
                ),
            ],
        )
        for each in fields(cls)
        if each.type in OPTION_TYPES and each.name not in left_out
    ]


def find_cache(wanted: bool, folder: Path | None) -> str | None:
    """Give the folder of decoded frames: as named, $DFER_CACHE, or `dfer` in the user's caches.

    Raises:
        ConfigError: It is named, and no cache is wanted.
    """
    if not wanted:
        if folder is not None:
            raise ConfigError(f"--cache-dir {folder} has no effect without --cache; give both")
        return None
    if folder is None:
        folder = usual_cache()
    note(f"decoded frames: in {folder}")
    return str(folder)


def find_data(
    dataset: str | None,
    root: Path | None,
    manifests: Path,
    workers: int,
    cache: str | None = None,
    folds_by: str = DataConfig.folds_by,
) -> DataConfig:
    """Find a manifest and its data: as named, in $DFER_DATA, or where they were preprocessed."""
    from dfercli.data.manifest import find_manifest, read_manifest

    path = find_manifest(manifests, dataset)
    manifest = read_manifest(path)
    root = root or find_root(path) or Path(manifest.root)
    note(f"dataset: {manifest.dataset} ({path}), data in {root}")
    kind = manifest.kind
    return DataConfig(
        dataset=manifest.dataset,
        manifest=str(path),
        root=str(root),
        workers=workers,
        kind=kind,
        cache=cache,
        folds_by=folds_by,
    )


def find_run(
    options: RunOptions,
    model: ModelConfig,
    recipe: TrainConfig,
    augment: AugmentConfig,
    compute: ComputeConfig,
    typed: Collection[str],
) -> tuple[RunConfig, list[int]]:
    """Give the run that was asked for, and the folds: as typed, or all that the manifest has."""
    from dfercli.data.folds import check_labels, open_manifest

    _check_how_to_run(options, compute.device)
    cache = find_cache(options.cache, options.cache_dir)
    data = find_data(
        options.dataset, options.root, options.manifests, options.workers, cache, options.folds_by
    )
    manifest = open_manifest(data)
    check_labels(manifest)  # before torch is imported and the model built
    known = list(manifest.folds)
    folds = parse_folds(options.folds) if options.folds else known
    if not folds:
        raise DataError(f"no clip of {data.manifest} has a test_fold to be tested in; give it one")
    run = RunConfig(
        data=data,
        fold=folds[0],
        model=model,
        train=recipe,
        augment=augment,
        compute=compute,
        seed=options.seed,
        preset=options.preset,
    )
    run = apply_preset(run, typed)
    note(f"backbone: {run.model.backbone}, weights: {run.model.weights}")
    note(f"recipe: {describe_recipe(run)}")
    note_processes()
    return run, folds


def find_typed(context: typer.Context) -> set[str]:
    """Give the names of the options that were typed, not left at their defaults."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name != "DEFAULT"}


def how_to_run(options: RunOptions) -> dict[str, Any]:
    """Give what tells how runs are trained, and changes no result."""
    return {"overwrite": options.overwrite, "jobs": options.jobs, "cluster": options.cluster}


def note_processes() -> None:
    """Print how many processes train together; `accelerate launch --cpu` silently starts one."""
    together = int(os.environ.get("WORLD_SIZE", "1"))
    if together > 1 or "ACCELERATE_MIXED_PRECISION" in os.environ:
        note(f"processes that train together: {together}")


def _check_how_to_run(options: RunOptions, device: str) -> None:
    require_at_least("jobs", options.jobs, 1)
    if options.jobs > 1 and options.cluster:
        raise ConfigError("--jobs is for one machine, a cluster fills its own; leave one out")
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if together and (options.jobs > 1 or options.cluster):
        raise ConfigError(
            "processes that were launched together train one run at a time; leave out --jobs and "
            "--cluster, or call `dfer` without a launcher"
        )
    if is_numbered(device) and (together or options.cluster):
        who = "a cluster" if options.cluster else "a launcher"
        raise ConfigError(
            f"--device {device} names one GPU, but {who} gives every process its own; leave out "
            f"--device"
        )


def wait_without_spinning() -> None:
    """Let threads of torch sleep while they wait, where the user has not chosen; before it loads.

    Beside any other work on the machine, threads that spin take the time from those they wait for:
    a window then took ten times as long (docs/performance.md).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def note(text: str) -> None:
    """Print a remark where it does not mix with results, once however many processes there are."""
    if is_main_process():
        lines = ("".join(map(escape_letter, line)) for line in text.split("\n"))
        print("\n".join(lines), file=sys.stderr)


def is_main_process() -> bool:
    """Whether this process is the one that prints, of those that were launched together."""
    return os.environ.get("RANK", "0") == "0"
