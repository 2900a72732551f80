"""What needs the clips themselves: models run on the test clips of one fold, and their frames."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dfercli.data.dataset import ClipDataset
from dfercli.data.folds import open_manifest
from dfercli.data.frames import FrameFolders
from dfercli.data.loaders import build_test_loader
from dfercli.data.manifest import Manifest
from dfercli.data.transforms import normalise
from dfercli.device import resolve_device
from dfercli.errors import DataError, DferError
from dfercli.evaluation.explain import AttentionMaps, Explanation, attention_maps, collect
from dfercli.models.base import ExpressionModel
from dfercli.report.inputs import Comparison, Errors, Missing, Runs
from dfercli.report.siblings import Siblings, find_for_features, find_for_prompts, find_for_text
from dfercli.report.strips import ClipPicture
from dfercli.report.worst import choose_clips, worst_errors
from dfercli.runs.checkpoint import check_fits, load_checkpoint
from dfercli.runs.run_folder import RunFolder

NUM_CLIPS = 3
"""Clips of a comparison that are drawn (our choice)."""

ERROR_PX = 160
"""Side of the frames of errors: twice what is seen of them (our choice)."""


class Gallery:
    """The test clips of one fold, and the models that are shown on them.

    Args:
        runs: What the page is about.
        fold: The fold; None takes the first.

    Raises:
        DataError: The fold is none of the runs'.
    """

    def __init__(self, runs: Runs, fold: int | None = None) -> None:
        self.runs = runs
        self.fold = next(iter(runs.by_fold)) if fold is None else fold
        if self.fold not in runs.by_fold:
            known = ", ".join(map(str, runs.by_fold))
            raise DataError(f"fold {fold} is none of those shown: {known}")
        self._device = resolve_device("auto")
        self._explained: dict[Path, Explanation] = {}

    @cached_property
    def _manifest(self) -> Manifest:
        return open_manifest(self.runs.data)

    def find_errors(self, number: int) -> Errors:
        """Give the most confident errors of all folds, with their frames where these are there."""
        tables = [worst_errors(t, number).assign(fold=fold) for fold, t in self.runs.tables.items()]
        order = ["confidence", "clip_id"]
        table = pd.concat(tables).sort_values(order, ascending=[False, True]).head(number)
        table = table.reset_index(drop=True)
        try:
            return Errors(table, self._draw_errors(table))
        except DferError as error:
            return Errors(table, Missing(f"The frames cannot be shown: {error.line}"))

    def compare_features(self) -> Comparison | Missing:
        """Give what the baseline and this variant make of all clips, for figure 5."""
        return self._compare(find_for_features(self.runs, self.fold), _draw_nothing)

    def compare_text(self) -> Comparison | Missing:
        """Give what models without text and with it look at, for figure 4."""
        return self._compare(find_for_text(self.runs, self.fold), self._map)

    def compare_prompts(self) -> Comparison | Missing:
        """Give the cosines under textual prompts alone and under both kinds, for figure 2."""
        return self._compare(find_for_prompts(self.runs, self.fold), _draw_nothing)

    def _compare(
        self,
        siblings: Siblings,
        draw: Callable[[ExpressionModel, torch.Tensor, np.ndarray], AttentionMaps | None],
    ) -> Comparison | Missing:
        """Explain all clips by each model, and draw some of them."""
        if not siblings.runs:
            assert siblings.missing is not None  # nothing else makes it empty
            return siblings.missing
        try:
            models = {name: self._load(run) for name, run in siblings.runs.items()}
            explained = {
                name: self._explain(run, models[name]) for name, run in siblings.runs.items()
            }
            chosen = choose_clips(list(explained.values()), NUM_CLIPS)
            maps = {
                name: draw(model, self._read(model, chosen), explained[name].predicted[chosen])
                for name, model in models.items()
            }
            frames = self._read(next(iter(models.values())), chosen)
        except DferError as error:
            return Missing(f"This needs the clips and the checkpoints: {error.line}")
        variants = {name: run.path.parent.name for name, run in siblings.runs.items()}
        clips = [
            _join_clip(index, place, frames, explained, maps) for place, index in enumerate(chosen)
        ]
        missing, remark = siblings.missing, siblings.remark
        return Comparison(self.fold, variants, explained, clips, missing, remark)

    def _load(self, run: RunFolder) -> ExpressionModel:
        model = load_checkpoint(str(run.checkpoint(self.runs.protocol)))
        check_fits(model, self._manifest.class_names, self._manifest.crop)
        return model.to(self._device)

    def _explain(self, run: RunFolder, model: ExpressionModel) -> Explanation:
        if run.path not in self._explained:
            config = run.read().config
            dataset = self._dataset(model.backbone.image_size, model.config.num_frames)
            loader = build_test_loader(dataset, config.train.batch_size, self.runs.data.workers)
            self._explained[run.path] = collect(model, loader)
        return self._explained[run.path]

    def _dataset(self, size: int, num_frames: int) -> ClipDataset:
        """Give the clips that were tested, in the order of the predictions."""
        rows = self._find_rows(self.runs.tables[self.fold]["clip_id"])
        source = FrameFolders(Path(self.runs.data.root), size)
        return ClipDataset(rows, self._manifest.class_names, source, num_frames, seed=0)

    def _find_rows(self, clip_ids: Sequence[str] | pd.Series) -> pd.DataFrame:
        rows = self._manifest.rows.set_index("clip_id", drop=False)
        absent = set(clip_ids) - set(rows.index)
        if absent:
            raise DataError(
                f"{self.runs.data.manifest} has no clip {min(absent)} that was tested; "
                f"was it written anew since?"
            )
        return rows.loc[list(clip_ids)].reset_index(drop=True)

    def _read(self, model: ExpressionModel, chosen: Sequence[int]) -> torch.Tensor:
        """Give some clips as a model reads them, (N, T, 3, H, W) uint8."""
        dataset = self._dataset(model.backbone.image_size, model.config.num_frames)
        return torch.stack([dataset[index][0] for index in chosen])

    def _map(
        self, model: ExpressionModel, clips: torch.Tensor, predicted: np.ndarray
    ) -> AttentionMaps:
        return attention_maps(model, normalise(clips.to(self._device)), predicted.tolist())

    def _draw_errors(self, table: pd.DataFrame) -> list[ClipPicture]:
        class_names = tuple(self.runs.results.class_names)  # in the order the page names them in
        rows = self._find_rows(table["clip_id"])
        source = FrameFolders(Path(self.runs.data.root), ERROR_PX)
        num_frames = self.runs.config.model.num_frames
        dataset = ClipDataset(rows, class_names, source, num_frames, seed=0)
        return [
            ClipPicture(
                str(line.clip_id),
                _as_images(dataset[index][0]),
                class_names.index(str(line.label)),
                {"": (class_names.index(str(line.predicted)), float(str(line.confidence)))},
            )
            for index, line in enumerate(table.itertuples(index=False))
        ]


def _draw_nothing(model: ExpressionModel, clips: torch.Tensor, predicted: np.ndarray) -> None:
    """Leave a comparison without maps."""


def _as_images(clip: torch.Tensor) -> np.ndarray:
    images: np.ndarray = clip.permute(0, 2, 3, 1).numpy()  # (T, H, W, 3)
    return images


def _join_clip(
    index: int,
    place: int,
    frames: torch.Tensor,
    explained: Mapping[str, Explanation],
    maps: Mapping[str, AttentionMaps | None],
) -> ClipPicture:
    """Gather what the models make of one clip, which is the `place`-th of those drawn."""
    first = next(iter(explained.values()))
    return ClipPicture(
        clip_id=first.clip_ids[index],
        frames=_as_images(frames[place]),
        label=int(first.labels[index]),
        predictions={
            name: (int(each.predicted[index]), float(each.probs[index].max()))
            for name, each in explained.items()
        },
        maps={name: each.patches[place] for name, each in maps.items() if each is not None},
        interaction={
            name: float(each.interaction[place].mean())
            for name, each in maps.items()
            if each is not None
        },
        similarities={
            name: each.similarities[index]
            for name, each in explained.items()
            if each.similarities is not None
        },
    )
