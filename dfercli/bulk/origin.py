"""What made predictions: the checkpoint, and how videos were read by it."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dfercli import __version__

if TYPE_CHECKING:
    from dfercli.predict.model_info import ModelInfo
    from dfercli.predict.settings import PredictSettings

ZERO_SHOT = "zero-shot"
"""Stands where a checkpoint has its name for CLIP as it is."""


@dataclass(frozen=True)
class Origin:
    """What made the predictions of a document, the same for all its videos.

    Attributes:
        checkpoint: As it was named, or `ZERO_SHOT`.
        checkpoint_sha256: See `hash_checkpoint`; None where there are no files.
        window_s: Length of a window in seconds.
        stride_s: Seconds from window to window.
        faces: `all` or `largest`.
        detector: Name of the face detector.
        precision: As it was computed, such as `fp32`.
        class_names: K classes.
        calibrated: Whether the probabilities are.
        dfer_version: Of this package.
    """

    checkpoint: str
    checkpoint_sha256: str | None
    window_s: float
    stride_s: float
    faces: str
    detector: str
    precision: str
    class_names: tuple[str, ...]
    calibrated: bool
    dfer_version: str = __version__

    @classmethod
    def of(cls, info: "ModelInfo", settings: "PredictSettings", sha256: str | None) -> "Origin":
        """Describe what makes the predictions.

        Args:
            info: The model; a predictor is one, too.
            settings: How it reads; what is left to the checkpoint is filled in.
            sha256: Of its checkpoint, see `hash_checkpoint`.
        """
        used = info.resolve(settings)
        assert used.window_s is not None and used.stride_s is not None  # resolved
        return cls(
            checkpoint=info.checkpoint or ZERO_SHOT,
            checkpoint_sha256=sha256,
            window_s=used.window_s,
            stride_s=used.stride_s,
            faces=used.faces,
            detector=info.detector_name,
            precision=info.precision,
            class_names=info.class_names,
            calibrated=info.calibrated,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """How videos were read."""
        names = ("window_s", "stride_s", "faces", "detector", "precision")
        values = asdict(self)
        return {name: values[name] for name in names}
