"""The command that serves a page in the browser."""

import ipaddress
import signal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from dfercli.cli import checkpoints as model
from dfercli.cli import options as opt
from dfercli.errors import ConfigError

if TYPE_CHECKING:
    from dfercli.predict import Predictor

HOST, PORT = "127.0.0.1", 7860
"""Address of this machine that no other can reach, and gradio's usual port."""


def serve(
    checkpoint: model.Checkpoint = None,
    zero_shot: model.ZeroShot = False,
    detector: model.Detector = None,
    device: model.Device = "auto",
    precision: model.Precision = "auto",
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
    model.check_choice(checkpoint, zero_shot)
    opt.wait_without_spinning()
    make = model.choose_predictor(checkpoint, zero_shot, runs, detector, device, precision)
    _serve(make(), host, port)
    opt.note("stopped")


def _serve(predictor: "Predictor", host: str, port: int) -> None:
    from dfercli.app.examine import Examiner
    from dfercli.app.server import Server

    server = Server(Examiner(predictor), host, port)
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
