"""The page of a variant's finished runs."""

from collections.abc import Sequence
from pathlib import Path

from dfercli.errors import ConfigError
from dfercli.report.clip_sections import (
    attention_section,
    errors_section,
    features_section,
    prompts_section,
)
from dfercli.report.gallery import Gallery
from dfercli.report.inputs import ReportInput, find_runs, read_input
from dfercli.report.page import Section, check_page, write_page, write_pictures
from dfercli.report.sections import (
    calibration_section,
    classes_section,
    repeat_section,
    results_section,
    training_section,
)

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
    number_errors: int = NUM_ERRORS,
    seed: int = 0,
) -> Path:
    """Write a page about a variant's finished folds: figures, curves, and what the model sees.

    What is missing for a section, such as another variant to compare with or the clips' frames,
    is said in it; the page is written all the same.

    Args:
        runs: Folder of all runs.
        dataset: Its name; None takes that of the run that was finished last.
        variant: Its folder's name; None takes the one that was finished last.
        folds: Folds to show; None shows all that are finished.
        path: Of the page, an `.html` file; None takes `report.html` in the variant's folder.
        figures: Folder that each picture is written into too, as PNG and PDF; None writes none.
        protocol: Which epoch is shown.
        fold: The fold whose clips are shown; None takes the first.
        root: Folder of the data; None takes the one that it was in when the runs were trained.
        manifests: Folder of its manifest; None takes the one that it was in then.
        number_errors: Worst errors that are shown.
        seed: Of t-SNE.

    Returns:
        The page's path.

    Raises:
        CheckpointError: No such run, or not each of these folds, is finished; or the folds were
            not trained alike.
        ConfigError: The path is not that of an `.html` file.
        DataError: A predictions file is missing, or the fold is not among those shown.
    """
    if path is not None and path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"cannot write {path}; name it with .html")
    found = find_runs(runs, dataset, variant, folds, protocol, root, manifests)
    path = path or next(iter(found.by_fold.values())).path.parent / "report.html"
    check_page(path)  # before the work
    gallery = Gallery(found, fold)
    given = read_input(
        found,
        errors=gallery.find_errors(number_errors),
        features=gallery.compare_features(),
        attention=gallery.compare_text(),
        prompts=gallery.compare_prompts(),
    )
    sections = make_sections(given, seed)
    write_page(given.title, given.provenance, sections, path)
    if figures is not None:
        write_pictures(sections, figures)
    return path


def make_sections(given: ReportInput, seed: int = 0) -> list[Section]:
    """Give all sections of the page, in their order.

    Args:
        given: All that they show.
        seed: Of t-SNE.
    """
    return [
        results_section(given),
        classes_section(given),
        training_section(given),
        calibration_section(given),
        features_section(given, seed),
        attention_section(given),
        prompts_section(given),
        errors_section(given),
        repeat_section(given),
    ]
