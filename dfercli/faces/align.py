"""Face crops: five landmarks mapped onto one template by a similarity transform."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from dfercli.errors import ConfigError

CROP_VERSION = 3
"""Counts up when the template, the cutting or the choice of the face changes, so that old crops are
recognised."""

READABLE_VERSIONS = (2, CROP_VERSION)
"""Versions of crops that a model may have been trained on to read videos with this dfer. Crops of
version 2 have the same template and cutting; they differ where a film is cut, since faces were
followed across cuts."""

MIN_SIZE = 16
"""Smallest side of a crop in pixels (our choice)."""

TEMPLATE = np.array([[0.37, 0.40], [0.63, 0.40], [0.50, 0.545], [0.393, 0.69], [0.607, 0.69]])
"""Positions of the five landmarks of `Face` in the crop, as shares of its side.

Our choice: looser than the templates of face recognition. The chin lies below the mouth by about
0.7 of the distance from the eyes to the mouth, at 0.90, so that a dropped jaw stays inside; raised
brows lie at 0.27.
"""


@dataclass(frozen=True)
class CropRecipe:
    """How faces were cropped; stored with the crops, in the manifest and in every checkpoint.

    Attributes:
        detector: Public name of the detector.
        size: Side of the square crops in pixels.
        template: Name of the template.
        version: `CROP_VERSION` when the crops were made.
    """

    detector: str
    size: int = 224
    template: str = "loose-five-points"
    version: int = CROP_VERSION

    def __post_init__(self) -> None:
        if self.size < MIN_SIZE:
            raise ConfigError(f"crops of {self.size} px are too small; use at least {MIN_SIZE}")


def explain_old_crops(crop: Mapping[str, Any] | None) -> str | None:
    """Return what to do about crops of another version; None if there is nothing to do.

    `crop` is the recipe of a manifest; None, or a recipe without a version, is not ours.
    """
    if crop is None or crop.get("version", CROP_VERSION) == CROP_VERSION:
        return None
    return (
        f"this dfer uses crop version {CROP_VERSION}; delete the folder of crops and run "
        f"`dfer preprocess` again"
    )


def similarity_transform(source_xy: np.ndarray, target_xy: np.ndarray) -> np.ndarray:
    """Return the (2, 3) rotation, scale and shift that maps (N, 2) points closest to others.

    The points must not all be identical; the matrix is for column vectors (x, y, 1).

    Source: Umeyama, 1991, the least squares solution, in two dimensions and without mirroring:
        with points as complex numbers, scale and rotation are one complex factor.
    """
    source = source_xy[:, 0] + 1j * source_xy[:, 1]
    target = target_xy[:, 0] + 1j * target_xy[:, 1]
    centred = source - source.mean()
    factor = np.vdot(centred, target - target.mean()) / np.vdot(centred, centred).real
    shift = target.mean() - factor * source.mean()
    return np.array(
        [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    )


def crop_face(image_rgb: np.ndarray, landmarks_xy: np.ndarray, size: int) -> np.ndarray:
    """Return the aligned crop (size, size, 3) of a face in a (H, W, 3) uint8 image.

    The face is upright and at the same place in every crop. Outside the image its edge is repeated.
    """
    matrix = similarity_transform(landmarks_xy, TEMPLATE * size)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5:  # bilinear sampling would skip pixels, so average areas first
        image_rgb, landmarks_xy = _cut_around(image_rgb, landmarks_xy, matrix, size)
        height, width = image_rgb.shape[:2]
        shrunk = (max(1, round(width * 2 * scale)), max(1, round(height * 2 * scale)))
        image_rgb = cv2.resize(image_rgb, shrunk, interpolation=cv2.INTER_AREA)
        ratio = np.array([shrunk[0] / width, shrunk[1] / height])
        matrix = similarity_transform((landmarks_xy + 0.5) * ratio - 0.5, TEMPLATE * size)
    return cv2.warpAffine(
        image_rgb, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _cut_around(
    image_rgb: np.ndarray, landmarks_xy: np.ndarray, matrix: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of the image around the crop, and the landmarks in it."""
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], dtype=float)
    around_xy = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    margin_px = 4 / np.sqrt(np.linalg.det(matrix[:, :2]))  # four pixels of the crop
    limits = np.array(image_rgb.shape[1::-1])
    start = np.clip(around_xy.min(axis=0) - margin_px, 0, limits - 1).astype(int)
    end = np.clip(around_xy.max(axis=0) + margin_px, start + 1, limits).astype(int)
    return image_rgb[start[1] : end[1], start[0] : end[0]], landmarks_xy - start
