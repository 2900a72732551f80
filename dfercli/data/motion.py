"""How much each window of a video moves, by Freq-HD.

Source: Tao et al., 2023, Freq-HD: an interpretable frequency-based high-dynamics affective clip
selection method for in-the-wild facial expression recognition in videos, ACM MM; its demo code for
the sizes.
"""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from dfercli.data.sampling import WINDOW
from dfercli.errors import DataError, describe_system_error, first_line
from dfercli.files import locking, replacing
from dfercli.progress import show_progress

RADIUS = 20
"""Standard deviation of the Gaussian low-pass in periods per frame."""

STEEPNESS = 10
"""Factor of the residuals before their softmax."""

GREY = np.array([0.299, 0.587, 0.114])
"""Weights of R, G and B in grey. Source: ITU-R BT.601."""


def weigh_windows(frames: np.ndarray) -> np.ndarray:
    """Return the weight of each window of four frames of a video.

    A window weighs more the more its fine detail changes from frame to frame, and less the further
    that change is from what its coarse content predicts, as where the picture is cut.

    Args:
        frames: (N, 3, H, W) uint8 RGB.

    Returns:
        (N - 3,) float64; a single 1 for fewer than four frames.
    """
    if len(frames) < WINDOW:
        return np.ones(1)
    low, high = split_frequencies(np.tensordot(GREY, frames, (0, 1)))
    coarse, fine = measure_change(low), measure_change(high)
    coarse, fine = coarse / max(coarse.max(), EPSILON), fine / max(fine.max(), EPSILON)
    damping = np.exp(STEEPNESS * _find_residuals(fine, coarse))
    weights: np.ndarray = fine / (damping / damping.sum())
    return weights


EPSILON = 1e-12
"""Keeps the weights of a video without any change finite."""


def split_frequencies(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split frames (N, H, W) into coarse content, by a Gaussian low-pass, and the rest."""
    height, width = grey.shape[1:]
    vertical, horizontal = np.fft.fftfreq(height) * height, np.fft.rfftfreq(width) * width
    distance = vertical[:, None] ** 2 + horizontal**2
    mask = np.exp(-distance / (2 * RADIUS**2))
    low = np.fft.irfft2(np.fft.rfft2(grey) * mask, s=(height, width))
    return low, grey - low


def measure_change(frames: np.ndarray) -> np.ndarray:
    """Return the mean energy of the upper half of the temporal frequencies of each window.

    Of the four bins of a window the upper half are bins 2 and 3; `frames` are (N, H, W), the result
    is (N - 3,).
    """
    first, second, third, fourth = (frames[i : len(frames) - WINDOW + 1 + i] for i in range(WINDOW))
    bin_2 = (first - second + third - fourth) ** 2
    bin_3 = (first - third) ** 2 + (second - fourth) ** 2
    energy: np.ndarray = (bin_2 + bin_3).mean(axis=(1, 2)) / 2
    return energy


def _find_residuals(fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Return the distances (N,) of the coarse change from a robust line over the fine one."""
    if len(fine) < 3 or np.ptp(coarse) == 0:
        return np.zeros(len(fine))
    from sklearn.exceptions import UndefinedMetricWarning  # a second to import, only needed here
    from sklearn.linear_model import RANSACRegressor

    with warnings.catch_warnings():  # lines that fit one window have no R^2, and are not the best
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        line = RANSACRegressor(random_state=0).fit(fine[:, None], coarse)
    residuals: np.ndarray = np.abs(coarse - line.predict(fine[:, None]))
    return residuals


class WindowWeights:
    """The window weights of the clips of a dataset, computed once.

    Args:
        read: Returns all frames of a clip by its path, (N, 3, H, W) uint8.
        file: Keeps the weights of all clips; None computes those of a clip when it is first read.
        paths: The clips.

    Raises:
        DataError: The file cannot be written, or is damaged.
    """

    def __init__(
        self,
        read: Callable[[str], np.ndarray],
        file: Path | None = None,
        paths: Iterable[str] = (),
    ) -> None:
        self._read = read
        self._weights: dict[str, np.ndarray] = {}
        if file is None:
            return
        if not file.is_file():
            self._compute_all(file, paths)
        self._weights = _read_weights(file)

    def _compute_all(self, file: Path, paths: Iterable[str]) -> None:
        """Write the weights of all clips; if several processes ask at once, only one does."""
        try:
            with locking(file.with_name(f".{file.name}.lock"), wait_s=-1):
                if not file.is_file():
                    clips = list(dict.fromkeys(paths))
                    bar = show_progress(clips, desc="motion", unit="clip")
                    _write_weights(file, {path: self.find(path) for path in bar})
        except OSError as error:
            raise DataError(
                f"cannot write {file} ({describe_system_error(error)}); use another --cache-dir, "
                f"or --no-cache"
            ) from error

    def find(self, path: str) -> np.ndarray:
        """Return the weights (N - 3,) of a clip."""
        if path not in self._weights:
            self._weights[path] = weigh_windows(self._read(path))
        return self._weights[path]


def _write_weights(file: Path, weights: dict[str, np.ndarray]) -> None:
    """Write the weights of clips, one after the other."""
    arrays = {
        "paths": np.array(list(weights)),
        "counts": np.array([len(windows) for windows in weights.values()]),
        "weights": np.concatenate(list(weights.values())),
    }
    with replacing(file) as partial, partial.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def _read_weights(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file) as stored:
            parts = np.split(stored["weights"], stored["counts"].cumsum()[:-1])
            return dict(zip(stored["paths"].tolist(), parts, strict=True))
    except (BadZipFile, EOFError, KeyError, OSError, ValueError) as error:
        raise DataError(
            f"cannot read {file} ({first_line(error)}); remove it to compute it again"
        ) from error
