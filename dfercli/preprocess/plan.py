"""Plan what `preprocess` will do, without writing anything."""

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from dfercli.data import load_dataset
from dfercli.data.frame_checks import FramesState, inspect_frames
from dfercli.data.manifest import Manifest, check_side_file, clip_folders, read_manifest
from dfercli.data.sources.base import Choices, Listing, add_groups, describe_clips
from dfercli.errors import ConfigError, DataError, UnknownNameError
from dfercli.faces import DETECTORS, load_detector
from dfercli.faces.align import CropRecipe
from dfercli.files import check_name, check_plain_name
from dfercli.media.images import list_frames, read_image
from dfercli.preprocess.crops import RECIPE_FILE, check_faces_folder
from dfercli.text import count_of, list_some

MAX_SAMPLE = 32
"""Number of clips sampled to find out whether frames are face crops (our choice)."""

CROP_SHARE = 0.4
"""Share of a frame's height and width from which a face's box fills it (our choice)."""

SQUARE = 4 / 3
"""Largest ratio of the sides of a face crop (our choice)."""


@dataclass(frozen=True)
class Plan:
    """What `preprocess` will do.

    Attributes:
        kind: Public name of the dataset's builder.
        root: The dataset's folder.
        manifest: Path of the manifest; its stem becomes the dataset's name in runs.
        listing: Contents of the lists and folders.
        recipe: How faces are cropped; None if they are adopted.
        choices: Choices of the user and of an earlier manifest.
    """

    kind: str
    root: Path
    manifest: Path
    listing: Listing
    recipe: CropRecipe | None
    choices: Choices

    @property
    def official(self) -> bool:
        """Whether the dataset has official lists, which must be complete."""
        return load_dataset(self.kind).OFFICIAL is not None

    @property
    def faces(self) -> Path:
        """Folder of the crops; the root if faces are adopted."""
        if self.recipe is None:
            return self.root
        return self.root / f"faces-{self.recipe.detector}-{self.recipe.size}"

    @property
    def missing(self) -> list[str]:
        """Clips that are listed but not on disk."""
        return [source.clip_id for source in self.listing.sources if source.path is None]

    @property
    def deviations(self) -> list[str]:
        """Differences from the official lists that show without checking frames."""
        if not self.missing:
            return [*self.listing.deviations]
        missing = list_some(self.missing, "clip", len(self.listing.sources))
        return [f"missing: {missing}", *self.listing.deviations]

    def without(self, unusable: Collection[str]) -> "Plan":
        """Return the same plan with folds that do not count unusable clips.

        Raises:
            DataError: The list has changed meanwhile, or too few clips are left to fill the folds.
        """
        choices = replace(self.choices, unusable=unusable)
        listing = load_dataset(self.kind).read_sources(self.root, choices)
        if [s.clip_id for s in listing.sources] != [s.clip_id for s in self.listing.sources]:
            raise DataError(
                f"the list in {self.root} changed during the run; run the same command again"
            )
        return replace(self, listing=listing)

    def describe(self) -> list[str]:
        """Return the lines that describe the plan."""
        sources = self.listing.sources
        labels, folds = zip(*((s.class_name, s.test_fold) for s in sources), strict=True)
        lines = [f"{self.kind} in {self.root}", *self.listing.taken]
        lines.append(f"clips: {describe_clips(self.listing.class_names, labels, folds)}")
        if self.recipe is None:
            states = _inspect_sample(self.listing, self.root).values()
            sizes = _name_sizes(states) or "none"
            lines.append(f"faces: adopted in place as they are; sizes in a sample: {sizes}")
        else:
            lines.append(f"faces: cropped with {self.recipe.detector} into {self.faces}")
        lines.append(f"manifest: {self.manifest}")
        lines += [f"differs: {mark}" for mark in (*self.deviations, *self.listing.remarks)]
        if self.deviations:
            lines.append("this needs --allow-partial")
        return [*lines, "frames and videos are not checked in a dry run"]


def plan_preprocess(
    kind: str, root: Path, manifest: Path, recipe: CropRecipe, choices: Choices | None = None
) -> Plan:
    """Read a dataset's lists, find its media, and decide what to do; nothing is written.

    `kind` is the public name of the dataset, `manifest` the path that the manifest will have, and
    `recipe` is used if there is anything to crop.

    Raises:
        UnknownNameError: There is no such dataset or detector.
        ConfigError: The dataset has no such media.
        DataError: The lists or `groups.csv` are inconsistent, or it is not known whether the frames
            are crops.
    """
    module, choices = load_dataset(kind), choices or Choices()
    check_plain_name(manifest.stem, "--name")
    if choices.media is not None and choices.media not in module.MEDIA:
        known = ", ".join(module.MEDIA) or "none"
        raise ConfigError(f"no media {choices.media!r} in {kind} datasets; known: {known}")
    earlier = _read_earlier(manifest, kind)
    if earlier is not None and module.OFFICIAL is None:
        choices = _keep_folds(choices, earlier, manifest, root)
    listing: Listing = module.read_sources(root, choices)
    if module.OFFICIAL is not None:
        listing = add_groups(listing, root)
    if listing.media == "frames":
        remark = _describe_frames(listing, root)
        if not remark:
            raise DataError(f"{root / listing.where} has no frames of the listed clips")
        raise DataError(f"{remark}; choose {listing.answers}")
    if listing.media == "crops":
        remark = _describe_frames(listing, root) if choices.adopt else ""
        if remark:
            listing = replace(listing, taken=(*listing.taken, remark))
        return Plan(kind, root, manifest, listing, None, choices)
    if recipe.detector not in DETECTORS:
        raise UnknownNameError("detector", recipe.detector, DETECTORS)
    plan = Plan(kind, root, manifest, listing, recipe, choices)
    _check_faces(plan, recipe)
    return plan


