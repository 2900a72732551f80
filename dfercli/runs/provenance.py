"""What a figure is of: the lines that every table carries."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dfercli.config import DataConfig, RunConfig, from_dict
from dfercli.config.presets import describe_recipe
from dfercli.data import DATASETS, load_dataset
from dfercli.runs.run_folder import RunFolder

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
        "dataset": join(
            f"{config.data.dataset}, fingerprint {entry['data_fingerprint']}"
            for config, entry in zip(configs, entries, strict=True)
        ),
        "data": describe_data([line for entry in entries for line in entry.get("deviations", ())]),
        "folds": _describe_folds(configs, entries),
        "held out to choose an epoch": _describe_held_out(entries),
        "seeds": _list(config.seed for config in configs),
        "backbone": join(
            f"{m.backbone} ({name_weights(m.weights)}), {m.num_frames} frames" for m in models
        ),
        "recipe": join(map(describe_recipe, configs)),
        "crops": join(describe_crop(entry.get("crop")) for entry in entries),
        "precision": join(config.compute.precision for config in configs),
        "dfer": join(
            describe_code(each["versions"].get("dfer", UNKNOWN), each.get("commit"))
            for entry in entries
            for each in (entry, *entry.get("resumed", ()))
            if "versions" in each
        ),
    }


def name_weights(weights: str) -> str:
    """Return the tag of weights, or the name of their file without the folders of this machine."""
    return re.split(r"[/\\]", weights)[-1]


def describe_code(version: str, commit: str | None) -> str:
    """Say which code ran."""
    return f"{version}, commit {commit or UNKNOWN}"


def describe_data(deviations: Sequence[str]) -> str:
    """Say whether data is complete, and what it lacks if it is not."""
    lines = list(dict.fromkeys(deviations))
    return f"PARTIAL: {'; '.join(lines)}" if lines else "complete"


def describe_crop(crop: Mapping[str, Any] | None) -> str:
    """Say how faces were cropped."""
    if crop is None:
        return "the dataset's own"
    return ", ".join(f"{name} {value}" for name, value in crop.items())


def _describe_folds(configs: Sequence[RunConfig], entries: Sequence[Mapping[str, Any]]) -> str:
    """Say which folds, whether they are all, and who dealt them."""
    tested = {config.fold for config in configs}
    known = {fold for entry in entries for fold in entry.get("folds", ())}
    names = ", ".join(map(str, sorted(tested)))
    if known - tested:
        names = f"PARTIAL: {names} of {', '.join(map(str, sorted(known)))}"
    dealt = join(
        describe_dealing(config.data, bool(entry.get("grouped")))
        for config, entry in zip(configs, entries, strict=True)
    )
    return f"{names} ({dealt})"


def describe_dealing(data: DataConfig, grouped: bool) -> str:
    """Say who dealt the folds of a run's data, and what they keep apart."""
    if data.folds_by == "group":
        return "dealt anew, no group in two of them"
    if data.kind in DATASETS and load_dataset(data.kind).OFFICIAL is not None:
        return "as published"
    return f"dealt by dfer, {'no group in two of them' if grouped else 'clip by clip'}"


def _describe_held_out(entries: Sequence[Mapping[str, Any]]) -> str:
    held = sum(entry.get("held_out", {}).get("clips", 0) for entry in entries)
    if held == 0:
        return "none"
    return f"{held / (held + sum(entry['learnt'] for entry in entries)):.1%} of the training clips"


def join(values: Iterable[str]) -> str:
    """Give each different value once, in order."""
    return " | ".join(dict.fromkeys(values))


def _list(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(set(numbers))))
