"""A manifest of an official set against what is published, and against the lists on disk."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath

from dfercli.data import load_dataset
from dfercli.data.clip_folders import JOINT
from dfercli.data.frame_counts import ClipFrames, compare_frames
from dfercli.data.inspect import FramesState
from dfercli.data.manifest import Manifest
from dfercli.data.official import Official, compare_lists, lists_of, name_clips
from dfercli.data.spec import count_of
from dfercli.data.tree import scan_tree
from dfercli.doctor.page import Finding, State
from dfercli.errors import DferError


def compare_official(manifest: Manifest, official: Official, root: Path) -> Iterator[Finding]:
    """Compare classes, labels and folds with the published ones.

    Only whole lists are published, as counts and fingerprints. Where those differ, as in a partial
    set, each row is compared with the lists that lie below the root.

    Args:
        manifest: Of a set with official lists.
        official: What is published about it.
        root: The dataset's folder.
    """
    if manifest.class_names != official.class_names:
        text = f"{', '.join(manifest.class_names)}; officially {', '.join(official.class_names)}"
        yield Finding("classes", "wrong", text)
        return
    deviations = compare_lists(official, lists_of(_folds(manifest), official))
    if not deviations:
        yield Finding("official lists", "ok", "counts and fingerprints are the published ones")
        return
    lacks_clips = manifest.partial and len(manifest.rows) < official.num_clips
    for deviation in deviations:
        if not lacks_clips and deviation not in manifest.deviations:
            yield Finding("official lists", "wrong", deviation)
    yield from _compare_rows(manifest, root)


def _folds(manifest: Manifest) -> dict[str, tuple[str, int]]:
    """Return label and test fold by clip."""
    rows = manifest.rows
    pairs = zip(rows["label"], rows["test_fold"], strict=True)
    return dict(zip(rows["clip_id"], pairs, strict=True))


def _compare_rows(manifest: Manifest, root: Path) -> Iterator[Finding]:
    """Compare each row with the lists below the root."""
    topic = "lists on disk"
    try:
        splits = load_dataset(manifest.kind).read_splits(scan_tree(root))
        listed = splits.join()
    except DferError as error:
        yield Finding(topic, "note", f"labels and folds cannot be compared: {error.line}")
        return
    rows = _folds(manifest)
    strays = sorted(rows.keys() - listed.keys())
    if strays:
        yield Finding(topic, "wrong", f"no list has {name_clips(strays)}")
    shared = sorted(rows.keys() & listed.keys())
    differing = sum(rows[clip] != listed[clip] for clip in shared)
    for index, what in enumerate(("label", "test fold")):
        changed = [clip for clip in shared if rows[clip][index] != listed[clip][index]]
        if changed:
            clip = changed[0]
            text = (
                f"another {what} than in the lists: {name_clips(changed)}; {clip} has "
                f"{rows[clip][index]}, the lists say {listed[clip][index]}; preprocess again"
            )
            yield Finding(topic, "wrong", text)
    lacking = sorted(listed.keys() - rows.keys())
    if lacking:
        agree = "" if strays or differing else "; labels and folds of all others agree"
        text = f"{name_clips(lacking, len(listed))} not in the manifest{agree}"
        yield Finding(topic, "note" if manifest.partial else "wrong", text)
    elif not strays and not differing:
        text = f"labels and folds of all {count_of(len(shared), 'clip')} are those of the lists"
        yield Finding(topic, "ok", text)


def compare_paths(manifest: Manifest) -> Iterator[Finding]:
    """Find rows whose folder is that of another clip."""
    module = load_dataset(manifest.kind)
    columns = (manifest.rows["clip_id"].tolist(), manifest.rows["path"].tolist())
    pairs = [(str(clip_id), str(path)) for clip_id, path in zip(*columns, strict=True)]
    clip_ids = {clip_id for clip_id, _ in pairs}
    wrong: dict[str, str] = {}
    for clip_id, path in pairs:
        for folder in path.split(JOINT):
            if module.OFFICIAL is None:
                owner = _find_owner(folder, clip_id, clip_ids)
            else:
                owner = module.clip_of(folder)
            if owner != clip_id:
                wrong[clip_id] = folder
    if wrong:
        clip_id, folder = next(iter(wrong.items()))
        text = f"folder of another clip: {name_clips(list(wrong))}; {clip_id} has {folder}"
        yield Finding("paths", "wrong", f"{text}; preprocess again")


def _find_owner(folder: str, clip_id: str, clip_ids: Collection[str]) -> str:
    """Return the clip whose name a folder ends with: this one, another one, or this if none is."""
    parts = PurePosixPath(folder).parts
    names = ["/".join(parts[first:]) for first in range(len(parts))]
    if clip_id in names:
        return clip_id
    return next((name for name in names if name in clip_ids), clip_id)


def compare_states(
    manifest: Manifest, official: Official, states: Mapping[str, FramesState]
) -> Iterator[Finding]:
    """Compare the frames on disk with the published numbers, where faces were adopted."""
    media = str((manifest.crop or {}).get("adopted", "")).partition(" ")[2]
    if not media or manifest.class_names != official.class_names:
        return
    clips = [
        ClipFrames(clip_id, class_name, fold, states[clip_id].n_frames)
        for clip_id, (class_name, fold) in _folds(manifest).items()
        if states[clip_id].n_frames
    ]
    found = compare_frames(official, media, clips)
    topic = "official frames"
    for deviation in found.deviations:
        state: State = "note" if deviation in manifest.deviations else "wrong"
        yield Finding(topic, state, deviation)
    if found.note:
        yield Finding(topic, "note", found.note)
    elif found.agreement and not found.deviations:
        nothing = found.num_published and not found.num_compared
        yield Finding(topic, "note" if nothing else "ok", found.agreement)
