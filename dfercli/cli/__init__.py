"""The command line: parse, build a configuration, make one call of the library, print.

The only folder that knows typer and rich. Everything heavy is imported inside the commands, so
that `dfer --help` does not wait for torch.
"""

import io
import logging
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from dfercli import __version__
from dfercli.cells import escape_letter
from dfercli.cli import data, publishing, reports, runs, serving, videos
from dfercli.cli import options as opt
from dfercli.errors import DferError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_state = {"debug": False}


def main() -> None:
    """Run the command; an error of ours becomes one line on stderr and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without all letters is no error
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its decoders' own lines on stderr,
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # and its own; errors are told by us
    try:
        app()
    except DferError as error:
        if _state["debug"]:
            raise
        print(f"error: {_escape(error.line)}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            opt.note(
                "interrupted; what is finished (clips, epochs, folds) is kept, "
                "the same command does the rest"
            )
        raise
    except OSError as error:
        if _state["debug"]:
            raise
        where = error.filename or "a file"
        print(f"error: {_escape(f'{where}: {error.strerror or error}')}", file=sys.stderr)
        sys.exit(DferError.exit_code)


def _escape(text: str) -> str:
    """Escape what a terminal would obey, such as a sequence of escape in a file's name."""
    return "".join(escape_letter(letter) for letter in text)


@app.callback(invoke_without_command=True)
def settings(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error arose.")] = False,
) -> None:
    """Dynamic facial expression recognition: name the expression in a short video of a face."""
    _state["debug"] = debug
    if debug:
        logging.basicConfig()
        logging.getLogger("dfercli").setLevel(logging.DEBUG)
    if version:
        print(__version__)
        raise typer.Exit


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": data.demo,
    "preprocess": data.preprocess,
    "doctor": data.doctor,
    "train": runs.train,
    "eval": runs.evaluate,
    "ablate": runs.ablate,
    "report": reports.report,
    "predict": videos.predict,
    "app": serving.serve,
    "export": publishing.export,
    "push": publishing.push,
}
"""Command by name, in the order of use."""

for name, command in COMMANDS.items():
    app.command(name)(command)
