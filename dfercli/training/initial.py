"""Going on from a checkpoint: refusing what would be tested unfairly, and loading the weights."""

from dataclasses import asdict
from typing import Any

from dfercli.config import ALL_DATA, InitConfig, RunConfig
from dfercli.data.manifest import Manifest
from dfercli.errors import CheckpointError, ConfigError
from dfercli.files import hash_file
from dfercli.models.base import ExpressionModel, find_weights, read_settings
from dfercli.models.initial import list_misfits, take_weights
from dfercli.runs.checkpoint import load_checkpoint, read_initial, saw_data, unseen_folds
from dfercli.runs.record import CheckpointInfo, EarlierTraining


def check_initial(config: RunConfig, manifest: Manifest) -> None:
    """Check that a run can start from its checkpoint, if it has one, without reading the weights.

    Raises:
        ConfigError: The checkpoint is of another model, or was trained on clips that are tested or
            held out.
        CheckpointError: There is no such checkpoint.
    """
    init = config.init
    if init is None:
        return
    if misfits := list_misfits(config.model, read_initial(init.where)):
        raise ConfigError(
            f"{init.name} is another model than the one to train ({'; '.join(misfits)}); "
            f"use the settings of the checkpoint"
        )
    if config.fold == ALL_DATA:
        return
    settings = read_settings(init.where)
    try:
        unseen_folds(settings, manifest, config.data.folds_by, [config.fold])
    except CheckpointError as error:
        raise ConfigError(
            f"cannot start from {init.name} and test fold {config.fold}: {error}"
        ) from error
    if config.train.val_fraction > 0 and saw_data(settings, manifest):
        raise ConfigError(
            f"{init.name} may have been trained on the clips that --val-fraction holds out of "
            f"{manifest.dataset}; remove --val-fraction"
        )


def load_initial(model: ExpressionModel, init: InitConfig) -> None:
    """Load the weights of a checkpoint into a new model, and record it in the model's settings.

    Raises:
        CheckpointError: The checkpoint is missing or damaged, or has changed.
        ConfigError: Its prompts do not fit.
    """
    if hash_file(find_weights(init.where)) != init.sha256:
        raise CheckpointError(
            f"{init.where} has changed since the run was configured; restore it, or start a new run"
        )
    trained = load_checkpoint(init.where)
    take_weights(model, trained)
    model.settings["trained"]["init"] = list_earlier(trained, init)


def list_earlier(trained: ExpressionModel, init: InitConfig) -> list[dict[str, Any]]:
    """Return the entries of a checkpoint and of those before it, for `config.json`."""
    record = CheckpointInfo.from_settings(trained.settings).trained
    newest = EarlierTraining(
        init.name,
        init.sha256,
        record.dataset,
        record.fold,
        record.folds_by,
        record.data_fingerprint,
    )
    return [asdict(earlier) for earlier in (newest, *record.init)]
