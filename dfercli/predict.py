"""From a video to a time line of expressions: face, windows over time, probabilities."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from dfercli.data.sampling import sample_test
from dfercli.data.transforms import fit_frame, normalise
from dfercli.engine.checkpoint import load_checkpoint
from dfercli.errors import CheckpointError, ConfigError
from dfercli.faces import load_detector
from dfercli.faces.align import TEMPLATE_VERSION
from dfercli.faces.base import Detector
from dfercli.faces.track import FaceCrop, FollowedFace, crop_followed_face, follow_main_face
from dfercli.models.base import ExpressionModel

SCHEMA_VERSION = 1
"""Of the JSON; counts up when an entry is renamed or changes its meaning."""

SEARCH_FPS = 8.0
"""Frames a second that are searched for a face (our choice): 16 a window of two seconds, twice
what the model reads."""

MIN_COVERAGE = 0.25
"""Share of a window's frames that must show the face for it to be named (our choice)."""

MIN_REST = 0.25
"""Share of the stride, or of a window that is shorter, that must be left of a video for one more
window (our choice)."""


@dataclass(frozen=True)
class Window:
    """A stretch of a video and the expression in it.

    Attributes:
        start_s: Its first moment.
        end_s: Its last.
        coverage: Share of its searched frames that show the face.
        probs: (K,) probabilities; None where too few frames show the face.
        face_rgb: The middle one of the aligned faces that the model read, or None.
    """

    start_s: float
    end_s: float
    coverage: float
    probs: np.ndarray | None
    face_rgb: np.ndarray | None


