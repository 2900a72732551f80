"""The errors that users see: one line that says what, where and what to do next."""

import re
from collections.abc import Iterable, Sequence

EXIT_SKIPPED = 4
"""Exit code of a batch that was finished but for some videos, which are listed."""


class DferError(Exception):
    """Base class of all errors of dfer. The message is one line, ready to be printed."""

    exit_code = 1

    @property
    def line(self) -> str:
        """The message, without the traceback that PyTorch adds in a loading process."""
        return re.sub(r"^dfercli\.errors\.\w+: ", "", str(self).strip().splitlines()[-1])


class UnknownNameError(DferError):
    """A dataset, detector, model or backbone that is not in its registry."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"no {kind} {name!r}; known: {', '.join(known)}")


class ConfigError(DferError):
    """A setting that is invalid, alone or together with another."""


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
    """Some of several runs failed; the others are finished."""


class UnexpectedError(DferError):
    """A bug of dfer or of a library, not of the user or the machine; see its `__cause__`."""


class NoFaceError(DferError):
    """No face was found in the whole video. It has its own exit code for scripts."""

    exit_code = 3


def require_at_least(name: str, value: int, least: int) -> None:
    """Raise a ConfigError that names both numbers when `value` is under `least`."""
    if value < least:
        raise ConfigError(f"{name} is {value}; it must be at least {least}")


def require_known(name: str, value: str, known: Sequence[str]) -> None:
    """Raise a ConfigError that lists what is known when `value` is not among it."""
    if value not in known:
        raise ConfigError(f"no {name} {value!r}; known: {', '.join(known)}")
