"""FAN by the package face-alignment: 68 landmarks, reduced to five. It fetches weights once."""

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
from dfercli.errors import DetectorError
from dfercli.faces.types import Face
from dfercli.system_errors import explain_system_error, find_local_error, first_line

FIVE_OF_68 = (slice(36, 42), slice(42, 48), slice(30, 31), slice(48, 49), slice(54, 55))
"""Which of the 68 points (iBUG order) average to the two eyes, the nose, the mouth's corners."""


class FANDetector:
    """Face alignment network on the faces that S3FD finds. Source: Bulat and Tzimiropoulos, 2017.

    Args:
        network: A `face_alignment.FaceAlignment`, or anything with its method
            `get_landmarks_from_image`.
    """

    def __init__(self, network: "face_alignment.FaceAlignment") -> None:
        self._network = network

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        """Give all faces of a (H, W, 3) uint8 image."""
        with torch.no_grad(), warnings.catch_warnings():
            # It warns of each frame without a face; an empty list says the same.
            warnings.filterwarnings("ignore", "No faces were detected")
            points, _, boxes = self._network.get_landmarks_from_image(image_rgb, return_bboxes=True)
        if points is None:
            return []
        return [_to_face(box, points_68) for box, points_68 in zip(boxes, points, strict=True)]


def build_detector(device: str) -> FANDetector:
    """Make the detector.

    Args:
        device: A CUDA device, `auto` for one where there is any; all else is the CPU.

    Raises:
        DetectorError: Its weights are damaged, or neither cached nor to be fetched or kept; or it
            cannot be set up for another reason.
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
        raise DetectorError("no memory left for face-alignment; use fewer --jobs") from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        if _tells_damage(error):
            raise DetectorError(
                f"the weights of face-alignment in {_cache()} are damaged; remove them there, and "
                f"the next use fetches them again"
            ) from error
        cause = find_local_error(error)
        if cause is not None:
            raise DetectorError(
                f"cannot keep the weights of face-alignment in {_cache()}: "
                f"{explain_system_error(cause)}"
            ) from error
        if not isinstance(error, OSError):
            raise DetectorError(f"cannot set up face-alignment: {first_line(error)}") from error
        raise DetectorError(
            f"the weights of face-alignment are neither cached nor to be fetched "
            f"({first_line(error)}); run once with network, or use "
            f"--detector mtcnn, which carries its own"
        ) from error
    return FANDetector(network)


def missing_weights() -> list[str]:
    """Name the weight files that are not cached; the first use fetches them."""
    return [path.name for path in _files() if not path.is_file()]


def _files() -> dict[Path, str]:
    """Return the addresses of the two files of weights, by their places in the cache."""
    urls = (s3fd_urls["s3fd"], fan_urls["2DFAN-4"])
    return {_cache() / Path(urlparse(url).path).name: url for url in urls}


def _fetch_weights() -> None:
    """Fetch the files of weights that are not here, and check all: face-alignment does not.

    Raises:
        DetectorError: A file does not have the hash that is in its name.
    """
    for path, url in _files().items():
        if not path.is_file():
            if not answers(url):
                raise ConnectionError(f"no network: {urlparse(url).netloc} does not answer")
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=sys.stderr.isatty())
        if damage := find_damage(path):
            raise DetectorError(
                f"the weights of face-alignment are damaged, or others than the published ones: "
                f"{damage}; remove {path}, and the next use fetches it again"
            )


def _tells_damage(error: Exception) -> bool:
    """Whether PyTorch says so of a file: in other words of an empty, a foreign, a cut off one."""
    return isinstance(error, (EOFError, pickle.UnpicklingError)) or "zip archive" in str(error)


def _cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def count_usual_jobs() -> int:
    """Give the cores; on a GPU two, which keep it busy and fit into its memory (our choice)."""
    return 2 if torch.cuda.is_available() else os.cpu_count() or 1


def find_smallest_face_px(shorter_px: int) -> int | None:
    """Return the height of the smallest face that is found: not known of S3FD."""
    return None


def _to_face(box: np.ndarray, points_68: np.ndarray) -> Face:
    five = np.stack([points_68[part].mean(axis=0) for part in FIVE_OF_68])
    return Face(np.asarray(box[:4], dtype=np.float64), five.astype(np.float64), float(box[4]))
