"""The report of a run: one HTML page with its results, figures and clips.

`build_report` is loaded on first use, so that importing this package does not import torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfercli.report.run import build_report

__all__ = ["build_report"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'dfercli.report' has no attribute {name!r}")
    from dfercli.report.run import build_report

    return build_report
