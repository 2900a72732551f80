"""Commands that make data: videos of drawn people, and face crops with their manifest."""

from pathlib import Path
from typing import Annotated

import typer

from dfercli.cli import options as opt
from dfercli.errors import EXIT_SKIPPED


def demo(
    folder: Annotated[Path, typer.Argument(help="Where the videos and their labels go.")],
    persons: Annotated[int, typer.Option(help="Drawn persons.", min=1)] = 20,
    takes: Annotated[int, typer.Option(help="Videos of each person and expression.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="The same seed draws the same pixels.", min=0)] = 0,
) -> None:
    """Draw the demo dataset: videos of drawn people who show the seven expressions."""
    from dfercli.demo import make_demo

    files = make_demo(folder, persons, takes, seed)
    print(f"{files.num_videos} videos, listed in {files.labels}")
    print(f"one of a person who is not among them: {files.unseen}")


def preprocess(
    dataset: Annotated[str, typer.Option(help="Kind of dataset: folder.")],
    root: Annotated[
        Path | None,
        typer.Option(help="Its folder; by default $DFER_DATA/DATASET, or data/DATASET."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the manifest; by default that of the data's folder."),
    ] = None,
    detector: Annotated[
        str, typer.Option(help="Face detector: face-alignment, or mtcnn (needs no download).")
    ] = "face-alignment",
    size: Annotated[int, typer.Option(help="Side of the face crops in pixels.")] = 224,
    num_folds: Annotated[int, typer.Option(help="Folds to deal one's own videos to.", min=1)] = 5,
    jobs: Annotated[
        int | None,
        typer.Option(help="Processes; by default one a core.", min=1),
    ] = None,
    manifests: opt.Manifests = opt.MANIFESTS,
) -> None:
    """Crop the faces of a dataset's videos and write its manifest."""
    from dfercli.faces.align import CropRecipe
    from dfercli.preprocess import preprocess as crop_dataset

    root = root or opt.usual_root(dataset)
    manifest = manifests / f"{name or root.resolve().name}.csv"
    summary = crop_dataset(dataset, root, manifest, CropRecipe(detector, size), jobs, num_folds)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(summary.counts.items()))
    print(f"{counts}; faces in {summary.faces}, manifest {summary.manifest}")
    if summary.skipped:
        opt.note(f"left out, with reasons: {summary.skipped}")
        raise typer.Exit(EXIT_SKIPPED)
