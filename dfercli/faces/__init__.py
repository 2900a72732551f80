"""Face detection, tracking, and alignment onto one template."""

from importlib import import_module
from typing import TYPE_CHECKING

from dfercli.errors import UnknownNameError

if TYPE_CHECKING:
    from dfercli.faces.types import Detector

DETECTORS = {
    "face-alignment": "dfercli.faces.detectors.face_alignment",
    "mtcnn": "dfercli.faces.detectors.mtcnn",
}
"""Public names of the detectors, and the modules whose `build_detector` builds them."""


def find_missing_weights(name: str) -> list[str]:
    """Return the names of the weight files that the first use of a detector would download."""
    missing: list[str] = import_module(DETECTORS[name]).missing_weights()
    return missing


def check_detector(name: str) -> None:
    """Raise an UnknownNameError if there is no detector of this name."""
    if name not in DETECTORS:
        raise UnknownNameError("detector", name, DETECTORS)


def load_detector(name: str, device: str = "auto") -> "Detector":
    """Build a detector.

    Args:
        name: Its public name.
        device: `cpu`, `cuda`, `cuda:1` (any number), `mps`, or `auto` for CUDA if available.
            A detector that cannot run on it runs on the CPU.

    Raises:
        UnknownNameError: There is no detector of this name.
        DetectorError: It cannot be set up on this machine; the message names the alternative.
    """
    check_detector(name)
    detector: Detector = import_module(DETECTORS[name]).build_detector(device)
    return detector


def find_smallest_face_px(name: str, size: tuple[int, int]) -> int | None:
    """Return the height in pixels, from forehead to chin, of the smallest face a detector finds.

    `size` is the width and height of the frames. None if the height is not known.
    """
    smallest_px: int | None = import_module(DETECTORS[name]).find_smallest_face_px(min(size))
    return smallest_px


def describe_search(name: str, size: tuple[int, int] | None) -> str:
    """Describe the faces that a detector searches for, to explain a video without any.

    `size` is the width and height of the frames, or None if they are not known.
    """
    smallest_px = find_smallest_face_px(name, size) if size is not None and all(size) else None
    height = f"at least {smallest_px} pixels high, " if smallest_px is not None else ""
    return f"for faces {height}upright and towards the camera"


def count_usual_jobs(name: str) -> int:
    """Return the default number of processes for a detector on this machine."""
    jobs: int = import_module(DETECTORS[name]).count_usual_jobs()
    return jobs
