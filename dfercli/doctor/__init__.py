"""`dfer doctor`: check what a run depends on, from this machine to the frames on disk."""

from collections.abc import Mapping
from pathlib import Path

from dfercli.doctor.dataset import inspect_dataset
from dfercli.doctor.machine import inspect_machine
from dfercli.doctor.page import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding", "diagnose", "inspect_dataset", "inspect_machine"]


def diagnose(
    data: Mapping[Path, Path | None],
    unprepared: Mapping[str, Path] | None = None,
    requested: bool = True,
) -> Diagnosis:
    """Check this machine and some datasets.

    Args:
        data: Data root by manifest; None uses the root in the manifest.
        unprepared: Folders of datasets without a manifest, by public name.
        requested: Whether the user asked for these datasets, so that missing data is an error.
    """
    machine = inspect_machine()
    for name, folder in (unprepared or {}).items():
        text = f"is in {folder}, without a manifest; run dfer preprocess --dataset {name}"
        machine.append(Finding(name, "note", text))
    if not data and not unprepared:
        text = (
            "none found: no manifest, and no dataset in data/NAME or $DFER_DATA/NAME; "
            "`dfer preprocess` writes a manifest"
        )
        machine.append(Finding("datasets", "note", text))
    reports = tuple(inspect_dataset(manifest, root, requested) for manifest, root in data.items())
    return Diagnosis(tuple(machine), reports)