def _read_earlier(manifest: Path, kind: str) -> Manifest | None:
    """Return the manifest that an earlier call wrote, if there is one."""
    if not os.path.lexists(manifest):
        check_side_file(manifest)
        return None
    earlier = read_manifest(manifest, unfinished=True)
    if earlier.kind != kind:
        raise DataError(
            f"{manifest} is the manifest of a {earlier.kind} dataset, not {kind}; "
            f"choose another --name"
        )
    return earlier


def _check_faces(plan: Plan, recipe: CropRecipe) -> None:
    """Check the names of clips, and that the folder of crops is for this recipe."""
    for source in plan.listing.sources:
        check_name(source.clip_id, f"{plan.root}: clip {source.path or source.clip_id!r}")
        if source.clip_id == RECIPE_FILE:
            raise DataError(f"{plan.root}: no clip can be named {RECIPE_FILE}; rename it")
    check_faces_folder(plan.faces)
    _check_recipe(plan.faces / RECIPE_FILE, recipe)


def _check_recipe(path: Path, recipe: CropRecipe) -> None:
    """Refuse to mix crops of two recipes."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError:
        known = None
    expected = asdict(recipe)
    if known == expected:
        return
    if isinstance(known, dict) and known | {"version": recipe.version} == expected:
        raise DataError(
            f"{path.parent} has crops of version {known.get('version')}, but this dfer uses "
            f"version {recipe.version}; delete the folder to crop again, or train on it as it is"
        )
    raise DataError(f"{path.parent} has crops of another recipe; delete the folder to crop again")


def _inspect_sample(listing: Listing, root: Path) -> dict[str, FramesState]:
    """Check an evenly spread sample of the clips on disk; return their states by path."""
    paths = [source.path for source in listing.sources if source.path is not None]
    sample = np.linspace(0, len(paths) - 1, min(MAX_SAMPLE, len(paths))).round().astype(int)
    return {paths[i]: inspect_frames(*clip_folders(root, paths[i])) for i in sample}


def _name_sizes(states: Iterable[FramesState]) -> str:
    """Return the sizes of frames as text, the most frequent first."""
    sizes = Counter(state.size for state in states if state.size)
    return ", ".join(f"{w}x{h} ({count_of(n, 'clip')})" for (w, h), n in sizes.most_common())


def _describe_frames(listing: Listing, root: Path) -> str:
    """Measure whether frames are face crops already; return it as text, empty without frames."""
    states = _inspect_sample(listing, root)
    sample = {path: state for path, state in states.items() if not state.fault}
    if not sample:
        return ""
    shares, filled = [], 0
    detector = load_detector("mtcnn")
    for path in sample:
        frames = list_frames(*clip_folders(root, path))
        image_rgb = read_image(frames[len(frames) // 2])
        height, width = image_rgb.shape[:2]
        faces = [face.box_xyxy for face in detector.detect(image_rgb)]
        shares.append(max((min((box[2:] - box[:2]) / (width, height)) for box in faces), default=0))
        square = max(height, width) <= SQUARE * min(height, width)
        filled += int(square and shares[-1] >= CROP_SHARE)
    likely = "face crops" if 2 * filled > len(sample) else "whole frames"
    return (
        f"{root / listing.where} has frames that look like {likely}: a face fills {filled} "
        f"of {count_of(len(sample), 'sampled clip')} (median {float(np.median(shares)):.0%} of "
        f"the side), sizes {_name_sizes(sample.values())}"
    )


def _keep_folds(choices: Choices, manifest: Manifest, path: Path, root: Path) -> Choices:
    """Return choices with the folds of an earlier manifest, for datasets without official folds."""
    if Path(manifest.root).is_dir() and Path(manifest.root).resolve() != root.resolve():
        raise DataError(
            f"{path} is the manifest of {manifest.root}, not of {root}; choose another --name"
        )
    known = zip(manifest.rows["clip_id"], manifest.rows["test_fold"], strict=True)
    folds = {clip: fold for clip, fold in manifest.left_out.items() if fold} | dict(known)
    num_folds = manifest.num_folds or max(folds.values()) or None
    if choices.num_folds not in (None, num_folds):
        raise DataError(
            f"{path} has {num_folds} folds, not {choices.num_folds}; use --num-folds "
            f"{num_folds}, or delete it to assign all folds again"
        )
    return replace(choices, num_folds=num_folds, known_folds=folds)
