"""Run a plan: faces of every clip, the manifest, and the lists to check."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dfercli.data import load_dataset
from dfercli.data.frame_checks import ClipFrames, FrameComparison, compare_frames
from dfercli.data.manifest import VOTES, Manifest, review_file, write_manifest
from dfercli.data.sources.named_clips import unpack
from dfercli.errors import DataError
from dfercli.faces import load_detector
from dfercli.files import check_claim
from dfercli.preprocess.crops import AGAIN, ClipOutcome, adopt_clips, crop_clips, miss_clip
from dfercli.preprocess.plan import Plan
from dfercli.preprocess.review import check_review, draw_worst, write_review
from dfercli.progress import show_progress
from dfercli.text import list_some

LOSSES = {"missing": "missing:", "unreadable": "unreadable:", "no face": "without a face:"}
"""Beginnings of messages about clips that are left out, by status."""

HALF = 0.5
"""Share of the declared frames below which a video counts as truncated (our choice: some containers
declare too many)."""

SHOWN_DEVIATIONS = 3
"""Deviations in an error message, so that it stays one line (our choice)."""


@dataclass(frozen=True)
class PreprocessSummary:
    """Result of `preprocess`.

    Attributes:
        manifest: The manifest that was written.
        counts: Number of clips by status.
        left_out: Number of clips that are not in the manifest.
        review: List of the clips to check; None if there are none.
        sheet: Picture of the worst crops; None if nothing was cropped.
        notes: Remarks that do not make the manifest partial.
    """

    manifest: Manifest
    counts: dict[str, int]
    left_out: int
    review: Path | None
    sheet: Path | None
    notes: tuple[str, ...] = ()


def preprocess(
    plan: Plan, jobs: int | None = None, allow_partial: bool = False
) -> PreprocessSummary:
    """Crop or adopt the faces of every clip and write the manifest.

    Clips that cannot be read or show no face are left out, counted and listed.

    Args:
        plan: From `plan_preprocess`.
        jobs: Number of processes that crop; None takes the detector's default.
        allow_partial: Continue if official lists or clips differ from the published ones, and mark
            the manifest and all tables made from it as partial.

    Raises:
        DataError: The data differs from the published set, or no clip is left.
        DetectorError: The detector cannot be set up here.
        JobsError: A process died before it could crop anything.
    """
    review_path = review_file(plan.manifest, ".csv")
    sheet_path = review_file(plan.manifest, "-worst.png")
    check_review(review_path)
    if plan.recipe is not None:
        check_claim([sheet_path], is_older=lambda path: plan.manifest.is_file())
    if not allow_partial and (plan.listing.deviations or (plan.recipe and plan.missing)):
        write_review([miss_clip(s) for s in plan.listing.sources if s.path is None], review_path)
        _refuse(plan, plan.deviations, review_path)
    _unpack(plan)
    outcomes = _process(plan, jobs)
    review = write_review(outcomes, review_path)
    sheet = None
    if plan.recipe is not None:
        sheet = draw_worst(outcomes, plan.faces, sheet_path)
    lost = [outcome.clip_id for outcome in outcomes if not outcome.n_frames]
    died = [outcome.clip_id for outcome in outcomes if outcome.detail.endswith(AGAIN)]
    counts = Counter(outcome.status for outcome in outcomes)
    if len(lost) == len(outcomes):
        why = ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items()))
        advice = f"; {AGAIN}" if died else ""
        raise DataError(f"no clip of {plan.root} can be used ({why}); see {review}{advice}")
    deviations, notes = [*plan.listing.deviations], tuple[str, ...]()
    if died:
        notes = (f"a process died while cropping {list_some(died, 'clip')}; {AGAIN}",)
    if plan.official:
        frames = _count_frames(plan, outcomes)
        deviations = [*_find_losses(outcomes), *frames.deviations, *deviations]
        notes += (frames.note,) if frames.note else ()
        if deviations and not allow_partial:
            _refuse(plan, deviations, review_path, f"{AGAIN}; " if died else "")
    elif lost:
        plan = plan.without(lost)
    manifest = _build_manifest(plan, outcomes, (*deviations, *plan.listing.remarks))
    write_manifest(manifest, plan.manifest)
    return PreprocessSummary(manifest, dict(counts), len(lost), review, sheet, notes)


def _refuse(plan: Plan, deviations: Sequence[str], review: Path, advice: str = "") -> None:
    """Raise an error with the first deviations."""
    text = "; ".join(deviations[:SHOWN_DEVIATIONS])
    if len(deviations) > SHOWN_DEVIATIONS:
        text += f"; {len(deviations) - SHOWN_DEVIATIONS} more"
    if review.is_file():
        text += f" (clips listed in {review})"
    raise DataError(
        f"{plan.kind} in {plan.root} differs from the official set: {text}; {advice}"
        f"use --allow-partial to continue, which marks the manifest and its tables as partial"
    )


def _find_losses(outcomes: Sequence[ClipOutcome]) -> list[str]:
    """Return what an official set lacks, one line per reason."""
    lost: dict[str, list[str]] = defaultdict(list)
    for outcome in outcomes:
        record = outcome.record
        if not outcome.n_frames:
            lost[LOSSES[outcome.status]].append(outcome.clip_id)
        elif record and record.video_frames < HALF * record.declared_frames:
            lost["truncated to less than half:"].append(outcome.clip_id)
    return [f"{reason} {list_some(ids, 'clip', len(outcomes))}" for reason, ids in lost.items()]


def _count_frames(plan: Plan, outcomes: Sequence[ClipOutcome]) -> FrameComparison:
    """Compare the frames of adopted clips with the published counts."""
    official = load_dataset(plan.kind).OFFICIAL
    if plan.recipe is not None or official is None:
        return FrameComparison()
    pairs = zip(plan.listing.sources, outcomes, strict=True)
    clips = [
        ClipFrames(source.clip_id, source.class_name, source.test_fold, outcome.n_frames)
        for source, outcome in pairs
        if outcome.n_frames
    ]
    return compare_frames(official, plan.listing.media_name, clips)


def _unpack(plan: Plan) -> None:
    """Unpack the videos that are still in archives."""
    packed = plan.listing.packed
    with show_progress(
        total=len(packed), desc="unpacking", unit="video", shown=bool(packed)
    ) as bar:
        for _ in unpack(plan.root, packed):
            bar.update()


def _process(plan: Plan, jobs: int | None) -> list[ClipOutcome]:
    """Return the outcome of every clip, in the order of the sources."""
    sources = plan.listing.sources
    if plan.recipe is None:
        outcomes = adopt_clips(sources, plan.root)
    else:
        load_detector(plan.recipe.detector)  # fails here rather than in every process
        outcomes = crop_clips(sources, plan.root, plan.faces, plan.recipe, jobs)
    by_clip = {outcome.clip_id: outcome for outcome in outcomes}
    return [by_clip[source.clip_id] for source in sources]


def _build_manifest(
    plan: Plan, outcomes: Sequence[ClipOutcome], deviations: tuple[str, ...]
) -> Manifest:
    pairs = list(zip(plan.listing.sources, outcomes, strict=True))
    usable = [(source, outcome) for source, outcome in pairs if outcome.n_frames]
    lost = [(source, outcome) for source, outcome in pairs if not outcome.n_frames]
    rows = pd.DataFrame(
        {
            "clip_id": [source.clip_id for source, _ in usable],
            "path": [
                f"{plan.faces.name}/{source.clip_id}" if plan.recipe else str(source.path)
                for source, _ in usable
            ],
            "n_frames": [outcome.n_frames for _, outcome in usable],
            "label": [source.class_name for source, _ in usable],
            "test_fold": [source.test_fold for source, _ in usable],
        }
    )
    if any(source.group for source, _ in usable):
        rows["group"] = [source.group or "" for source, _ in usable]
    for trait in sorted({trait for source, _ in usable for trait in source.traits}):
        rows[trait] = [source.traits.get(trait, "") for source, _ in usable]
    if any(source.votes for source, _ in usable):
        for name in plan.listing.class_names:
            rows[f"{VOTES}{name}"] = [source.votes.get(name, 0) for source, _ in usable]
    if plan.recipe is not None:
        rows["coverage"] = [outcome.record.coverage for _, outcome in usable if outcome.record]
    return Manifest(
        plan.manifest.stem,
        rows,
        plan.listing.class_names,
        _describe_crop(plan, outcomes),
        _portable(plan.root),
        plan.listing.num_folds,
        kind=plan.kind,
        deviations=deviations,
        drawn=plan.listing.drawn,
        left_out={} if plan.official else {s.clip_id: s.test_fold for s, _ in lost},
    )


def _describe_crop(plan: Plan, outcomes: Sequence[ClipOutcome]) -> dict[str, Any]:
    """Describe how the faces were cropped: by our recipe, or by the dataset's authors."""
    if plan.recipe is not None:
        return asdict(plan.recipe)
    sizes = Counter(outcome.size for outcome in outcomes if outcome.size)
    width, height = sizes.most_common(1)[0][0]
    size = f"{width}x{height}" if len(sizes) == 1 else "several"
    return {"adopted": f"{plan.kind} {plan.listing.media_name}", "size": size}


def _portable(root: Path) -> str:
    """Return the root relative to the working folder if it is inside it, absolute otherwise."""
    resolved, here = root.resolve(), Path.cwd().resolve()
    return (resolved.relative_to(here) if resolved.is_relative_to(here) else resolved).as_posix()
