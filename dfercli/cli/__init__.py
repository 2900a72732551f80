"""The command line: parse options, build a configuration, call the library, and print.

Only this package uses typer and rich. Commands import slow modules when they are called, so that
`dfer --help` does not wait for torch.
"""

import io
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer
from typer.core import TyperCommand

from dfercli import __version__
from dfercli.cli import data, deploy, predict, results, training
from dfercli.cli import options as opt
from dfercli.cli.streams import describe_lost_output, open_closed_streams, tolerate_write_errors
from dfercli.errors import DferError, explain_system_error
from dfercli.text import escape_letter

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_state = {"debug": False}


def main() -> None:
    """Run the command; errors of dfer become one line on stderr and an exit code."""
    open_closed_streams()
    output = tolerate_write_errors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # for terminals that cannot show every character
    # OpenCV and its decoders would print errors, which dfer reports itself.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
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
                "interrupted; finished videos, clips, epochs and folds are kept; "
                "run the same command again to continue"
            )
        raise
    except OSError as error:
        if _state["debug"]:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {_escape(where + explain_system_error(error))}", file=sys.stderr)
        sys.exit(DferError.exit_code)


def _escape(text: str) -> str:
    """Escape control characters, as in file names, which a terminal would interpret."""
    return "".join(escape_letter(letter) for letter in text)


@app.callback(invoke_without_command=True)
def settings(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Dynamic facial expression recognition: classify the expression of a face in a short video."""
    _state["debug"] = debug
    if debug:
        logging.basicConfig()
        logging.getLogger("dfercli").setLevel(logging.DEBUG)
    if version:
        print(__version__)
        raise typer.Exit


@dataclass(frozen=True)
class Command:
    """A command: its function, whose docstring is the help, and an example below the help."""

    function: Callable[..., None]
    example: str
    cls: type[TyperCommand] = TyperCommand


COMMANDS: dict[str, Command] = {
    "demo": Command(data.demo, "dfer demo data/demo --persons 20"),
    "preprocess": Command(
        data.preprocess, "dfer preprocess --dataset folder --root my-videos --detector mtcnn"
    ),
    "doctor": Command(data.doctor, "dfer doctor --dataset dfew"),
    "train": Command(training.train, "dfer train --dataset dfew --folds 1-5"),
    "eval": Command(results.evaluate, "dfer eval full --against baseline", cls=results.EvalCommand),
    "test": Command(results.test, "dfer test dfew/full --dataset my-videos"),
    "ablate": Command(training.ablate, "dfer ablate --table 2 --dataset dfew --folds 1-5"),
    "report": Command(results.report, "dfer report full --epoch last"),
    "predict": Command(predict.predict, "dfer predict video.mp4 --out predictions.csv"),
    "embed": Command(predict.embed, "dfer embed videos/ --out embeddings.parquet"),
    "app": Command(deploy.serve, "dfer app --checkpoint full"),
    "import": Command(
        deploy.import_checkpoint, "dfer import dfew_fold1.pth --dataset dfew --out imported/fold1"
    ),
    "export": Command(deploy.export, "dfer export full --onnx model.onnx"),
    "push": Command(deploy.push, "dfer push full organisation/name --private"),
}
"""Commands by name, in the order of use."""

for name, command in COMMANDS.items():
    app.command(name, cls=command.cls, epilog=f"Example: {command.example}")(command.function)
