"""A model that predicts the expressions of the faces in videos."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dfercli.config import ModelConfig
from dfercli.data.motion import weigh_windows
from dfercli.data.sampling import find_sampler
from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.data.transforms import normalise
from dfercli.device import resolve_device
from dfercli.faces import load_detector
from dfercli.faces.search import count_threads, searching_ahead
from dfercli.faces.types import Detector
from dfercli.media.video import Part, Source, is_live
from dfercli.models.base import ExpressionModel, build_model
from dfercli.models.layers import BiLSTM
from dfercli.predict.model_info import ModelInfo, describe_checkpoint, describe_zero_shot
from dfercli.predict.prediction import VideoPrediction
from dfercli.predict.reading import VideoReading
from dfercli.predict.settings import PredictSettings
from dfercli.runs.checkpoint import load_checkpoint

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Type of autocast by the name of a precision; fp32 has none."""

_ROUNDED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.MultiheadAttention)
ROUNDED = {"cpu": (*_ROUNDED, BiLSTM), "cuda": _ROUNDED}
"""Modules whose own parameters autocast rounds at each call, by type of device. `BiLSTM` is not one
of them on CUDA, where its two biases are added before they are rounded."""


def round_weights(model: nn.Module, kind: str, precision: str) -> None:
    """Round the parameters of a model in place as autocast would do at each call.

    The results are the same, bit for bit. `kind` is the type of the device, such as `cuda`.
    """
    if precision not in AUTOCAST:
        return
    for module in model.modules():
        if isinstance(module, ROUNDED.get(kind, ())):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(AUTOCAST[precision])


MAX_BATCH = 8
"""Maximum number of clips per forward pass (our choice), to limit the memory."""


