"""Dynamic facial expression recognition: classify the expression in a short video of a face.

`DFERModel`, `Predictor` and `predict_videos` are loaded on first use, so that importing this
package (and `dfer --help`) does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dfercli.versions import __version__

__all__ = ["DFERModel", "Predictor", "__version__", "predict_videos"]

if TYPE_CHECKING:
    from dfercli.models.dfer import DFERModel
    from dfercli.predict import Predictor, predict_videos

_HOMES = {"DFERModel": "models.dfer", "Predictor": "predict", "predict_videos": "predict"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dfercli' has no attribute {name!r}")
    return getattr(import_module(f"dfercli.{_HOMES[name]}"), name)
