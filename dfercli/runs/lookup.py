"""Finished runs below a folder, and the checkpoint that a name stands for."""

import re
from pathlib import Path

from dfercli.errors import CheckpointError
from dfercli.models.base import CONFIG_FILE
from dfercli.progress import write_line
from dfercli.runs.run_folder import ALL_DATA_FOLDER, RunFolder, differ_from_final

FOLD = "fold[0-9]{1,3}"
"""Name of a fold's folder; a copy that somebody set aside, such as `fold1-old`, is none."""

_PASSED_OVER: set[Path] = set()
"""Damaged runs of which a note was given: commands look at all runs several times."""


def find_runs(runs: Path, dataset: str = "*", variant: str = "*") -> list[RunFolder]:
    """Return the finished runs on folds, of a dataset and a variant or of all."""
    return _find(runs, dataset, variant, FOLD)


def find_models(runs: Path, dataset: str = "*", variant: str = "*") -> list[RunFolder]:
    """Return the finished runs on folds and on all clips, of a dataset and a variant or of all."""
    return _find(runs, dataset, variant, rf"{FOLD}|{ALL_DATA_FOLDER}")


def _find(runs: Path, dataset: str, variant: str, names: str) -> list[RunFolder]:
    found = [
        RunFolder(path.parent)
        for path in sorted(runs.glob(f"{dataset}/{variant}/*/run.json"))
        if re.fullmatch(names, path.parent.name) and path.is_file()
    ]
    return [run for run in found if _is_finished(run)]


def _is_finished(run: RunFolder) -> bool:
    """Return whether a run is finished; a damaged one is skipped with a note."""
    try:
        return run.finished
    except CheckpointError as error:
        if run.path not in _PASSED_OVER:
            _PASSED_OVER.add(run.path)
            write_line(f"passed over: {error}")
        return False


def find_newest_run(runs: Path, dataset: str = "*", variant: str = "*") -> RunFolder:
    """Give the run that was finished last.

    Raises:
        CheckpointError: None is finished.
    """
    finished = find_runs(runs, dataset, variant)
    if not finished:
        where = runs / dataset / variant if (dataset, variant) != ("*", "*") else runs
        raise CheckpointError(f"no finished run in {where}; train one with `dfer train`")
    return max(finished, key=lambda run: run.finished_s)


def find_folds(variant_folder: Path) -> dict[int, RunFolder]:
    """Give the finished runs of one variant by fold, in order."""
    dataset, variant = variant_folder.parent.name, variant_folder.name
    finished = find_runs(variant_folder.parent.parent, dataset, variant)
    return {run.fold: run for run in sorted(finished, key=lambda run: run.fold)}


HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
"""OWNER/NAME, as models on the Hugging Face Hub are called."""

SHOWN_NAMES = 6
"""Names that an error lists (our choice)."""

HOW_TO_GET_ONE = (
    "train one with `dfer train`, name one with --checkpoint (a folder, or a model on the Hugging "
    "Face Hub), or give --zero-shot for CLIP's own weights, which are weak: they were never "
    "trained on expressions"
)


def find_checkpoint(name: str | None, runs: Path) -> str:
    """Return the folder of a checkpoint, or its name on the Hugging Face Hub.

    Of several runs that a name fits, the one finished last is taken; or, where its variant was also
    trained on all clips in the same way, that one.

    Args:
        name: The folder of a checkpoint, a run or a variant; `VARIANT`, `DATASET/VARIANT` or
            `DATASET/VARIANT/foldK` among the runs; or `OWNER/NAME` on the Hub. None takes any run
            but those on the drawn people of the demo, who say nothing about real faces.
        runs: Folder of all runs.

    Raises:
        CheckpointError: Nothing has this name, or no run is finished.
    """
    if name is None:
        return str(_find_default(runs).model)
    folder = Path(name)
    if (folder / CONFIG_FILE).is_file() or RunFolder(folder).model.is_dir():
        return name
    below = _find_below(folder) if name and folder.is_dir() else []
    if (found := _pick(below or _find_named(name, runs))) is not None:
        return str(found.model)
    if (name and folder.is_dir()) or (HUB_NAME.fullmatch(name) and ".." not in name):
        return name
    there = sorted({"/".join(run.path.parts[-3:-1]) for run in find_models(runs)})
    more = [f"{len(there) - SHOWN_NAMES} more"] if len(there) > SHOWN_NAMES else []
    listed = ", ".join([*there[:SHOWN_NAMES], *more]) or "none"
    raise CheckpointError(
        f"no checkpoint {name!r}: neither a folder, nor a finished run in {runs} (there: {listed}),"
        f" nor OWNER/NAME as on the Hugging Face Hub"
    )


def _find_default(runs: Path) -> RunFolder:
    every = find_models(runs)
    found = _pick([run for run in every if not run.drawn])
    if found is not None:
        return found
    if every:
        raise CheckpointError(
            f"the only finished runs in {runs} are of the drawn people of the demo, and say "
            f"nothing about real faces: {HOW_TO_GET_ONE}; --checkpoint {every[0].path} takes the "
            f"demo's all the same"
        )
    raise CheckpointError(f"no finished run in {runs}: {HOW_TO_GET_ONE}")


def _find_named(name: str, runs: Path) -> list[RunFolder]:
    """Return the finished runs that `VARIANT`, `DATASET/VARIANT` or `DATASET/VARIANT/foldK` means.

    Where a variant's name alone fits several datasets, real faces come before drawn ones.
    """
    parts = name.strip("/").split("/")
    if len(parts) > 3 or any(re.search(r"[*?\[]", part) or part in ("", "..") for part in parts):
        return []
    if len(parts) == 1:
        parts = ["*", *parts]
    dataset, variant, fold = [*parts, "*"][:3]
    found = [run for run in find_models(runs, dataset, variant) if fold in ("*", run.path.name)]
    return [run for run in found if not run.drawn] or found


def _find_below(folder: Path) -> list[RunFolder]:
    """Return the finished runs in the folder of a variant."""
    folder = folder.resolve()
    if not folder.parent.name:  # the root of the disk, or directly in it
        return []
    return find_models(folder.parent.parent, folder.parent.name, folder.name)


def _pick(found: list[RunFolder]) -> RunFolder | None:
    """Return the run that was finished last, or the one on all clips that is trained like it."""
    newest = max(found, key=lambda run: run.finished_s, default=None)
    if newest is None:
        return None
    for run in found:
        if run.path == newest.path.with_name(ALL_DATA_FOLDER) and not differ_from_final(
            newest, run
        ):
            return run
    return newest
