"""Diagnosis of one dataset: its manifest, its lists, and every frame on disk."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, Literal

import numpy as np

from dfercli.data import load_dataset
from dfercli.data.frame_checks import (
    SHORT_CLIP,
    ClipFrames,
    FramesState,
    compare_frames,
    inspect_clips,
)
from dfercli.data.manifest import JOINT, Manifest, clip_folders, read_manifest, review_file
from dfercli.data.sources.base import Choices
from dfercli.data.sources.find_media import scan_tree
from dfercli.data.sources.named_clips import NamedDataset
from dfercli.data.sources.official_lists import Official
from dfercli.errors import DferError
from dfercli.faces.align import READABLE_VERSIONS, explain_old_crops
from dfercli.media.contact_sheet import Tile, draw_sheet
from dfercli.media.images import list_frames, read_image
from dfercli.text import count_of, list_some

SHEET_CLIPS = 24
"""Clips on a contact sheet (our choice: three rows)."""


State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One result.

    Attributes:
        topic: What was checked.
        state: `ok`; `note` if a person should know it; `wrong` if a run would fail or mislead.
        text: The result in words.
    """

    topic: str
    state: State
    text: str


@dataclass(frozen=True)
class DatasetReport:
    """The results for one dataset, and the contact sheet of some clips, if it can be drawn."""

    name: str
    manifest: Path
    root: Path | None
    findings: tuple[Finding, ...]
    sheet: Path | None = None


