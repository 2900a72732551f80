"""Dynamic facial expression recognition: classify the expression in a short video of a face.

`DFERModel` and `Predictor` are loaded on first use, so that importing this package (and
`dfer --help`) does not import torch.
"""

from typing import TYPE_CHECKING, Any

from dfercli.versions import __version__

__all__ = ["DFERModel", "Predictor", "__version__"]

if TYPE_CHECKING:
    from dfercli.models.dfer import DFERModel
    from dfercli.predict import Predictor


def __getattr__(name: str) -> Any:
    if name == "DFERModel":
        from dfercli.models.dfer import DFERModel

        return DFERModel
    if name == "Predictor":
        from dfercli.predict import Predictor

        return Predictor
    raise AttributeError(f"module 'dfercli' has no attribute {name!r}")
