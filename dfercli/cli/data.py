"""Commands for data: videos of drawn people, face crops with a manifest, and checks."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dfercli.cli import options as opt
from dfercli.errors import EXIT_SKIPPED, ConfigError, DferError
from dfercli.text import count_of


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder for the videos and their labels.")],
    persons: Annotated[int, typer.Option(help="Number of persons in the dataset.", min=1)] = 20,
    takes: Annotated[int, typer.Option(help="Videos per person and expression.", min=1)] = 1,
    seed: Annotated[
        int, typer.Option(help="Random seed; the same seed draws the same videos.", min=0)
    ] = 0,
) -> None:
    """Draw the demo dataset: videos of drawn people who show the seven basic expressions."""
    from dfercli.demo.videos import make_demo

    files = make_demo(folder, persons, takes, seed)
    print(f"{files.num_videos} videos, listed in {files.labels}")
    print(f"video of a person who is not in the dataset: {files.unseen}")


def preprocess(
    dataset: Annotated[
        str,
        opt.in_data(
            "Dataset: `dfew`, `ferv39k`, `mafw`, `ravdess`, `crema-d`, `enterface`, or `folder` "
            "for your own videos."
        ),
    ],
    root: Annotated[
        Path | None,
        opt.in_data("Folder of the dataset; by default $DFER_DATA/DATASET, or data/DATASET."),
    ] = None,
    name: Annotated[
        str | None, opt.in_data("Name of the manifest; by default that of the dataset or folder.")
    ] = None,
    media: Annotated[
        str | None,
        opt.in_data(
            "Media: `faces` or `faces-16f` for dfew; `clips`, `frames` or `faces` for mafw; "
            "`speech` or `song` for ravdess; `videos` or `all` for crema-d."
        ),
    ] = None,
    adopt: Annotated[
        bool | None,
        opt.in_faces(
            "Use the frames of the dataset as face crops, or detect and crop the faces.",
            "--adopt/--crop",
        ),
    ] = None,
    detector: Annotated[
        str, opt.in_faces("Face detector: `face-alignment`, or `mtcnn` (needs no download).")
    ] = "face-alignment",
    size: Annotated[int, opt.in_faces("Side of the face crops in pixels.")] = 224,
    num_folds: Annotated[
        int | None,
        opt.in_data(
            "Number of folds for your own videos; by default that of the last call, or 5.", min=1
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        opt.in_compute("Number of processes; by default one per core, or two on a GPU.", min=1),
    ] = None,
    allow_partial: Annotated[
        bool,
        opt.in_data("Accept lists or clips that differ from the official ones.", "--allow-partial"),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done without doing it.")
    ] = False,
    manifests: opt.Manifests = opt.MANIFESTS,
) -> None:
    """Crop the faces in every clip of a dataset, and write a manifest with the folds."""
    from dfercli.data.sources.base import Choices
    from dfercli.faces.align import CropRecipe
    from dfercli.files import check_plain_name
    from dfercli.preprocess.plan import plan_preprocess
    from dfercli.preprocess.run import preprocess as carry_out

    dataset = dataset.lower()
    if root is None and dataset == "folder":
        raise ConfigError(
            "--dataset folder needs --root: the folder with labels.csv and the videos"
        )
    root = root or opt.usual_root(dataset)
    usual = root.resolve().name if dataset == "folder" else "-".join(filter(None, (dataset, media)))
    name = name or usual
    check_plain_name(name, "--name")
    choices = Choices(media, adopt, num_folds)
    recipe = CropRecipe(detector, size)
    plan = plan_preprocess(dataset, root, manifests / f"{name}.csv", recipe, choices)
    if dry_run:
        print("\n".join(plan.describe()))
        raise typer.Exit(1 if plan.deviations and not allow_partial else 0)
    opt.note("\n".join(plan.listing.taken))
    summary = carry_out(plan, jobs, allow_partial)
    counts = ", ".join(f"{count:,} {status}" for status, count in sorted(summary.counts.items()))
    print(f"{counts}; faces in {plan.faces}, manifest {plan.manifest}")
    print(f"clips: {summary.manifest.describe()}")
    for remark in (*summary.manifest.remarks(), *summary.notes):
        opt.note(remark)
    for what, path in (("clips to review", summary.review), ("worst crops", summary.sheet)):
        if path:
            opt.note(f"{what}: {path}")
    if summary.left_out:
        opt.note(f"left out: {count_of(summary.left_out, 'clip')}; reasons in {summary.review}")
        raise typer.Exit(EXIT_SKIPPED)


def doctor(
    dataset: Annotated[
        str | None, typer.Option(help="Name of a manifest; by default all manifests.")
    ] = None,
    root: opt.Root = None,
    manifests: opt.Manifests = opt.MANIFESTS,
    as_json: opt.AsJson = False,
) -> None:
    """Check this machine and every frame of the datasets; exit code 1 if a run would fail."""
    from dfercli.data.manifest import find_manifest
    from dfercli.doctor import diagnose

    if root and not dataset:
        raise ConfigError("--root is the folder of a single dataset; add --dataset")
    paths = [find_manifest(manifests, dataset)] if dataset else sorted(manifests.glob("*.csv"))
    unprepared = {} if dataset else opt.find_unprepared({path.stem for path in paths})
    data = {path: root or opt.find_root(path) for path in paths}
    diagnosis = diagnose(data, unprepared, requested=dataset is not None)
    if as_json:
        print(json.dumps(diagnosis.to_dict(), indent=2))
    else:
        from dfercli.cli.printing import print_diagnosis

        print_diagnosis(diagnosis)
    if not diagnosis.healthy:
        raise typer.Exit(DferError.exit_code)
