"""Choose the T frames of a video that make a clip."""

import numpy as np


def sample_test(num_available: int, num_frames: int) -> np.ndarray:
    """Return the middle frame of each of T equal segments.

    Args:
        num_available: Number of frames in the video, at least 1.
        num_frames: T.

    Returns:
        (T,) int, ascending. A video with fewer than T frames gives all of them, then repeats the
        last one.

    Source: temporal segment networks (Wang et al., 2016), as the field does at test time; the
        padding follows DFER-CLIP (Zhao and Patras, 2023).
    """
    if num_available < num_frames:
        return np.minimum(np.arange(num_frames), num_available - 1)
    middles = (np.arange(num_frames) + 0.5) * num_available / num_frames
    return middles.astype(np.int64)


def sample_train(num_available: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return one random frame of each of T equal segments.

    Args:
        num_available: Number of frames in the video, at least 1.
        num_frames: T.
        rng: Random generator.

    Returns:
        (T,) int, ascending; the result of `sample_test` for a video with fewer than T frames.
    """
    if num_available < num_frames:
        return sample_test(num_available, num_frames)
    offsets = np.arange(num_frames) + rng.random(num_frames)
    indices = (offsets * num_available / num_frames).astype(np.int64)
    return np.minimum(indices, num_available - 1)  # the last product may be rounded up
