"""What tells two runs apart, in few words."""

import json
from collections.abc import Mapping
from typing import Any

from dfercli.config import ModelConfig

WITHOUT_EFFECT = (
    "data.manifest",
    "data.root",
    "data.workers",
    "data.cache",
    "data.kind",
    "preset",
    "compute.device",
    "compute.accumulate",
    "compute.batch",
    "compute.compile",  # of earlier versions
    "compute.steps",
    "compute.save_every",
    "compute.track",
)
"""Settings that may differ between two calls of one run: they change its result by rounding, or by
what drop path draws, if at all. Settings of equal value are equal whatever preset they come from.
"""

SHOWN_CHANGES = 4
"""Changed settings that an error names, so that it stays one readable line."""


def name_differences(before: Mapping[str, Any], now: Mapping[str, Any], *ignored: str) -> str:
    """Name what differs between the entries of two runs, on one line; nothing for equal ones.

    Args:
        before: Entries of `run.json`.
        now: Others.
        ignored: Settings that may differ, such as `fold`.
    """
    old, new = _settings(before), _settings(now)
    old["data"], new["data"] = before["data_fingerprint"], now["data_fingerprint"]
    changed = [
        f"{name} {old.get(name)} -> {new.get(name)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and name not in (*WITHOUT_EFFECT, *ignored)
    ]
    more = f"; {len(changed) - SHOWN_CHANGES} more" if len(changed) > SHOWN_CHANGES else ""
    return "; ".join(changed[:SHOWN_CHANGES]) + more


def _settings(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run by their path, with those that older versions did not write."""
    config = entries["config"]
    if "model" in config:
        config = {**config, "model": ModelConfig.complete(config["model"])}
    return flatten(config)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested settings by their path, such as `train.lr`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = json.loads(json.dumps(value))  # a tuple reads back as a list
    return flat
