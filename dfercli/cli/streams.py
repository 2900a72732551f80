"""Standard streams that are closed or full: a command does its work, and writes its files, anyway.

Schedulers and daemons close them (`>&-`). What is then opened first would get their numbers, and
libraries would print into it.
"""

import io
import os
import sys
from typing import Any, TextIO

from dfercli.system_errors import explain_system_error

STDIN, STDOUT, STDERR = 0, 1, 2
"""Numbers of the standard streams. Source: POSIX.1-2008, `unistd.h`."""


class PatientFile(io.FileIO):
    """A file that takes everything: after the first error nothing is written any more.

    A pipe whose reader has gone still raises: nobody waits for what would follow.

    Attributes:
        failure: The first error.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write bytes; return how many were taken."""
        if self.failure is None:
            try:
                return super().write(data) or 0
            except BrokenPipeError:
                raise
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes


def open_closed_streams() -> None:
    """Open what is closed of the three standard streams onto nothing."""
    for number in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this
            os.set_inheritable(number, True)  # processes of --jobs have the same three
    if sys.stdin is None:
        sys.stdin = open(STDIN, closefd=False, encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(STDOUT, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(STDERR, "w", closefd=False, encoding="utf-8")  # noqa: SIM115


def take_patiently() -> PatientFile | None:
    """Let output and errors of this process be taken even where the disk behind them is full.

    Returns:
        What takes the output; None where it goes elsewhere than to standard output.
    """
    errors = _find_file(sys.stderr, STDERR)
    if errors is not None:
        sys.stderr = _rewrap(sys.stderr, errors)
    output = _find_file(sys.stdout, STDOUT)
    if output is not None:
        sys.stdout = _rewrap(sys.stdout, output)
    return output


def _find_file(stream: TextIO, number: int) -> PatientFile | None:
    """Return what is to take the bytes of a standard stream; None of any other stream."""
    if type(stream) is not io.TextIOWrapper:
        return None
    raw = getattr(stream.buffer, "raw", stream.buffer)
    if type(raw) is not io.FileIO or raw.fileno() != number:
        return None
    return PatientFile(number, "w", closefd=False)


def _rewrap(stream: TextIO, file: PatientFile) -> io.TextIOWrapper:
    """Return a stream like another, with as much buffering, that writes into a file."""
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


def describe_lost_output(output: PatientFile | None) -> str | None:
    """Write what is left of the output; say what was lost, None where all was written."""
    if output is None:
        return None
    sys.stdout.flush()
    if output.failure is None:
        return None
    return f"standard output is cut off: {explain_system_error(output.failure)}"
