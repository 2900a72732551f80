"""Standard streams that are closed, or whose disk is full: commands work and write their files.

Schedulers and daemons can close streams (`>&-`). The next opened files would then get the numbers
of these streams, and libraries would print into them.
"""

import io
import os
import sys
from typing import Any, TextIO

from dfercli.errors import explain_system_error

STDIN, STDOUT, STDERR = 0, 1, 2
"""Numbers of the standard streams. Source: POSIX.1-2008, `unistd.h`."""


class TolerantFile(io.FileIO):
    """A file that ignores errors of writing after the first one, `failure`, except broken pipes."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write bytes, and return their number."""
        if self.failure is None:
            try:
                return super().write(data) or 0
            except BrokenPipeError:
                raise
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes


def open_closed_streams() -> None:
    """Open closed standard streams on the null device."""
    for number in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            os.set_inheritable(number, True)  # for the processes of --jobs
    if sys.stdin is None:
        sys.stdin = open(STDIN, closefd=False, encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(STDOUT, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(STDERR, "w", closefd=False, encoding="utf-8")  # noqa: SIM115


def tolerate_write_errors() -> TolerantFile | None:
    """Let stdout and stderr ignore errors of writing, such as a full disk.

    Returns:
        The file of stdout; None if `sys.stdout` was replaced by another stream.
    """
    errors = _find_file(sys.stderr, STDERR)
    if errors is not None:
        sys.stderr = _rewrap(sys.stderr, errors)
    output = _find_file(sys.stdout, STDOUT)
    if output is not None:
        sys.stdout = _rewrap(sys.stdout, output)
    return output


def _find_file(stream: TextIO, number: int) -> TolerantFile | None:
    """Return a tolerant file for a standard stream; None for any other stream."""
    if type(stream) is not io.TextIOWrapper:
        return None
    raw = getattr(stream.buffer, "raw", stream.buffer)
    if type(raw) is not io.FileIO or raw.fileno() != number:
        return None
    return TolerantFile(number, "w", closefd=False)


def _rewrap(stream: TextIO, file: TolerantFile) -> io.TextIOWrapper:
    """Return a stream that writes to a file and is buffered like another stream."""
    assert isinstance(stream, io.TextIOWrapper)  # by `_find_file`
    stream.flush()
    unbuffered = isinstance(stream.buffer, io.RawIOBase)  # by PYTHONUNBUFFERED
    buffer: Any = file if unbuffered else io.BufferedWriter(file)
    return io.TextIOWrapper(
        buffer,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=unbuffered,
    )


def describe_lost_output(output: TolerantFile | None) -> str | None:
    """Flush stdout, and return its error of writing in one line; None if there was none."""
    if output is None:
        return None
    sys.stdout.flush()
    if output.failure is None:
        return None
    return f"standard output is incomplete: {explain_system_error(output.failure)}"
