"""Pictures of results, and the page that shows a run.

The names below are loaded on first use, so that importing this package does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfercli.report.annotate import annotate_video, check_annotated
    from dfercli.report.run import build_report
    from dfercli.report.timeline import MAX_FACES, PICTURES, check_picture, plot_prediction

_HOMES = {
    "MAX_FACES": "timeline",
    "PICTURES": "timeline",
    "annotate_video": "annotate",
    "build_report": "run",
    "check_annotated": "annotate",
    "check_picture": "timeline",
    "plot_prediction": "timeline",
}
__all__ = [
    "MAX_FACES",
    "PICTURES",
    "annotate_video",
    "build_report",
    "check_annotated",
    "check_picture",
    "plot_prediction",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dfercli.report' has no attribute {name!r}")
    return getattr(import_module(f"dfercli.report.{_HOMES[name]}"), name)
