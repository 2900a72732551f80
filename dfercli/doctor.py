"""A look at everything a run depends on: this machine, cached weights, and the data on disk."""

import os
import platform
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dfercli.config import ModelConfig
from dfercli.data import load_dataset
from dfercli.data.inspect import SHORT_CLIP, FramesState, inspect_clips
from dfercli.data.manifest import Manifest, mark_partial, read_manifest, review_file
from dfercli.data.official import Official, compare_lists, lists_of, name_clips
from dfercli.data.tree import name_some
from dfercli.errors import DferError
from dfercli.faces import DETECTORS, find_missing_weights, load_detector
from dfercli.faces.align import TEMPLATE_VERSION
from dfercli.images import list_frames, read_image
from dfercli.sheet import Tile, draw_sheet

State = Literal["ok", "note", "wrong"]

SHOWN_CLIPS = 24
"""Clips on a contact sheet (our choice: three rows)."""

LOW_DISK_GB = 10.0
"""Free space under which a remark is made (our choice: the two checkpoints of five folds)."""


@dataclass(frozen=True)
class Finding:
    """One line of the page.

    Attributes:
        topic: What was looked at.
        state: `ok`; `note` for what a person should know; `wrong` where a run would be wrong.
        text: What was found.
    """

    topic: str
    state: State
    text: str


@dataclass(frozen=True)
class DatasetReport:
    """What was found about one dataset.

    Attributes:
        name: Name of its manifest.
        manifest: Path of the manifest.
        root: The data root.
        findings: A line each.
        sheet: Contact sheet of some clips, or None where none can be drawn.
    """

    name: str
    manifest: Path
    root: Path | None
    findings: tuple[Finding, ...]
    sheet: Path | None = None


