"""Defaults of the options of `dfer train`: of a preset, of a repeated run, or of a checkpoint."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfercli.config import ALL_DATA
from dfercli.config.presets import CHANGES
from dfercli.errors import ConfigError

if TYPE_CHECKING:
    from dfercli.runs.run_folder import RunFolder

RUNS = Path("runs")


def find_defaults(
    arguments: dict[str, Any], typed: set[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the defaults of a repeated run or a preset.

    They are configurations by parameter, for settings without an option, and values by option.
    """
    if arguments.get("init") is not None:
        return _find_initial_model(arguments, typed)
    if arguments.get("repeat") is None:
        changes = CHANGES.get(arguments.get("preset", ""), {})
        return {}, {name: value for part in changes.values() for name, value in part.items()}
    if "preset" in typed:
        raise ConfigError("--repeat uses the recipe of the repeated run; remove --preset")
    sources = find_repeated(arguments["repeat"], arguments["runs"])
    source = next(iter(sources.values()))
    config = source.read().config
    bases: dict[str, Any] = {
        "model": config.model,
        "recipe": config.train,
        "augment": config.augment,
        "compute": config.compute,
    }
    values = {f.name: getattr(part, f.name) for part in bases.values() for f in fields(part)}
    manifest, root = (_locate(path, source) for path in (config.data.manifest, config.data.root))
    if not typed & {"dataset", "manifests"} and not manifest.is_file():
        raise ConfigError(
            f"cannot repeat {arguments['repeat']}: its manifest {manifest} does not exist; start "
            f"in the folder that it is relative to, or use --manifests FOLDER"
        )
    values |= {
        "dataset": manifest.stem,
        "manifests": manifest.parent,
        "folds_by": config.data.folds_by,
        "workers": config.data.workers,
        "preset": config.preset,
        "seed": config.seed,
        "init": config.init.where if config.init is not None else None,
    }
    if "dataset" not in typed and root.is_dir():
        values["root"] = root
    if config.fold == ALL_DATA:
        values["all_data"] = True
    elif not arguments.get("all_data"):
        values["folds"] = ",".join(map(str, sources))
    return bases, values


def _find_initial_model(
    arguments: dict[str, Any], typed: set[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the model's settings of the checkpoint of `--init`, beside the preset's others."""
    from dfercli.runs.checkpoint import locate_initial, read_initial

    if "repeat" in typed:
        raise ConfigError("--repeat and --init both choose the model; remove one of them")
    model = read_initial(locate_initial(arguments["init"], arguments["runs"]))
    values = find_defaults({**arguments, "init": None, "repeat": None}, typed)[1]
    return {"model": model}, values | {f.name: getattr(model, f.name) for f in fields(model)}


def _locate(recorded: str, run: "RunFolder") -> Path:
    """Return a recorded path; a relative one may start at the folder above that of all runs."""
    path = Path(recorded)
    beside_runs = Path(*run.path.resolve().parts[:-4], path)
    return beside_runs if not path.exists() and beside_runs.exists() else path


def find_repeated(name: str, runs: Path) -> "dict[int, RunFolder]":
    """Return the runs of `--repeat` by fold, found in `runs` or the default folder of runs."""
    from dfercli.runs.lookup import find_named

    return find_named(name, dict.fromkeys((runs, RUNS)))
