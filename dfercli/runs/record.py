"""The records that a run leaves on disk, typed: `run.json`, and the `config.json` of a checkpoint.

They are read once and handed on. Entries that older versions of dfer did not write have defaults.
"""

import json
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields, is_dataclass
from functools import cached_property
from types import NoneType, UnionType
from typing import Any, TypedDict, get_args, get_origin, get_type_hints

from dfercli.config import UNTRAINED, DataConfig, ModelConfig, RunConfig, from_dict
from dfercli.errors import CheckpointError

WITHOUT_EFFECT = (
    "data.manifest",
    "data.root",
    "data.workers",
    "data.cache",
    "data.kind",
    "preset",
    "init.where",
    "init.name",
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

ADDED: dict[str, dict[str, Any]] = {
    "model": {
        "sampling": "segments",
        "pixels": "clip",
        "image_size": 0,
        "width": 1.0,
        "spatial_layers": 1,
        "stage_blocks": "1,1,1,3",
    },
    "train": {
        "optimizer": "adamw",
        "adam_eps": 1e-8,
        "schedule": "cosine",
        "step_epochs": 40,
        "step_factor": 0.1,
        "stage1_epochs": 0,
        "stage1_lr": 0.01,
        "ec_stfl": 0.0,
        "labels": "hard",
        "ema": 0.0,
        "lora_rank": 0,
        "lora_on": "q,v",
    },
    "augment": {"rotation": 0.0},
}
"""Settings that older versions lacked, with the values that give the same training."""

SETTING_TYPES = {
    "fold": int,
    "seed": int,
    **dict.fromkeys(("model", "train", "augment", "compute"), dict),
}
"""JSON types of a run's settings, without which its record cannot be used."""

SHOWN_CHANGES = 4
"""Changed settings that an error names, so that it stays one readable line."""


class Scores(TypedDict, total=False):
    """Scores after an epoch: on the test fold, and `val_` on held-out clips, if there are any."""

    war: float
    uar: float
    val_war: float
    val_uar: float
    val_loss: float


class EpochMetrics(Scores, total=False):
    """Metrics of an epoch: a line of `metrics.jsonl`, which lacks what does not apply.

    Epochs count from 1; 0 is an untrained model, which has no loss and no speed.
    """

    epoch: int
    loss: float | None
    lr: float
    seconds: float
    clips_per_s: float


@dataclass(frozen=True)
class ClipSet:
    """The clips that a table of predictions covers; the fingerprint hashes names and labels."""

    clips: int = 0
    fingerprint: str = ""


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
        votes: Hash of the votes of all clips; None if they were not trained with.
    """

    fingerprint: str = field(default="", metadata={"entry": "data_fingerprint"})
    deviations: tuple[str, ...] = ()
    drawn: bool | None = None
    class_names: tuple[str, ...] = ()
    crop: Mapping[str, Any] | None = None
    folds: tuple[int, ...] = ()
    grouped: bool = False
    train_clips: int = field(default=0, metadata={"entry": "learnt"})
    tested: ClipSet | None = None
    held_out: ClipSet | None = None
    votes: str | None = None

    def to_entries(self) -> dict[str, Any]:
        """Return the entries of `run.json` that describe the data."""
        values = asdict(self)
        return {
            _entry_name(setting): values[setting.name]
            for setting in fields(self)
            if values[setting.name] is not None or setting.name == "crop"
        }


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

    settings: Mapping[str, Any] = field(metadata={"entry": "config"})
    data: DataRecord
    calls: tuple[CallRecord, ...] = (CallRecord(),)
    processes: int = 1
    steps: str | None = None
    seals: Mapping[str, str] | None = field(default=None, metadata={"entry": "sealed"})
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
        for name, kind in SETTING_TYPES.items():
            if name in config and type(config[name]) is not kind:
                raise ValueError(f"{name} is {config[name]!r}"[:100])
        for name, hint in get_type_hints(DataConfig).items():
            value = config["data"].get(name, "")
            if name in config["data"] and not (value is None and get_origin(hint) is UnionType):
                _convert(hint, value, f"data.{name}")
        calls = [entries, *_convert(tuple[dict, ...], entries.get("resumed") or [], "resumed")]
        return cls(**_read_values(cls, {**entries, "data": entries, "calls": calls}))

    @cached_property
    def config(self) -> RunConfig:
        """The configuration of the run.

        Raises:
            ConfigError: It has a setting that this version does not know.
        """
        return from_dict(RunConfig, self.settings)

    @property
    def untrained(self) -> bool:
        """Whether its method trains nothing."""
        return (self.settings.get("model") or {}).get("method") in UNTRAINED

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
class EarlierTraining:
    """A checkpoint that a training started from, and the data that it was trained on."""

    name: str = ""
    sha256: str = ""
    dataset: str | None = None
    fold: int | None = None
    folds_by: str = "official"
    data_fingerprint: str | None = None


@dataclass(frozen=True)
class TrainingRecord:
    """What a checkpoint says of its training; entries that it does not have are None.

    `init` lists the checkpoint that it started from, then the one that this one started from.
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
    init: tuple[EarlierTraining, ...] = ()


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

    class_names: tuple[str, ...] = ()
    model: Mapping[str, Any] = field(default_factory=dict)
    crop: Mapping[str, Any] | None = None
    trained: TrainingRecord = TrainingRecord()
    temperature: float | None = None
    calibration_clips: int = field(default=0, metadata={"entry": "clips"})
    calibration_refused: str = field(default="", metadata={"entry": "refused"})

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "CheckpointInfo":
        """Build it from the entries of `config.json`.

        Raises:
            CheckpointError: An entry has the wrong type.
        """
        try:
            return cls(**_read_values(cls, {**settings, **(settings.get("calibration") or {})}))
        except ValueError as error:
            raise CheckpointError(f"the checkpoint's config.json is damaged: {error}") from error


def _entry_name(setting: "Field[Any]") -> str:
    return str(setting.metadata.get("entry", setting.name))


def _read_values(cls: Any, entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a record's fields; missing entries and nulls keep their defaults.

    Raises:
        ValueError: An entry has the wrong type.
    """
    hints = get_type_hints(cls)
    return {
        setting.name: _convert(hints[setting.name], entries[_entry_name(setting)], setting.name)
        for setting in fields(cls)
        if entries.get(_entry_name(setting)) is not None
    }


def _convert(hint: Any, value: Any, name: str) -> Any:
    """Return a value from JSON as a field's type."""
    if get_origin(hint) is UnionType:
        hint = next(kind for kind in get_args(hint) if kind is not NoneType)
    origin: Any = get_origin(hint) or hint
    if is_dataclass(hint) and isinstance(value, dict):
        return origin(**_read_values(hint, value))
    if origin is tuple and type(value) in (list, tuple):
        return tuple(_convert(get_args(hint)[0], item, name) for item in value)
    if origin is Mapping and isinstance(value, dict):
        return value
    if type(value) is hint or (hint is float and type(value) is int):
        return value
    raise ValueError(f"{name} is {value!r}"[:100])


def name_differences(before: RunRecord, now: RunRecord, *ignored: str) -> str:
    """Return the settings and the data that differ between two runs, as one line; empty if none do.

    `ignored` are settings that may differ, such as `fold`.
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
    for part in ADDED.keys() & config.keys():
        config[part] = ADDED[part] | config[part]
    return {**flatten(config), "data": record.data.fingerprint, "votes": record.data.votes}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their path, such as `train.lr`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = json.loads(json.dumps(value))  # a tuple reads back as a list
    return flat
