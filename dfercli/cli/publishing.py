"""Commands that publish a trained model: as an ONNX file, or on the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

import typer

from dfercli.cli import options as opt


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


def push(
    checkpoint: Annotated[
        str,
        typer.Argument(help="Folder of a checkpoint or run, or name of a run such as `full`."),
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
