"""The records that a run leaves on disk, typed: `run.json`, and the `config.json` of a checkpoint.

They are read once and handed on. Entries that older versions of dfer did not write have defaults.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, TypeVar

from dfercli.config import ModelConfig, RunConfig, from_dict

Value = TypeVar("Value")

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
    "compute.compile",  # written by earlier versions
    "compute.steps",
    "compute.save_every",
    "compute.track",
)
"""Settings that may differ between two calls of one run: at most they change how its result is
rounded, and what drop path draws. Two presets that give the same values are the same recipe.
"""

SHOWN_CHANGES = 4
"""Changed settings that an error names, so that it stays one readable line."""


@dataclass(frozen=True)
class ClipSet:
    """The clips that a table of predictions covers.

    Attributes:
        clips: Number of clips.
        fingerprint: Hash of their names and labels.
    """

    clips: int
    fingerprint: str


@dataclass(frozen=True)
class DataRecord:
    """The data of a run.

    Attributes:
        fingerprint: Hash of the manifest.
        deviations: Differences from the official lists, one sentence each.
        drawn: Whether the people are drawn; None in records of older versions.
        class_names: The K classes, in the order of the logits.
        crop: How the faces were cropped; None for the dataset's own crops.
        folds: All folds of the manifest.
        grouped: Whether the clips have groups, such as persons.
        train_clips: Number of training clips.
        tested: Clips of the test fold.
        held_out: Clips held out of training to choose an epoch; None where there are none.
    """

    fingerprint: str = ""
    deviations: tuple[str, ...] = ()
    drawn: bool | None = None
    class_names: tuple[str, ...] = ()
    crop: Mapping[str, Any] | None = None
    folds: tuple[int, ...] = ()
    grouped: bool = False
    train_clips: int = 0
    tested: ClipSet | None = None
    held_out: ClipSet | None = None

    def to_entries(self) -> dict[str, Any]:
        """Return the entries of `run.json` that describe the data."""
        entries: dict[str, Any] = {
            "data_fingerprint": self.fingerprint,
            "deviations": list(self.deviations),
            "drawn": self.drawn,
            "class_names": list(self.class_names),
            "crop": self.crop,
            "folds": list(self.folds),
            "grouped": self.grouped,
            "learnt": self.train_clips,
        }
        for name, clips in (("tested", self.tested), ("held_out", self.held_out)):
            if clips is not None:
                entries[name] = {"clips": clips.clips, "fingerprint": clips.fingerprint}
        return entries

    @classmethod
    def from_entries(cls, entries: Mapping[str, Any]) -> "DataRecord":
        """Read the entries of `run.json` that describe the data.

        Raises:
            ValueError: An entry has the wrong type.
        """
        return cls(
            fingerprint=_get(entries, "data_fingerprint", str, ""),
            deviations=_get_tuple(entries, "deviations", str),
            drawn=_find(entries, "drawn", bool),
            class_names=_get_tuple(entries, "class_names", str),
            crop=_find(entries, "crop", dict),
            folds=_get_tuple(entries, "folds", int),
            grouped=_get(entries, "grouped", bool, False),
            train_clips=_get(entries, "learnt", int, 0),
            tested=_find_clips(entries, "tested"),
            held_out=_find_clips(entries, "held_out"),
        )


@dataclass(frozen=True)
class CallRecord:
    """One call of dfer that trained a run, or a part of it.

    Attributes:
        command: The command as it was typed.
        device: Name of the device.
        versions: Version by package, None for one that was not installed; empty in records of
            older versions.
        commit: The commit of dfer; None where it is unknown.
        after_epoch: Epochs that were finished before the call.
    """

    command: str = ""
    device: str | None = None
    versions: Mapping[str, str | None] = field(default_factory=dict)
    commit: str | None = None
    after_epoch: int = 0

    @classmethod
    def from_entries(cls, entries: Mapping[str, Any]) -> "CallRecord":
        """Read the entries that describe a call.

        Raises:
            ValueError: An entry has the wrong type.
        """
        return cls(
            command=_get(entries, "command", str, ""),
            device=_find(entries, "device", str),
            versions=_get(entries, "versions", dict, {}),
            commit=_find(entries, "commit", str),
            after_epoch=_get(entries, "after_epoch", int, 0),
        )


@dataclass(frozen=True)
class RunRecord:
    """The content of `run.json`.

    Attributes:
        settings: The configuration as it is stored: an older version may lack some settings, a
            newer one may have others. `config` is the configuration of this version.
        data: The data.
        calls: The call that began the run, then those that resumed it.
        processes: Number of processes that trained the run together.
        steps: How training steps were computed; None where nothing was trained.
        seals: SHA-256 of each table and of the metrics, by file name; None until the run is
            finished, and in records of older versions.
        finished: Whether the run was trained to its end.
    """

    settings: Mapping[str, Any]
    data: DataRecord
    calls: tuple[CallRecord, ...] = (CallRecord(),)
    processes: int = 1
    steps: str | None = None
    seals: Mapping[str, str] | None = None
    finished: bool = False

    @classmethod
    def from_entries(cls, entries: Any) -> "RunRecord":
        """Read the content of `run.json`.

        Raises:
            ValueError: It is not the record of a run, or an entry has the wrong type.
        """
        config = entries.get("config") if isinstance(entries, dict) else None
        if not isinstance(config, dict) or not isinstance(config.get("data"), dict):
            raise ValueError("not the record of a run")
        resumed = _get_tuple(entries, "resumed", dict)
        return cls(
            settings=config,
            data=DataRecord.from_entries(entries),
            calls=tuple(CallRecord.from_entries(call) for call in (entries, *resumed)),
            processes=_get(entries, "processes", int, 1),
            steps=_find(entries, "steps", str),
            seals=_find(entries, "sealed", dict),
            finished=_get(entries, "finished", bool, False),
        )

    @cached_property
    def config(self) -> RunConfig:
        """The configuration of the run.

        Raises:
            ConfigError: It has a setting that this version does not know.
        """
        return from_dict(RunConfig, self.settings)

    @property
    def drawn(self) -> bool:
        """Whether the run was trained on the drawn people of the demo.

        Records of older versions do not say; they go by the usual name of the demo's data.
        """
        if self.data.drawn is None:
            return bool(self.settings["data"].get("dataset") == "demo")
        return self.data.drawn

    @property
    def resumed(self) -> tuple[CallRecord, ...]:
        """The calls that resumed the run."""
        return self.calls[1:]


@dataclass(frozen=True)
class TrainingRecord:
    """What a checkpoint says of its training.

    Entries that the checkpoint does not have are None.
    """

    dataset: str | None = None
    fold: int | None = None
    folds_by: str = "official"
    seed: int | None = None
    data_fingerprint: str | None = None
    deviations: tuple[str, ...] | None = None
    drawn: bool | None = None
    recipe: str | None = None
    clip_s: float | None = None
    epoch: int | None = None


@dataclass(frozen=True)
class CheckpointInfo:
    """The content of a checkpoint's `config.json`.

    Attributes:
        class_names: The K classes, in the order of the logits.
        model: The configuration of the model as it is stored.
        crop: How the faces were cropped; None for the dataset's own crops.
        trained: What it was trained on.
        temperature: Temperature fitted on held-out clips; None without calibration.
        calibration_clips: Number of held-out clips; 0 where none were held out.
        calibration_refused: Why no temperature was fitted to the held-out clips; empty if one was.
    """

    class_names: tuple[str, ...]
    model: Mapping[str, Any] = field(default_factory=dict)
    crop: Mapping[str, Any] | None = None
    trained: TrainingRecord = TrainingRecord()
    temperature: float | None = None
    calibration_clips: int = 0
    calibration_refused: str = ""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "CheckpointInfo":
        """Build it from the entries of `config.json`, which `read_settings` has checked."""
        known = {entry.name for entry in fields(TrainingRecord)}
        stored = settings.get("trained") or {}
        trained = {name: value for name, value in stored.items() if name in known}
        if "deviations" in trained:
            trained["deviations"] = _get_tuple(trained, "deviations", str)
        calibration = settings.get("calibration") or {}
        return cls(
            class_names=tuple(settings["class_names"]),
            model=settings.get("model", {}),
            crop=settings.get("crop"),
            trained=TrainingRecord(**trained),
            temperature=calibration.get("temperature"),
            calibration_clips=calibration.get("clips", 0),
            calibration_refused=calibration.get("refused", ""),
        )


def name_differences(before: RunRecord, now: RunRecord, *ignored: str) -> str:
    """Return the settings and the data that differ between two runs on one line, empty if none do.

    Args:
        before: The first run.
        now: The second one.
        ignored: Settings that may differ, such as `fold`.
    """
    old, new = _comparable_settings(before), _comparable_settings(now)
    changed = [
        f"{name} {old.get(name)} -> {new.get(name)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and name not in (*WITHOUT_EFFECT, *ignored)
    ]
    more = f"; {len(changed) - SHOWN_CHANGES} more" if len(changed) > SHOWN_CHANGES else ""
    return "; ".join(changed[:SHOWN_CHANGES]) + more


def _comparable_settings(record: RunRecord) -> dict[str, Any]:
    """Return settings by path, and the data; settings that did not exist yet are filled in."""
    config = dict(record.settings)
    if "model" in config:
        config["model"] = ModelConfig.complete(config["model"])
    return {**flatten(config), "data": record.data.fingerprint}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their path, such as `train.lr`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = json.loads(json.dumps(value))  # a tuple reads back as a list
    return flat


def _find(entries: Mapping[str, Any], name: str, kind: type[Value]) -> Value | None:
    """Return an entry, None where it is missing or null.

    Raises:
        ValueError: It has another type.
    """
    value = entries.get(name)
    if value is None or type(value) is kind:
        return value
    raise ValueError(f"{name} is {value!r}")


def _get(entries: Mapping[str, Any], name: str, kind: type[Value], default: Value) -> Value:
    value = _find(entries, name, kind)
    return default if value is None else value


def _get_tuple(entries: Mapping[str, Any], name: str, kind: type[Value]) -> tuple[Value, ...]:
    values = _get(entries, name, list, [])
    if not all(type(value) is kind for value in values):
        raise ValueError(f"{name} is {values!r}")
    return tuple(values)


def _find_clips(entries: Mapping[str, Any], name: str) -> ClipSet | None:
    values = _find(entries, name, dict)
    if values is None:
        return None
    return ClipSet(_get(values, "clips", int, 0), _get(values, "fingerprint", str, ""))
