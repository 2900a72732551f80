"""FAN from the package face-alignment: 68 landmarks reduced to five. Weights are downloaded."""

import os
import pickle
import sys
import warnings
from pathlib import Path
from urllib.parse import urlparse

import face_alignment
import numpy as np
import torch
from face_alignment.api import models_urls as fan_urls
from face_alignment.detection.sfd.sfd_detector import models_urls as s3fd_urls

from dfercli.downloads import answers, find_damage
from dfercli.errors import DetectorError, explain_system_error, find_local_error, first_line
from dfercli.faces.types import Face

FIVE_OF_68 = (slice(36, 42), slice(42, 48), slice(30, 31), slice(48, 49), slice(54, 55))
"""Points of the 68 (iBUG order) whose means are the two eyes, the nose and the mouth's corners."""


class FANDetector:
    """Face alignment network on faces found by S3FD. Source: Bulat and Tzimiropoulos, 2017.

    `network` is a `face_alignment.FaceAlignment`, or has its method `get_landmarks_from_image`.
    """

    def __init__(self, network: "face_alignment.FaceAlignment") -> None:
        self._network = network

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        """Return all faces of a (H, W, 3) uint8 image."""
        with torch.no_grad(), warnings.catch_warnings():
            # It warns about every frame without a face.
            warnings.filterwarnings("ignore", "No faces were detected")
            points, _, boxes = self._network.get_landmarks_from_image(image_rgb, return_bboxes=True)
        if points is None:
            return []
        return [_to_face(box, points_68) for box, points_68 in zip(boxes, points, strict=True)]


def build_detector(device: str) -> FANDetector:
    """Build the detector on a CUDA device, or `auto` for CUDA if available; otherwise on the CPU.

    Raises:
        DetectorError: Its weights are damaged or cannot be downloaded or stored, or it cannot be
            set up for another reason.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    device = device if device.startswith("cuda") else "cpu"
    try:
        _fetch_weights()
        network = face_alignment.FaceAlignment(
            face_alignment.LandmarksType.TWO_D, device=device, compile=False
        )
    except torch.OutOfMemoryError as error:
        raise DetectorError("not enough memory for face-alignment; use fewer --jobs") from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        if _is_damage(error):
            raise DetectorError(
                f"the weights of face-alignment in {_cache()} are damaged; delete them, and the "
                f"next use downloads them again"
            ) from error
        cause = find_local_error(error)
        if cause is not None:
            raise DetectorError(
                f"cannot store the weights of face-alignment in {_cache()}: "
                f"{explain_system_error(cause)}"
            ) from error
        if not isinstance(error, OSError):
            raise DetectorError(f"cannot set up face-alignment: {first_line(error)}") from error
        raise DetectorError(
            f"the weights of face-alignment are not cached and cannot be downloaded "
            f"({first_line(error)}); run once with network access, or use --detector mtcnn, which "
            f"includes its weights"
        ) from error
    return FANDetector(network)


def missing_weights() -> list[str]:
    """Return the names of the weight files that are not cached and will be downloaded."""
    return [path.name for path in _files() if not path.is_file()]


def _files() -> dict[Path, str]:
    """Return the addresses of the two weight files by their paths in the cache."""
    urls = (s3fd_urls["s3fd"], fan_urls["2DFAN-4"])
    return {_cache() / Path(urlparse(url).path).name: url for url in urls}


def _fetch_weights() -> None:
    """Download missing weight files, and check all of them, which face-alignment does not do."""
    for path, url in _files().items():
        if not path.is_file():
            if not answers(url):
                raise ConnectionError(f"no network: {urlparse(url).netloc} does not answer")
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=sys.stderr.isatty())
        if damage := find_damage(path):
            raise DetectorError(
                f"the weights of face-alignment are damaged or not the published ones: {damage}; "
                f"delete {path}, and the next use downloads it again"
            )


def _is_damage(error: Exception) -> bool:
    """Return whether PyTorch reports an empty, foreign or truncated file."""
    return isinstance(error, (EOFError, pickle.UnpicklingError)) or "zip archive" in str(error)


def _cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def count_usual_jobs() -> int:
    """Return the number of cores, or 2 with a GPU: they keep it busy and fit its memory."""
    return 2 if torch.cuda.is_available() else os.cpu_count() or 1


def find_smallest_face_px(shorter_px: int) -> int | None:
    """Return the height of the smallest face that is found: unknown for S3FD."""
    return None


def _to_face(box: np.ndarray, points_68: np.ndarray) -> Face:
    five = np.stack([points_68[part].mean(axis=0) for part in FIVE_OF_68])
    return Face(np.asarray(box[:4], dtype=np.float64), five.astype(np.float64), float(box[4]))
