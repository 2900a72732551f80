"""Runs and checkpoints: finding them by name, and the run that a checkpoint lies in."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dfercli.errors import CheckpointError
from dfercli.models.settings import BUILT_IN, BUILT_IN_FOLDER, CONFIG_FILE
from dfercli.progress import write_line
from dfercli.runs.run_folder import (
    ALL_DATA_FOLDER,
    PROTOCOLS,
    FinishedRun,
    RunFolder,
    check_same_settings,
    differ_from_final,
)

FOLD = "fold[0-9]{1,3}"
"""Name of a fold's folder. A copy that somebody set aside, such as `fold1-old`, does not match."""

_REPORTED: set[Path] = set()
"""Damaged runs that have been reported: a command may look through all runs several times."""


def find_runs(runs: Path, dataset: str = "*", variant: str = "*") -> list[FinishedRun]:
    """Return the finished runs on folds, of one dataset and variant or of all."""
    return _load_runs(_find_folders(runs, dataset, variant, FOLD))


def find_models(runs: Path, dataset: str = "*", variant: str = "*") -> list[FinishedRun]:
    """Return the finished runs on folds and on all clips, of one dataset and variant or of all."""
    return _load_runs(_find_folders(runs, dataset, variant, rf"{FOLD}|{ALL_DATA_FOLDER}"))


def _find_folders(runs: Path, dataset: str, variant: str, names: str) -> list[RunFolder]:
    return [
        RunFolder(path.parent)
        for path in sorted(runs.glob(f"{dataset}/{variant}/*/run.json"))
        if re.fullmatch(names, path.parent.name) and path.is_file()
    ]


def _load_runs(folders: Iterable[RunFolder]) -> list[FinishedRun]:
    """Read the records of runs, and return the finished ones; damaged ones are reported once."""
    finished = []
    for run in folders:
        try:
            record = run.read()
        except CheckpointError as error:
            if run.path not in _REPORTED:
                _REPORTED.add(run.path)
                write_line(f"skipped: {error}")
            continue
        if record.finished:
            finished.append(FinishedRun(run.path, record))
    return finished


def find_variant_folds(
    runs: Path, dataset: str = "*", variant: str = "*"
) -> tuple[dict[int, FinishedRun], list[str]]:
    """Return the finished folds of the variant that was finished last, and the other variants.

    `*` stands for any dataset or variant. Folds are in order; the other variants are those of the
    same dataset that have a finished fold. Each record is read once.

    Raises:
        CheckpointError: No run is finished.
    """
    folders = _find_folders(runs, dataset, variant, FOLD)
    matching = _load_runs(folders)
    if not matching:
        where = runs / dataset / variant if (dataset, variant) != ("*", "*") else runs
        raise CheckpointError(f"no finished run in {where}; train one with `dfer train`")
    newest = max(matching, key=lambda run: run.finished_s).path.parent
    folds = [run for run in matching if run.path.parent == newest]
    of_dataset = _find_folders(runs, newest.parent.name, "*", FOLD)
    others = _load_runs(run for run in of_dataset if run not in folders)
    variants = {run.path.parent for run in (*matching, *others)} - {newest}
    return _by_fold(folds), sorted(v.name for v in variants if v.parent == newest.parent)


def find_folds(variant_folder: Path) -> dict[int, FinishedRun]:
    """Return the finished runs of one variant by fold, in order."""
    dataset, variant = variant_folder.parent.name, variant_folder.name
    return _by_fold(find_runs(variant_folder.parent.parent, dataset, variant))


def _by_fold(runs: Iterable[FinishedRun]) -> dict[int, FinishedRun]:
    return {run.fold: run for run in sorted(runs, key=lambda run: run.fold)}


def find_named(name: str, runs: Iterable[Path]) -> dict[int, RunFolder]:
    """Return the runs that a name means by fold, whether they are finished or not.

    Args:
        name: The folder of a run or of a variant; or `DATASET/VARIANT/foldK`, `DATASET/VARIANT` or
            `VARIANT` among the runs. A variant means all its folds.
        runs: Folders of runs to search. If several have the run, the last one is used, so that a
            repetition begun in the first still finds its source.

    Raises:
        CheckpointError: There is no such run, or its folds were trained with different settings.
    """
    roots = list(runs)
    names = [name]
    if name == Path(name).name:
        datasets = (path.name for root in roots for path in sorted(root.glob("*")))
        names += [f"{dataset}/{name}" for dataset in datasets]
    for folder in [Path(name), *(root / path for path in names for root in reversed(roots))]:
        run = RunFolder(folder)
        folds = [run] if run.run_file.is_file() else _find_fold_folders(folder)
        by_fold = {run.read().config.fold: run for run in folds}
        if by_fold:
            check_same_settings(by_fold)
            return dict(sorted(by_fold.items()))
    searched = ", ".join(map(str, roots))
    raise CheckpointError(
        f"no run {name!r}: there is no such folder, and no such run in {searched}"
    )


