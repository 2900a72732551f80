"""A look at all that a run depends on: this machine, cached weights, and the data on disk."""

from collections.abc import Mapping
from pathlib import Path

from dfercli.doctor.dataset import inspect_dataset
from dfercli.doctor.machine import inspect_machine
from dfercli.doctor.page import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding", "diagnose", "inspect_dataset", "inspect_machine"]


def diagnose(
    data: Mapping[Path, Path | None],
    unprepared: Mapping[str, Path] | None = None,
    asked: bool = True,
) -> Diagnosis:
    """Look at this machine and at datasets.

    Args:
        data: Data root by manifest; None where the manifest itself has to tell.
        unprepared: Folder of datasets, by public name, that are there and have no manifest yet.
        asked: Whether somebody asked for these datasets, so that data that is not there is wrong.
    """
    machine = inspect_machine()
    for name, folder in (unprepared or {}).items():
        text = f"is in {folder}, no manifest is called so; dfer preprocess --dataset {name}"
        machine.append(Finding(name, "note", text))
    if not data and not unprepared:
        text = (
            "none found: no manifest, and no dataset in data/NAME or $DFER_DATA/NAME; "
            "`dfer preprocess` writes a manifest"
        )
        machine.append(Finding("datasets", "note", text))
    reports = tuple(inspect_dataset(manifest, root, asked) for manifest, root in data.items())
    return Diagnosis(tuple(machine), reports)
