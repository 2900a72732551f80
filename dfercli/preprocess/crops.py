"""Face crops of a dataset: made in parallel processes, or adopted as published."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from filelock import Timeout

from dfercli.data.frame_checks import FramesState, inspect_clips
from dfercli.data.manifest import clip_folders
from dfercli.data.sources.base import Source
from dfercli.errors import DataError, JobsError, VideoError
from dfercli.faces import count_usual_jobs, load_detector
from dfercli.faces.align import CropRecipe
from dfercli.faces.crop_files import CropRecord, crop_video, read_record
from dfercli.faces.types import Detector
from dfercli.files import check_recorded, locking, write_json
from dfercli.parallel import Emit, Share, WorkerDied, run_in_workers
from dfercli.progress import show_progress

LOCK_FILE = ".lock"

AGAIN = "a repeated call crops only the missing clips"
"""What to do after a process died."""

RECIPE_FILE = "recipe.json"
"""File beside the crops that says how they were made."""


@dataclass(frozen=True)
class ClipOutcome:
    """Result of preprocessing one clip.

    Attributes:
        clip_id: Name of the clip.
        status: `done`, `reused`, `adopted`, `no face`, `unreadable`, or `missing`.
        n_frames: Faces on disk; 0 if the clip is left out.
        detail: What is wrong, if anything.
        record: How it was cropped; None if it was not.
        size: Width and height of adopted frames in pixels.
    """

    clip_id: str
    status: str
    n_frames: int = 0
    detail: str = ""
    record: CropRecord | None = None
    size: tuple[int, int] | None = None


def adopt_clips(sources: Sequence[Source], root: Path) -> Iterator[ClipOutcome]:
    """Check every frame of clips that are face crops already, and yield the outcomes."""
    present = [source for source in sources if source.path is not None]
    yield from (miss_clip(source) for source in sources if source.path is None)
    states = inspect_clips([clip_folders(root, str(source.path)) for source in present])
    for source, state in zip(present, states, strict=True):
        yield _adopt_clip(source, state, root)


def crop_clips(
    sources: Sequence[Source], root: Path, faces: Path, recipe: CropRecipe, jobs: int | None = None
) -> Iterator[ClipOutcome]:
    """Crop videos in parallel processes and yield the outcomes as they come.

    Complete crops of an unchanged video are reused, and a clip's folder appears only when it is
    complete, so that an interrupted call continues where it stopped. The crops of each clip have
    their own folder in `faces`.

    Raises:
        DataError: Another call is cropping into the same folder, or dfer did not make it.
        JobsError: A process died before it could crop anything.
    """
    check_faces_folder(faces)
    faces.mkdir(mode=0o700, parents=True, exist_ok=True)  # only for their owner
    try:
        with locking(faces / LOCK_FILE):
            write_json(faces / RECIPE_FILE, asdict(recipe))
            yield from _crop_in_processes(sources, root, faces, recipe, jobs)
    except JobsError as error:
        raise JobsError(f"{error}; {AGAIN}") from error
    except Timeout as error:
        raise DataError(
            f"another dfer process is writing to {faces}; wait until it has finished"
        ) from error


def check_faces_folder(faces: Path) -> None:
    """Raise a DataError if a folder for crops has files, but no recipe that dfer wrote."""
    check_recorded(faces, RECIPE_FILE, ("detector", "size"), (LOCK_FILE, f".{RECIPE_FILE}.partial"))


def _adopt_clip(source: Source, state: FramesState, root: Path) -> ClipOutcome:
    if (root / str(source.path)).is_file():
        return ClipOutcome(
            source.clip_id, "unreadable", detail="a file; --adopt takes folders of face crops"
        )
    if state.fault:
        status = "unreadable" if state.status == "unreadable" else "missing"
        return ClipOutcome(source.clip_id, status, detail=f"{source.path}: {state.fault}")
    return ClipOutcome(source.clip_id, "adopted", state.n_frames, size=state.size)


def miss_clip(source: Source) -> ClipOutcome:
    """Return the outcome of a clip that is listed but not on disk."""
    where = f": {source.path}" if source.path else ""
    return ClipOutcome(source.clip_id, "missing", detail=f"listed but not on disk{where}")


def _crop_in_processes(
    sources: Sequence[Source], root: Path, faces: Path, recipe: CropRecipe, jobs: int | None
) -> Iterator[ClipOutcome]:
    shares = [Share(threads=1)] * (jobs or count_usual_jobs(recipe.detector))
    start = partial(_start_cropping, recipe, root, faces)
    with (
        closing(run_in_workers(sources, start, shares, purpose="crops faces")) as results,
        show_progress(total=len(sources), desc="faces", unit="clip") as bar,
    ):
        for source, result in results:
            if isinstance(result, WorkerDied):
                detail = f"{result.reason}; {AGAIN}"
                yield ClipOutcome(source.clip_id, "unreadable", detail=detail)
            else:
                yield result
            bar.update()


def _start_cropping(
    recipe: CropRecipe, root: Path, faces: Path
) -> Callable[[Source, Emit], ClipOutcome]:
    """Prepare a worker; a detector cannot be sent to one."""
    detector = load_detector(recipe.detector)
    return lambda source, emit: crop_clip(source, root, faces, recipe.size, detector)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the path is too long
        return False


def crop_clip(
    source: Source, root: Path, faces: Path, size: int, detector: Detector
) -> ClipOutcome:
    """Crop one clip, or reuse its crops; an unreadable clip is an outcome, not an error."""
    if source.path is None or not _exists(root / source.path):
        return miss_clip(source)
    folder = faces / source.clip_id
    if not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(faces)):
        raise DataError(f"{folder} is a link to a place outside {faces}; remove the link")
    record, status = read_record(folder, root, source.path), "reused"
    try:
        if record is None:
            record, status = crop_video(root, source.path, folder, size, detector), "done"
    except VideoError as error:
        return ClipOutcome(source.clip_id, "unreadable", detail=str(error))
    if not record.n_frames:
        return ClipOutcome(source.clip_id, "no face", detail="no face in any frame", record=record)
    return ClipOutcome(source.clip_id, status, record.n_frames, record=record)