@dataclass(frozen=True)
class Diagnosis:
    """The whole page.

    Attributes:
        machine: Findings about this machine.
        datasets: Reports of the datasets that were found.
    """

    machine: tuple[Finding, ...]
    datasets: tuple[DatasetReport, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing was found for which a run would be wrong."""
        findings = [*self.machine, *(f for report in self.datasets for f in report.findings)]
        return all(finding.state != "wrong" for finding in findings)

    def to_dict(self) -> dict[str, Any]:
        """Give the page as plain values for JSON."""
        values = {"healthy": self.healthy, **asdict(self)}
        for report in values["datasets"]:
            paths = {key: report[key] for key in ("manifest", "root", "sheet")}
            report |= {key: str(path) if path else None for key, path in paths.items()}
        return values


def diagnose(
    data: Mapping[Path, Path | None],
    unprepared: Mapping[str, Path] | None = None,
    asked: bool = True,
) -> Diagnosis:
    """Look at this machine and at datasets.

    Args:
        data: Data root by manifest; None where the manifest itself has to tell.
        unprepared: Folder of datasets, by public name, that are there and have no manifest yet.
        asked: Whether somebody asked for these datasets, so that data that is not there is wrong.
    """
    machine = inspect_machine()
    for name, folder in (unprepared or {}).items():
        text = f"is in {folder}, no manifest is called so; dfer preprocess --dataset {name}"
        machine.append(Finding(name, "note", text))
    reports = tuple(inspect_dataset(manifest, root, asked) for manifest, root in data.items())
    return Diagnosis(tuple(machine), reports)


def inspect_machine() -> list[Finding]:
    """Look at Python, packages, device, precision, cached weights, detectors and disk."""
    import torch

    names = ("dfer", "torch", "open_clip_torch", "opencv-python")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    findings = [Finding("python", "ok", f"{platform.python_version()}; {packages}")]
    if torch.cuda.is_available():
        half = "fp16, bf16" if torch.cuda.is_bf16_supported() else "fp16"
        findings.append(Finding("device", "ok", f"{torch.cuda.get_device_name()}; {half}"))
    else:
        threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
        text = f"no GPU: CPU, {threads}; training at the paper's settings wants one"
        findings.append(Finding("device", "note", text))
    findings.append(_inspect_weights())
    findings += [_inspect_detector(name) for name in DETECTORS]
    free_gb = shutil.disk_usage(".").free / 1e9
    low: State = "note" if free_gb < LOW_DISK_GB else "ok"
    return [*findings, Finding("disk", low, f"{free_gb:.0f} GB free in {Path.cwd()}")]


def _inspect_weights() -> Finding:
    from dfercli.models.backbone import is_cached

    name = f"{ModelConfig.backbone} ({ModelConfig.weights})"
    if is_cached(ModelConfig.backbone, ModelConfig.weights):
        return Finding("CLIP weights", "ok", f"{name} is cached")
    return Finding("CLIP weights", "note", f"{name} is not cached; the first run fetches it")


def _inspect_detector(name: str) -> Finding:
    missing = find_missing_weights(name)
    if missing:
        text = f"not cached: {', '.join(missing)}; the first use fetches them"
        return Finding(name, "note", text)
    try:
        load_detector(name).detect(np.zeros((64, 64, 3), dtype=np.uint8))
    except DferError as error:
        return Finding(name, "wrong", error.line)
    return Finding(name, "ok", "works")


def inspect_dataset(
    manifest_path: Path, root: Path | None = None, asked: bool = True
) -> DatasetReport:
    """Look at a manifest and at every frame that it names.

    Args:
        manifest_path: The manifest.
        root: Folder that its paths are relative to; None takes the one that it was written for.
        asked: Whether it is wrong if that folder is not there.
    """
    try:
        manifest = read_manifest(manifest_path)
        official = load_dataset(manifest.kind).OFFICIAL
    except DferError as error:
        wrong = Finding("manifest", "wrong", error.line)
        return DatasetReport(manifest_path.stem, manifest_path, root, (wrong,))
    root = root or Path(manifest.root)
    if not root.is_dir():
        gone = Finding("data", "wrong" if asked else "note", f"no folder {root}; name it: --root")
        return DatasetReport(manifest.dataset, manifest_path, root, (gone,))
    states = _inspect_clips(manifest, root)
    findings = [
        *_inspect_rows(manifest, official),
        *_inspect_states(manifest, states),
        _inspect_crop(manifest),
    ]
    sheet, drawn = review_file(manifest_path, "-sample.png"), False
    try:
        drawn = _draw_sample(manifest, root, states, sheet)
    except DferError as error:  # an image that is whole by its end, and cannot be decoded
        findings.append(Finding("contact sheet", "wrong", error.line))
    return DatasetReport(
        manifest.dataset, manifest_path, root, tuple(findings), sheet if drawn else None
    )


def _inspect_rows(manifest: Manifest, official: Official | None) -> Iterable[Finding]:
    """Hold folds and classes against what is published, and against themselves."""
    rows = manifest.rows
    counts = rows["label"].value_counts()
    classes = ", ".join(f"{name} {counts.get(name, 0):,}" for name in manifest.class_names)
    folds = ", ".join(f"{fold}: {n:,}" for fold, n in sorted(Counter(rows["test_fold"]).items()))
    of_all = f" of {official.num_clips:,}" if official else ""
    yield Finding("clips", "ok", f"{len(rows):,}{of_all} ({classes}); by test fold {folds}")
    if manifest.partial:
        yield Finding("partial", "note", mark_partial("every table says so", manifest.deviations))
    if official is not None and manifest.class_names != official.class_names:
        text = f"{', '.join(manifest.class_names)}; officially {', '.join(official.class_names)}"
        yield Finding("classes", "wrong", text)
    elif official is not None and not manifest.partial:
        pairs = zip(rows["label"], rows["test_fold"], strict=True)
        folds_of = dict(zip(rows["clip_id"], pairs, strict=True))
        deviations = compare_lists(official, lists_of(folds_of, official))
        for deviation in deviations:
            yield Finding("official lists", "wrong", deviation)
        if not deviations:
            yield Finding("official lists", "ok", "counts and fingerprints are the published ones")
    if "group" in rows:
        spread = rows.groupby("group")["test_fold"].nunique()
        leaks = sorted(spread[spread > 1].index)
        if leaks:
            text = f"{name_some(leaks, 'group')} in several folds"
            yield Finding("groups", "wrong", text)
    for fold in manifest.folds:
        absent = set(manifest.class_names) - set(rows["label"][rows["test_fold"] == fold])
        if absent:
            text = f"none of {', '.join(sorted(absent))}: UAR leaves them out"
            yield Finding(f"fold {fold}", "note", text)


def _inspect_states(manifest: Manifest, states: Mapping[str, FramesState]) -> Iterable[Finding]:
    """Tell what is missing, empty, unreadable, short, or not as the manifest says."""
    promised = dict(zip(manifest.rows["clip_id"], manifest.rows["n_frames"], strict=True))
    for status in ("missing", "empty", "unreadable"):
        clips = [clip for clip, state in states.items() if state.status == status]
        if clips:
            detail = f": {states[clips[0]].fault}" if status == "unreadable" else ""
            yield Finding(status, "wrong", name_clips(clips) + detail)
    changed = [
        clip
        for clip, state in states.items()
        if not state.fault and state.n_frames != promised[clip]
    ]
    if changed:
        clip = changed[0]
        text = f"{name_clips(changed)}; {clip} has {states[clip].n_frames}, not {promised[clip]}"
        yield Finding("other number of frames", "wrong", text)
    whole = [state for state in states.values() if not state.fault]
    if not whole:
        return
    numbers = np.array([state.n_frames for state in whole])
    short = int((numbers < SHORT_CLIP).sum())
    text = (
        f"{numbers.sum():,}; {numbers.min()} to {numbers.max()} a clip, mean {numbers.mean():.1f}"
    )
    yield Finding("frames", "ok", f"{text}; {short:,} clips under {SHORT_CLIP}")
    sizes = Counter(state.size for state in whole if state.size)
    text = ", ".join(f"{width}x{height} ({n:,})" for (width, height), n in sizes.most_common(5))
    yield Finding("frame sizes", "ok" if len(sizes) == 1 else "note", text)


def _inspect_crop(manifest: Manifest) -> Finding:
    crop = manifest.crop or {}
    text = ", ".join(f"{name} {value}" for name, value in crop.items()) or "nothing is known"
    if "version" in crop and crop["version"] != TEMPLATE_VERSION:
        return Finding("crops", "wrong", f"{text}; this dfer crops by version {TEMPLATE_VERSION}")
    return Finding("crops", "ok" if crop else "note", text)


def _inspect_clips(manifest: Manifest, root: Path) -> dict[str, FramesState]:
    states = inspect_clips([root / path for path in manifest.rows["path"]])
    return dict(zip(manifest.rows["clip_id"], states, strict=True))


def _draw_sample(
    manifest: Manifest, root: Path, states: Mapping[str, FramesState], path: Path
) -> bool:
    """Draw the middle frame of some clips, evenly over the manifest."""
    rows = manifest.rows[[not states[clip].fault for clip in manifest.rows["clip_id"]]]
    if rows.empty:
        return False
    chosen = np.linspace(0, len(rows) - 1, min(SHOWN_CLIPS, len(rows))).round().astype(int)
    tiles = []
    for row in rows.iloc[chosen].itertuples(index=False):
        frames = list_frames(root / str(row.path))
        image_rgb = read_image(frames[len(frames) // 2])
        tiles.append(Tile(image_rgb, f"{row.clip_id}\n{row.label}"))
    draw_sheet(tiles, path)
    return True