@dataclass(frozen=True)
class VideoPrediction:
    """The time line of one video.

    Attributes:
        video: Its path.
        class_names: K classes.
        num_frames: Frames that were searched for a face.
        coverage: Share of them that show it.
        windows: In order of time.
    """

    video: Path
    class_names: tuple[str, ...]
    num_frames: int
    coverage: float
    windows: tuple[Window, ...]

    @property
    def mean_probs(self) -> np.ndarray | None:
        """(K,) mean probabilities over the named windows; None if there is none."""
        named = [window.probs for window in self.windows if window.probs is not None]
        return np.mean(named, axis=0) if named else None

    def to_frame(self) -> pd.DataFrame:
        """Give a row a window: times, coverage, expression, confidence, a probability a class."""
        rows = []
        for window in self.windows:
            probs = np.full(len(self.class_names), np.nan) if window.probs is None else window.probs
            top = None if window.probs is None else self.class_names[int(probs.argmax())]
            row = {
                "start_s": round(window.start_s, 3),
                "end_s": round(window.end_s, 3),
                "coverage": round(window.coverage, 4),
                "expression": top,
                "confidence": float(probs.max()),
            }
            rows.append(row | dict(zip(self.class_names, map(float, probs), strict=True)))
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Give the same as plain values for JSON; a window without a face has null entries."""
        table = self.to_frame().astype(object)
        windows = table.where(table.notna(), None).to_dict("records")
        return {
            "schema_version": SCHEMA_VERSION,
            "video": str(self.video),
            "status": "no face" if self.mean_probs is None else "ok",
            "class_names": list(self.class_names),
            "frames_searched": self.num_frames,
            "coverage": round(self.coverage, 4),
            "windows": windows,
        }


class Predictor:
    """Names the expressions of the main face of a video.

    Args:
        model: A trained model, in evaluation mode.
        detector: Finds faces; the one that the model's training faces were cropped with.
        crop_size: Side of the crops in pixels, as in training.
    """

    def __init__(self, model: ExpressionModel, detector: Detector, crop_size: int) -> None:
        self._model = model
        self._detector = detector
        self._crop_size = crop_size
        self._device = next(model.parameters()).device

    @classmethod
    def from_checkpoint(cls, where: str | Path, detector: str | None = None) -> "Predictor":
        """Make a predictor that crops faces as the checkpoint's training data were cropped.

        Args:
            where: A checkpoint's or a run's folder, or a model's name on the Hub.
            detector: Another detector; needed where the dataset's own crops were trained on.

        Raises:
            CheckpointError: There is no such checkpoint, or its way of cropping is not ours.
            DetectorError: The detector cannot be set up here.
        """
        model = load_checkpoint(str(where))
        crop = model.settings["crop"] or {}
        if crop.get("version", TEMPLATE_VERSION) != TEMPLATE_VERSION:
            raise CheckpointError(
                f"{where} reads faces cropped by template {crop['version']}; this dfer crops by "
                f"{TEMPLATE_VERSION}; use the dfer it was trained with"
            )
        detector = detector or crop.get("detector")
        if detector is None:
            raise CheckpointError(
                f"{where} was trained on its dataset's own crops; choose how to crop videos: "
                f"--detector face-alignment|mtcnn"
            )
        size = crop["size"] if "detector" in crop else model.backbone.image_size
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(model.to(device), load_detector(detector), size)

    def predict(
        self, video: str | Path, window_s: float = 2.0, stride_s: float = 1.0
    ) -> VideoPrediction:
        """Name the expression in each window of a video.

        Memory does not grow with the video. A video shorter than a window is one window.

        Args:
            video: A video file.
            window_s: Length of a window.
            stride_s: From the start of one window to that of the next.

        Raises:
            VideoError: The video cannot be read.
            ConfigError: A length is not positive, or the window shorter than a searched frame.
        """
        if not (1 / SEARCH_FPS <= window_s < math.inf and 0 < stride_s < math.inf):
            raise ConfigError(
                f"window {window_s} s, stride {stride_s} s: the window must be at least "
                f"{1 / SEARCH_FPS} s, the stride positive"
            )
        path = Path(video)
        followed = follow_main_face(path, self._detector, SEARCH_FPS, rejoin=True)
        crops = crop_followed_face(path, followed, self._crop_size, SEARCH_FPS)
        windows = tuple(self._read_windows(crops, followed, window_s, stride_s))
        class_names = tuple(self._model.class_names)
        return VideoPrediction(path, class_names, followed.num_frames, followed.coverage, windows)

    def _read_windows(
        self, crops: Iterable[FaceCrop], followed: FollowedFace, window_s: float, stride_s: float
    ) -> Iterator[Window]:
        """Go through the crops once, holding those of one window at a time."""
        held: list[FaceCrop] = []
        rest = iter(crops)
        upcoming = next(rest, None)
        duration_s = followed.duration_s
        for start_s, end_s in window_bounds(duration_s, window_s, stride_s):
            held = [crop for crop in held if crop.time_s >= start_s]
            while upcoming is not None and upcoming.time_s < end_s:
                held += [upcoming] if upcoming.time_s >= start_s else []
                upcoming = next(rest, None)
            first, after = np.searchsorted(followed.times_s, (start_s, end_s))
            coverage = len(held) / max(1, after - first)
            end_s = min(end_s, duration_s)
            if not held or coverage < MIN_COVERAGE:
                yield Window(start_s, end_s, coverage, None, None)
            else:
                middle = held[len(held) // 2].image_rgb
                yield Window(start_s, end_s, coverage, self._name_expression(held), middle)

    @torch.inference_mode()
    def _name_expression(self, crops: list[FaceCrop]) -> np.ndarray:
        """Give the probabilities (K,) of a clip sampled from a window's crops."""
        chosen = sample_test(len(crops), self._model.config.num_frames)
        size = self._model.backbone.image_size
        frames = np.stack([fit_frame(crops[index].image_rgb, size) for index in chosen])
        clips = torch.from_numpy(frames).to(self._device).unsqueeze(0)
        logits = self._model(normalise(clips))
        probs: np.ndarray = logits[0].softmax(dim=-1).cpu().numpy()
        return probs


def window_bounds(
    duration_s: float, window_s: float, stride_s: float
) -> Iterator[tuple[float, float]]:
    """Give start and end of each window; the last one may end after the video.

    Args:
        duration_s: Of the video.
        window_s: Length of a window.
        stride_s: From start to start.
    """
    shorter_s, longer_s = sorted((window_s, stride_s))
    uncovered_s = duration_s - longer_s - MIN_REST * shorter_s
    for index in range(1 + max(0, math.ceil(uncovered_s / stride_s))):
        yield index * stride_s, index * stride_s + window_s
