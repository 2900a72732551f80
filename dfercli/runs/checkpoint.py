"""Checkpoints: written atomically, loaded, and refused where they do not fit the data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dfercli.config import ALL_DATA, UNTRAINED, InitConfig, ModelConfig, from_dict
from dfercli.errors import CheckpointError, ConfigError
from dfercli.files import hash_file, replacing_files
from dfercli.models.base import (
    ExpressionModel,
    check_seal,
    find_weights,
    read_settings,
    write_weights,
)
from dfercli.models.settings import BUILT_IN, BUILT_IN_FOLDER, CONFIG_FILE, WEIGHTS_FILE, seal
from dfercli.runs.lookup import find_checkpoint, find_source
from dfercli.runs.record import CheckpointInfo, EarlierTraining, TrainingRecord
from dfercli.runs.run_folder import CHECKPOINT, RunFolder

if TYPE_CHECKING:
    from dfercli.data.manifest import Manifest


def save_checkpoint(model: ExpressionModel, folder: Path) -> None:
    """Write a model into a folder, replacing the checkpoint there, if any.

    The two files are replaced one after the other. If the process is killed in between, their seal
    does not match, and loading them is refused.
    """
    with replacing_files(folder, CHECKPOINT) as partial:
        write_sealed(model.state_dict(), model.settings, partial)


def write_sealed(weights: Mapping[str, Tensor], settings: Mapping[str, Any], folder: Path) -> None:
    """Write weights and settings into a new folder, and seal them."""
    folder.mkdir()
    write_weights(weights, settings, folder)
    seal(folder / CONFIG_FILE, folder / WEIGHTS_FILE)


def load_checkpoint(where: str) -> ExpressionModel:
    """Load a model in evaluation mode.

    `where` is the folder of a checkpoint or of a run (its best epoch), or a name on the Hugging
    Face Hub.

    Raises:
        CheckpointError: There is no checkpoint, or it is incomplete or was not written by dfer.
    """
    return ExpressionModel.from_pretrained(_find_checkpoint(where))


def load_settings(where: str) -> dict[str, Any]:
    """Return the entries of a valid checkpoint's `config.json`, without keeping its weights.

    Raises:
        CheckpointError: There is no checkpoint, or one of its files is damaged.
    """
    model_id = _find_checkpoint(where)
    settings = read_settings(model_id)
    check_seal(model_id, settings, find_weights(model_id))
    return settings


def _find_checkpoint(where: str) -> str:
    """Return the folder of a run's model or of the built-in one; other names stay as they are."""
    if where == BUILT_IN:
        return str(BUILT_IN_FOLDER)
    model = RunFolder(Path(where)).model
    return str(model) if model.is_dir() else where


def find_initial(name: str, runs: Path) -> InitConfig:
    """Return the checkpoint that a run is to start from; hashes its weights.

    Raises:
        ConfigError: Its method trains nothing.
        CheckpointError: There is no such checkpoint.
    """
    where = locate_initial(name, runs)
    return InitConfig(
        where=where, name=find_source(where).name, sha256=hash_file(find_weights(where))
    )


def locate_initial(name: str, runs: Path) -> str:
    """Find the checkpoint that a run is to start from, by a name as `find_checkpoint` takes it.

    Raises:
        ConfigError: Its method trains nothing.
        CheckpointError: There is no such checkpoint.
    """
    where = _find_checkpoint(find_checkpoint(name, runs))
    method = read_initial(where).method
    if method in UNTRAINED:
        raise ConfigError(
            f"cannot start from {name}: {method} trains nothing; use --init with a checkpoint that "
            f"`dfer train` has trained"
        )
    return where


def read_initial(where: str) -> ModelConfig:
    """Return the model's configuration that a checkpoint records.

    Raises:
        CheckpointError: There is no such checkpoint.
        ConfigError: It has a setting that this version does not know.
    """
    return from_dict(ModelConfig, read_settings(where)["model"])


