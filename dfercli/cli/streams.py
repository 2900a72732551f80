"""Standard streams that are closed or full: commands work and write their files anyway.

Schedulers and daemons close streams (`>&-`). The next files that are opened would then get their
numbers, and libraries would print into them.
"""

import io
import os
import sys
from typing import Any, TextIO

from dfercli.errors import explain_system_error

STDIN, STDOUT, STDERR = 0, 1, 2
"""Numbers of the standard streams. Source: POSIX.1-2008, `unistd.h`."""


class PatientFile(io.FileIO):
    """A file that accepts everything; after the first error it writes nothing more.

    A pipe whose reader has gone still raises, because nobody waits for the rest.

    Attributes:
        failure: The first error.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write bytes, and return how many were accepted."""
        if self.failure is None:
            try:
                return super().write(data) or 0
            except BrokenPipeError:
                raise
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes


def open_closed_streams() -> None:
    """Open those of the three standard streams that are closed, on the null device."""
    for number in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            os.set_inheritable(number, True)  # processes of --jobs inherit all three
    if sys.stdin is None:
        sys.stdin = open(STDIN, closefd=False, encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(STDOUT, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(STDERR, "w", closefd=False, encoding="utf-8")  # noqa: SIM115


def take_patiently() -> PatientFile | None:
    """Make stdout and stderr accept everything, even if the disk behind them is full.

    Returns:
        The file behind stdout; None if `sys.stdout` is not the standard output.
    """
    errors = _find_file(sys.stderr, STDERR)
    if errors is not None:
        sys.stderr = _rewrap(sys.stderr, errors)
    output = _find_file(sys.stdout, STDOUT)
    if output is not None:
        sys.stdout = _rewrap(sys.stdout, output)
    return output


def _find_file(stream: TextIO, number: int) -> PatientFile | None:
    """Return a patient file for a standard stream; None for any other stream."""
    if type(stream) is not io.TextIOWrapper:
        return None
    raw = getattr(stream.buffer, "raw", stream.buffer)
    if type(raw) is not io.FileIO or raw.fileno() != number:
        return None
    return PatientFile(number, "w", closefd=False)


def _rewrap(stream: TextIO, file: PatientFile) -> io.TextIOWrapper:
    """Return a stream that is buffered like another one and writes to a file."""
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
    """Flush stdout, and return which error cut it off; None if everything was written."""
    if output is None:
        return None
    sys.stdout.flush()
    if output.failure is None:
        return None
    return f"standard output is incomplete: {explain_system_error(output.failure)}"
