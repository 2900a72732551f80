"""Errors for users: one line that says what happened, where, and what to do next."""

import re
from collections.abc import Iterable, Sequence

EXIT_SKIPPED = 4
"""Exit code of a batch in which some videos were skipped, which are listed."""


class DferError(Exception):
    """Base class of all errors of dfer. The message is one printable line."""

    exit_code = 1

    @property
    def line(self) -> str:
        """The message, without the traceback that PyTorch adds in loader processes."""
        return re.sub(r"^dfercli\.errors\.\w+: ", "", str(self).strip().splitlines()[-1])


class UnknownNameError(DferError):
    """A dataset, detector, model or backbone that is not in its registry."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"no {kind} {name!r}; known: {', '.join(known)}")


class ConfigError(DferError):
    """A setting that is invalid, by itself or in combination with another."""


class DataError(DferError):
    """A manifest, a label or a file on disk that is missing, damaged or inconsistent."""


class VideoError(DferError):
    """A video or an image that cannot be decoded."""


class DetectorError(DferError):
    """A face detector that cannot be set up on this machine."""


class WeightsError(DferError):
    """Pretrained weights that are missing, or that do not fit the backbone."""


class CheckpointError(DferError):
    """A checkpoint that is missing, incomplete or incompatible."""


class JobsError(DferError):
    """Some of several runs failed; the others finished."""


class UnexpectedError(DferError):
    """A bug in dfer or in a library; see its `__cause__`."""


class NoFaceError(DferError):
    """The video has no face. Scripts can recognise this by the exit code."""

    exit_code = 3


def require_at_least(name: str, value: int, least: int) -> None:
    """Raise a ConfigError with both numbers if `value` is less than `least`."""
    if value < least:
        raise ConfigError(f"{name} is {value}; it must be at least {least}")


def require_known(name: str, value: str, known: Sequence[str]) -> None:
    """Raise a ConfigError with the known values if `value` is not one of them."""
    if value not in known:
        raise ConfigError(f"no {name} {value!r}; known: {', '.join(known)}")
