"""Find errors of the operating system behind those of libraries, and explain them with advice."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
