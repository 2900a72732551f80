"""The final model of a variant: trained on all clips, for as many epochs as its folds chose."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median, median_high
from typing import Any

from dfercli.config import ALL_DATA, RunConfig, to_dict
from dfercli.data.manifest import Manifest
from dfercli.errors import ConfigError
from dfercli.models.base import read_settings
from dfercli.runs.lookup import find_folds
from dfercli.runs.record import CheckpointInfo, RunRecord, name_differences
from dfercli.runs.run_folder import FinishedRun, Protocol, RunFolder, run_folder
from dfercli.training.evaluation import describe_data
from dfercli.training.selection import chosen_epochs


@dataclass(frozen=True)
class FinalPlan:
    """How to train the final model of a variant: on all clips.

    The folds decide after which epoch it stops. `calibration` is that entry of its checkpoint.
    """

    config: RunConfig
    folds: tuple[int, ...] = ()
    calibration: Mapping[str, Any] | None = None


def plan_final(
    config: RunConfig,
    runs: Path,
    manifest: Manifest,
    repeated: Mapping[int, RunFolder] | None = None,
) -> FinalPlan:
    """Plan the final model of a variant.

    It has the schedule of the folds' runs and stops at the median of the epochs that they chose
    (our choice), by held-out clips if there are any, else by the test folds. Without finished folds
    it trains all epochs. Its calibration comes from the folds too, as it has no held-out clips.

    Args:
        config: A run of the variant, of any fold.
        runs: Folder of all runs.
        manifest: The data.
        repeated: Runs to repeat by fold. A run on all clips is repeated with its own epochs and
            calibration; the folds of the others serve if `runs` has none of the variant.

    Raises:
        ConfigError: A fold in `runs` was trained with other settings, or on other data.
        CheckpointError: A fold's checkpoint or metrics are missing or damaged.
    """
    final = replace(config, fold=ALL_DATA)
    repeated = repeated or {}
    if ALL_DATA in repeated:
        return FinalPlan(final, (), _read_calibration(repeated[ALL_DATA]))
    requested = RunRecord(to_dict(final), describe_data(final, manifest))
    ignored = ["fold"]
    if final.compute.precision == "auto":
        ignored.append("compute.precision")
    folds = find_folds(run_folder(runs, final).path.parent)
    for run in folds.values():
        if changed := name_differences(run.record, requested, *ignored):
            raise ConfigError(
                f"{run.path} was trained with other settings ({changed}); use the same settings, "
                f"or train that fold again with --overwrite"
            )
    if not folds and repeated:
        folds = find_folds(next(iter(repeated.values())).path.parent)
        if any(name_differences(run.record, requested, *ignored) for run in folds.values()):
            folds = {}  # options override the record, so these folds are of another variant
    if not folds:
        return FinalPlan(final)
    stop = median_high(
        chosen_epochs(run.read_metrics())[_protocol(config)] for run in folds.values()
    )
    final = replace(final, train=replace(final.train, stop_epoch=stop))
    return FinalPlan(final, tuple(folds), carry_calibration(folds))


def _read_calibration(run: RunFolder) -> Mapping[str, Any] | None:
    """Return the calibration of a run on all clips, or of its folds if it is not finished."""
    if run.finished:
        calibration: Mapping[str, Any] | None = read_settings(str(run.model)).get("calibration")
        return calibration
    return carry_calibration(find_folds(run.path.parent))


def carry_calibration(folds: Mapping[int, FinishedRun]) -> Mapping[str, Any] | None:
    """Return the calibration with the median temperature of folds (our choice).

    None unless there are folds, and every one has a temperature.
    """
    infos = [
        CheckpointInfo.from_settings(read_settings(str(_checkpoint_of(fold))))
        for fold in folds.values()
    ]
    temperatures = [info.temperature for info in infos if info.temperature is not None]
    if not temperatures or len(temperatures) < len(infos):
        return None
    clips = sum(info.calibration_clips for info in infos)
    return {"clips": clips, "temperature": median(temperatures)}


def _checkpoint_of(fold: FinishedRun) -> Path:
    return fold.checkpoint(_protocol(fold.record.config))


def _protocol(config: RunConfig) -> Protocol:
    return "val" if config.train.val_fraction > 0 else "best"
