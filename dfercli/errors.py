"""Errors for users: one line that says what happened, where, and what to do next.

Errors of the operating system are found behind those of libraries, and explained with advice.
"""

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

EXIT_SKIPPED = 4
"""Exit code of a batch in which some videos were skipped, which are listed."""

ADVICE = {
    "ENOSPC": "free some space",
    "EDQUOT": "free some space or raise the quota",
    "EFBIG": "free some space or raise the limit on file sizes",
    "EACCES": "check the permissions",
    "EPERM": "check the permissions",
    "EROFS": "mount the file system for writing, or choose another folder",
    "EIO": "check the disk, which fails to read or write",
    "ESTALE": "check that the file system is still mounted",
    "ENOTCONN": "check that the file system is still mounted",
    "ENOENT": "check that the folder still exists",
    "EMFILE": "raise the limit on open files",
    "ENFILE": "raise the limit on open files",
    "ENOMEM": "free some memory",
}
"""What a user can do, by name of the error. The first three are about disk space."""

DISK_ERRORS = ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO")
"""Errors that writing to a file raises."""

OTHER_ADVICE = "resolve this"

LOCAL = ADVICE.keys() - {"ENOENT", "ENOTCONN"}
"""Errors of downloads and uploads that the network does not cause."""

QUOTED_ERROR = re.compile(r"([^:(]*?)\s*\(os error (\d+)\)")
"""How libraries in Rust, such as safetensors, quote a system error."""


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


def find_system_error(error: BaseException) -> OSError | None:
    """Return the system error that an exception is, quotes, or was raised while handling.

    safetensors quotes the system error in its message; `torch.save` raises its own error while it
    handles the system error. None if there is no system error.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return cause
        quoted = QUOTED_ERROR.search(str(cause))
        if quoted:
            number = int(quoted[2])
            # The last argument is for Windows, which numbers its errors differently.
            return OSError(number, quoted[1].strip() or os.strerror(number), None, number)
        hidden = None if cause.__suppress_context__ else cause.__context__
        cause = cause.__cause__ or hidden
    return None


@contextmanager
def naming(path: Path, *also: Path) -> Iterator[None]:
    """Add the file name to disk errors that the block raises.

    The system names the file only in errors of opening it, not of writing to it. Names in `also`,
    such as a temporary one, are replaced.
    """
    names = (None, *map(str, also))
    try:
        yield
    except OSError as error:
        if errno.errorcode.get(error.errno or 0) in DISK_ERRORS and error.filename in names:
            error.filename = str(path)
        raise


def describe_system_error(error: OSError) -> str:
    """Return the system's message, such as "No space left on device"."""
    message = os.strerror(error.errno) if error.errno else str(error)
    return error.strerror or message or type(error).__name__


def advise(error: OSError) -> str:
    """Return what to do about a system error; a caller adds "and try again"."""
    return ADVICE.get(errno.errorcode.get(error.errno or 0, ""), OTHER_ADVICE)


def explain_system_error(error: OSError) -> str:
    """Return the system's message with advice, if there is any."""
    advice = advise(error)
    return describe_system_error(error) + (f"; {advice}" if advice != OTHER_ADVICE else "")


def find_local_error(error: BaseException) -> OSError | None:
    """Return the error of this machine, not the network, that caused an exception, or None."""
    cause = find_system_error(error)
    name = errno.errorcode.get(cause.errno or 0) if cause is not None else None
    return cause if name in LOCAL else None


def first_line(error: BaseException) -> str:
    """Return the message of an error, or of the system error behind it, in one line."""
    cause = find_system_error(error)
    if cause is not None:
        return describe_system_error(cause)
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
