"""How a video is read, as a user chooses it; checked before a model is loaded."""

import math
from dataclasses import dataclass

from dfercli.errors import ConfigError, require_known

SEARCH_FPS = 8.0
"""Frames a second that are taken (our choice): 16 a window of two seconds, twice what the model
reads."""

FACES = ("all", "largest")


@dataclass(frozen=True)
class PredictSettings:
    """How a video is read.

    Attributes:
        window_s: Seconds of a window, whose frames are one clip; None: as the training clips.
        stride_s: Seconds from the start of one window to that of the next; None: as the window.
        faces: `all`, or `largest`: in each window the face that is largest and longest in it.
    """

    window_s: float | None = None
    stride_s: float | None = None
    faces: str = "all"

    def check(self) -> None:
        """Check what was chosen; what is left to the checkpoint is not known yet.

        Raises:
            ConfigError: A length is not positive, the window shorter than a searched frame, or
                `faces` none of `FACES`.
        """
        require_known("choice of faces", self.faces, FACES)
        least_s = 1 / SEARCH_FPS
        for name, length_s in (("window", self.window_s), ("stride", self.stride_s)):
            if length_s is not None and not least_s <= length_s < math.inf:
                raise ConfigError(
                    f"{name} {length_s} s: it must be at least {least_s} s, the time between two "
                    f"frames that are searched"
                )
