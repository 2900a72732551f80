"""What a person should check after cropping: a list of clips, and a sheet of the worst crops."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from dfercli.data.frame_checks import SHORT_CLIP
from dfercli.errors import DataError
from dfercli.faces.crop_files import CropRecord
from dfercli.files import claim_files, write_text
from dfercli.media.contact_sheet import Tile, draw_sheet
from dfercli.media.images import list_frames, read_image
from dfercli.preprocess.crops import ClipOutcome
from dfercli.text import count_of, escape_cell

MIN_COVERAGE = 0.5
"""Share of frames with the face from which a clip is not listed (our choice)."""

MIN_SCORE = 0.9
"""Median score of the detections from which a clip is not listed (our choice)."""

MAX_JITTER = 0.03
"""Largest jitter of the landmarks that is not listed, as a share of the crop's side (our
choice: nearly twice that of mtcnn on a clear face)."""

MAX_RIVAL = 0.5
"""Largest presence of a second face, as a share of the main one's, not listed (our choice)."""

WHOLE = 0.95
"""Share of the declared frames that a video must have (our choice: many declare one too many)."""

SHOWN_EACH = 8
"""Clips on the sheet per criterion (our choice: one row)."""

FIGURES = ("coverage", "score", "jitter", "rival", "interpolated", "skipped")
"""Columns of the list that come from the record of a clip."""

COLUMNS = ("clip_id", "status", "n_frames", *FIGURES, "reason")
"""Columns of the list."""


def find_doubts(outcome: ClipOutcome) -> list[str]:
    """Return the reasons why a person should check a clip; usually none."""
    record = outcome.record
    if not outcome.n_frames or record is None:
        return [outcome.detail] if outcome.detail else []
    doubts = []
    if record.n_frames < SHORT_CLIP:
        doubts.append(f"only {count_of(record.n_frames, 'frame')}")
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
            f"ends after {record.video_frames} of {record.declared_frames} frames; truncated?"
        )
    return doubts


def check_review(path: Path) -> None:
    """Raise a DataError if the path of a list has a file that dfer did not write."""
    try:
        if not path.read_bytes().startswith(",".join(COLUMNS).encode()):
            raise DataError(f"{path} already exists, and dfer did not write it; move it elsewhere")
    except FileNotFoundError:
        return


def write_review(outcomes: Iterable[ClipOutcome], path: Path) -> Path | None:
    """Write the list of clips to check; if there are none, remove an older list."""
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
    status = "kept" if outcome.n_frames else outcome.status  # whether cropped now or reused
    row: dict[str, object] = {
        "clip_id": escape_cell(outcome.clip_id),
        "status": status,
        "n_frames": outcome.n_frames,
    }
    return row | {name: figures.get(name, "") for name in FIGURES} | {"reason": escape_cell(reason)}


def draw_worst(outcomes: Sequence[ClipOutcome], faces: Path, path: Path) -> Path | None:
    """Draw a contact sheet with one row per criterion: lowest score and coverage, highest jitter.

    None if no clip was cropped.
    """
    cropped = [(o.clip_id, o.record) for o in outcomes if o.n_frames and o.record is not None]
    if not cropped:
        return None
    tiles = []
    for caption, rank in CRITERIA:
        for clip_id, record in sorted(cropped, key=lambda item: rank(item[1]))[:SHOWN_EACH]:
            frames = list_frames(faces / clip_id)
            image_rgb = read_image(frames[len(frames) // 2])
            tiles.append(Tile(image_rgb, f"{clip_id}\n{caption(record)}"))
    claim_files([path])
    draw_sheet(tiles, path, per_row=min(SHOWN_EACH, len(cropped)))
    return path


CRITERIA: tuple[tuple[Callable[[CropRecord], str], Callable[[CropRecord], float]], ...] = (
    (lambda record: f"score {record.score:.3f}", lambda record: record.score),
    (lambda record: f"coverage {record.coverage:.0%}", lambda record: record.coverage),
    (lambda record: f"jitter {record.jitter:.1%}", lambda record: -record.jitter),
)
"""Caption and sort key of each row of the sheet."""