@dataclass(frozen=True)
class Diagnosis:
    """The results for this machine and for each dataset."""

    machine: tuple[Finding, ...]
    datasets: tuple[DatasetReport, ...]

    @property
    def verdict(self) -> str:
        """The conclusion in one line."""
        if not self.healthy:
            return "problems found; see above"
        topics = {finding.topic for report in self.datasets for finding in report.findings}
        if topics <= {"data"}:  # no manifest, or only manifests of missing data
            return "this machine is fine; no dataset was found"
        return "no problems found"

    @property
    def healthy(self) -> bool:
        """Whether no result is `wrong`."""
        findings = [*self.machine, *(f for report in self.datasets for f in report.findings)]
        return all(finding.state != "wrong" for finding in findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the results as plain values for JSON."""
        values = {"healthy": self.healthy, **asdict(self)}
        for report in values["datasets"]:
            paths = {key: report[key] for key in ("manifest", "root", "sheet")}
            report |= {key: str(path) if path else None for key, path in paths.items()}
        return values


def inspect_dataset(
    manifest_path: Path, root: Path | None = None, requested: bool = True
) -> DatasetReport:
    """Check a manifest and every frame that it names.

    `root` is that of the manifest by default; if it is missing, that is an error only if the user
    `requested` the dataset.
    """
    try:
        manifest = read_manifest(manifest_path)
        official = load_dataset(manifest.kind).OFFICIAL
    except DferError as error:
        finding = Finding("manifest", "wrong", error.line)
        return DatasetReport(manifest_path.stem, manifest_path, root, (finding,))
    root = root or Path(manifest.root)
    if not root.is_dir():
        state: State = "wrong" if requested else "note"
        finding = Finding("data", state, f"data folder {root} does not exist; set --root")
        return DatasetReport(manifest.dataset, manifest_path, root, (finding,))
    folders = [clip_folders(root, path) for path in manifest.rows["path"]]
    states = dict(zip(manifest.rows["clip_id"], inspect_clips(folders), strict=True))
    findings = [
        *_inspect_rows(manifest, official),
        *(_compare_official(manifest, official, root) if official else ()),
        *_compare_paths(manifest),
        *_compare_sources(manifest, root),
        *_inspect_states(manifest, states),
        *(_compare_states(manifest, official, states) if official else ()),
        _inspect_crop(manifest),
    ]
    sheet, drawn = review_file(manifest_path, "-sample.png"), False
    try:
        drawn = _draw_sample(manifest, root, states, sheet)
    except DferError as error:  # an image with an intact end that cannot be decoded
        findings.append(Finding("contact sheet", "wrong", error.line))
    return DatasetReport(
        manifest.dataset, manifest_path, root, tuple(findings), sheet if drawn else None
    )


def _inspect_rows(
    manifest: Manifest, official: Official | NamedDataset | None
) -> Iterable[Finding]:
    """Describe the rows, and check folds, groups and classes."""
    published = f"; officially {official.num_clips:,}" if official else ""
    yield Finding("clips", "ok", f"{manifest.describe()}{published}")
    for remark in manifest.remarks():
        yield Finding("manifest", "note", remark)
    if "group" in manifest.rows:
        grouped = manifest.rows[manifest.rows["group"].astype(str) != ""]
        folds_per_group = grouped.groupby("group")["test_fold"].nunique()
        leaks = sorted(folds_per_group[folds_per_group > 1].index)
        if leaks:  # official folds do not follow groups
            state: State = "wrong" if official is None else "note"
            yield Finding("groups", state, f"{list_some(leaks, 'group')} in several folds")
    if manifest.rows["label"].nunique() < 2:
        yield Finding(
            "classes", "wrong", "all clips have the same label; training needs at least two classes"
        )
    for fold in manifest.folds:
        yield from _inspect_fold(manifest, fold)


def _inspect_fold(manifest: Manifest, fold: int) -> Iterable[Finding]:
    """Report a fold without training clips, and classes that it does not train or test."""
    tested, trained = (set(manifest.select(fold, split)["label"]) for split in ("test", "train"))
    if not trained:
        yield Finding(f"fold {fold}", "wrong", "no training clips; use more folds")
        return
    untested, untrained = set(manifest.class_names) - tested, tested - trained
    if untested:
        text = f"no test clips of {', '.join(sorted(untested))}; UAR does not include these classes"
        yield Finding(f"fold {fold}", "note", text)
    if untrained:
        names = ", ".join(sorted(untrained))
        text = (
            f"no training clips of {names}, which are tested; a model cannot predict these classes"
        )
        yield Finding(f"fold {fold}", "note", text)


def _compare_official(
    manifest: Manifest, official: Official | NamedDataset, root: Path
) -> Iterator[Finding]:
    """Compare classes, labels and folds with the published ones.

    Only counts and fingerprints of whole lists are published. If they differ, as in a partial
    dataset, each row is compared with the lists below the root.
    """
    if manifest.class_names != official.class_names:
        text = f"{', '.join(manifest.class_names)}; officially {', '.join(official.class_names)}"
        yield Finding("classes", "wrong", text)
        return
    deviations = official.compare(_folds(manifest))
    if not deviations:
        yield Finding("official lists", "ok", "counts and fingerprints match the published ones")
        return
    lacks_clips = manifest.partial and len(manifest.rows) < official.num_clips
    for deviation in deviations:
        if not lacks_clips and deviation not in manifest.deviations:
            yield Finding("official lists", "wrong", deviation)
    yield from _compare_rows(manifest, root)


def _folds(manifest: Manifest) -> dict[str, tuple[str, int]]:
    """Return label and test fold by clip id."""
    rows = manifest.rows
    pairs = zip(rows["label"], rows["test_fold"], strict=True)
    return dict(zip(rows["clip_id"], pairs, strict=True))


def _list_clips(module: ModuleType, root: Path) -> dict[str, tuple[str, int]]:
    """Return class and test fold of the clips that lists, or names of files, tell."""
    if hasattr(module, "read_splits"):
        folds: dict[str, tuple[str, int]] = module.read_splits(scan_tree(root)).join()
        return folds
    sources = module.read_sources(root, Choices()).sources
    return {source.clip_id: (source.class_name, source.test_fold) for source in sources}


def _compare_rows(manifest: Manifest, root: Path) -> Iterator[Finding]:
    """Compare each row with the lists below the root."""
    topic = "lists on disk"
    try:
        listed = _list_clips(load_dataset(manifest.kind), root)
    except DferError as error:
        yield Finding(topic, "note", f"labels and folds cannot be compared: {error.line}")
        return
    rows = _folds(manifest)
    unlisted = sorted(rows.keys() - listed.keys())
    if unlisted:
        yield Finding(topic, "wrong", f"{list_some(unlisted, 'clip')} not in the lists")
    shared = sorted(rows.keys() & listed.keys())
    num_differing = sum(rows[clip] != listed[clip] for clip in shared)
    for index, what in enumerate(("label", "test fold")):
        changed = [clip for clip in shared if rows[clip][index] != listed[clip][index]]
        if changed:
            clip = changed[0]
            text = (
                f"{what} differs from the lists: {list_some(changed, 'clip')}; {clip} has "
                f"{rows[clip][index]}, the lists say {listed[clip][index]}; run `dfer preprocess` "
                f"again"
            )
            yield Finding(topic, "wrong", text)
    missing = sorted(listed.keys() - rows.keys())
    if missing:
        agree = "" if unlisted or num_differing else "; labels and folds of all others agree"
        text = f"{list_some(missing, 'clip', len(listed))} not in the manifest{agree}"
        yield Finding(topic, "note" if manifest.partial else "wrong", text)
    elif not unlisted and not num_differing:
        text = f"labels and folds of all {count_of(len(shared), 'clip')} match the lists"
        yield Finding(topic, "ok", text)


def _compare_paths(manifest: Manifest) -> Iterator[Finding]:
    """Report rows whose folder belongs to another clip."""
    module = load_dataset(manifest.kind)
    columns = (manifest.rows["clip_id"].tolist(), manifest.rows["path"].tolist())
    pairs = [(str(clip_id), str(path)) for clip_id, path in zip(*columns, strict=True)]
    clip_ids = {clip_id for clip_id, _ in pairs}
    wrong_folders: dict[str, str] = {}
    for clip_id, path in pairs:
        for folder in path.split(JOINT):
            if module.OFFICIAL is None:
                owner = _find_owner(folder, clip_id, clip_ids)
            else:
                owner = module.find_clip_id(folder)
            if owner != clip_id:
                wrong_folders[clip_id] = folder
    if wrong_folders:
        clip_id, folder = next(iter(wrong_folders.items()))
        names = list_some(list(wrong_folders), "clip")
        text = (
            f"folder of another clip: {names}; {clip_id} has {folder}; run `dfer preprocess` again"
        )
        yield Finding("paths", "wrong", text)


def _find_owner(folder: str, clip_id: str, clip_ids: Collection[str]) -> str:
    """Return the clip whose name a folder ends with; `clip_id` if no other clip's does."""
    parts = PurePosixPath(folder).parts
    names = ["/".join(parts[first:]) for first in range(len(parts))]
    if clip_id in names:
        return clip_id
    return next((name for name in names if name in clip_ids), clip_id)


def _compare_sources(manifest: Manifest, root: Path) -> Iterable[Finding]:
    """Report changes of the user's own list since the manifest was written."""
    module = load_dataset(manifest.kind)
    if module.OFFICIAL is not None:
        return
    labels = dict(zip(manifest.rows["clip_id"], manifest.rows["label"], strict=True))
    folds = dict(zip(manifest.rows["clip_id"], manifest.rows["test_fold"], strict=True))
    choices = Choices(num_folds=manifest.num_folds, known_folds=folds | dict(manifest.left_out))
    try:
        listed = {s.clip_id: s.class_name for s in module.read_sources(root, choices).sources}
    except DferError as error:
        yield Finding("list", "wrong", error.line)
        return
    changes = {
        "added": sorted(listed.keys() - labels.keys() - manifest.left_out.keys()),
        "removed": sorted(labels.keys() - listed.keys()),
        "relabelled": sorted(c for c in labels.keys() & listed.keys() if labels[c] != listed[c]),
    }
    for change, clips in changes.items():
        if clips:
            names = list_some(clips, "clip")
            text = f"{change} since the last `dfer preprocess`: {names}; run it again"
            yield Finding("list", "wrong", text)


def _inspect_states(manifest: Manifest, states: Mapping[str, FramesState]) -> Iterable[Finding]:
    """Report frames that are missing, unreadable, few, or not as many as in the manifest."""
    expected = dict(zip(manifest.rows["clip_id"], manifest.rows["n_frames"], strict=True))
    for status in ("missing", "empty", "unreadable"):
        clips = [clip for clip, state in states.items() if state.status == status]
        if clips:
            detail = f": {states[clips[0]].fault}" if status == "unreadable" else ""
            yield Finding(status, "wrong", list_some(clips, "clip") + detail)
    intact = {clip: state for clip, state in states.items() if not state.fault}
    changed = [clip for clip, state in intact.items() if state.n_frames != expected[clip]]
    if changed:
        clip = changed[0]
        numbers = f"{clip} has {states[clip].n_frames}, not {expected[clip]}"
        text = f"{list_some(changed, 'clip')}; {numbers}"
        yield Finding("different number of frames", "wrong", text)
    if not intact:
        return
    counts = np.array([state.n_frames for state in intact.values()])
    short = count_of(int((counts < SHORT_CLIP).sum()), "clip")
    text = f"{counts.sum():,}; {counts.min()} to {counts.max()} per clip, mean {counts.mean():.1f}"
    yield Finding("frames", "ok", f"{text}; {short} with fewer than {SHORT_CLIP}")
    sizes = Counter(state.size for state in intact.values() if state.size)
    text = ", ".join(f"{width}x{height} ({n:,})" for (width, height), n in sizes.most_common(5))
    yield Finding("frame sizes", "ok" if len(sizes) == 1 else "note", text)


def _compare_states(
    manifest: Manifest, official: Official, states: Mapping[str, FramesState]
) -> Iterator[Finding]:
    """Compare the frames on disk with the published numbers, if faces were adopted."""
    media = str((manifest.crop or {}).get("adopted", "")).partition(" ")[2]
    if not media or manifest.class_names != official.class_names:
        return
    clips = [
        ClipFrames(clip_id, class_name, fold, states[clip_id].n_frames)
        for clip_id, (class_name, fold) in _folds(manifest).items()
        if states[clip_id].n_frames
    ]
    comparison = compare_frames(official, media, clips)
    topic = "official frames"
    for deviation in comparison.deviations:
        state: State = "note" if deviation in manifest.deviations else "wrong"
        yield Finding(topic, state, deviation)
    if comparison.note:
        yield Finding(topic, "note", comparison.note)
    elif comparison.agreement and not comparison.deviations:
        nothing_compared = comparison.num_published and not comparison.num_compared
        yield Finding(topic, "note" if nothing_compared else "ok", comparison.agreement)


def _inspect_crop(manifest: Manifest) -> Finding:
    crop = manifest.crop or {}
    text = ", ".join(f"{name} {value}" for name, value in crop.items()) or "unknown"
    if answer := explain_old_crops(crop):
        is_readable = crop["version"] in READABLE_VERSIONS
        return Finding("crops", "note" if is_readable else "wrong", f"{text}; {answer}")
    return Finding("crops", "ok" if crop else "note", text)


def _draw_sample(
    manifest: Manifest, root: Path, states: Mapping[str, FramesState], path: Path
) -> bool:
    """Draw the middle frames of some clips, evenly over the manifest; return whether any is."""
    rows = manifest.rows[[not states[clip].fault for clip in manifest.rows["clip_id"]]]
    if rows.empty:
        return False
    chosen = np.linspace(0, len(rows) - 1, min(SHEET_CLIPS, len(rows))).round().astype(int)
    tiles = []
    for row in rows.iloc[chosen].itertuples(index=False):
        frames = list_frames(*clip_folders(root, str(row.path)))
        image_rgb = read_image(frames[len(frames) // 2])
        tiles.append(Tile(image_rgb, f"{row.clip_id}\n{row.label}"))
    draw_sheet(tiles, path)
    return True
