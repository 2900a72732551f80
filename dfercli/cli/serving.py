"""The command that serves a page in the browser."""

import ipaddress
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from dfercli.cli import options as opt
from dfercli.cli.videos import _find_newest as find_newest
from dfercli.errors import ConfigError

HOST, PORT = "127.0.0.1", 7860
"""Address of this machine that no other can reach, and gradio's usual port."""


def serve(
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Folder or Hub name; by default the run finished last, its best epoch."),
    ] = None,
    zero_shot: Annotated[
        bool,
        typer.Option("--zero-shot", help="CLIP as it is, never trained on expressions: weak."),
    ] = False,
    detector: Annotated[
        str | None,
        typer.Option(help="Face detector; by default that of the checkpoint."),
    ] = None,
    device: Annotated[str, typer.Option(help="`auto`, `cpu`, `cuda` or `mps`.")] = "auto",
    precision: Annotated[str, typer.Option(help="`auto`, `fp32`, `bf16` or `fp16`.")] = "auto",
    runs: opt.Runs = opt.RUNS,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in.")
    ] = HOST,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = PORT,
) -> None:
    """Name expressions on a page in the browser: drop a video, or record one; Ctrl-C ends it."""
    if find_spec("gradio") is None:
        raise ConfigError("the page needs gradio: pip install 'dfer[app]'")
    from dfercli.app.server import check_address

    check_address(host, port)
    where = _find_checkpoint(checkpoint, zero_shot, runs)
    _serve(where, detector, device, precision, host, port)
    opt.note("stopped")


def _find_checkpoint(checkpoint: str | None, zero_shot: bool, runs: Path) -> str | None:
    """Give the checkpoint that was asked for, or the newest; None for CLIP as it is."""
    if zero_shot:
        if checkpoint:
            raise ConfigError("--zero-shot is CLIP as it is; leave it out, or --checkpoint")
        return None
    return checkpoint or find_newest(runs)


def _serve(
    where: str | None, detector: str | None, device: str, precision: str, host: str, port: int
) -> None:
    from dfercli.app.examine import Examiner
    from dfercli.app.server import Server
    from dfercli.predict import Predictor

    opt.note(f"checkpoint: {where or 'none, CLIP as it is: never trained on expressions'}")
    if where is None:
        predictor = Predictor.zero_shot(detector, device, precision)
    else:
        predictor = Predictor.from_checkpoint(where, detector, device, precision)
    server = Server(Examiner(predictor, where), host, port)
    if not _is_loopback(host):
        opt.note(f"--host {host}: whoever reaches this machine can use the page; no password")
    print(f"open {server.url} in a browser; Ctrl-C ends it", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
