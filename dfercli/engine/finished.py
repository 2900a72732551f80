"""Runs that are finished, among all below a folder."""

import re
import sys
from pathlib import Path

from tqdm import tqdm

from dfercli.engine.runlog import RunFolder
from dfercli.errors import CheckpointError

_PASSED_OVER: set[Path] = set()
"""Damaged runs of which a note was given: commands look at all runs several times."""


def find_runs(runs: Path, dataset: str = "*", variant: str = "*") -> list[RunFolder]:
    """Give the finished runs of a dataset and a variant, or of all."""
    found = [
        RunFolder(path.parent)
        for path in runs.glob(f"{dataset}/{variant}/fold*/run.json")
        # A copy that somebody set aside, such as `fold1-old`, is no fold.
        if re.fullmatch("fold[0-9]{1,3}", path.parent.name) and path.is_file()
    ]
    return [run for run in found if _is_finished(run)]


def _is_finished(run: RunFolder) -> bool:
    """Return whether a run is finished; a damaged one is skipped with a note."""
    try:
        return run.finished
    except CheckpointError as error:
        if run.path not in _PASSED_OVER:
            _PASSED_OVER.add(run.path)
            tqdm.write(f"passed over: {error}", file=sys.stderr)
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
    return max(finished, key=lambda run: run.run_file.stat().st_mtime)


def find_folds(variant_folder: Path) -> dict[int, RunFolder]:
    """Give the finished runs of one variant by fold, in order."""
    dataset, variant = variant_folder.parent.name, variant_folder.name
    finished = find_runs(variant_folder.parent.parent, dataset, variant)
    return {run.fold: run for run in sorted(finished, key=lambda run: run.fold)}
