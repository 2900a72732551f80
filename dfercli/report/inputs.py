"""All that the page shows, read from finished runs in one place.

The page is made of a `ReportInput` and of nothing else. What it takes of the run folders is here:
their configuration, record, metrics and predictions; what needs the clips themselves is in
`gallery.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dfercli.config import DataConfig, RunConfig
from dfercli.engine.evaluate import PROTOCOLS, Protocol, read_predictions, summarise_runs
from dfercli.engine.explain import Explanation
from dfercli.engine.runlog import (
    RunFolder,
    check_alike,
    find_folds,
    find_newest_run,
    list_deviations,
)
from dfercli.errors import CheckpointError
from dfercli.metrics import FoldSummary
from dfercli.presets import describe_recipe
from dfercli.report.strips import ClipPicture


@dataclass(frozen=True)
class Missing:
    """Something that cannot be shown.

    Attributes:
        why: What is missing.
        command: What makes it; empty where no single command does.
    """

    why: str
    command: str = ""


@dataclass(frozen=True)
class Comparison:
    """What models make of the test clips of one fold.

    Attributes:
        fold: The fold.
        variants: Name of each model's variant, by its name on the page.
        explanations: What each model makes of all clips, by its name on the page.
        clips: Some clips, with what the models make of them.
        missing: The other model, where there is none to compare with.
        remark: How the models differ apart from what is compared; empty where they do not.
    """

    fold: int
    variants: Mapping[str, str]
    explanations: Mapping[str, Explanation]
    clips: Sequence[ClipPicture]
    missing: Missing | None
    remark: str


@dataclass(frozen=True)
class Errors:
    """The most confident errors.

    Attributes:
        table: Columns as `worst_errors` gives them, and `fold`.
        clips: A picture a line of the table, or why there is none.
    """

    table: pd.DataFrame
    clips: Sequence[ClipPicture] | Missing


@dataclass(frozen=True)
class ReportInput:
    """All that the page shows.

    Attributes:
        title: Of the page.
        provenance: What it was made of, by the name of each thing.
        class_names: K classes.
        protocol: Of which epoch predictions and explanations are.
        summaries: Summary over the folds by protocol.
        predictions: By fold: `clip_id`, `label`, a probability a class.
        metrics: By fold, a line an epoch.
        commands: What was typed, each once.
        deviations: What differs from the official lists in the data, a line each.
        errors: The most confident errors.
        features: Of the baseline and the full method, for t-SNE (figure 5).
        attention: Without text and with it (figure 4).
        prompts: Textual prompts alone, and both kinds (figure 2).
    """

    title: str
    provenance: Mapping[str, str]
    class_names: Sequence[str]
    protocol: Protocol
    summaries: Mapping[str, FoldSummary]
    predictions: Mapping[int, pd.DataFrame]
    metrics: Mapping[int, Sequence[Mapping[str, Any]]]
    commands: Sequence[str]
    deviations: Sequence[str]
    errors: Errors
    features: Comparison | Missing
    attention: Comparison | Missing
    prompts: Comparison | Missing


@dataclass(frozen=True)
class Runs:
    """The finished folds of the variant that the page is about.

    Attributes:
        by_fold: Finished runs, in order.
        config: Of the first of them.
        data: Where the clips are.
        protocol: Which epoch is shown.
    """

    by_fold: Mapping[int, RunFolder]
    config: RunConfig
    data: DataConfig
    protocol: Protocol


def find_runs(
    runs: Path,
    dataset: str | None = None,
    variant: str | None = None,
    folds: Sequence[int] | None = None,
    protocol: Protocol = "best",
    data: DataConfig | None = None,
) -> Runs:
    """Find the finished folds that a page is about.

    Args:
        runs: Folder of all runs.
        dataset: Its name; None takes that of the run that was finished last.
        variant: Its folder's name; None takes the one that was finished last.
        folds: Folds to show; None shows all that are finished.
        protocol: Which epoch is shown.
        data: Where the clips are; None takes the place where they were in training.

    Raises:
        CheckpointError: No such run, or not each of these folds, is finished; or the folds were
            not trained alike.
    """
    folder = find_newest_run(runs, dataset or "*", variant or "*").path.parent
    finished = find_folds(folder)
    missing = set(folds or ()) - finished.keys()
    if missing:
        raise CheckpointError(f"fold {min(missing)} of {folder} is not finished; train it first")
    chosen = {fold: run for fold, run in finished.items() if fold in (folds or finished)}
    check_alike(chosen)
    config = next(iter(chosen.values())).read_config()
    return Runs(chosen, config, data or config.data, protocol)


def read_input(
    runs: Runs,
    errors: Errors,
    features: Comparison | Missing,
    attention: Comparison | Missing,
    prompts: Comparison | Missing,
) -> ReportInput:
    """Read the record, metrics and predictions of runs, and join what models make of clips.

    Raises:
        DataError: A predictions file is missing.
    """
    predictions = read_tables(runs)
    entries = [run.read() for run in runs.by_fold.values()]
    summaries: dict[str, FoldSummary] = {p: summarise_runs(runs.by_fold, p) for p in PROTOCOLS}
    typed = [entry["command"] for entry in entries]
    typed += [again["command"] for entry in entries for again in entry.get("resumed", ())]
    return ReportInput(
        title=f"{runs.config.data.dataset}: {runs.config.variant}",
        provenance=_describe(runs, entries),
        class_names=tuple(next(iter(predictions.values())).columns[2:]),
        protocol=runs.protocol,
        summaries=summaries,
        predictions=predictions,
        metrics={fold: run.read_metrics() for fold, run in runs.by_fold.items()},
        commands=[line for line in dict.fromkeys(typed) if line],
        deviations=list_deviations(runs.by_fold.values()),
        errors=errors,
        features=features,
        attention=attention,
        prompts=prompts,
    )


def read_tables(runs: Runs) -> dict[int, pd.DataFrame]:
    """Give the predictions of the epoch that is shown, by fold.

    Raises:
        DataError: A file is missing.
    """
    return {
        fold: read_predictions(run.predictions_file(runs.protocol))
        for fold, run in runs.by_fold.items()
    }


def _describe(runs: Runs, entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Say what the page was made of."""
    config = runs.config

    def each(name: str) -> str:
        return ", ".join(dict.fromkeys(str(entry.get(name)) for entry in entries))

    versions = dict.fromkeys(
        ", ".join(f"{name} {number}" for name, number in entry["versions"].items())
        for entry in entries
    )
    return {
        "dataset": f"{config.data.dataset} (fingerprint {each('data_fingerprint')})",
        "folds": ", ".join(map(str, runs.by_fold)),
        "epoch shown": f"{runs.protocol}: {PROTOCOLS[runs.protocol]}",
        "variant": config.variant,
        "backbone": f"{config.model.backbone}, weights {config.model.weights}",
        "frames": f"{config.model.num_frames} a clip",
        "recipe": describe_recipe(config),
        "seed": str(config.seed),
        "device": each("device"),
        "code": each("commit"),
        "versions": "; ".join(versions),
    }
