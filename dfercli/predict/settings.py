"""Settings of a prediction, checked before a model is loaded."""

import math
from dataclasses import dataclass

from dfercli.errors import ConfigError, require_known

SEARCH_FPS = 8.0
"""Frames per second that are searched (our choice): 16 in a window of two seconds, twice as many as
the model needs."""

FACES = ("all", "largest")


@dataclass(frozen=True)
class PredictSettings:
    """Windows and faces of a prediction.

    Attributes:
        window_s: Length of a window in seconds; by default that of the training clips.
        stride_s: Seconds between the starts of two windows; by default the length of a window.
        faces: Faces to classify: `all`, or only the `largest` one in each window.
    """

    window_s: float | None = None
    stride_s: float | None = None
    faces: str = "all"

    def check(self) -> None:
        """Check the settings that do not depend on the checkpoint.

        Raises:
            ConfigError: A length is shorter than the time between two searched frames, or `faces`
                is unknown.
        """
        require_known("choice of faces", self.faces, FACES)
        least_s = 1 / SEARCH_FPS
        for name, length_s in (("window", self.window_s), ("stride", self.stride_s)):
            if length_s is not None and not least_s <= length_s < math.inf:
                raise ConfigError(
                    f"invalid {name} of {length_s} s; it must be at least {least_s} s, the time "
                    f"between two searched frames"
                )
