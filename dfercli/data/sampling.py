"""Which frames of a video make a clip of T frames."""

import numpy as np


def sample_test(num_available: int, num_frames: int) -> np.ndarray:
    """Take the middle frame of each of T equal segments.

    Args:
        num_available: Frames the video has, at least 1.
        num_frames: T.

    Returns:
        (T,) int, ascending. A video of fewer than T frames gives all of them, then repeats the
        last.

    Source: temporal segment networks (Wang et al., 2016), as the field does at test time; the
        padding is that of DFER-CLIP (Zhao and Patras, 2023).
    """
    if num_available < num_frames:
        return np.minimum(np.arange(num_frames), num_available - 1)
    middles = (np.arange(num_frames) + 0.5) * num_available / num_frames
    return middles.astype(np.int64)


def sample_train(num_available: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Take one random frame of each of T equal segments.

    Args:
        num_available: Frames the video has, at least 1.
        num_frames: T.
        rng: Where chance comes from.

    Returns:
        (T,) int, ascending; for fewer than T frames the same as `sample_test`.
    """
    if num_available < num_frames:
        return sample_test(num_available, num_frames)
    offsets = np.arange(num_frames) + rng.random(num_frames)
    drawn = (offsets * num_available / num_frames).astype(np.int64)
    return np.minimum(drawn, num_available - 1)  # where the last product is rounded up