def _find_fold_folders(variant_folder: Path) -> list[RunFolder]:
    paths = sorted(variant_folder.glob("*/run.json"))
    return [RunFolder(path.parent) for path in paths if re.fullmatch(FOLD, path.parent.name)]


HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
"""OWNER/NAME, the form of a model's name on the Hugging Face Hub."""

SHOWN_NAMES = 6
"""Names that an error lists (our choice)."""


def find_checkpoint(name: str | None, runs: Path) -> str:
    """Return the folder of a checkpoint, its name on the Hugging Face Hub, or `built-in`.

    `name` is the folder of a checkpoint, a run or a variant; `VARIANT`, `DATASET/VARIANT` or
    `DATASET/VARIANT/foldK` among the runs; `OWNER/NAME` on the Hub; or `built-in`. None takes any
    trained run except those on the demo's drawn people, or the built-in model if there is none. Of
    several matching runs the one finished last is taken, or the run of its variant on all clips if
    that has the same settings.

    Raises:
        CheckpointError: Nothing has this name, or no run is finished.
    """
    if name is None:
        return _find_default(runs)
    if name == BUILT_IN:
        return name
    folder = Path(name)
    if (folder / CONFIG_FILE).is_file() or RunFolder(folder).model.is_dir():
        return name
    below = _find_below(folder) if name and folder.is_dir() else []
    if (chosen := _choose(below or _find_by_name(name, runs))) is not None:
        return str(chosen.model)
    if (name and folder.is_dir()) or (HUB_NAME.fullmatch(name) and ".." not in name):
        return name
    names = sorted({"/".join(run.path.parts[-3:-1]) for run in find_models(runs)})
    more = [f"{len(names) - SHOWN_NAMES} more"] if len(names) > SHOWN_NAMES else []
    listed = ", ".join([*names[:SHOWN_NAMES], *more]) or "none"
    raise CheckpointError(
        f"no checkpoint {name!r}: there is no such folder, no such finished run in {runs} "
        f"(available: {listed}), and it is not OWNER/NAME as on the Hugging Face Hub"
    )


def _find_default(runs: Path) -> str:
    """Return the model of the run finished last that was trained, and on real faces."""
    models = find_models(runs)
    chosen = _choose([run for run in models if not (run.record.drawn or run.record.untrained)])
    return BUILT_IN if chosen is None else str(chosen.model)


def _find_by_name(name: str, runs: Path) -> list[FinishedRun]:
    """Return the finished runs that `VARIANT`, `DATASET/VARIANT` or `DATASET/VARIANT/foldK` means.

    A variant's name alone prefers real faces to drawn ones.
    """
    parts = name.strip("/").split("/")
    if len(parts) > 3 or any(re.search(r"[*?\[]", part) or part in ("", "..") for part in parts):
        return []
    if len(parts) == 1:
        parts = ["*", *parts]
    dataset, variant, fold = [*parts, "*"][:3]
    matching = [run for run in find_models(runs, dataset, variant) if fold in ("*", run.path.name)]
    return [run for run in matching if not run.record.drawn] or matching


def _find_below(folder: Path) -> list[FinishedRun]:
    """Return the finished runs in the folder of a variant."""
    folder = folder.resolve()
    if not folder.parent.name:  # the root of the disk, or directly in it
        return []
    return find_models(folder.parent.parent, folder.parent.name, folder.name)


def _choose(runs: list[FinishedRun]) -> FinishedRun | None:
    """Return the run that was finished last, or the one on all clips with the same settings."""
    newest = max(runs, key=lambda run: run.finished_s, default=None)
    if newest is None:
        return None
    for run in runs:
        if run.path == newest.path.with_name(ALL_DATA_FOLDER) and not differ_from_final(
            newest.record, run.record
        ):
            return run
    return newest


@dataclass(frozen=True)
class CheckpointSource:
    """Where a checkpoint is stored.

    `where` is the folder of a checkpoint or of a run (its best epoch), or a name on the Hub.
    `folder` is None on the Hub, `run` is None if the checkpoint does not lie in a run.
    """

    where: str
    folder: Path | None
    run: RunFolder | None

    @property
    def name(self) -> str:
        """Its name: `dataset/variant/fold1/best` in a run, else the folder's or the Hub's."""
        if self.folder is None or self.where == BUILT_IN:
            return self.where
        return "/".join(self.folder.parts[-4:]) if self.run else self.folder.name


def find_source(where: str) -> CheckpointSource:
    """Find where a checkpoint is stored; whether it can be loaded is not checked."""
    path = BUILT_IN_FOLDER if where == BUILT_IN else Path(where)
    if not path.is_dir():
        return CheckpointSource(where, None, None)
    path = path.resolve()
    if (model := RunFolder(path).model).is_dir():
        path = model
    run = RunFolder(path.parent)
    in_run = path.name in PROTOCOLS and run.run_file.is_file()
    return CheckpointSource(where, path, run if in_run else None)
