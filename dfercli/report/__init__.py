"""Pictures of results, and the page that shows a run.

The names below are loaded on first use, so that importing this package does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["MAX_FACES", "PICTURES", "build_report", "check_picture", "plot_prediction"]

if TYPE_CHECKING:
    from dfercli.report.run import build_report
    from dfercli.report.timeline import MAX_FACES, PICTURES, check_picture, plot_prediction


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'dfercli.report' has no attribute {name!r}")
    home = "run" if name == "build_report" else "timeline"
    return getattr(import_module(f"dfercli.report.{home}"), name)
