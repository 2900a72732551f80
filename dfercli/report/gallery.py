"""What models make of the test clips of one fold, and the frames of those clips that are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dfercli.config import NETWORKS, WITHOUT_CLIP
from dfercli.data.folds import open_manifest
from dfercli.data.frames import FrameFolders
from dfercli.data.loaders import ClipDataset, build_test_loader
from dfercli.data.manifest import Manifest
from dfercli.data.transforms import normalise
from dfercli.device import resolve_device
from dfercli.errors import DataError, DferError
from dfercli.evaluation.explain import AttentionMaps, Explanation, attention_maps, collect
from dfercli.models.base import ExpressionModel
from dfercli.report.figures import ClipPicture
from dfercli.report.variants import (
    Missing,
    Runs,
    Variants,
    find_for_features,
    find_for_prompts,
    find_for_text,
)
from dfercli.runs.checkpoint import check_fits, load_checkpoint
from dfercli.runs.predictions import classes_of, probs_of
from dfercli.runs.run_folder import RunFolder

NUM_CLIPS = 3
"""Clips of a comparison that are drawn (our choice)."""

WITHOUT_MAPS = tuple(name for name in WITHOUT_CLIP if name != "former-dfer")
"""Methods without attention within frames that heat maps can be drawn of."""

ERROR_PX = 160
"""Side of the frames of errors: twice their size on the page (our choice)."""


@dataclass(frozen=True)
class Comparison:
    """What one or two models predict for the test clips of a fold, by the model's name on the page.

    `clips` are those that are drawn; `missing` is the other model, if it is not trained; `remark`
    says how the models differ beside what is compared.
    """

    fold: int
    variants: Mapping[str, str]
    explanations: Mapping[str, Explanation]
    clips: Sequence[ClipPicture]
    missing: Missing | None
    remark: str


class Gallery:
    """The test clips of one fold, by default the first, and the models that are compared on them.

    Raises:
        DataError: The runs have no such fold.
    """

    def __init__(self, runs: Runs, fold: int | None = None) -> None:
        self.runs = runs
        self.fold = next(iter(runs.by_fold)) if fold is None else fold
        if self.fold not in runs.by_fold:
            known = ", ".join(map(str, runs.by_fold))
            raise DataError(f"fold {fold} is not in this report; choose from {known}")
        self._device = resolve_device("auto")
        self._explained: dict[Path, Explanation] = {}

    @cached_property
    def _manifest(self) -> Manifest:
        return open_manifest(self.runs.data)

    def find_errors(self, number: int) -> tuple[pd.DataFrame, Sequence[ClipPicture] | Missing]:
        """Return the most confident errors of all folds, and their frames.

        The table has the columns of `worst_errors`, and `fold`; there is one picture per row.
        """
        tables = [worst_errors(t, number).assign(fold=fold) for fold, t in self.runs.tables.items()]
        table = _most_confident(pd.concat(tables), number)
        try:
            return table, self._read_errors(table)
        except DferError as error:
            return table, Missing(f"The frames cannot be shown: {error.line}")

    def compare_features(self) -> Comparison | Missing:
        """Compare the baseline with this variant, for t-SNE (the paper's Figure 5)."""
        return self._compare(find_for_features(self.runs, self.fold))

    def compare_text(self) -> Comparison | Missing:
        """Compare what models without and with text look at (the paper's Figure 4)."""
        if self.runs.config.model.method in WITHOUT_MAPS:
            return Missing("There are no heat maps of this method.")
        return self._compare(find_for_text(self.runs, self.fold), with_maps=True)

    def compare_prompts(self) -> Comparison | Missing:
        """Compare textual prompts alone with both kinds of prompts (the paper's Figure 2)."""
        if self.runs.config.model.method in NETWORKS:
            return Missing("This method has no prompts that are made from the clip.")
        return self._compare(find_for_prompts(self.runs, self.fold))

    def _compare(self, variants: Variants, with_maps: bool = False) -> Comparison | Missing:
        """Explain all clips by each model, and draw some of them."""
        if not variants.runs:
            assert variants.missing is not None  # the reason for an empty comparison
            return variants.missing
        maps = {}
        try:
            models = {name: self._load(run) for name, run in variants.runs.items()}
            explained = {
                name: self._explain(run, models[name]) for name, run in variants.runs.items()
            }
            chosen = choose_clips(list(explained.values()), NUM_CLIPS)
            clips = {name: self._read_clips(model, chosen) for name, model in models.items()}
            if with_maps:
                for name, model in models.items():
                    batch = normalise(clips[name].to(self._device), model.config.pixels)
                    predicted = explained[name].predicted[chosen].tolist()
                    maps[name] = attention_maps(model, batch, predicted)
        except DferError as error:
            return Missing(f"The clips or the checkpoints cannot be read: {error.line}")
        names = {name: run.path.parent.name for name, run in variants.runs.items()}
        frames = next(iter(clips.values()))
        pictures = [
            _describe_clip(index, _to_images(frames[place]), place, explained, maps)
            for place, index in enumerate(chosen)
        ]
        return Comparison(self.fold, names, explained, pictures, variants.missing, variants.remark)

    def _load(self, run: RunFolder) -> ExpressionModel:
        model = load_checkpoint(str(run.checkpoint(self.runs.protocol)))
        check_fits(model, self._manifest.class_names, self._manifest.crop)
        return model.to(self._device)

    def _explain(self, run: RunFolder, model: ExpressionModel) -> Explanation:
        if run.path not in self._explained:
            batch_size = run.read().config.train.batch_size
            loader = build_test_loader(self._dataset(model), batch_size, self.runs.data.workers)
            self._explained[run.path] = collect(model, loader)
        return self._explained[run.path]

    def _dataset(self, model: ExpressionModel) -> ClipDataset:
        """Return the fold's test clips as a model reads them, in the order of the predictions."""
        rows = self._find_rows(self.runs.tables[self.fold]["clip_id"])
        source = FrameFolders(Path(self.runs.data.root), model.image_size)
        return ClipDataset(rows, self._manifest.class_names, source, model.config, seed=0)

    def _find_rows(self, clip_ids: pd.Series) -> pd.DataFrame:
        rows = self._manifest.rows.set_index("clip_id", drop=False)
        absent = set(clip_ids) - set(rows.index)
        if absent:
            raise DataError(
                f"{self.runs.data.manifest} has no clip {min(absent)}, which the run was "
                f"tested on; the manifest may have been rewritten since"
            )
        return rows.loc[list(clip_ids)].reset_index(drop=True)

    def _read_clips(self, model: ExpressionModel, chosen: Sequence[int]) -> torch.Tensor:
        """Return clips as a model reads them, (N, T, 3, H, W) uint8."""
        dataset = self._dataset(model)
        return torch.stack([dataset[index][0] for index in chosen])

    def _read_errors(self, table: pd.DataFrame) -> list[ClipPicture]:
        class_names = tuple(self.runs.class_names)  # the manifest's order may have changed
        source = FrameFolders(Path(self.runs.data.root), ERROR_PX)
        rows = self._find_rows(table["clip_id"])
        dataset = ClipDataset(rows, class_names, source, self.runs.config.model, seed=0)
        return [
            ClipPicture(
                frames=_to_images(dataset[index][0]),
                label=class_names.index(row["label"]),
                predictions={"": (class_names.index(row["predicted"]), row["confidence"])},
            )
            for index, row in enumerate(table.to_dict("records"))
        ]


def worst_errors(predictions: pd.DataFrame, number: int) -> pd.DataFrame:
    """Return the misclassified clips of a fold with the highest confidence, the highest first.

    Returns:
        At most `number` rows: `clip_id`, `label`, `predicted` (a class name) and `confidence`.
    """
    class_names, probs = np.array(classes_of(predictions)), probs_of(predictions)
    table = predictions[["clip_id", "label"]].copy()
    table["predicted"] = class_names[probs.argmax(axis=1)]
    table["confidence"] = probs.max(axis=1)
    return _most_confident(table[table["predicted"] != table["label"]], number)


def _most_confident(table: pd.DataFrame, number: int) -> pd.DataFrame:
    ordered = table.sort_values(["confidence", "clip_id"], ascending=[False, True])
    return ordered.head(number).reset_index(drop=True)


def choose_clips(explanations: Sequence[Explanation], number: int) -> list[int]:
    """Choose clips by the probability that one or two models give their true class.

    Of two models, choose the clips whose true class gains most from the first to the second, and as
    the last one the clip where it loses most. Of one, choose evenly from the most probable true
    class to the least.
    """
    rows = np.arange(len(explanations[0].labels))
    probs = [explanation.probs[rows, explanation.labels] for explanation in explanations]
    number = min(number, len(rows))
    if len(probs) == 1:
        places = np.linspace(0, len(rows) - 1, number).round().astype(int)
        return [int(index) for index in np.argsort(-probs[0], kind="stable")[places]]
    order = np.argsort(probs[0] - probs[1], kind="stable")
    return [int(index) for index in [*order[: number - 1], order[-1]]]


def _describe_clip(
    index: int,
    frames: np.ndarray,
    place: int,
    explained: Mapping[str, Explanation],
    maps: Mapping[str, AttentionMaps],
) -> ClipPicture:
    """Collect the predictions of a clip: the `index`-th of all, the `place`-th of the maps."""
    return ClipPicture(
        frames=frames,
        label=int(next(iter(explained.values())).labels[index]),
        predictions={
            name: (int(explanation.predicted[index]), float(explanation.probs[index].max()))
            for name, explanation in explained.items()
        },
        maps={name: found.patches[place] for name, found in maps.items()},
        interaction={name: float(found.interaction[place].mean()) for name, found in maps.items()},
        similarities={
            name: explanation.similarities[index]
            for name, explanation in explained.items()
            if explanation.similarities is not None
        },
    )


def _to_images(clip: torch.Tensor) -> np.ndarray:
    images: np.ndarray = clip.permute(0, 2, 3, 1).numpy()  # (T, H, W, 3)
    return images
