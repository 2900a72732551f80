"""The crops of one video on disk, with the record of how they were made."""

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import cv2

from dfercli.errors import VideoError
from dfercli.faces.main_face import FollowedFace, follow_main_face, read_crops
from dfercli.faces.search import KEY_STEP_S
from dfercli.faces.types import Detector
from dfercli.files import FolderKind, replacing_folder, write_json
from dfercli.media.images import find_fault, write_image
from dfercli.media.video import count_declared

RECORD_FILE = "crop.json"
TIME = "source_changed_ns"

CROPS = FolderKind(
    "face crops", rf"[0-9]{{6,}}\.jpg|{re.escape(RECORD_FILE)}", RECORD_FILE, ("n_frames",)
)


@dataclass(frozen=True)
class CropRecord:
    """How one video was cropped. Shares are rounded to four decimals.

    Attributes:
        n_frames: Crops on disk; 0 if no face was found.
        video_frames: Frames that were decoded.
        declared_frames: Frames that the container declares; 0 if it does not.
        interpolated: Frames that were searched without success and whose face is interpolated.
        skipped: Frames without a crop.
        coverage: Share of the frames that have a crop.
        score: Median score of the detections.
        jitter: Jitter of the landmarks, in shares of the crop's side.
        rival: Presence of the largest other face, as a share of the main face's.
        source: Path of the video, or of the folder of frames, below the dataset's root.
        source_bytes: Size of the file, or of all files in the folder.
        source_changed_ns: Modification time of the file, or the latest of the folder and its files;
            None in records of earlier versions.
    """

    n_frames: int
    video_frames: int
    declared_frames: int
    interpolated: int
    skipped: int
    coverage: float
    score: float
    jitter: float
    rival: float
    source: str
    source_bytes: int
    source_changed_ns: int | None = None


def crop_video(root: Path, source: str, folder: Path, size: int, detector: Detector) -> CropRecord:
    """Write the crops of a video's main face (`000001.jpg`, ...) and their record atomically.

    The video is a file, or a folder of frames, below `root`, and `folder` is replaced. The same
    video gives the same bytes. Without a face only the record is written, so that the video is not
    searched again.

    Raises:
        VideoError: The video cannot be read, or the detector fails on it.
        DataError: `folder` holds files that dfer did not write.
    """
    video = root / source
    CROPS.check(folder)  # before the work
    try:
        before = _measure_source(video) if video.exists() else (0, 0)
        followed = follow_main_face(video, detector, carry_s=KEY_STEP_S)
        record = _make_record(video, source, followed, before)
        with replacing_folder(folder, CROPS) as partial:
            partial.mkdir(parents=True)
            if followed.faces:
                _write_crops(video, followed, size, partial)
            write_json(partial / RECORD_FILE, asdict(record))
            if _measure_source(video) != before:
                raise VideoError(
                    f"{video} changed while it was being read; run the same command again"
                )
    except (cv2.error, RuntimeError) as error:  # torch: a frame is too large for the GPU
        message = str(error).strip() or repr(error)
        raise VideoError(f"cannot crop {video}: {message.splitlines()[-1]}") from error
    return record


def _write_crops(video: Path, followed: FollowedFace, size: int, folder: Path) -> None:
    number = 0
    for number, crop_rgb in enumerate(read_crops(video, followed, size), start=1):
        write_image(folder / _name_crop(number), crop_rgb)
    if number != len(followed.faces):  # a damaged stream may decode differently
        raise VideoError(
            f"cannot crop {video}: reading it twice gives different frames; it may be damaged"
        )


def read_record(folder: Path, root: Path, source: str) -> CropRecord | None:
    """Return the record of a video's crops; None if the video has to be cropped (again).

    It has to be if the record or a crop is missing, truncated or surplus, or if the video is
    missing, another one or changed (by its size and modification time). Records of earlier versions
    have no time; then the video must be older than the crops.
    """
    try:
        values = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        kinds = {field.name: field.type for field in fields(CropRecord)}
        kinds |= {TIME: int if isinstance(values, dict) and TIME in values else None}
        if (
            not isinstance(values, dict)
            or {TIME: None} | {name: type(value) for name, value in values.items()} != kinds
        ):
            return None
        record = CropRecord(**values)
        newest_ns, source_bytes = _measure_source(root / source)
        if record.source_changed_ns is None:
            unchanged = folder.stat().st_mtime_ns >= newest_ns
        else:
            unchanged = record.source_changed_ns == newest_ns
        same = (record.source, record.source_bytes) == (source, source_bytes)
        crops = sorted(folder.glob("*.jpg"))
    except (OSError, ValueError):
        return None
    expected = [_name_crop(number) for number in range(1, record.n_frames + 1)]
    complete = [path.name for path in crops] == expected and not any(map(find_fault, crops))
    return record if unchanged and same and complete else None


def _make_record(
    video: Path, source: str, followed: FollowedFace, before: tuple[int, int]
) -> CropRecord:
    changed_ns, source_bytes = before
    return CropRecord(
        n_frames=len(followed.faces),
        video_frames=followed.num_frames,
        declared_frames=count_declared(video),
        interpolated=followed.interpolated,
        skipped=followed.skipped,
        coverage=round(followed.coverage, 4),
        score=round(followed.score, 4),
        jitter=round(followed.jitter, 4),
        rival=round(followed.rival, 4),
        source=source,
        source_bytes=source_bytes,
        source_changed_ns=changed_ns,
    )


def _name_crop(number: int) -> str:
    return f"{number:06d}.jpg"


def _measure_source(video: Path) -> tuple[int, int]:
    """Return the latest modification time in ns and the bytes of a file, or of a folder's files."""
    files = list(video.iterdir()) if video.is_dir() else [video]
    stats = [path.stat() for path in files]
    newest_ns = max(stat.st_mtime_ns for stat in (video.stat(), *stats))
    return newest_ns, sum(stat.st_size for stat in stats)
