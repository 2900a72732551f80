"""From a dataset's videos to aligned faces on disk and a manifest."""

import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import pandas as pd
from tqdm import tqdm

from dfercli.data import load_dataset
from dfercli.data.manifest import Manifest, read_manifest, write_manifest
from dfercli.data.spec import Source, order_classes
from dfercli.errors import DataError, DetectorError, VideoError
from dfercli.faces import load_detector
from dfercli.faces.align import CropRecipe
from dfercli.faces.base import Detector
from dfercli.faces.track import crop_followed_face, follow_main_face
from dfercli.files import replacing, write_json, write_text
from dfercli.images import list_frames, write_image

RECIPE_FILE = "recipe.json"
SKIPPED_FILE = "skipped.csv"


@dataclass(frozen=True)
class ClipOutcome:
    """What became of one video.

    Attributes:
        clip_id: Its name.
        status: `done`, `reused`, `no face`, or `unreadable`.
        n_frames: Faces on disk.
        detail: What was wrong.
    """

    clip_id: str
    status: str
    n_frames: int = 0
    detail: str = ""


@dataclass(frozen=True)
class PreprocessSummary:
    """What a call of `preprocess` did.

    Attributes:
        manifest: Path of the manifest.
        faces: Folder of the crops.
        counts: Videos by status.
        skipped: Path of the list of videos that are not in the manifest, or None if all are.
    """

    manifest: Path
    faces: Path
    counts: dict[str, int]
    skipped: Path | None


def preprocess(
    dataset: str,
    root: Path,
    manifest_path: Path,
    recipe: CropRecipe,
    jobs: int | None = None,
    num_folds: int = 5,
    seed: int = 0,
) -> PreprocessSummary:
    """Crop the main face of every video and write the manifest.

    A call that was stopped goes on where it was: a clip's folder appears only when it is whole.
    Videos that cannot be read or show no face are left out, counted and listed.

    Args:
        dataset: Public name of the kind of dataset.
        root: Its folder.
        manifest_path: Where the manifest goes; its stem becomes the dataset's name in runs.
        recipe: How to crop.
        jobs: Processes; None takes one a core.
        num_folds: Folds, for datasets that come without.
        seed: Of the folds, for datasets that come without.

    Raises:
        UnknownNameError: No such dataset or detector.
        DetectorError: The detector cannot be set up here.
        DataError: The dataset's lists do not hold together, or no video shows a face.
    """
    read_sources = load_dataset(dataset).read_sources
    load_detector(recipe.detector)  # fails here rather than in every process
    known_folds = _known_folds(manifest_path, root, num_folds)
    sources = read_sources(root, num_folds, seed, known_folds)
    faces = root / f"faces-{recipe.detector}-{recipe.size}"
    _settle_recipe(faces, recipe)
    outcomes = {
        outcome.clip_id: outcome for outcome in _crop_all(sources, root, faces, recipe, jobs)
    }
    skipped = _write_skipped(faces / SKIPPED_FILE, [outcomes[source.clip_id] for source in sources])
    kept = [source for source in sources if outcomes[source.clip_id].n_frames]
    if not kept:
        raise DataError(f"no face was found in any video of {root}; see {skipped}")
    rows = pd.DataFrame(
        {
            "clip_id": [source.clip_id for source in kept],
            "path": [f"{faces.name}/{source.clip_id}" for source in kept],
            "n_frames": [outcomes[source.clip_id].n_frames for source in kept],
            "label": [source.class_name for source in kept],
            "test_fold": [source.test_fold for source in kept],
        }
    )
    if kept[0].group is not None:
        rows["group"] = [source.group for source in kept]
    class_names = order_classes(source.class_name for source in sources)
    manifest = Manifest(
        manifest_path.stem, rows, class_names, asdict(recipe), _portable(root), num_folds
    )
    write_manifest(manifest, manifest_path)
    counts = Counter(outcome.status for outcome in outcomes.values())
    return PreprocessSummary(manifest_path, faces, dict(counts), skipped)


def _known_folds(manifest_path: Path, root: Path, num_folds: int) -> dict[str, int]:
    """Give the folds of clips that an earlier manifest of the same data settled."""
    if not manifest_path.is_file():
        return {}
    manifest = read_manifest(manifest_path)
    if Path(manifest.root).is_dir() and Path(manifest.root).resolve() != root.resolve():
        raise DataError(
            f"{manifest_path} is the manifest of {manifest.root}, not of {root}; "
            f"choose another --name"
        )
    if manifest.num_folds not in (None, num_folds):
        raise DataError(
            f"{manifest_path} has {manifest.num_folds} folds, not {num_folds}; "
            f"remove it to deal the videos anew"
        )
    rows = manifest.rows
    return dict(zip(rows["clip_id"], rows["test_fold"], strict=True))


