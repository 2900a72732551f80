"""Description of a model for predictions, available before its weights are loaded."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dfercli.config import ALL_DATA, ModelConfig, from_dict
from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.device import resolve_device, resolve_precision
from dfercli.downloads import explain_failed_fetch
from dfercli.errors import CheckpointError, WeightsError, find_local_error
from dfercli.faces import check_detector
from dfercli.faces.align import CROP_VERSION, READABLE_VERSIONS
from dfercli.models.settings import BUILT_IN, BUILT_IN_LIMITS, BUILT_IN_NAME
from dfercli.predict.hashes import hash_checkpoint
from dfercli.predict.settings import PredictSettings
from dfercli.runs.checkpoint import load_settings
from dfercli.runs.record import CheckpointInfo
from dfercli.runs.run_folder import PROTOCOLS

WINDOW_S = 2.0
"""Length of a window if the checkpoint does not record the length of its training clips (our
choice)."""

NAMED_PARTS = 3
"""Number of path components in a run's name, such as `demo/full/fold1`, without the epoch."""

WINDOW_RANGE_S = (1.0, 4.0)
"""Shortest and longest window that is derived from the training clips (our choice)."""


class ModelInfo:
    """Description of a model, from its configuration.

    Args:
        settings: The entries of the checkpoint's `config.json`.
        crop_size: Side of the crops in pixels, as in training.
        detector_name: Public name of the face detector.
        precision: `fp32`, `bf16` or `fp16`.
        checkpoint: Name of the checkpoint; None without one.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        crop_size: int,
        detector_name: str = "",
        precision: str = "fp32",
        checkpoint: str | None = None,
    ) -> None:
        info = CheckpointInfo.from_settings(settings)
        self.class_names = info.class_names
        self.crop_size = crop_size
        self.detector_name = detector_name
        self.precision = precision
        self.checkpoint = checkpoint
        self.trained = info.trained
        self.method = info.model.get("method")
        self.temperature = info.temperature

    @cached_property
    def checkpoint_sha256(self) -> str | None:
        """SHA-256 of the checkpoint's files; None without a checkpoint."""
        return hash_checkpoint(self.checkpoint)

    @property
    def calibrated(self) -> bool:
        """Whether the model has a temperature, fitted on clips held out of training."""
        return self.temperature is not None

    @property
    def built_in(self) -> bool:
        """Whether this is the model that comes with the package."""
        return self.checkpoint == BUILT_IN

    @property
    def name(self) -> str:
        """The model's name, without the folders of this machine."""
        if self.checkpoint is None:
            return "CLIP (zero-shot)"
        if self.built_in:
            return BUILT_IN_NAME
        path = Path(self.checkpoint)
        path = path if path.name else path.absolute()  # `.` has no name
        parts = [part for part in path.parts if part != path.anchor]
        return "/".join(parts[-NAMED_PARTS - (path.name in PROTOCOLS) :])

    @property
    def training(self) -> str:
        """Short description of the model's training data."""
        if self.checkpoint is None or self.method == "zero-shot":
            return "never trained on expressions"
        if self.built_in or self.method == "still-image":
            return BUILT_IN_LIMITS
        trained = self.trained
        if trained.dataset is None:
            return "trained on unknown data"
        text = f"trained on {trained.dataset}"
        drawn = trained.dataset == "demo" if trained.drawn is None else trained.drawn
        if drawn:  # old checkpoints do not record it, except by the dataset's name
            text += " (drawn people, no real faces)"
        if trained.fold == ALL_DATA:
            return f"{text}, all clips"
        return f"{text} without fold {trained.fold}"

    def describe(self) -> str:
        """Return one line with the name, the training data, and whether it is calibrated."""
        if self.built_in:
            return f"{BUILT_IN_NAME}: {BUILT_IN_LIMITS}"
        calibrated = "calibrated" if self.calibrated else "not calibrated"
        return f"{self.name}, {self.training}; {calibrated}"

    def resolve(self, settings: PredictSettings) -> PredictSettings:
        """Return settings in which lengths that are None are set from the checkpoint.

        Raises:
            ConfigError: A setting is invalid.
        """
        window_s, stride_s = self.find_lengths(settings)
        return replace(settings, window_s=window_s, stride_s=stride_s)

    def find_lengths(self, settings: PredictSettings) -> tuple[float, float]:
        """Return the window length and the stride in seconds; see `resolve`."""
        settings.check()
        window_s = self._usual_window_s() if settings.window_s is None else settings.window_s
        return window_s, window_s if settings.stride_s is None else settings.stride_s

    def _usual_window_s(self) -> float:
        """Return the length of the training clips, rounded to half seconds."""
        clip_s = self.trained.clip_s
        if clip_s is None:
            return WINDOW_S
        shortest_s, longest_s = WINDOW_RANGE_S
        return min(longest_s, max(shortest_s, round(2 * clip_s) / 2))


def describe_checkpoint(
    where: str | Path, detector: str | None = None, device: str = "auto", precision: str = "auto"
) -> ModelInfo:
    """Check the files of a checkpoint, downloading them if necessary, and describe its model.

    Arguments and errors are those of `Predictor.from_checkpoint`.
    """
    precision = resolve_precision(precision, resolve_device(device))
    settings = load_settings(str(where))
    crop = settings["crop"] or {}
    if crop.get("version", CROP_VERSION) not in READABLE_VERSIONS:
        raise CheckpointError(
            f"{where} was trained on crops of version {crop['version']}, but this dfer makes crops "
            f"of version {CROP_VERSION}; use the version of dfer that trained it"
        )
    detector = detector or crop.get("detector")
    if detector is None:
        raise CheckpointError(
            f"{where} was trained on the dataset's own face crops; choose a detector for videos "
            f"with --detector face-alignment or --detector mtcnn"
        )
    check_detector(detector)
    return ModelInfo(settings, _find_crop_size(settings), detector, precision, str(where))


def _find_crop_size(settings: Mapping[str, Any]) -> int:
    """Return the side of the crops: of the training crops, or of the backbone's images."""
    crop = settings["crop"] or {}
    if "detector" in crop:
        return int(crop["size"])
    from dfercli.models.pretrained import find_image_size  # open_clip: 2 s to import

    model = from_dict(ModelConfig, settings["model"])
    return model.image_size or find_image_size(model.backbone)


def describe_zero_shot(
    detector: str | None = None, device: str = "auto", precision: str = "auto"
) -> ModelInfo:
    """Check the weights of CLIP, downloading them if necessary, and describe zero-shot CLIP.

    Arguments and errors are those of `Predictor.zero_shot`.
    """
    from dfercli.models.pretrained import ensure_weights, find_image_size  # 2 s to import

    precision = resolve_precision(precision, resolve_device(device))
    detector = detector or "mtcnn"
    check_detector(detector)
    try:
        ensure_weights(ModelConfig.backbone, ModelConfig.weights)
    except WeightsError as error:
        if find_local_error(error) is not None:
            raise
        why = explain_failed_fetch(error.__cause__ or error)
        raise WeightsError(
            f"CLIP's weights are not cached and cannot be downloaded ({why}); connect to the "
            f"network once, or choose a trained model with --checkpoint"
        ) from error
    size = find_image_size(ModelConfig.backbone)
    return ModelInfo({"class_names": BASIC_EXPRESSIONS}, size, detector, precision)
