"""Options that several commands have, and the meaning of their values."""

import inspect
import os
import re
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dfercli.cli.defaults import RUNS, find_defaults
from dfercli.config import (
    NETWORKS,
    WITHOUT_CLIP,
    AugmentConfig,
    ComputeConfig,
    DataConfig,
    InitConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    is_numbered,
)
from dfercli.config.presets import apply_preset, describe_recipe
from dfercli.data.sources.base import MAX_FOLD
from dfercli.errors import ConfigError, DataError, require_at_least
from dfercli.models.settings import BUILT_IN
from dfercli.text import escape_letter

if TYPE_CHECKING:
    from dfercli.data.manifest import Manifest

MANIFESTS = Path("data_manifests")

DATA, FACES, MODEL, RUN = "Data", "Faces", "Model", "Runs"
COMPUTE, OUTPUT, SERVER = "Compute", "Output", "Server"
"""Groups of options in the help."""


def parse_folds(text: str) -> list[int]:
    """Parse `1-5`, `1,3` or `2` as fold numbers.

    Raises:
        ConfigError: The text has another form, or a number is out of range.
    """
    folds: set[int] = set()
    for part in text.split(","):
        matched = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not matched:
            raise ConfigError(f"invalid folds {text!r}; use a form such as 1-5, 1,3 or 2")
        first, last = int(matched[1]), int(matched[2] or matched[1])
        if last < first:
            raise ConfigError(f"invalid folds {part!r}; put the lower number first, as in 1-5")
        if first < 1:
            raise ConfigError("folds are numbered from 1; use --all-data to train on all clips")
        if last > MAX_FOLD:
            raise ConfigError(f"invalid fold {last}; the highest possible number is {MAX_FOLD}")
        folds |= set(range(first, last + 1))
    return sorted(folds)


def find_variant(
    name: str | None, runs: Path, dataset: str | None
) -> tuple[Path, str | None, str | None]:
    """Return the folder of all runs, the dataset and the variant; the last two may be None.

    `name` is the name of a variant or the path of its folder, which then overrides `runs` and
    `dataset`.

    Raises:
        ConfigError: The path is that of a fold, or of a run on all clips, or names no run.
    """
    if name == BUILT_IN:
        raise ConfigError(
            f"{BUILT_IN} is no run; test it with `dfer test {BUILT_IN}`, or make it a run with "
            f"`dfer train --model still-image`"
        )
    folder = Path(name or "")
    if re.fullmatch(r"fold\d+", folder.name) and len(folder.parts) > 1:
        fold = folder.name.removeprefix("fold")
        raise ConfigError(f"{name} is a single fold; use {folder.parent} --folds {fold}")
    if folder.name == "all" and any((top / folder / "run.json").is_file() for top in (".", runs)):
        raise ConfigError(
            f"{name} was trained on all clips, so none can test it; use {folder.parent} for the "
            f"results of its folds"
        )
    if len(folder.parts) < 2:
        return runs, dataset, name
    if len(folder.parts) == 2 and not folder.is_dir() and (runs / folder).is_dir():
        return runs, folder.parts[0], folder.parts[1]  # `DATASET/VARIANT`, as --checkpoint has it
    return folder.parent.parent, folder.parent.name, folder.name


OPTION_TYPES = (str, int, float, bool, Path, str | None, float | None, Path | None)
"""Types of settings that become options; settings of other types keep their default."""


def option(panel: str, default: Any = None, *names: str) -> Any:
    """Return a field that `expand_configs` makes an option, in a group of the help."""
    return field(default=default, metadata={"panel": panel, "names": names})


