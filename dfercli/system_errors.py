"""Errors of the operating system: found behind the errors of libraries, described with advice."""

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
"""What a user can do, by the name of the error. Only the first three are about space."""

OF_DISKS = ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO")
"""Errors of writing to a file."""

OTHER_ADVICE = "resolve this"

LOCAL = ADVICE.keys() - {"ENOENT", "ENOTCONN"}
"""Errors that no network causes, among those of fetching or sending a file."""

IN_TEXT = re.compile(r"([^:(]*?)\s*\(os error (\d+)\)")
"""How libraries written in Rust, such as safetensors, quote an error of the system."""


def find_system_error(error: BaseException) -> OSError | None:
    """Return the system's error that an exception is, quotes or was raised after; else None.

    safetensors quotes it in its text, and `torch.save` raises an error of its own while the
    system's is being handled.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return cause
        quoted = IN_TEXT.search(str(cause))
        if quoted:
            number = int(quoted[2])
            # The last argument is for Windows, which numbers its errors differently.
            return OSError(number, quoted[1].strip() or os.strerror(number), None, number)
        hidden = None if cause.__suppress_context__ else cause.__context__
        cause = cause.__cause__ or hidden
    return None


@contextmanager
def naming(path: Path, *also: Path) -> Iterator[None]:
    """Let errors of a disk that is written to say which file they are about.

    The system names the file of an error only where it is opened, not where it is written to.

    Args:
        path: What is written.
        also: Other names of it, such as a temporary one, which say nothing to users.
    """
    names = (None, *map(str, also))
    try:
        yield
    except OSError as error:
        if errno.errorcode.get(error.errno or 0) in OF_DISKS and error.filename in names:
            error.filename = str(path)
        raise


def describe_system_error(error: OSError) -> str:
    """Return what the system says, such as "No space left on device"."""
    said = os.strerror(error.errno) if error.errno else str(error)
    return error.strerror or said or type(error).__name__


def advise(error: OSError) -> str:
    """Return what to do about an error of the system, to be followed by "and try again"."""
    return ADVICE.get(errno.errorcode.get(error.errno or 0, ""), OTHER_ADVICE)


def explain_system_error(error: OSError) -> str:
    """Return what the system says and, where it is known, what to do about it."""
    advice = advise(error)
    return describe_system_error(error) + (f"; {advice}" if advice != OTHER_ADVICE else "")


def find_local_error(error: BaseException) -> OSError | None:
    """Return the error behind another that this machine is to blame for, not the network."""
    cause = find_system_error(error)
    name = errno.errorcode.get(cause.errno or 0) if cause is not None else None
    return cause if name in LOCAL else None


def first_line(error: BaseException) -> str:
    """Return what an error says, or the system's error behind it, in one line."""
    cause = find_system_error(error)
    if cause is not None:
        return describe_system_error(cause)
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
