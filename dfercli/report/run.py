"""Writing the page of a variant's finished folds."""

from collections.abc import Sequence
from pathlib import Path

from dfercli.errors import ConfigError
from dfercli.evaluation.tables import protocol_notes
from dfercli.report import sections
from dfercli.report.gallery import Gallery
from dfercli.report.page import check_page, write_page, write_pictures
from dfercli.report.variants import Runs, find_runs
from dfercli.versions import describe_versions

NUM_ERRORS = 6
"""Worst errors that are shown (our choice)."""


def build_report(
    runs: Path,
    dataset: str | None = None,
    variant: str | None = None,
    folds: Sequence[int] | None = None,
    path: Path | None = None,
    figures: Path | None = None,
    protocol: str = "best",
    fold: int | None = None,
    root: Path | None = None,
    manifests: Path | None = None,
) -> Path:
    """Write a page about a variant's finished folds: results, curves, and what the model looks at.

    If something for a section is missing, such as the variant to compare with or the frames, the
    section says so.

    Args:
        runs: Folder of all runs.
        dataset: Name of the dataset; None for that of the run finished last.
        variant: Name of the variant's folder; None for the one finished last.
        folds: Folds to show; None for all that are finished.
        path: The page, an `.html` file; None for `report.html` in the variant's folder.
        figures: Folder for each picture as PNG and PDF; None writes none.
        protocol: Epoch to show.
        fold: Fold whose clips are shown; None for the first.
        root: Folder of the data; None for the one used in training.
        manifests: Folder of the manifest; None for the one used in training.

    Raises:
        CheckpointError: There is no such run, one of `folds` is not finished, or the folds were
            trained with different settings.
        ConfigError: `path` does not end in `.html`, or the runs have no such epoch.
        DataError: A predictions file is missing, damaged or of another run, or `fold` is not shown.
    """
    if path is not None and path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"cannot write {path}: the name of the report must end in .html")
    shown = find_runs(runs, dataset, variant, folds, protocol, root, manifests)
    path = path or next(iter(shown.by_fold.values())).path.parent / "report.html"
    check_page(path)  # before the work
    gallery, names = Gallery(shown, fold), shown.class_names
    parts = [
        sections.results_section(shown),
        sections.classes_section(shown),
        sections.training_section(shown),
        sections.calibration_section(shown),
        sections.features_section(gallery.compare_features(), names),
        sections.attention_section(gallery.compare_text(), names),
        sections.prompts_section(gallery.compare_prompts(), names),
        sections.errors_section(*gallery.find_errors(NUM_ERRORS), names),
        sections.repeat_section(shown),
    ]
    title = f"{shown.results.dataset}: {shown.results.name}"
    write_page(title, _describe_runs(shown), parts, path)
    if figures is not None:
        write_pictures(parts, figures)
    return path


def _describe_runs(runs: Runs) -> dict[str, str]:
    """Return where the page's contents come from, by name."""
    calls = [run.record.calls[0] for run in runs.by_fold.values()]
    versions = dict.fromkeys(describe_versions(call.versions) for call in calls)
    epoch = protocol_notes([runs.protocol])[0]
    return {
        **runs.results.provenance,
        "epoch shown": "none: nothing was trained" if runs.results.untrained else epoch,
        "device": ", ".join(dict.fromkeys(str(call.device) for call in calls)),
        "versions": "; ".join(versions),
    }
