"""The errors that users see: one line that says what, where and what to do next."""

import re
from collections.abc import Iterable, Sequence

EXIT_SKIPPED = 4
"""Exit code of a batch that was finished but for some videos, which are listed."""


class DferError(Exception):
    """Anything wrong with what the user gave us. Its text is one line, ready to be printed."""

    exit_code = 1

    @property
    def line(self) -> str:
        """Its text, without the trace that PyTorch puts before it in a loading process."""
        return re.sub(r"^dfercli\.errors\.\w+: ", "", str(self).strip().splitlines()[-1])


class UnknownNameError(DferError):
    """A dataset, detector, model or backbone that is not in its registry."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"no {kind} {name!r}; known: {', '.join(known)}")


class ConfigError(DferError):
    """A setting that cannot be used, alone or together with another."""


class DataError(DferError):
    """A manifest, a label or a file on disk that does not hold together."""


class VideoError(DferError):
    """A video or an image that its decoder cannot read."""


class DetectorError(DferError):
    """A face detector that cannot be set up on this machine."""


class WeightsError(DferError):
    """Pretrained weights that are missing, or that do not fit the backbone."""


class CheckpointError(DferError):
    """A checkpoint that is missing, incomplete or made for something else."""


class JobsError(DferError):
    """Some of several runs that failed; the others are finished."""


class UnexpectedError(DferError):
    """A fault of dfer or of a library, not of the user or the machine; its cause has the trace."""


class NoFaceError(DferError):
    """No face in the whole video. Has an exit code of its own, so that scripts can tell."""

    exit_code = 3


def require_at_least(name: str, value: int, least: int) -> None:
    """Raise a ConfigError that names both numbers when `value` is under `least`."""
    if value < least:
        raise ConfigError(f"{name} is {value}; it must be at least {least}")


def require_known(name: str, value: str, known: Sequence[str]) -> None:
    """Raise a ConfigError that lists what is known when `value` is not among it."""
    if value not in known:
        raise ConfigError(f"no {name} {value!r}; known: {', '.join(known)}")
