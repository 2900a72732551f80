"""Import the official checkpoints of DFER-CLIP (`.pth`) as checkpoints of dfer.

Source: Zhao and Patras, 2023, whose code publishes one file per fold of DFEW and MAFW, and one for
FERV39k. The code is under the MIT license; the weights are subject to the terms of their datasets.
"""

import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfercli.config import CLIP_MEAN, CLIP_STD, ModelConfig
from dfercli.data import load_dataset
from dfercli.errors import CheckpointError, ConfigError, explain_system_error, first_line
from dfercli.files import hash_file, replacing_files
from dfercli.models.base import first_settings
from dfercli.models.dfer_clip import LOGIT_SCALE
from dfercli.runs.checkpoint import write_sealed
from dfercli.runs.run_folder import CHECKPOINT

BACKBONE = "ViT-B-32-quickgelu"

NUM_FRAMES = 16

THEIR_CLASSES = (
    *("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"),
    *("contempt", "anxiety", "helplessness", "disappointment"),
)
"""Order of their classes; DFEW and FERV39k have the first seven."""

DATASETS = {"dfew": 7, "ferv39k": 7, "mafw": 11}
"""Datasets of their checkpoints, and their numbers of classes."""

END = 49407
"""Number of CLIP's end token."""

COPIES = "clip_model_."
"""Prefix of the parameters of the original CLIP, which the files contain once more."""

RENAMED = (
    (r"image_encoder\.(.*)", r"backbone.visual.\1"),
    (r"text_encoder\.transformer\.(.*)", r"prompts.transformer.\1"),
    (r"text_encoder\.positional_embedding", r"prompts.positional_embedding"),
    (r"text_encoder\.ln_final\.(.*)", r"prompts.norm.\1"),
    (r"text_encoder\.text_projection", r"prompts.projection"),
    (r"prompt_learner\.ctx", r"contexts"),
    (r"temporal_net\.cls_token", r"temporal.class_token"),
    (r"temporal_net\.pos_embedding", r"temporal.positions"),
    (r"temporal_net\..*layers\.0\.0\.fn\.norm\.(.*)", r"temporal.norm_attention.\1"),
    (
        r"temporal_net\..*layers\.0\.0\.fn\.fn\.to_qkv\.(.*)",
        r"temporal.attention.query_key_value.\1",
    ),
    (r"temporal_net\..*layers\.0\.0\.fn\.fn\.to_out\.0\.(.*)", r"temporal.attention.output.\1"),
    (r"temporal_net\..*layers\.0\.1\.fn\.norm\.(.*)", r"temporal.norm_mlp.\1"),
    (r"temporal_net\..*layers\.0\.1\.fn\.fn\.net\.0\.(.*)", r"temporal.mlp.0.\1"),
    (r"temporal_net\..*layers\.0\.1\.fn\.fn\.net\.3\.(.*)", r"temporal.mlp.2.\1"),
)
"""Patterns of their names, and our names."""

PER_CLASS = ("contexts", "prompts.words", "prompts.ends")
"""Our tensors with one row per class."""


@dataclass(frozen=True)
class Imported:
    """What was imported.

    Attributes:
        folder: The new checkpoint.
        class_names: Its classes.
        best_war: The best WAR on the test fold that the file records, in %; None without one.
    """

    folder: Path
    class_names: tuple[str, ...]
    best_war: float | None


def import_dfer_clip(
    path: Path, folder: Path, dataset: str, fold: int, backbone: str = BACKBONE
) -> Imported:
    """Convert a checkpoint of DFER-CLIP, and write it to a new folder.

    The logits are those of the original network to rounding. It reads frames in [0, 1], so that
    the statistics by which ours are normalised are folded into its first layer.

    Args:
        path: The file.
        folder: The folder to write.
        dataset: The dataset that it was trained on: `dfew`, `ferv39k` or `mafw`.
        fold: The fold that it was not trained on.
        backbone: The backbone's name in open_clip.

    Raises:
        CheckpointError: The file is not a checkpoint of DFER-CLIP, or not safe to load.
        ConfigError: The dataset, the fold or the folder does not fit.
    """
    class_names = _find_classes(dataset, fold)
    if folder.exists():
        raise ConfigError(f"{folder} exists; name a new folder: --out")
    content = load_safely(path)
    state = content.get("state_dict", content)
    weights = convert(state, class_names, path)
    config = ModelConfig(method="dfer-clip", backbone=backbone, num_frames=NUM_FRAMES)
    settings = {
        **first_settings(config, class_names),
        "num_contexts": weights["contexts"].shape[1],
        "prompt_tokens": weights["prompts.words"].shape[1],
        "trained": {"dataset": dataset, "fold": fold, "folds_by": "official", "drawn": False},
        "imported": {"from": "DFER-CLIP", "file": path.name, "sha256": hash_file(path)},
    }
    with replacing_files(folder, CHECKPOINT) as partial:
        write_sealed(weights, settings, partial)
    best = content.get("best_acc")
    return Imported(folder, class_names, None if best is None else float(best))


def _find_classes(dataset: str, fold: int) -> tuple[str, ...]:
    """Return the classes of a dataset in its own order."""
    if dataset not in DATASETS:
        raise ConfigError(f"DFER-CLIP has no weights of {dataset!r}; known: {', '.join(DATASETS)}")
    official = load_dataset(dataset).OFFICIAL
    folds = sorted({number for _, number in official.lists})
    if fold not in folds:
        raise ConfigError(f"{dataset} has no fold {fold}; known: {', '.join(map(str, folds))}")
    names: tuple[str, ...] = official.class_names
    return names


