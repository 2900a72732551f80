"""Predictions as records, of types that JSON has: what is written to files, rounded."""

import re
from typing import TYPE_CHECKING, Any

from dfercli.predict.prediction import (
    COVERAGE_DECIMALS,
    TIME_DECIMALS,
    TrackSummary,
    VideoPrediction,
    name_probs,
    round_finite,
)
from dfercli.text import hide_password
from dfercli.versions import __version__

if TYPE_CHECKING:
    from dfercli.predict.model_info import ModelInfo
    from dfercli.predict.settings import PredictSettings

SCHEMA_VERSION = 3
"""Version of the document; 1 was a document of one video and its main face."""

OK, NO_FACE, UNREADABLE = "ok", "no face", "unreadable"

ZERO_SHOT = "zero-shot"
"""Name of the checkpoint where CLIP is used without one."""

Record = dict[str, Any]
"""A window, a video or a line as it is written, of types that JSON has."""


def describe_origin(info: "ModelInfo", settings: "PredictSettings") -> Record:
    """Return what makes predictions, the same for all videos: the head of a document."""
    return {
        "schema_version": SCHEMA_VERSION,
        "dfer_version": __version__,
        "checkpoint": {
            "name": plain_text(info.checkpoint or ZERO_SHOT),
            "sha256": info.checkpoint_sha256,
        },
        "settings": {
            "window_s": settings.window_s,
            "stride_s": settings.stride_s,
            "faces": settings.faces,
            "detector": info.detector_name,
            "precision": info.precision,
        },
        "class_names": list(info.class_names),
        "calibrated": info.calibrated,
    }


def plain_text(text: str) -> str:
    r"""Return a text in valid UTF-8: an undecodable byte becomes `\xff` or the like.

    Different names may then look the same, and so may streams, whose passwords are hidden; see
    `Input.title`.
    """

    def escape(match: re.Match[str]) -> str:
        code = ord(match[0])
        return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"

    return re.sub(r"[\ud800-\udfff]", escape, hide_password(text))


def describe_video(prediction: VideoPrediction, sha256: str | None) -> Record:
    """Return a video that was read, without its windows; the hash is None for a stream."""
    predicted = any(window.probs is not None for window in prediction.windows)
    tracks = prediction.tracks if predicted else ()
    return {
        "video": plain_text(prediction.video),
        "sha256": sha256,
        "status": OK if predicted else NO_FACE,
        "error": None,
        "width": int(prediction.size[0]) or None,  # a stream that ended before its first frame
        "height": int(prediction.size[1]) or None,
        "duration_s": round_finite(prediction.duration_s, TIME_DECIMALS),
        "frames_searched": prediction.num_frames,
        "coverage": round_finite(prediction.coverage, COVERAGE_DECIMALS),
        "tracks": [_describe_track(track, prediction.class_names) for track in tracks],
    }


def describe_failure(video: str, error: str) -> Record:
    """Return a video that could not be read."""
    unknown = ("width", "height", "duration_s", "frames_searched", "coverage")
    values = {"sha256": None, "status": UNREADABLE, "error": plain_text(error)}
    return {"video": plain_text(video), **values, **dict.fromkeys(unknown), "tracks": []}


def _describe_track(track: TrackSummary, class_names: tuple[str, ...]) -> Record:
    return {
        "track": track.track,
        "start_s": round_finite(track.start_s, TIME_DECIMALS),
        "end_s": round_finite(track.end_s, TIME_DECIMALS),
        "coverage": round_finite(track.coverage, COVERAGE_DECIMALS),
        "expression": class_names[track.top],
        "mean_probs": name_probs(track.mean_probs, class_names),
        "shares": name_probs(track.shares, class_names),
    }
