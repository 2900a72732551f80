"""Settings of a prediction, checked before a model is loaded."""

import math
import re
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
        start_s: Time in the video at which reading starts.
        end_s: Time at which it ends; by default the end of the video.
    """

    window_s: float | None = None
    stride_s: float | None = None
    faces: str = "all"
    start_s: float = 0.0
    end_s: float | None = None

    @property
    def is_part(self) -> bool:
        """Whether only a part of the video is read."""
        return self.start_s > 0 or self.end_s is not None

    def check(self) -> None:
        """Check the settings that do not depend on the checkpoint.

        Raises:
            ConfigError: A length is shorter than the time between two searched frames, `faces` is
                unknown, the start is negative, or the end is not after it.
        """
        require_known("choice of faces", self.faces, FACES)
        least_s = 1 / SEARCH_FPS
        for name, length_s in (("window", self.window_s), ("stride", self.stride_s)):
            if length_s is not None and not least_s <= length_s < math.inf:
                raise ConfigError(
                    f"invalid {name} of {length_s} s; it must be at least {least_s} s, the time "
                    f"between two searched frames"
                )
        end_s = math.inf if self.end_s is None else self.end_s
        if not 0 <= self.start_s < math.inf:
            raise ConfigError(f"invalid start at {self.start_s:g} s; it must be at least 0")
        if not self.start_s < end_s:
            raise ConfigError(
                f"the end at {end_s:g} s is not after the start at {self.start_s:g} s; choose a "
                f"later end"
            )

    def check_not_live(self, name: str) -> None:
        """Raise a ConfigError if only a part is to be read, but `name` is a stream or camera."""
        if self.is_part:
            raise ConfigError(
                f"a start and an end do not work with streams and cameras ({name}); record it to a "
                f"file first"
            )


def parse_time(text: str) -> float:
    """Return a time in seconds, written as seconds, `MM:SS` or `HH:MM:SS`.

    Raises:
        ConfigError: The text is none of these.
    """
    if not re.fullmatch(r"(\d+(\.\d*)?|\.\d+)|(\d+:)?\d+:[0-5]?\d(\.\d*)?", text, re.ASCII):
        raise ConfigError(f"invalid time {text!r}; write seconds, MM:SS or HH:MM:SS")
    seconds = 0.0
    for number in text.split(":"):
        seconds = 60 * seconds + float(number)
    return seconds
