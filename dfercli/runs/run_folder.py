"""The folder of a run: its record, its log, and whether it is finished."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dfercli.config import ALL_DATA, RunConfig, from_dict, to_dict
from dfercli.errors import CheckpointError, ConfigError
from dfercli.files import hash_file, write_json, write_text
from dfercli.owned import FolderKind
from dfercli.runs.config_diff import name_differences
from dfercli.system_errors import explain_system_error
from dfercli.versions import find_commit, find_versions

Protocol = Literal["best", "val", "last"]
PROTOCOLS: dict[Protocol, str] = {
    "best": "the epoch of the highest WAR on the test fold, as the field publishes: it flatters",
    "val": "the epoch of the highest WAR on a part held out of the training folds",
    "last": "the last epoch, whatever it is worth",
}
"""Which epoch of a run is reported."""

_CHECKPOINT_FILES = r"config\.json|model\.safetensors"
_STATE_FILES = rf"{_CHECKPOINT_FILES}|optimizer\.pt|metrics\.json|seals\.json"
_TRACKER_FILES = r"wandb/.*|(.*/)?(events\.out\.tfevents[^/]*|hparams\.yml)"

_TABLE_FILES = r"(predictions|validation)\.csv"

CHECKPOINT = FolderKind("a checkpoint", rf"{_CHECKPOINT_FILES}|README\.md")
STATE = FolderKind("the state after an epoch", rf"{_STATE_FILES}|README\.md")
CHOSEN = FolderKind("an epoch that a protocol chose", rf"{_CHECKPOINT_FILES}|{_TABLE_FILES}")
RUN = FolderKind(
    "a run",
    r"run\.json|metrics\.jsonl|curves\.png|(predictions|validation)_(best|last|val)\.csv"
    rf"|(best|last|val)/({_CHECKPOINT_FILES})|resume/epoch[0-9]+/({_STATE_FILES})"
    rf"|resume/epoch[0-9]+-(best|last|val)/({_CHECKPOINT_FILES}|{_TABLE_FILES})"
    rf"|logs/({_TRACKER_FILES})",
    "run.json",
    ("config",),
)


PACKAGES = (
    "dfer",
    "torch",
    "torchvision",
    "open_clip_torch",
    "accelerate",
    "numpy",
    "opencv-python",
)


ALL_DATA_FOLDER = "all"
"""Name of the folder of a run on all clips, beside those of the folds."""


@dataclass(frozen=True)
class RunFolder:
    """`runs/<dataset>/<variant>/fold<k>`, or `all`, and the names of the files in it.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def fold(self) -> int:
        """The fold that the run tests; `ALL_DATA` for one that trains on all clips."""
        if self.path.name == ALL_DATA_FOLDER:
            return ALL_DATA
        return int(self.path.name.removeprefix("fold"))

    @property
    def model(self) -> Path:
        """Folder of the checkpoint that predictions take: the best epoch, of all clips the last."""
        return self.checkpoint("last" if self.path.name == ALL_DATA_FOLDER else "best")

    @property
    def run_file(self) -> Path:
        """Configuration, command, versions, and whether the run is finished."""
        return self.path / "run.json"

    @property
    def metrics_file(self) -> Path:
        """A line an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def resume_folder(self) -> Path:
        """State after the last saved epoch, and epochs that wait for it; gone at the end."""
        return self.path / "resume"

    @property
    def lock_file(self) -> Path:
        """Held by the process that trains the run; beside its folder, which may be removed."""
        return self.path.with_name(f".{self.path.name}.lock")

    @property
    def curves_file(self) -> Path:
        """Picture of loss, rate, WAR and UAR."""
        return self.path / "curves.png"

    @property
    def logs_folder(self) -> Path:
        """What trackers write."""
        return self.path / "logs"

    def checkpoint(self, which: str) -> Path:
        """Folder of the checkpoint of the `best`, the `last` or the `val` epoch."""
        return self.path / which

    def predictions_file(self, which: str) -> Path:
        """Predictions of an epoch on the test fold."""
        return self.path / f"predictions_{which}.csv"

    def validation_file(self, which: str) -> Path:
        """Predictions of an epoch on the clips that were held out of training."""
        return self.path / f"validation_{which}.csv"

    def read(self) -> dict[str, Any]:
        """Give the entries of `run.json`.

        Raises:
            CheckpointError: There is none, or it is damaged.
        """
        try:
            entries = json.loads(self.run_file.read_text(encoding="utf-8"))
            config = entries.get("config") if isinstance(entries, dict) else None
            if not isinstance(config, dict) or not isinstance(config.get("data"), dict):
                raise ValueError("not the record of a run")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CheckpointError(f"no run in {self.path}; train one with `dfer train`") from error
        except OSError as error:
            raise CheckpointError(
                f"cannot read {self.run_file}: {explain_system_error(error)}"
            ) from error
        except ValueError as error:
            raise CheckpointError(
                f"{self.run_file} is damaged; remove {self.path} and train it again"
            ) from error
        return entries

    def read_config(self) -> RunConfig:
        """Give the configuration of the run."""
        return from_dict(RunConfig, self.read()["config"])

    @property
    def drawn(self) -> bool:
        """Whether it was trained on the drawn people of the demo; old runs go by its usual name."""
        entries = self.read()
        return bool(entries.get("drawn", entries["config"]["data"].get("dataset") == "demo"))

    @property
    def finished_s(self) -> float:
        """When it was finished, in seconds since the epoch."""
        return self.run_file.stat().st_mtime

    @property
    def finished(self) -> bool:
        """Whether the run was trained to its end."""
        return self.run_file.is_file() and bool(self.read().get("finished"))

    def check_own(self) -> None:
        """Refuse a folder without a run that holds something that dfer did not write.

        Raises:
            DataError: It does: it would be in the way of a new run.
        """
        if not self.run_file.is_file():
            RUN.check(self.path)

    def discard(self) -> None:
        """Remove the run, so that there is no moment with half of it.

        Raises:
            DataError: The folder holds something that dfer did not write; nothing was removed.
        """
        old = self.path.with_name(f".{self.path.name}.old")
        RUN.check(self.path)
        RUN.remove(old)
        if self.path.is_dir():
            self.path.rename(old)
            RUN.drop(old)

    def start(
        self,
        config: RunConfig,
        data: Mapping[str, Any],
        command: str,
        device: str,
        processes: int = 1,
    ) -> None:
        """Begin a run from its first epoch; what was there is removed.

        Args:
            config: The run.
            data: What it says of its data, such as `data_fingerprint`.
            command: What was typed.
            device: What it is trained on, in words.
            processes: How many train it together.
        """
        self.discard()
        write_json(
            self.run_file,
            {
                "config": to_dict(config),
                **data,
                "command": command,
                "device": device,
                "processes": processes,
                "versions": find_versions(*PACKAGES),
                "commit": find_commit(),
                "finished": False,
            },
        )

    def write_metrics(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Write the metrics of all epochs so far."""
        write_text(self.metrics_file, "".join(json.dumps(line) + "\n" for line in lines))

    def read_metrics(self) -> list[dict[str, Any]]:
        """Give the lines of the metrics, one an epoch.

        Raises:
            CheckpointError: They are missing, or not as they were when the run was finished.
        """
        if not self.metrics_file.is_file():
            raise CheckpointError(
                f"no {self.metrics_file}; put it back, or train the fold again with --overwrite"
            )
        text = self.metrics_file.read_text(encoding="utf-8")
        seal = self.read().get("sealed", {}).get(self.metrics_file.name)
        if seal not in (None, hash_file(self.metrics_file)):
            raise CheckpointError(
                f"{self.metrics_file} is damaged: not as it was when the run was finished; put it "
                f"back, or train the fold again with --overwrite"
            )
        return [json.loads(line) for line in text.splitlines()]

    def go_on(self, epochs: int, command: str, device: str) -> None:
        """Record that an interrupted run goes on after its first `epochs` epochs."""
        entries = self.read()
        resumed = [
            *entries.get("resumed", ()),
            {
                "after_epoch": epochs,
                "command": command,
                "device": device,
                "versions": find_versions(*PACKAGES),
                "commit": find_commit(),
            },
        ]
        write_json(self.run_file, entries | {"resumed": resumed})

    def finish(self) -> None:
        """Mark the run as trained to its end, and seal its predictions and metrics."""
        files = sorted([*self.path.glob("predictions_*.csv"), *self.path.glob("validation_*.csv")])
        files += [self.metrics_file] if self.metrics_file.is_file() else []
        sealed = {path.name: hash_file(path) for path in files}
        write_json(self.run_file, self.read() | {"sealed": sealed, "finished": True})

    def check_same(self, config: RunConfig, data: Mapping[str, Any]) -> None:
        """Refuse to mix two runs in one folder; a precision still left to a machine may be any.

        Args:
            config: The run that is asked for.
            data: What it says of its data, as in `start`.

        Raises:
            ConfigError: The run in the folder has other settings or other data.
        """
        if not self.run_file.is_file():
            return
        ignored = ["compute.precision"] if config.compute.precision == "auto" else []
        before = self.read()
        changed = name_differences(before, {**data, "config": to_dict(config)}, *ignored)
        if not changed and before.get("held_out") != data.get("held_out"):
            changed = "other clips are held out: was the column group changed?"
        if changed:
            raise ConfigError(
                f"{self.path} holds a run with other settings ({changed}); "
                f"name another --runs folder, or give --overwrite"
            )


