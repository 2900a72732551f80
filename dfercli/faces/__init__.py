"""Faces in frames: detectors behind one protocol, tracking, and alignment onto one template."""

from importlib import import_module
from typing import TYPE_CHECKING

from dfercli.errors import UnknownNameError

if TYPE_CHECKING:
    from dfercli.faces.types import Detector

DETECTORS = {
    "face-alignment": "dfercli.faces.detectors.face_alignment",
    "mtcnn": "dfercli.faces.detectors.mtcnn",
}
"""Public name of each detector, and the module whose `build_detector` makes it."""


def find_missing_weights(name: str) -> list[str]:
    """Name the weight files of a detector that its first use would have to fetch."""
    missing: list[str] = import_module(DETECTORS[name]).missing_weights()
    return missing


def check_detector(name: str) -> None:
    """Refuse a name that no detector has.

    Raises:
        UnknownNameError: No detector has this name.
    """
    if name not in DETECTORS:
        raise UnknownNameError("detector", name, DETECTORS)


def load_detector(name: str, device: str = "auto") -> "Detector":
    """Make a detector by its public name.

    Args:
        name: Its name.
        device: `cpu`, `cuda`, `cuda:1` (any number), `mps`, or `auto` for CUDA where it is there.
            A detector takes the CPU instead of what it cannot run on.

    Raises:
        UnknownNameError: No detector has this name.
        DetectorError: It cannot be set up here; the message names the alternative.
    """
    check_detector(name)
    detector: Detector = import_module(DETECTORS[name]).build_detector(device)
    return detector


def find_smallest_face_px(name: str, size: tuple[int, int]) -> int | None:
    """Return the height in pixels, from forehead to chin, of the smallest face a detector finds.

    Args:
        name: Its name.
        size: Width and height of the frames.

    Returns:
        None where it is not known.
    """
    smallest_px: int | None = import_module(DETECTORS[name]).find_smallest_face_px(min(size))
    return smallest_px


def describe_search(name: str, size: tuple[int, int] | None) -> str:
    """Describe the faces that a detector searches for, for a video without any.

    Args:
        name: Its name.
        size: Width and height of the frames; None where they are not known.
    """
    smallest_px = find_smallest_face_px(name, size) if size is not None and all(size) else None
    height = f"at least {smallest_px} pixels high, " if smallest_px is not None else ""
    return f"for faces {height}upright and towards the camera"


def count_usual_jobs(name: str) -> int:
    """Give how many processes a detector is usually run in on this machine."""
    jobs: int = import_module(DETECTORS[name]).count_usual_jobs()
    return jobs