def _portable(root: Path) -> str:
    """Name the root relative to the working folder where it lies below it, else in full."""
    resolved, here = root.resolve(), Path.cwd().resolve()
    return (resolved.relative_to(here) if resolved.is_relative_to(here) else resolved).as_posix()


def _settle_recipe(faces: Path, recipe: CropRecipe) -> None:
    """Keep the recipe beside the crops, and never mix crops of two recipes."""
    path = faces / RECIPE_FILE
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != asdict(recipe):
        raise DataError(f"{faces} holds crops of another recipe; remove it to crop again")
    write_json(path, asdict(recipe))


def _crop_all(
    sources: Sequence[Source], root: Path, faces: Path, recipe: CropRecipe, jobs: int | None
) -> Iterator[ClipOutcome]:
    """Crop videos in parallel and give each outcome as it comes, with a progress bar."""
    jobs = min(jobs or os.cpu_count() or 1, len(sources))
    spawn = multiprocessing.get_context("spawn")  # OpenCV and torch do not survive a fork
    pool = ProcessPoolExecutor(jobs, spawn, _start_worker, (recipe.detector,))
    with pool, tqdm(total=len(sources), desc="faces", unit="video", disable=None) as bar:
        futures = [
            pool.submit(_crop_in_worker, source, root, faces, recipe.size) for source in sources
        ]
        try:
            for future in as_completed(futures):
                yield future.result()
                bar.update()
        except BrokenProcessPool as error:
            raise DetectorError(
                "a process that crops faces died, perhaps for want of memory; "
                "run again with fewer --jobs"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


_detector: Detector | None = None
"""Of a worker process; a detector cannot be sent between processes."""


def _start_worker(detector_name: str) -> None:
    global _detector
    cv2.setNumThreads(1)
    _detector = load_detector(detector_name)


def _crop_in_worker(source: Source, root: Path, faces: Path, size: int) -> ClipOutcome:
    assert _detector is not None  # set by `_start_worker`
    return crop_video(source, root, faces, size, _detector)


def crop_video(
    source: Source, root: Path, faces: Path, size: int, detector: Detector
) -> ClipOutcome:
    """Write the main face of one video to `faces/<clip_id>/000001.jpg` and on.

    Crops that are there, whole and younger than the video are taken as they are.
    """
    video, folder = root / source.path, faces / source.clip_id
    young = video.is_file() and folder.is_dir() and folder.stat().st_mtime >= video.stat().st_mtime
    if young and _is_whole(folder):
        return ClipOutcome(source.clip_id, "reused", len(list_frames(folder)))
    try:
        followed = follow_main_face(video, detector)
        if not followed.faces:
            return ClipOutcome(source.clip_id, "no face", detail="in no frame")
        with replacing(folder) as partial:
            partial.mkdir(parents=True)
            crops = crop_followed_face(video, followed, size)
            for number, crop in enumerate(crops, start=1):
                write_image(partial / f"{number:06d}.jpg", crop.image_rgb)
    except (VideoError, cv2.error) as error:  # one odd video does not end the batch
        return ClipOutcome(source.clip_id, "unreadable", detail=str(error).strip().splitlines()[-1])
    return ClipOutcome(source.clip_id, "done", len(followed.faces))


def _is_whole(folder: Path) -> bool:
    """Whether crops are numbered without a gap, and none is empty."""
    crops = sorted(folder.glob("*.jpg"))
    numbered = [path.stem for path in crops] == [f"{n:06d}" for n in range(1, len(crops) + 1)]
    return bool(crops) and numbered and all(path.stat().st_size for path in crops)


def _write_skipped(path: Path, outcomes: Sequence[ClipOutcome]) -> Path | None:
    skipped = [asdict(outcome) for outcome in outcomes if not outcome.n_frames]
    if not skipped:
        path.unlink(missing_ok=True)
        return None
    columns = ["clip_id", "status", "detail"]
    write_text(path, pd.DataFrame(skipped)[columns].to_csv(index=False, lineterminator="\n"))
    return path
