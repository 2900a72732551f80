"""What a figure is of: the lines that every table carries."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dfercli.config import RunConfig, from_dict
from dfercli.engine.runlog import RunFolder
from dfercli.presets import describe_recipe

UNKNOWN = "not recorded"


def describe_runs(runs: Sequence[RunFolder]) -> dict[str, str]:
    """Say of some runs what their figures are figures of; what differs among them is listed.

    Args:
        runs: Finished ones of one dataset.
    """
    entries = [run.read() for run in runs]
    configs = [from_dict(RunConfig, entry["config"]) for entry in entries]
    models = [config.model for config in configs]
    return {
        "dataset": _join(
            f"{config.data.dataset}, fingerprint {entry['data_fingerprint']}"
            for config, entry in zip(configs, entries, strict=True)
        ),
        "data": describe_data([line for entry in entries for line in entry.get("deviations", ())]),
        "folds": f"{_list(config.fold for config in configs)} "
        f"({_join(_describe_folds(config.data.folds_by) for config in configs)})",
        "held out to choose an epoch": _join(
            f"{config.train.val_fraction:.0%} of the training clips"
            if config.train.val_fraction > 0
            else "none"
            for config in configs
        ),
        "seeds": _list(config.seed for config in configs),
        "backbone": _join(f"{m.backbone} ({m.weights}), {m.num_frames} frames" for m in models),
        "recipe": _join(map(describe_recipe, configs)),
        "crops": _join(describe_crop(entry.get("crop")) for entry in entries),
        "precision": _join(config.compute.precision for config in configs),
        "dfer": _join(
            f"{entry['versions'].get('dfer', UNKNOWN)}, commit {entry.get('commit') or UNKNOWN}"
            for entry in entries
        ),
    }


def describe_data(deviations: Sequence[str]) -> str:
    """Say whether data is complete, and what it lacks if it is not."""
    lines = list(dict.fromkeys(deviations))
    return f"PARTIAL: {'; '.join(lines)}" if lines else "complete"


def describe_crop(crop: Mapping[str, Any] | None) -> str:
    """Say how faces were cropped."""
    if crop is None:
        return "the dataset's own"
    return ", ".join(f"{name} {value}" for name, value in crop.items())


def _describe_folds(folds_by: str) -> str:
    return "as published" if folds_by == "official" else "dealt anew, no group in two of them"


def _join(values: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(values))


def _list(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(set(numbers))))
