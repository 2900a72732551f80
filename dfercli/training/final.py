"""The final model of a variant: trained on all clips, for as many epochs as its folds chose."""

from dataclasses import replace
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
from dfercli.training.eval_loaders import describe_data
from dfercli.training.selection import chosen_epochs


def plan_final(config: RunConfig, runs: Path, manifest: Manifest) -> tuple[RunConfig, list[int]]:
    """Return the run of the final model, and the folds that decide after which epoch it stops.

    It has the schedule of the folds' runs and stops at the median of the epochs that they chose
    (our choice), by held-out clips if there are any, else by the test folds. Without finished folds
    it trains all epochs.

    Args:
        config: A run of the variant, of any fold.
        runs: Folder of all runs.
        manifest: The data.

    Raises:
        ConfigError: A fold was trained with other settings, or on other data.
        CheckpointError: A fold's checkpoint or metrics are missing or damaged.
    """
    final = replace(config, fold=ALL_DATA)
    folds = find_folds(run_folder(runs, final).path.parent)
    if not folds:
        return final, []
    requested = RunRecord(to_dict(final), describe_data(final, manifest))
    ignored = ["fold"]
    if final.compute.precision == "auto":
        ignored.append("compute.precision")
    for run in folds.values():
        if changed := name_differences(run.record, requested, *ignored):
            raise ConfigError(
                f"{run.path} was trained with other settings ({changed}); give the same ones, or "
                f"train that fold again with --overwrite"
            )
    carry_calibration(run_folder(runs, final))  # reports a damaged fold before anything is removed
    stop = median_high(
        chosen_epochs(run.read_metrics())[_protocol(config)] for run in folds.values()
    )
    return replace(final, train=replace(final.train, stop_epoch=stop)), [*folds]


def carry_calibration(run: RunFolder) -> dict[str, Any]:
    """Return the calibration of a final model: the median temperature of its folds (our choice).

    The final model has no held-out clips of its own. Returns an empty dictionary unless every
    finished fold has a temperature.

    Args:
        run: The run on all clips.
    """
    folds = find_folds(run.path.parent)
    infos = [
        CheckpointInfo.from_settings(read_settings(str(_checkpoint_of(fold))))
        for fold in folds.values()
    ]
    temperatures = [info.temperature for info in infos if info.temperature is not None]
    if not temperatures or len(temperatures) < len(infos):
        return {}
    clips = sum(info.calibration_clips for info in infos)
    return {"calibration": {"clips": clips, "temperature": median(temperatures)}}


def _checkpoint_of(fold: FinishedRun) -> Path:
    return fold.checkpoint(_protocol(fold.record.config))


def _protocol(config: RunConfig) -> Protocol:
    return "val" if config.train.val_fraction > 0 else "best"