@dataclass(frozen=True)
class RunOptions:
    """The options of commands that train, beside the configurations.

    Attributes:
        dataset: Name of a manifest; by default the most recent one.
        folds: Folds to test on, such as 1-5 or 1,3; by default all.
        folds_by: `official` for the folds of the manifest, or `group` for new folds that share no
            person (or film: the column `group` of the manifest).
        preset: Training recipe: `paper`; `small`, for a laptop's CPU; or `strong`, with techniques
            from later work. Options on the command line take precedence.
        seed: Random seed.
        workers: Number of processes that load clips; 0 loads them in the main process.
        root: Folder of the data; by default $DFER_DATA/DATASET, or the folder recorded in the
            manifest.
        manifests: Folder of the manifests.
        runs: Folder of the runs.
        overwrite: Retrain existing runs from scratch; by default, resume them.
        cache: Cache decoded frames on disk for all folds and runs: 150 kB per 224 px frame.
        cache_dir: Folder of the frame cache; by default $DFER_CACHE, or ~/.cache/dfer.
        jobs: Number of runs to train at the same time on this machine, each in its own process.
        cluster: Address of a Ray cluster to train on, or `auto` on one of its machines.
    """

    dataset: str | None = option(DATA)
    folds: str | None = option(DATA)
    folds_by: str = option(DATA, DataConfig.folds_by)
    preset: str = option(RUN, RunConfig.preset)
    seed: int = option(RUN, RunConfig.seed)
    workers: int = option(DATA, DataConfig.workers)
    root: Path | None = option(DATA)
    manifests: Path = option(DATA, MANIFESTS)
    runs: Path = option(RUN, RUNS)
    overwrite: bool = option(RUN, False, "--overwrite/--resume")
    cache: bool = option(DATA, False)
    cache_dir: Path | None = option(DATA)
    jobs: int = option(RUN, 1)
    cluster: str | None = option(RUN)


