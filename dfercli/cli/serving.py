"""The command that serves a page for the browser."""

import signal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

from dfercli.cli import checkpoints as model
from dfercli.cli import options as opt
from dfercli.errors import ConfigError

if TYPE_CHECKING:
    from dfercli.predict import Predictor

HOST, PORT = "127.0.0.1", 7860
"""Loopback address, which other machines cannot reach, and the usual port of gradio."""

JOB_SECONDS = 900
"""Time limit for one video (our choice)."""


def serve(
    checkpoint: model.Checkpoint = None,
    zero_shot: model.ZeroShot = False,
    detector: model.Detector = None,
    device: model.Device = "auto",
    precision: model.Precision = "auto",
    runs: opt.Runs = opt.RUNS,
    host: Annotated[
        str, opt.grouped(opt.SERVER, "Address to listen on; 0.0.0.0 accepts other machines.")
    ] = HOST,
    port: Annotated[int, opt.grouped(opt.SERVER, "Port to listen on.", min=1, max=65535)] = PORT,
    password: Annotated[
        str | None,
        opt.grouped(
            opt.SERVER,
            "Password that visitors must enter, with the user name `dfer`. Prefer the environment "
            "variable: other users of this machine can see the command line.",
            envvar="DFER_PASSWORD",
            show_envvar=True,
        ),
    ] = None,
    job_seconds: Annotated[
        int, opt.grouped(opt.SERVER, "Time limit for one video, in seconds.", min=1)
    ] = JOB_SECONDS,
) -> None:
    """Serve a web page that classifies uploaded or recorded videos. Press Ctrl-C to stop it."""
    if find_spec("gradio") is None:
        raise ConfigError("the page needs gradio: pip install '.[app]' in the checkout")
    model.check_choice(checkpoint, zero_shot, detector, device, precision)
    from dfercli.app.server import check_address

    if password == "":
        raise ConfigError("--password is empty; choose a password, or remove --password")
    check_address(host, port)
    opt.wait_without_spinning()
    source = model.choose_model(checkpoint, zero_shot, runs, detector, device, precision)
    _serve(source.load(), host, port, password, job_seconds)
    opt.note("stopped")


def _serve(
    predictor: "Predictor", host: str, port: int, password: str | None, job_seconds: int
) -> None:
    from dfercli.app.examine import Examiner
    from dfercli.app.guard import Limits, is_loopback
    from dfercli.app.server import Server
    from dfercli.parallel import take_ending_signals

    server = Server(Examiner(predictor), host, port, password, Limits(job_s=job_seconds))
    try:
        take_ending_signals(signal.default_int_handler)
        if not is_loopback(host) and password is None:
            opt.note(
                f"--host {host}: anyone who can reach this machine can use the page; set --password"
            )
        print(f"open {server.url} in a browser; press Ctrl-C to stop", flush=True)
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()