class Predictor(ModelInfo):
    """Predict the expressions of the faces in videos.

    Use `from_checkpoint` or `zero_shot` to create one.

    Args:
        model: A trained model, in evaluation mode, on its device.
        detector: Face detector that the model's training faces were cropped with.
        crop_size: Side of the crops in pixels, as in training.
        detector_name: Public name of the detector, recorded with predictions.
        precision: `fp32`, `bf16` or `fp16`.
        checkpoint: Name of the checkpoint, recorded with predictions; None without one.
    """

    def __init__(
        self,
        model: ExpressionModel,
        detector: Detector,
        crop_size: int,
        detector_name: str = "",
        precision: str = "fp32",
        checkpoint: str | None = None,
    ) -> None:
        super().__init__(model.settings, crop_size, detector_name, precision, checkpoint)
        self._model = model
        self._config = model.config
        self.detector = detector
        self._device = next(model.parameters()).device
        self.search_threads = count_threads(self._device.type, torch.get_num_threads())

    @classmethod
    def from_checkpoint(
        cls,
        where: str | Path,
        detector: str | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> "Predictor":
        """Return a predictor that crops faces in the same way as the checkpoint's training data.

        Args:
            where: Folder of a checkpoint or a run, or name of a model on the Hugging Face Hub.
            detector: Another detector; required if the model was trained on its dataset's crops.
            device: `auto`, `cpu`, `cuda`, `cuda:1` (any number) or `mps`.
            precision: `auto`, `fp32`, `bf16` or `fp16`.

        Raises:
            CheckpointError: The checkpoint does not exist, or it needs another version of dfer.
            DetectorError: The detector cannot be set up on this machine.
            UnknownNameError: The detector is unknown.
            ConfigError: This machine lacks the device, or the device lacks the precision.
        """
        info = describe_checkpoint(where, detector, device, precision)
        return cls._make(load_checkpoint(str(where)), info, device)

    @classmethod
    def zero_shot(
        cls, detector: str | None = None, device: str = "auto", precision: str = "auto"
    ) -> "Predictor":
        """Return a predictor with zero-shot CLIP, which was not trained on expressions and is weak.

        Args:
            detector: Face detector; by default `mtcnn`, which includes its weights.
            device: `auto`, `cpu`, `cuda`, `cuda:1` (any number) or `mps`.
            precision: `auto`, `fp32`, `bf16` or `fp16`.

        Raises:
            WeightsError: CLIP's weights are neither cached nor can they be downloaded.
            ConfigError: This machine lacks the device, or the device lacks the precision.
        """
        info = describe_zero_shot(detector, device, precision)
        model = build_model(ModelConfig(method="zero-shot"), BASIC_EXPRESSIONS).eval()
        return cls._make(model, info, device)

    @classmethod
    def _make(cls, model: ExpressionModel, info: ModelInfo, device: str) -> "Predictor":
        """Move a model to its device and round its weights."""
        device = resolve_device(device)
        detector = load_detector(info.detector_name, device)
        round_weights(model, torch.device(device).type, info.precision)
        origin = (info.detector_name, info.precision, info.checkpoint)
        return cls(model.to(device), detector, info.crop_size, *origin)

    @property
    def image_size(self) -> int:
        """Side of the model's input frames in pixels."""
        size: int = self._model.image_size
        return size

    def open(
        self,
        video: Source,
        settings: PredictSettings | None = None,
        keep_paths: bool = False,
        embed: bool = False,
    ) -> VideoReading:
        """Start reading a video. Iterate over the result to get each window as it ends.

        Args:
            video: Path of a video, an image or a folder of frames; address of a stream; or number
                of a camera.
            settings: Windows, faces and part of the video.
            keep_paths: Keep the place of each face in each frame; memory then grows with the video.
            embed: Windows get the model's embeddings instead of probabilities.

        Raises:
            ConfigError: A setting is invalid, or a part of a stream or camera is requested.
        """
        settings = settings or PredictSettings()
        window_s, stride_s = self.find_lengths(settings)
        if is_live(video):
            settings.check_not_live(str(video))
        part = Part(settings.start_s, math.inf if settings.end_s is None else settings.end_s)
        return VideoReading(
            self, video, window_s, stride_s, settings.faces, keep_paths, part, embed
        )

    def predict(self, video: str | Path | int, **settings: Any) -> VideoPrediction:
        """Predict the expressions in each window of a video.

        Frames are not kept, only windows. A video shorter than a window is one window.

        Args:
            video: As for `open`; a string without `://` is a path.
            settings: Fields of `PredictSettings`, such as `window_s=2.0`.

        Raises:
            VideoError: The video cannot be read.
            ConfigError: A setting is invalid.
        """
        source = Path(video) if isinstance(video, str) and "://" not in video else video
        reading = self.open(source, PredictSettings(**settings))
        for _ in reading:
            pass
        return reading.finish()

    def searching(self, video: Source) -> AbstractContextManager[Detector]:
        """Return a context whose detector searches the frames of a video, of files ahead of time.

        Streams and cameras are not searched ahead, which would delay the results.
        """
        return searching_ahead(self.detector, 1 if is_live(video) else self.search_threads)

    @torch.inference_mode()
    def name_expressions(self, clips: list[list[np.ndarray]]) -> np.ndarray:
        """Return the probabilities (N, K) of N clips, whose frames are sampled as in tests.

        Args:
            clips: For each clip, its aligned faces (3, S, S) uint8: at least one.
        """
        logits = self._compute(self._model, clips)
        probs: np.ndarray = (logits / (self.temperature or 1.0)).softmax(-1).cpu().numpy()
        return probs

    @torch.inference_mode()
    def embed_clips(self, clips: list[list[np.ndarray]]) -> np.ndarray:
        """Return the video embeddings (N, E) float32 of N clips, sampled as in tests.

        Args:
            clips: As for `name_expressions`.
        """
        embeddings: np.ndarray = self._compute(self._model.encode_video, clips).cpu().numpy()
        return embeddings

    def _compute(
        self, function: Callable[[torch.Tensor], torch.Tensor], clips: list[list[np.ndarray]]
    ) -> torch.Tensor:
        """Return what a part of the model computes for clips, in float32."""
        batches = [clips[first : first + MAX_BATCH] for first in range(0, len(clips), MAX_BATCH)]
        return torch.cat([self._compute_batch(function, batch) for batch in batches])

    def _compute_batch(
        self, function: Callable[[torch.Tensor], torch.Tensor], clips: list[list[np.ndarray]]
    ) -> torch.Tensor:
        frames = np.stack([self._sample(clip) for clip in clips])  # (N, T, 3, S, S)
        dtype = AUTOCAST.get(self.precision)
        with torch.autocast(self._device.type, dtype) if dtype else nullcontext():
            return function(normalise(self._send(frames), self._config.pixels)).float()

    def _sample(self, clip: list[np.ndarray]) -> np.ndarray:
        """Return the frames (T, 3, S, S) of a clip that the model reads."""
        sampler = find_sampler(self._config)
        weights = weigh_windows(np.stack(clip)) if sampler.uses_motion else None
        return np.stack([clip[index] for index in sampler.test(len(clip), weights=weights)])

    def _send(self, frames: np.ndarray) -> torch.Tensor:
        """Copy frames to the device; to a GPU from pinned memory, without waiting for the copy."""
        clips = torch.from_numpy(frames)
        if self._device.type == "cuda":
            clips = clips.pin_memory()
        return clips.to(self._device, non_blocking=True)


@dataclass(frozen=True)
class ModelSource:
    """A model that is not loaded yet, and can be sent to other processes.

    The attributes are the arguments of `Predictor.from_checkpoint`; without a checkpoint, the model
    is zero-shot CLIP.
    """

    checkpoint: str | None
    detector: str | None = None
    device: str = "auto"
    precision: str = "auto"

    def load(self) -> Predictor:
        """Load the model."""
        options = (self.detector, self.device, self.precision)
        if self.checkpoint is None:
            return Predictor.zero_shot(*options)
        return Predictor.from_checkpoint(self.checkpoint, *options)

    def describe(self) -> ModelInfo:
        """Describe the model without keeping its weights in memory."""
        options = (self.detector, self.device, self.precision)
        if self.checkpoint is None:
            return describe_zero_shot(*options)
        return describe_checkpoint(self.checkpoint, *options)
