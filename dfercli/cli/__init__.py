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
from dfercli.cli import data, predict, publishing, reports, runs, serving
from dfercli.cli import options as opt
from dfercli.cli.streams import describe_lost_output, open_closed_streams, take_patiently
from dfercli.errors import DferError
from dfercli.system_errors import explain_system_error
from dfercli.text import escape_letter

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
    open_closed_streams()
    output = take_patiently()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without all letters is no error
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its decoders' own lines on stderr,
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # and its own; errors are told by us
    try:
        _run()
    except SystemExit as end:
        lost = describe_lost_output(output)
        if lost is None:
            raise
        print(f"error: {lost}", file=sys.stderr)
        sys.exit(end.code or DferError.exit_code)


def _run() -> None:
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
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {_escape(where + explain_system_error(error))}", file=sys.stderr)
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
    "predict": predict.predict,
    "app": serving.serve,
    "export": publishing.export,
    "push": publishing.push,
}
"""Command by name, in the order of use."""

for name, command in COMMANDS.items():
    app.command(name)(command)
