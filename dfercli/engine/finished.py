"""Runs that are finished, among all below a folder."""

import re
from pathlib import Path

from dfercli.engine.runlog import ALL_DATA_FOLDER, RunFolder
from dfercli.errors import CheckpointError
from dfercli.progress import write_line

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
