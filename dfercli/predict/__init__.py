"""From a video to a timeline of expressions: faces, windows over time, probabilities.

The names below are loaded on first use, so that importing this package does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfercli.predict.batch.embed import Embeddings, embed_videos
    from dfercli.predict.batch.predict_all import BatchResult, Outcome, predict_videos
    from dfercli.predict.model_info import ModelInfo
    from dfercli.predict.prediction import SeenFace, TrackSummary, VideoPrediction, Window
    from dfercli.predict.predictor import ModelSource, Predictor
    from dfercli.predict.reading import VideoReading
    from dfercli.predict.settings import PredictSettings

_HOMES = {
    "BatchResult": "batch.predict_all",
    "Embeddings": "batch.embed",
    "ModelInfo": "model_info",
    "ModelSource": "predictor",
    "Outcome": "batch.predict_all",
    "PredictSettings": "settings",
    "Predictor": "predictor",
    "SeenFace": "prediction",
    "TrackSummary": "prediction",
    "VideoPrediction": "prediction",
    "VideoReading": "reading",
    "Window": "prediction",
    "embed_videos": "batch.embed",
    "predict_videos": "batch.predict_all",
}
__all__ = [
    "BatchResult",
    "Embeddings",
    "ModelInfo",
    "ModelSource",
    "Outcome",
    "PredictSettings",
    "Predictor",
    "SeenFace",
    "TrackSummary",
    "VideoPrediction",
    "VideoReading",
    "Window",
    "embed_videos",
    "predict_videos",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dfercli.predict' has no attribute {name!r}")
    return getattr(import_module(f"dfercli.predict.{_HOMES[name]}"), name)
