"""The folder of a run: where its files are, and how they are written and read back."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dfercli.config import ALL_DATA, RunConfig, to_dict
from dfercli.errors import CheckpointError, ConfigError, explain_system_error, first_line
from dfercli.files import FolderKind, hash_file, write_json, write_text
from dfercli.runs.record import DataRecord, EpochMetrics, RunRecord, name_differences
from dfercli.versions import find_commit, find_versions

Protocol = Literal["best", "val", "last"]
PROTOCOLS: dict[Protocol, str] = {
    "best": "the epoch with the highest WAR on the test fold, as usually published (optimistic)",
    "val": "the epoch with the highest WAR on clips held out of the training folds",
    "last": "the last epoch, regardless of its score",
}
"""Which epoch of a run is reported."""


def protocols_of(val_fraction: float) -> tuple[Protocol, ...]:
    """Return the protocols of a run that holds out such a share of the training clips."""
    return tuple(name for name in PROTOCOLS if name != "val" or val_fraction > 0)


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
    """`runs/<dataset>/<variant>/fold<k>`, or `all`, and the names of the files in it."""

    path: Path

    @property
    def fold(self) -> int:
        """The fold that the run tests; `ALL_DATA` for one that trains on all clips."""
        if self.path.name == ALL_DATA_FOLDER:
            return ALL_DATA
        return int(self.path.name.removeprefix("fold"))

    @property
    def model(self) -> Path:
        """Folder of the best epoch's checkpoint; of a run on all clips the last epoch's."""
        return self.checkpoint("last" if self.path.name == ALL_DATA_FOLDER else "best")

    @property
    def run_file(self) -> Path:
        """Configuration, command, versions, and whether the run is finished."""
        return self.path / "run.json"

    @property
    def metrics_file(self) -> Path:
        """Metrics, one line per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def resume_folder(self) -> Path:
        """State to resume from, and epochs that wait for it; removed at the end."""
        return self.path / "resume"

    @property
    def lock_file(self) -> Path:
        """Locked by the process that trains the run; outside its folder, which may be removed."""
        return self.path.with_name(f".{self.path.name}.lock")

    @property
    def curves_file(self) -> Path:
        """Picture of loss, learning rate, WAR and UAR."""
        return self.path / "curves.png"

    @property
    def logs_folder(self) -> Path:
        """Files that trackers write."""
        return self.path / "logs"

    def checkpoint(self, protocol: str) -> Path:
        """Folder of the checkpoint of the `best`, the `last` or the `val` epoch."""
        return self.path / protocol

    def predictions_file(self, protocol: str) -> Path:
        """Predictions of an epoch on the test fold."""
        return self.path / f"predictions_{protocol}.csv"

    def validation_file(self, protocol: str) -> Path:
        """Predictions of an epoch on the clips that were held out of training."""
        return self.path / f"validation_{protocol}.csv"

    def read(self) -> RunRecord:
        """Return the content of `run.json`.

        Raises:
            CheckpointError: There is none, or it is damaged.
        """
        return self._read()[1]

    def _read(self) -> tuple[dict[str, Any], RunRecord]:
        """Return the entries of `run.json`, as they are stored and typed."""
        try:
            entries = json.loads(self.run_file.read_text(encoding="utf-8"))
            return entries, RunRecord.from_entries(entries)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CheckpointError(f"no run in {self.path}; train one with `dfer train`") from error
        except OSError as error:
            raise CheckpointError(
                f"cannot read {self.run_file}: {explain_system_error(error)}"
            ) from error
        except ValueError as error:
            raise CheckpointError(
                f"{self.run_file} is damaged ({first_line(error)}); remove {self.path} and train "
                f"it again"
            ) from error

    @property
    def finished(self) -> bool:
        """Whether the run was trained to its end."""
        return self.run_file.is_file() and self.read().finished

    def load(self) -> "FinishedRun":
        """Return the finished run with its record.

        Raises:
            CheckpointError: There is no run, it is damaged, or it is not finished.
        """
        record = self.read()
        if not record.finished:
            raise CheckpointError(
                f"the run in {self.path} is not finished, so it has no results yet; run its "
                f"command again to finish it"
            )
        return FinishedRun(self.path, record)

    def check_own(self) -> None:
        """Check that the folder holds a run, or no files that dfer did not write.

        Raises:
            DataError: There are such files, which a new run would remove.
        """
        if not self.run_file.is_file():
            RUN.check(self.path)

    def discard(self) -> None:
        """Remove the run as a whole: a process that is killed leaves all of it or nothing.

        Raises:
            DataError: The folder holds files that dfer did not write; nothing was removed.
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
        data: DataRecord,
        command: str,
        device: str,
        processes: int = 1,
        steps: str | None = None,
    ) -> None:
        """Begin a run from its first epoch, and remove any previous run in the folder.

        `steps` is how training steps are computed; None if nothing is trained.
        """
        self.discard()
        write_json(
            self.run_file,
            {
                "config": to_dict(config),
                **data.to_entries(),
                **({} if steps is None else {"steps": steps}),
                "command": command,
                "device": device,
                "processes": processes,
                "versions": find_versions(*PACKAGES),
                "commit": find_commit(),
                "finished": False,
            },
        )

    def resume(self, epochs: int, command: str, device: str) -> None:
        """Record that an interrupted run is resumed after its first `epochs` epochs."""
        entries, _ = self._read()
        call = {
            "after_epoch": epochs,
            "command": command,
            "device": device,
            "versions": find_versions(*PACKAGES),
            "commit": find_commit(),
        }
        write_json(self.run_file, entries | {"resumed": [*entries.get("resumed", ()), call]})

    def finish(self) -> None:
        """Mark the run as trained to its end, and seal its predictions and metrics."""
        files = sorted([*self.path.glob("predictions_*.csv"), *self.path.glob("validation_*.csv")])
        files += [self.metrics_file] if self.metrics_file.is_file() else []
        sealed = {path.name: hash_file(path) for path in files}
        entries, _ = self._read()
        write_json(self.run_file, entries | {"sealed": sealed, "finished": True})

    def write_metrics(self, lines: Sequence[EpochMetrics]) -> None:
        """Write the metrics of all epochs so far."""
        write_text(self.metrics_file, "".join(json.dumps(line) + "\n" for line in lines))

    def read_metrics(self) -> list[EpochMetrics]:
        """Return the metrics of all epochs.

        Raises:
            CheckpointError: They are missing, or have changed since the run was finished.
        """
        if not self.metrics_file.is_file():
            raise CheckpointError(
                f"no {self.metrics_file}; restore it, or train the fold again with --overwrite"
            )
        text = self.metrics_file.read_text(encoding="utf-8")
        seal = (self.read().seals or {}).get(self.metrics_file.name)
        if seal not in (None, hash_file(self.metrics_file)):
            raise CheckpointError(
                f"{self.metrics_file} has changed since the run was finished; restore the original "
                f"file, or train the fold again with --overwrite"
            )
        return [json.loads(line) for line in text.splitlines()]

    def check_same(self, config: RunConfig, data: DataRecord) -> None:
        """Check that the run in the folder, if any, has these settings and data.

        A precision that is still `auto` equals any.

        Raises:
            ConfigError: It has other settings or other data.
        """
        if not self.run_file.is_file():
            return
        ignored = ["compute.precision"] if config.compute.precision == "auto" else []
        before = self.read()
        changed = name_differences(before, RunRecord(to_dict(config), data), *ignored)
        if not changed and before.data.held_out != data.held_out:
            changed = "other clips are held out; the column group of the manifest may differ"
        if changed:
            raise ConfigError(
                f"{self.path} contains a run with other settings ({changed}); "
                f"use another --runs folder, or --overwrite to replace it"
            )


@dataclass(frozen=True)
class FinishedRun(RunFolder):
    """A finished run with the content of its `run.json`."""

    record: RunRecord

    def read(self) -> RunRecord:
        """Return the record, without reading the file again."""
        return self.record

    @property
    def finished_s(self) -> float:
        """When the run was finished, in seconds since the epoch."""
        return self.run_file.stat().st_mtime


def run_folder(runs: Path, config: RunConfig) -> RunFolder:
    """Return the folder of a run, below the folder of all runs."""
    name = ALL_DATA_FOLDER if config.fold == ALL_DATA else f"fold{config.fold}"
    return RunFolder(runs / config.data.dataset / config.variant / name)


def check_same_settings(runs: Mapping[int, RunFolder]) -> None:
    """Refuse to average runs that differ in more than their fold.

    Raises:
        CheckpointError: Two of them have different settings or different data.
    """
    (first, run), *others = runs.items()
    for fold, other in others:
        changed = name_differences(run.read(), other.read(), "fold")
        if changed:
            raise CheckpointError(
                f"folds {first} and {fold} of {run.path.parent} have different settings "
                f"({changed}); train one again with --overwrite, or select folds with --folds"
            )


def differ_from_final(fold: RunRecord, final: RunRecord) -> str:
    """Return the settings that differ between a fold's run and the run on all clips."""
    return name_differences(fold, final, "fold", "train.stop_epoch", "compute.precision")


def list_deviations(runs: Iterable[FinishedRun]) -> list[str]:
    """Return what differs from the official lists in the data of some runs, each sentence once."""
    return list(dict.fromkeys(line for run in runs for line in run.record.data.deviations))
