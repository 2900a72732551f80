"""Commands that put a trained model to use: a browser app, an ONNX file, the Hugging Face Hub."""

import signal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfercli.cli import options as opt
from dfercli.cli.checkpoints import ModelOptions
from dfercli.errors import ConfigError

if TYPE_CHECKING:
    from dfercli.predict import Predictor

HOST, PORT = "127.0.0.1", 7860
"""Loopback address, which other machines cannot reach, and the usual port of gradio."""

JOB_SECONDS = 900
"""Time limit for one video (our choice)."""


@opt.expand_configs()
def serve(
    context: typer.Context,
    model: ModelOptions,
    host: Annotated[
        str, opt.in_server("Address to listen on; 0.0.0.0 accepts other machines.")
    ] = HOST,
    port: Annotated[int, opt.in_server("Port to listen on.", min=1, max=65535)] = PORT,
    password: Annotated[
        str | None,
        opt.in_server(
            "Password that visitors must enter, with the user name `dfer`. Prefer the environment "
            "variable: other users of this machine can see the command line.",
            envvar="DFER_PASSWORD",
            show_envvar=True,
        ),
    ] = None,
    job_seconds: Annotated[
        int, opt.in_server("Time limit for one video, in seconds.", min=1)
    ] = JOB_SECONDS,
) -> None:
    """Serve a web page that classifies uploaded or recorded videos. Press Ctrl-C to stop it."""
    if find_spec("gradio") is None:
        raise ConfigError("the page needs gradio: pip install '.[app]' in the clone")
    model.check()
    from dfercli.app.server import check_address

    if password == "":
        raise ConfigError("--password is empty; choose a password, or remove --password")
    check_address(host, port)
    opt.wait_without_spinning()
    _serve(model.choose().load(), host, port, password, job_seconds)
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


def export(
    checkpoint: opt.Checkpoint,
    onnx: Annotated[Path, typer.Option(help="File to write, such as model.onnx.")],
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Store large weights as 8-bit integers: smaller, slightly less accurate."
        ),
    ] = False,
    runs: opt.Runs = opt.RUNS,
) -> None:
    """Export a checkpoint to an ONNX file, and check that it gives the same probabilities."""
    from dfercli.publish.onnx_file import MAX_DIFFERENCE, OPSET, export_onnx
    from dfercli.runs.lookup import find_checkpoint

    file = export_onnx(find_checkpoint(checkpoint, runs), onnx, int8)
    print(f"written: {file.path}, {file.size / 1e6:,.1f} MB, ONNX opset {OPSET}")
    for name, form in file.inputs.items():
        print(f"input {name}: {form}")
    for name, form in file.outputs.items():
        print(f"output {name}: {form}")
    parity, loss = file.parity, file.loss
    print(
        f"ONNX and PyTorch in fp32 on {parity.num_clips} synthetic clips: largest difference of "
        f"the probabilities {parity.largest:.1e} (limit {MAX_DIFFERENCE:g})"
    )
    if loss is None:
        return
    print(
        f"int8 and PyTorch on the same clips: largest difference {loss.largest:.1e}, mean "
        f"{loss.mean:.1e}, same top class for {loss.num_same} of {loss.num_clips} clips"
    )
    if loss.num_same < loss.num_clips:
        changed = loss.num_clips - loss.num_same
        opt.note(
            f"warning: int8 classifies {changed} of {loss.num_clips} synthetic clips differently; "
            f"test it on your own clips, or remove --int8"
        )


def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="Checkpoint of DFER-CLIP (.pth), one fold's.")],
    dataset: Annotated[
        str, typer.Option(help="Dataset that it was trained on: `dfew`, `ferv39k` or `mafw`.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write, such as imported/dfew-fold1.")],
    fold: Annotated[int, typer.Option(help="Fold that it was not trained on.", min=1)] = 1,
) -> None:
    """Convert an official checkpoint of DFER-CLIP, without running code that the file may contain.

    The folder can be used wherever a checkpoint is named, such as in `dfer test`.
    """
    from dfercli.publish.import_dfer_clip import import_dfer_clip

    imported = import_dfer_clip(file, out, dataset.lower(), fold)
    print(f"written: {imported.folder}, {len(imported.class_names)} classes")
    if imported.best_war is not None:
        print(f"best WAR that the file records: {imported.best_war:.2f} %")
    opt.note(f"these weights are subject to the terms of {dataset}; see docs/publishing.md")


def push(
    checkpoint: Annotated[
        str, typer.Argument(help="Folder of a checkpoint or run, or name of a run such as `full`.")
    ],
    name: Annotated[str, typer.Argument(help="Repository on the Hub, such as organisation/name.")],
    private: Annotated[
        bool, typer.Option("--private", help="Create a private repository.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the model card; upload nothing.")
    ] = False,
    runs: opt.Runs = opt.RUNS,
) -> None:
    """Publish a checkpoint on the Hugging Face Hub, with a model card generated from its run."""
    from dfercli.publish.hub import prepare
    from dfercli.publish.hub import push as upload
    from dfercli.runs.lookup import find_checkpoint

    publication = prepare(find_checkpoint(checkpoint, runs), name)
    if dry_run:
        print(publication.card)
    for file, size in publication.sizes.items():
        print(f"{file}: {size:,} bytes")
    if not dry_run:
        print(f"published: {upload(publication, private)}")