def _attribute_texts(cls: Any) -> dict[str, str]:
    """Return the texts in the section `Attributes:` of a class's docstring, by attribute."""
    section = (inspect.getdoc(cls) or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", section, flags=re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text) for name, text in entries}


_TEXTS = _attribute_texts(RunOptions)


def grouped(panel: str, text: str, *names: str, **settings: Any) -> Any:
    """Return an option with a help text, in a group of the help."""
    return typer.Option(*names, help=text, rich_help_panel=panel, **settings)


in_data, in_faces, in_model, in_runs, in_compute, in_output, in_server = (
    partial(grouped, panel) for panel in (DATA, FACES, MODEL, RUN, COMPUTE, OUTPUT, SERVER)
)


def _shared(name: str, panel: str, *names: str) -> Any:
    """Return an option of `RunOptions` for another command."""
    return grouped(panel, _TEXTS[name], *names)


Checkpoint = Annotated[
    str,
    typer.Argument(
        help="Folder of a checkpoint or run, name of a run such as `full`, or name on the Hub."
    ),
]
Dataset = Annotated[str | None, _shared("dataset", DATA)]
Root = Annotated[Path | None, _shared("root", DATA)]
Manifests = Annotated[Path, _shared("manifests", DATA)]
FoldsBy = Annotated[str, _shared("folds_by", DATA)]
Workers = Annotated[int, _shared("workers", DATA)]
Cache = Annotated[bool, _shared("cache", DATA, "--cache/--no-cache")]
CacheDir = Annotated[Path | None, _shared("cache_dir", DATA)]
Runs = Annotated[Path, _shared("runs", RUN)]
Device = Annotated[str, in_compute(_attribute_texts(ComputeConfig)["device"])]
AsJson = Annotated[bool, in_output("Print JSON instead of tables.", "--json")]


def expand_configs(
    *left_out: str, apart: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace each parameter that is a configuration by one option per field.

    Fields in `left_out` get no option and keep their default. Those in `apart` have an option, but
    also keep their default: the command reads them from `context.params`.
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
            typed = find_typed(arguments["context"])
            bases, values = find_defaults(arguments, typed)
            # So that options of the command line are checked together with those of the run.
            arguments |= {n: v for n, v in values.items() if n in arguments and n not in typed}
            for name, cls in configs.items():
                own = {option.name: arguments.pop(option.name) for option in options[name]}
                own = {field: value for field, value in own.items() if field not in apart}
                arguments[name] = replace(bases[name], **own) if name in bases else cls(**own)
            command(**arguments)

        parameters: list[inspect.Parameter] = []
        for name, parameter in signature.parameters.items():
            keyword = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            parameters += options.get(name, [keyword])
        expanded.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return expanded

    return decorate


def _options_of(panel: str, cls: Any, left_out: tuple[str, ...]) -> list[inspect.Parameter]:
    texts = _attribute_texts(cls)
    return [
        inspect.Parameter(
            setting.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=setting.default,
            annotation=Annotated[
                setting.type,
                typer.Option(
                    *setting.metadata.get("names", ()),
                    help=texts[setting.name],
                    rich_help_panel=setting.metadata.get("panel", panel.title()),
                ),
            ],
        )
        for setting in fields(cls)
        if setting.type in OPTION_TYPES and setting.name not in left_out
    ]


def usual_root(dataset: str) -> Path:
    """Return the folder of a dataset: `$DFER_DATA/NAME` if it exists, else `data/NAME`.

    Upper and lower case do not matter, as in DFEW and FERV39k. If neither folder exists, the first
    of the two is returned.
    """
    parents = [Path(name) for name in (os.environ.get("DFER_DATA"), "data") if name]
    folders = (_find_folder(parent, dataset) for parent in parents)
    return next((folder for folder in folders if folder), parents[0] / dataset)


def _find_folder(parent: Path, name: str) -> Path | None:
    """Return the folder with this name, if possible with the same upper and lower case."""
    matching = [path for path in parent.glob("*") if path.name.casefold() == name.casefold()]
    folders = sorted(path for path in matching if path.is_dir())
    return parent / name if parent / name in folders else next(iter(folders), None)


def find_unprepared(prepared: Collection[str]) -> dict[str, Path]:
    """Return the datasets that are in their default folders but not prepared yet."""
    from dfercli.data import DATASETS

    folders = {name: usual_root(name) for name in DATASETS if name not in prepared}
    return {name: folder for name, folder in folders.items() if folder.is_dir()}


def find_root(manifest: Path) -> Path | None:
    """Return the folder of a manifest's data in $DFER_DATA, or None."""
    parent = os.environ.get("DFER_DATA")
    return _find_folder(Path(parent), manifest.stem) if parent else None


def usual_cache() -> Path:
    """Return the default folder of the frame cache: `$DFER_CACHE` or `~/.cache/dfer`."""
    folder = os.environ.get("DFER_CACHE")
    if folder:
        return Path(folder)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dfer"
    except RuntimeError as error:
        raise ConfigError(
            "no home folder for the frame cache; choose a folder with --cache-dir or $DFER_CACHE"
        ) from error


def find_cache(wanted: bool, folder: Path | None) -> str | None:
    """Return the folder of the frame cache; None if no cache is wanted."""
    if not wanted:
        if folder is not None:
            raise ConfigError(f"--cache-dir {folder} has no effect without --cache; add --cache")
        return None
    if folder is None:
        folder = usual_cache()
    note(f"frame cache: {folder}")
    return str(folder)


def find_data(
    dataset: str | None,
    root: Path | None,
    manifests: Path,
    workers: int,
    cache: str | None = None,
    folds_by: str = DataConfig.folds_by,
) -> "tuple[DataConfig, Manifest]":
    """Return the data, in `root`, $DFER_DATA or the recorded folder, and its manifest."""
    from dfercli.data.folds import choose_folds
    from dfercli.data.manifest import find_manifest, read_manifest
    from dfercli.faces.align import explain_old_crops

    path = find_manifest(manifests, dataset)
    manifest = read_manifest(path)
    root = root or find_root(path) or Path(manifest.root)
    note(f"dataset: {manifest.dataset} ({path}), data in {root}")
    if answer := explain_old_crops(manifest.crop):
        note(f"crops: version {(manifest.crop or {})['version']}; {answer}")
    data = DataConfig(
        dataset=manifest.dataset,
        manifest=str(path),
        root=str(root),
        workers=workers,
        kind=manifest.kind,
        cache=cache,
        folds_by=folds_by,
    )
    return data, choose_folds(manifest, folds_by)


def find_run(
    options: RunOptions,
    model: ModelConfig,
    recipe: TrainConfig,
    augment: AugmentConfig,
    compute: ComputeConfig,
    typed: Collection[str],
    init: InitConfig | None = None,
) -> "tuple[RunConfig, list[int], Manifest]":
    """Return the configuration of a run, its folds (by default all), and the manifest."""
    from dfercli.data.folds import check_labels

    _check_how_to_run(options, compute.device)
    cache = find_cache(options.cache, options.cache_dir)
    data, manifest = find_data(
        options.dataset, options.root, options.manifests, options.workers, cache, options.folds_by
    )
    check_labels(manifest)  # before torch is imported and the model built
    known = list(manifest.folds)
    folds = parse_folds(options.folds) if options.folds else known
    if not folds:
        raise DataError(f"no clip of {data.manifest} has a test fold; fill in its column test_fold")
    run = RunConfig(
        data=data,
        fold=folds[0],
        model=model,
        train=recipe,
        augment=augment,
        compute=compute,
        seed=options.seed,
        preset=options.preset,
        init=init,
    )
    run = apply_preset(run, typed)
    if run.model.method not in WITHOUT_CLIP:
        note(f"backbone: {run.model.backbone}, weights: {run.model.weights}")
    elif run.model.method in NETWORKS:
        note(f"network: {run.model.method}, weights: {run.model.weights}")
    note(f"recipe: {describe_recipe(run)}")
    note_processes()
    return run, folds, manifest


def find_typed(context: typer.Context) -> set[str]:
    """Return the names of the options on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name != "DEFAULT"}


def how_to_run(options: RunOptions) -> dict[str, Any]:
    """Return the arguments of `run_jobs` that do not change the results."""
    return {"overwrite": options.overwrite, "jobs": options.jobs, "cluster": options.cluster}


def note_processes() -> None:
    """Print the number of processes of a launcher; `accelerate launch --cpu` starts only one."""
    together = int(os.environ.get("WORLD_SIZE", "1"))
    if together > 1 or "ACCELERATE_MIXED_PRECISION" in os.environ:
        note(f"training processes: {together}")


def _check_how_to_run(options: RunOptions, device: str) -> None:
    require_at_least("jobs", options.jobs, 1)
    if options.jobs > 1 and options.cluster:
        raise ConfigError("--jobs is for this machine, --cluster for others; remove one of them")
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if together and (options.jobs > 1 or options.cluster):
        raise ConfigError(
            "processes started by a launcher train one run at a time; remove --jobs and "
            "--cluster, or call `dfer` without the launcher"
        )
    if is_numbered(device) and (together or options.cluster):
        who = "a cluster" if options.cluster else "a launcher"
        raise ConfigError(
            f"--device {device} is a single GPU, but {who} assigns a GPU to each process; remove "
            f"--device"
        )


def wait_without_spinning() -> None:
    """Let waiting threads of torch sleep instead of spin, unless the user has set OMP_WAIT_POLICY.

    Call this before torch is imported. On a busy machine, spinning threads slow down the others: a
    window took ten times as long (docs/performance.md).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def note(text: str) -> None:
    """Print a note on stderr, only in the main process."""
    if is_main_process():
        lines = ("".join(map(escape_letter, line)) for line in text.split("\n"))
        print("\n".join(lines), file=sys.stderr)


def is_main_process() -> bool:
    """Return whether this is the process that prints, of those of a launcher."""
    return os.environ.get("RANK", "0") == "0"