def unseen_folds(
    settings: Mapping[str, Any],
    manifest: "Manifest",
    folds_by: str = "official",
    folds: Sequence[int] | None = None,
) -> list[int]:
    """Return the folds that a model can be tested on: the requested ones, or all.

    `settings` are the entries of the checkpoint's `config.json`. The checkpoints that it started
    from count, too. Data with the name of the training data counts as the training data, even if
    clips were added or cropped again since: the model has seen most of them.

    Raises:
        CheckpointError: The model was trained on clips of a requested fold.
        DataError: The manifest has no such fold.
    """
    for fold in folds or ():
        manifest.select(fold, "test")
    trained = CheckpointInfo.from_settings(settings).trained
    trainings: list[TrainingRecord | EarlierTraining] = [trained, *trained.init]
    same_data = [training for training in trainings if _is_of(training, manifest)]
    left_out = {_find_left_out(training, manifest, folds_by) for training in same_data}
    if not left_out:
        return list(folds or manifest.folds)
    if len(left_out) > 1:
        raise CheckpointError(
            f"the checkpoint and one that it started from left out different folds of "
            f"{manifest.dataset}, so there are no clips to test it on"
        )
    (fold,) = left_out
    if seen := set(folds or ()) - {fold}:
        raise CheckpointError(
            f"the checkpoint was trained on the clips of fold {min(seen)}; test it on fold {fold}"
        )
    return [fold]


def saw_data(settings: Mapping[str, Any], manifest: "Manifest") -> bool:
    """Return whether a checkpoint, or one that it started from, was trained on this data."""
    trained = CheckpointInfo.from_settings(settings).trained
    return any([_is_of(trained, manifest), *(_is_of(early, manifest) for early in trained.init)])


def _is_of(trained: TrainingRecord | EarlierTraining, manifest: "Manifest") -> bool:
    same_data = trained.data_fingerprint == manifest.fingerprint
    return trained.dataset == manifest.dataset or same_data


def _find_left_out(
    trained: TrainingRecord | EarlierTraining, manifest: "Manifest", folds_by: str
) -> int:
    """Return the fold that a training on this data left out."""
    if trained.fold == ALL_DATA:
        raise CheckpointError(
            f"the checkpoint was trained on all clips of {manifest.dataset}, so there are no clips "
            f"to test it on; `dfer eval` reports the models of its folds"
        )
    if trained.folds_by != folds_by:
        raise CheckpointError(
            f"the checkpoint was trained with {trained.folds_by} folds, so {folds_by} folds "
            f"contain clips that it was trained on; use --folds-by {trained.folds_by}"
        )
    if trained.folds_by == "group" and trained.data_fingerprint != manifest.fingerprint:
        raise CheckpointError(
            f"{manifest.dataset} has changed since the checkpoint was trained, so its group folds "
            f"are different and contain clips that it was trained on; train it again"
        )
    if trained.fold is None:
        raise CheckpointError(
            f"the checkpoint does not record its test fold of {manifest.dataset}; train it again"
        )
    return trained.fold


def check_fits(
    model: ExpressionModel,
    class_names: Sequence[str],
    crop: dict[str, Any] | None,
    allow_other_crop: bool = False,
) -> None:
    """Check that data has the classes and the crops that a model was trained on.

    Raises:
        CheckpointError: The classes or their order differ, or the crops do.
    """
    if list(class_names) != model.class_names:
        raise CheckpointError(
            f"the checkpoint was trained on the classes {', '.join(model.class_names)}, but the "
            f"data has {', '.join(class_names)}; use a checkpoint with the same classes"
        )
    trained = model.settings.get("crop")
    if crop != trained and not allow_other_crop:
        raise CheckpointError(
            f"the checkpoint was trained on faces cropped with {trained}, but those of the data "
            f"were cropped with {crop}; train on such crops, or use --allow-other-crop"
        )