def run_folder(runs: Path, config: RunConfig) -> RunFolder:
    """Give the folder of a run below the folder of all runs."""
    name = ALL_DATA_FOLDER if config.fold == ALL_DATA else f"fold{config.fold}"
    return RunFolder(runs / config.data.dataset / config.variant / name)


def check_alike(runs: Mapping[int, RunFolder]) -> None:
    """Refuse to average runs that differ in more than their fold.

    Raises:
        CheckpointError: Two of them have other settings or other data.
    """
    (first, run), *rest = runs.items()
    for fold, other in rest:
        changed = name_differences(run.read(), other.read(), "fold")
        if changed:
            raise CheckpointError(
                f"folds {first} and {fold} of {run.path.parent} were not trained alike "
                f"({changed}); train one again with --overwrite, or choose with --folds"
            )


def differ_from_final(fold: RunFolder, final: RunFolder) -> str:
    """Name the settings that differ between a fold and the run on all clips; empty if none do."""
    own = ("fold", "train.stop_epoch", "compute.precision")
    return name_differences(fold.read(), final.read(), *own)


def list_deviations(runs: Iterable[RunFolder]) -> list[str]:
    """Give what differs from the official lists in the data of some of the runs, a line each."""
    return list(dict.fromkeys(line for run in runs for line in run.read().get("deviations", ())))
