"""Pictures of predictions: timelines, and copies of videos with boxes around the faces.

The names below are loaded on first use, so that importing this package does not import matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfercli.visualize.annotated_video import annotate_video, check_annotated
    from dfercli.visualize.timeline import MAX_FACES, PICTURES, check_picture, plot_prediction

_MODULES = {
    "MAX_FACES": "timeline",
    "PICTURES": "timeline",
    "annotate_video": "annotated_video",
    "check_annotated": "annotated_video",
    "check_picture": "timeline",
    "plot_prediction": "timeline",
}
__all__ = [
    "MAX_FACES",
    "PICTURES",
    "annotate_video",
    "check_annotated",
    "check_picture",
    "plot_prediction",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'dfercli.visualize' has no attribute {name!r}")
    return getattr(import_module(f"dfercli.visualize.{_MODULES[name]}"), name)