def load_safely(path: Path) -> dict[str, Any]:
    """Load a file of DFER-CLIP without running any code in it.

    Besides tensors it contains a record of the training, an instance of a class of theirs that
    holds NumPy arrays; an empty class takes its place.

    Raises:
        CheckpointError: The file cannot be read, or contains anything else.
    """
    recorder = type("RecorderMeter", (), {"__module__": "__main__"})
    rebuild = np.zeros(0).__reduce__()[0]
    allowed: list[Any] = [
        recorder,
        np.ndarray,
        np.dtype,
        np.dtypes.Float32DType,
        np.dtypes.Float64DType,
        (rebuild, "numpy.core.multiarray._reconstruct"),
        (rebuild, "numpy._core.multiarray._reconstruct"),
        (_encode_latin, "_codecs.encode"),
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {explain_system_error(error)}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} is not a checkpoint of DFER-CLIP, or contains code, which is not run: "
            f"{_shorten(error)}"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a checkpoint of DFER-CLIP: it holds no parameters")
    return content


def _encode_latin(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, by which pickles of old protocols store bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


def _shorten(error: BaseException) -> str:
    """Return the reason of PyTorch's unpickler, which is in the middle of a long text."""
    match = re.search(r"(?:GLOBAL|[Uu]nsupported class) (\S+)", str(error))
    if match:
        return f"it uses {match[1]}"
    if isinstance(error, KeyError) or "operand" in str(error):  # names a byte without a meaning
        return "it is not a file of PyTorch"
    return first_line(error)


def convert(
    state: Mapping[str, Tensor], class_names: Sequence[str], where: Path
) -> dict[str, Tensor]:
    """Return our weights from a state dict of theirs.

    Args:
        state: Their parameters, with or without the prefix `module.`.
        class_names: The K classes in the order of our dataset.
        where: The file, for messages.

    Raises:
        CheckpointError: A parameter is missing or has an unexpected name.
    """
    theirs = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    weights: dict[str, Tensor] = {}
    unknown = []
    for name, tensor in theirs.items():
        if name.startswith((COPIES, "prompt_learner.token_")) or name == "logit_scale":
            continue
        ours = _rename(name)
        if ours is None:
            unknown.append(name)
        else:
            weights[ours] = tensor.float()
    needed = ("prompt_learner.token_prefix", "prompt_learner.token_suffix", "prompt_learner.ctx")
    missing = [name for name in needed if name not in theirs]
    if unknown or missing:
        what = f"no {missing[0]}" if missing else f"unknown parameter {unknown[0]}"
        raise CheckpointError(f"{where} is not a checkpoint of DFER-CLIP: {what}")
    if len(weights["contexts"]) != len(class_names):
        raise CheckpointError(
            f"{where} knows {len(weights['contexts'])} classes, the dataset has "
            f"{len(class_names)}; name the dataset that it was trained on: --dataset"
        )
    weights["temporal.class_token"] = weights["temporal.class_token"].flatten()
    weights["temporal.positions"] = weights["temporal.positions"].squeeze(0)
    weights["logit_scale"] = torch.tensor(LOGIT_SCALE)
    weights["prompts.start"] = theirs["prompt_learner.token_prefix"][0, 0].float()
    words, ends = _cut_words(theirs, weights["contexts"].shape[1], where)
    weights |= {"prompts.words": words, "prompts.ends": ends}
    order = [THEIR_CLASSES.index(name) for name in class_names]
    weights |= {name: weights[name][order] for name in PER_CLASS}
    _fold_pixels(weights)
    return weights


def _rename(name: str) -> str | None:
    for pattern, ours in RENAMED:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(ours)
    return None


def _cut_words(
    theirs: Mapping[str, Tensor], num_contexts: int, where: Path
) -> tuple[Tensor, Tensor]:
    """Return the words (K, R - 1, D') up to the longest one's end, and the ends' positions (K,)."""
    suffix = theirs["prompt_learner.token_suffix"].float()  # (K, 77 - 1 - C, D')
    table = theirs.get(f"{COPIES}token_embedding.weight")
    if table is not None and len(table) > END:
        last = (suffix == table[END].float()).all(dim=-1).int().argmax(dim=1)
    else:  # what follows an end is all alike
        padding = (suffix == suffix[:, -1:]).all(dim=-1)
        last = ((~padding).int() * torch.arange(suffix.shape[1])).amax(dim=1)
    ends = suffix[torch.arange(len(suffix)), last]  # (K, D')
    if not (ends == ends[0]).all():
        raise CheckpointError(f"{where}: the end of a class's description is not found")
    return suffix[:, : int(last.max()) + 1].clone(), last + 1 + num_contexts


def _fold_pixels(weights: dict[str, Tensor]) -> None:
    """Let the first layer read frames that are normalised, where theirs reads [0, 1].

    With x = y * std + mean, the factor joins the kernel. What the mean gives is the same for all
    patches, and joins their positions, as the convolution has no bias.
    """
    std, mean = (torch.tensor(values)[None, :, None, None] for values in (CLIP_STD, CLIP_MEAN))
    kernel = weights["backbone.visual.conv1.weight"].double()  # (D, 3, s, s)
    positions = weights["backbone.visual.positional_embedding"].double()
    constant = (kernel * mean).sum(dim=(1, 2, 3))
    weights["backbone.visual.conv1.weight"] = (kernel * std).float()
    weights["backbone.visual.positional_embedding"] = torch.cat(
        [positions[:1], positions[1:] + constant]
    ).float()
