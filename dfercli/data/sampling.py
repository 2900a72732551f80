"""Which frames of a video a model reads.

Every sampling gives T indices for a video of any length of at least one frame. They ascend; those
of snippets, which overlap, do so within each snippet. A video with fewer than T frames gives all of
them, then repeats the last one, as in DFER-CLIP (Zhao and Patras, 2023), so that no clip is left
out.
"""

from typing import Protocol

import numpy as np

from dfercli.config import ModelConfig
from dfercli.config.networks import SAMPLING
from dfercli.errors import ConfigError

MIDDLE = 0.5
"""Position in a segment of the frame that a single test view takes."""


def view_positions(num_views: int) -> list[float]:
    """Return the positions in [0, 1) in each segment of the frames of several test views.

    They are evenly spaced, so that the frames of all views together are as well, and begin with the
    middle, which is the single view (our choice).
    """
    return [(num_views + 2 * v) % (2 * num_views) / (2 * num_views) for v in range(num_views)]


class Sampler(Protocol):
    """Chooses T frames; `weights` are those of `weigh_windows`, None unless `uses_motion`."""

    uses_motion: bool

    def test(
        self, num_available: int, position: float = MIDDLE, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the (T,) indices of a test view; `position` in [0, 1) tells views apart."""

    def train(
        self, num_available: int, rng: np.random.Generator, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the (T,) indices of a random training view."""


def find_sampler(model: ModelConfig) -> Sampler:
    """Return the sampler that a model's settings name.

    Raises:
        ConfigError: It cannot give T frames.
    """
    if model.sampling == "even":
        return Even(model.num_frames)
    if model.sampling == "snippets":
        return Snippets(model.num_frames)
    if model.sampling == "freq-hd":
        return MotionWindows(model.num_frames)
    parts = SAMPLING.fullmatch(model.sampling)
    assert parts is not None  # ModelConfig checks it
    segments, consecutive = int(parts[1] or model.num_frames), int(parts[2] or 1)
    if segments * consecutive != model.num_frames:
        raise ConfigError(
            f"sampling {model.sampling} gives {segments * consecutive} frames, but num_frames is "
            f"{model.num_frames}; change one of them"
        )
    return Segments(segments, consecutive)


def pad(num_available: int, num_frames: int) -> np.ndarray:
    """Return the (T,) indices of all frames of a short video, then the last one repeated."""
    return np.minimum(np.arange(num_frames), num_available - 1)


class Segments:
    """Consecutive frames from each of several equal segments.

    The middle of each segment in tests, a random place in it in training. Source: temporal segment
    networks (Wang et al., 2016); two frames from each of eight segments are Former-DFER's.
    """

    uses_motion = False

    def __init__(self, segments: int, consecutive: int = 1) -> None:
        self._segments = segments
        self._consecutive = consecutive

    def test(
        self, num_available: int, position: float = MIDDLE, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the (T,) indices of a test view; see `Sampler`."""
        return self._place(num_available, np.full(self._segments, position))

    def train(
        self, num_available: int, rng: np.random.Generator, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the (T,) indices of a random training view."""
        if num_available < self._segments * self._consecutive:  # nothing to draw
            return self.test(num_available)
        return self._place(num_available, rng.random(self._segments))

    def _place(self, num_available: int, positions: np.ndarray) -> np.ndarray:
        """Return the indices for a position in [0, 1) in each segment."""
        segments, consecutive = self._segments, self._consecutive
        if num_available < segments * consecutive:
            return pad(num_available, segments * consecutive)
        room = 1 - (consecutive - 1) * segments / num_available  # share of a segment for starts
        starts = (np.arange(segments) + room * positions) * num_available / segments
        indices = starts.astype(np.int64)[:, None] + np.arange(consecutive)
        return np.minimum(indices.ravel(), num_available - 1)  # the product may be rounded up


class Even:
    """Frames at equal distances, from the middle of their steps in tests.

    In training all of them move by the same random part of a step. Source: M3DFEL (Wang et al.,
    2023), whose four instances are four such frames each. Its code moves each frame by up to 15,
    also in tests, which may break their order; ours does not.
    """

    uses_motion = False

    def __init__(self, num_frames: int) -> None:
        self._segments = Segments(num_frames)

    def test(
        self, num_available: int, position: float = MIDDLE, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the (T,) indices of a test view; see `Sampler`."""
        return self._segments.test(num_available, position)

    def train(
        self, num_available: int, rng: np.random.Generator, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the (T,) indices of a random training view."""
        return self._segments.test(num_available, rng.random())


NUM_SNIPPETS, SNIPPET_FRAMES, SNIPPET_STEP = 7, 15, 10
VIDEO_FRAMES, STARTS = 105, 30
"""Source of these and the ones above: EST (Liu et al., 2022) and its code."""


class Snippets:
    """Frames from seven overlapping parts of a video, which is stretched to 105 frames.

    The parts have 15 frames, one every 10, and begin at frame 15 in tests and at one of 0 to 29 in
    training. Of each, tests take frames at equal distances and training takes random ones. A short
    video gives some frames several times instead of being padded.
    """

    uses_motion = False

    def __init__(self, num_frames: int) -> None:
        if num_frames % NUM_SNIPPETS or num_frames > NUM_SNIPPETS * SNIPPET_FRAMES:
            raise ConfigError(
                f"sampling snippets gives {NUM_SNIPPETS} times the same number of frames, up to "
                f"{SNIPPET_FRAMES}, but num_frames is {num_frames}; use 35"
            )
        self._frames = num_frames // NUM_SNIPPETS

    def test(
        self, num_available: int, position: float = MIDDLE, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the (T,) indices of a test view; see `Sampler`."""
        offsets = np.arange(self._frames) * SNIPPET_FRAMES // self._frames
        return self._place(num_available, int(position * STARTS), [offsets] * NUM_SNIPPETS)

    def train(
        self, num_available: int, rng: np.random.Generator, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the (T,) indices of a random training view."""
        start = int(rng.integers(STARTS))
        offsets = [
            np.sort(rng.choice(SNIPPET_FRAMES, self._frames, replace=False))
            for _ in range(NUM_SNIPPETS)
        ]
        return self._place(num_available, start, offsets)

    def _place(self, num_available: int, start: int, offsets: list[np.ndarray]) -> np.ndarray:
        places = start + SNIPPET_STEP * np.arange(NUM_SNIPPETS)[:, None] + np.stack(offsets)
        indices = ((places.ravel() + 0.5) * num_available / VIDEO_FRAMES).astype(np.int64)
        return np.minimum(indices, num_available - 1)


WINDOW = 4
"""Consecutive frames in a window of Freq-HD. Source: its code."""


class MotionWindows:
    """Windows of four consecutive frames where the face moves most, in the order of the video.

    Windows are taken by falling weight and do not overlap. Source: Freq-HD (Tao et al., 2023); how
    its windows become a network's frames is not public. In training, each weight is multiplied by a
    random number from 0.5 to 1 (both are our choices).
    """

    uses_motion = True

    def __init__(self, num_frames: int) -> None:
        if num_frames % WINDOW:
            raise ConfigError(
                f"sampling freq-hd takes windows of {WINDOW} frames, but num_frames is "
                f"{num_frames}; use a multiple of {WINDOW}"
            )
        self._num_frames = num_frames

    def test(
        self, num_available: int, position: float = MIDDLE, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the (T,) indices of a test view; others than the middle one move the windows."""
        shift = round((position - MIDDLE) * WINDOW)
        return np.clip(self._choose(num_available, weights) + shift, 0, num_available - 1)

    def train(
        self, num_available: int, rng: np.random.Generator, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the (T,) indices of a random training view."""
        assert weights is not None
        return self._choose(num_available, weights * rng.uniform(0.5, 1, len(weights)))

    def _choose(self, num_available: int, weights: np.ndarray | None) -> np.ndarray:
        if num_available < self._num_frames:
            return pad(num_available, self._num_frames)
        assert weights is not None
        free = np.ones(num_available, dtype=bool)
        for start in np.argsort(-weights, kind="stable").tolist():
            window = slice(start, start + WINDOW)
            if free[window].all():
                free[window] = False
            if (~free).sum() == self._num_frames:
                break
        # Windows that leave gaps of fewer than four frames: fill up with the first free frames.
        missing = self._num_frames - int((~free).sum())
        free[np.flatnonzero(free)[:missing]] = False
        return np.flatnonzero(~free)
