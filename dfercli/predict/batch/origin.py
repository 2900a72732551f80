"""What made predictions: the checkpoint, the settings, and hashes of both."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfercli import __version__
from dfercli.files import hash_file
from dfercli.media.images import list_frames

CHECKPOINT_FILES = ("config.json", "model.safetensors")


def hash_content(path: Path) -> str:
    """Give the SHA-256 of a file; of a folder of frames, over its images' names and contents.

    Raises:
        OSError: A file cannot be read.
        DataError: The folder has no images.
    """
    return _hash_files(list_frames(path)) if path.is_dir() else hash_file(path)


def identify(path: Path) -> tuple[tuple[int, ...], ...]:
    """Return what changes when a file, or a folder or anything in it, is replaced or written to.

    Raises:
        OSError: It is gone.
    """
    paths = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
    states = [each.stat() for each in paths]
    return tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns) for s in states)


def hash_checkpoint(where: str | None) -> str | None:
    """Give the SHA-256 over names and contents of a checkpoint's files; None where there are none.

    Args:
        where: Its folder, a run's folder, or a model's name on the Hub that was loaded before;
            None of a model without one.
    """
    if where is None:
        return None
    folder = next((p for p in (Path(where, "best"), Path(where)) if p.is_dir()), None)
    names = [(folder / name) if folder else _find_cached(where, name) for name in CHECKPOINT_FILES]
    paths = [path for path in names if path is not None and path.is_file()]
    return _hash_files(paths) if len(paths) == len(CHECKPOINT_FILES) else None


def _find_cached(model: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(model, name)
    except ValueError:  # no name of a model
        return None
    return Path(found) if isinstance(found, str) else None


def _hash_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(os.fsencode(path.name) + b"\0" + bytes.fromhex(hash_file(path)))
    return digest.hexdigest()


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
