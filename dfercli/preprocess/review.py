"""What a person should look at after faces were cropped: a list, and a sheet of the worst crops."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from dfercli.data.frame_checks import SHORT_CLIP
from dfercli.errors import DataError
from dfercli.faces.crop_files import CropRecord
from dfercli.files import write_text
from dfercli.media.contact_sheet import Tile, draw_sheet
from dfercli.media.images import list_frames, read_image
from dfercli.owned import claim_files
from dfercli.preprocess.crops import ClipOutcome
from dfercli.text import escape_cell

MIN_COVERAGE = 0.5
"""Share of a video's frames that must show the face (our choice)."""

MIN_SCORE = 0.9
"""Median confidence of the detector (our choice)."""

MAX_JITTER = 0.03
"""Restlessness of the landmarks, as a share of the crop's side (our choice: nearly twice that of
mtcnn's on a face that is well seen)."""

MAX_RIVAL = 0.5
"""Presence of a second face beside the main one (our choice)."""

WHOLE = 0.95
"""Share of the promised frames that a video must have (our choice: many promise one too many)."""

SHOWN_EACH = 8
"""Clips on a sheet for each way of being bad (our choice: one row)."""

FIGURES = ("coverage", "score", "jitter", "rival", "interpolated", "skipped")
"""Of a clip's record, in the list."""

COLUMNS = ("clip_id", "status", "n_frames", *FIGURES, "reason")
"""Of the list."""


def find_doubts(outcome: ClipOutcome) -> list[str]:
    """Say why a person should look at a clip; often nothing."""
    record = outcome.record
    if not outcome.n_frames or record is None:
        return [outcome.detail] if outcome.detail else []
    doubts = []
    if record.n_frames < SHORT_CLIP:
        doubts.append(f"only {record.n_frames} frame{'s' * (record.n_frames > 1)}")
    if record.coverage < MIN_COVERAGE:
        doubts.append(f"face in {record.coverage:.0%} of the frames")
    if record.score < MIN_SCORE:
        doubts.append(f"score {record.score:.2f}")
    if record.jitter > MAX_JITTER:
        doubts.append(f"landmarks jump by {record.jitter:.1%} of the crop")
    if record.rival > MAX_RIVAL:
        doubts.append("another face is about as large")
    if record.video_frames < WHOLE * record.declared_frames:
        doubts.append(
            f"ends after {record.video_frames} of {record.declared_frames} frames; cut off?"
        )
    return doubts


def check_review(path: Path) -> None:
    """Refuse to replace a list that dfer did not write.

    Raises:
        DataError: A file of this name is there, and is none.
    """
    try:
        if not path.read_bytes().startswith(",".join(COLUMNS).encode()):
            raise DataError(
                f"{path} is there already, and dfer did not write it; move it elsewhere"
            )
    except FileNotFoundError:
        return


def write_review(outcomes: Iterable[ClipOutcome], path: Path) -> Path | None:
    """List the clips that need a look; without any, an older list is removed."""
    rows = []
    for outcome in outcomes:
        doubts = find_doubts(outcome)
        if doubts:
            rows.append(_row(outcome, "; ".join(doubts)))
    if not rows:
        path.unlink(missing_ok=True)
        return None
    write_text(path, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
    return path


def _row(outcome: ClipOutcome, reason: str) -> dict[str, object]:
    record = outcome.record
    figures = {} if record is None else {name: getattr(record, name) for name in FIGURES}
    status = "kept" if outcome.n_frames else outcome.status  # alike, done now or reused
    row: dict[str, object] = {
        "clip_id": escape_cell(outcome.clip_id),
        "status": status,
        "n_frames": outcome.n_frames,
    }
    return row | {name: figures.get(name, "") for name in FIGURES} | {"reason": escape_cell(reason)}


def draw_worst(outcomes: Sequence[ClipOutcome], faces: Path, path: Path) -> Path | None:
    """Draw the clips of the lowest score, the lowest coverage and the most jitter, a row each.

    Args:
        outcomes: Of cropped clips.
        faces: Folder of the crops.
        path: A `.png` file.
    """
    cropped = [(o.clip_id, o.record) for o in outcomes if o.n_frames and o.record is not None]
    if not cropped:
        return None
    tiles = []
    for text, badness in WAYS_TO_BE_BAD:
        for clip_id, record in sorted(cropped, key=lambda item: badness(item[1]))[:SHOWN_EACH]:
            frames = list_frames(faces / clip_id)
            image_rgb = read_image(frames[len(frames) // 2])
            tiles.append(Tile(image_rgb, f"{clip_id}\n{text(record)}"))
    claim_files([path])
    draw_sheet(tiles, path, per_row=min(SHOWN_EACH, len(cropped)))
    return path


WAYS_TO_BE_BAD: tuple[tuple[Callable[[CropRecord], str], Callable[[CropRecord], float]], ...] = (
    (lambda record: f"score {record.score:.3f}", lambda record: record.score),
    (lambda record: f"coverage {record.coverage:.0%}", lambda record: record.coverage),
    (lambda record: f"jitter {record.jitter:.1%}", lambda record: -record.jitter),
)
"""Caption and order of each row of the sheet."""
