"""Checkpoints: written whole, found again, and refused where they do not fit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from dfercli.config import ALL_DATA
from dfercli.data.manifest import Manifest
from dfercli.errors import CheckpointError
from dfercli.files import replacing_files
from dfercli.models.base import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    ExpressionModel,
    check_seal,
    find_weights,
    read_settings,
    write_weights,
)
from dfercli.models.settings import seal
from dfercli.runs.run_folder import CHECKPOINT, RunFolder


def save_checkpoint(model: ExpressionModel, folder: Path) -> None:
    """Write a model as it is; there is always a checkpoint in the folder.

    Its two files are replaced one after the other: a process that is killed between these moments
    leaves two that do not belong together, which their seal refuses.
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

    Args:
        where: A checkpoint's folder, a run's folder (its best epoch is taken), or a model's name
            on the Hugging Face Hub.

    Raises:
        CheckpointError: There is none, or it is incomplete or was not written by dfer.
    """
    return ExpressionModel.from_pretrained(_find_checkpoint(where))


def load_settings(where: str) -> dict[str, Any]:
    """Return the entries of a whole checkpoint's `config.json`; its weights are not kept in memory.

    Args:
        where: As for `load_checkpoint`.

    Raises:
        CheckpointError: There is none, or one of its files is damaged.
    """
    model_id = _find_checkpoint(where)
    settings = read_settings(model_id)
    check_seal(model_id, settings, find_weights(model_id))
    return settings


def _find_checkpoint(where: str) -> str:
    """Return the folder of a run's model; a checkpoint or a name on the Hub as it is."""
    model = RunFolder(Path(where)).model
    return str(model) if model.is_dir() else where


def unseen_folds(
    model: ExpressionModel,
    manifest: Manifest,
    folds_by: str = "official",
    folds: Sequence[int] | None = None,
) -> list[int]:
    """Give the folds that a model can be tested on, as asked for or all.

    Data of the name that the model was trained on counts as the same, also where it has grown or
    was cropped again since: most of its clips are.

    Args:
        model: A trained model.
        manifest: The data, with the folds to test.
        folds_by: Which folds these are.
        folds: Those that were asked for; None gives all that can be tested.

    Raises:
        CheckpointError: The model was trained on clips of a fold that was asked for.
        DataError: The manifest has no such fold.
    """
    for fold in folds or ():
        manifest.select(fold, "test")
    trained = model.settings.get("trained") or {}
    same_name = trained.get("dataset") == manifest.dataset
    if not same_name and trained.get("data_fingerprint") != manifest.fingerprint:
        return list(folds or manifest.folds)
    if trained["fold"] == ALL_DATA:
        raise CheckpointError(
            f"the checkpoint was trained on all clips of {manifest.dataset}: none is left to test "
            f"it on; `dfer eval` prints what its folds reached"
        )
    dealt = trained.get("folds_by", "official")
    if dealt != folds_by:
        raise CheckpointError(
            f"the checkpoint was trained with {dealt} folds: {folds_by} folds test clips that it "
            f"has seen; give --folds-by {dealt}"
        )
    if dealt == "group" and trained.get("data_fingerprint") != manifest.fingerprint:
        raise CheckpointError(
            f"{manifest.dataset} has changed since the checkpoint was trained, and its folds by "
            f"group were dealt anew: any has clips that it has seen; train again"
        )
    seen = set(folds or ()) - {trained["fold"]}
    if seen:
        raise CheckpointError(
            f"the checkpoint was trained on the clips of fold {min(seen)}; "
            f"test it on fold {trained['fold']}"
        )
    return [trained["fold"]]


def check_fits(
    model: ExpressionModel,
    class_names: Sequence[str],
    crop: dict[str, Any] | None,
    allow_other_crop: bool = False,
) -> None:
    """Refuse data that a model was not made for.

    Args:
        model: A trained model.
        class_names: Classes of the data, in order.
        crop: How the data's faces were cropped.
        allow_other_crop: Go on although the faces were cropped otherwise.

    Raises:
        CheckpointError: The classes differ, or their order; or the crops do.
    """
    if list(class_names) != model.class_names:
        raise CheckpointError(
            f"the checkpoint knows the classes {', '.join(model.class_names)}; "
            f"the data has {', '.join(class_names)}; use a checkpoint trained on these"
        )
    if crop != model.settings["crop"] and not allow_other_crop:
        raise CheckpointError(
            f"the checkpoint was trained on faces cropped by {model.settings['crop']}, the data's "
            f"are by {crop}; crop alike, or give --allow-other-crop"
        )
