"""All that the page shows, read from finished runs in one place.

The page is made of a `ReportInput` and of nothing else. What it takes of the run folders is here:
their configuration, record, metrics and predictions; what needs the clips themselves is in
`gallery.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from dfercli.config import DataConfig, RunConfig
from dfercli.errors import require_known
from dfercli.evaluation.explain import Explanation
from dfercli.evaluation.results import Results, read_results
from dfercli.evaluation.tables import protocol_notes
from dfercli.report.strips import ClipPicture
from dfercli.runs.record import RunRecord
from dfercli.runs.run_folder import FinishedRun
from dfercli.versions import describe_versions


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
        results: Predictions and figures of all protocols.
        protocol: Of which epoch pictures and explanations are.
        metrics: By fold, a line an epoch.
        commands: What was typed, each once.
        errors: The most confident errors.
        features: Of the baseline and the full method, for t-SNE (figure 5).
        attention: Without text and with it (figure 4).
        prompts: Textual prompts alone, and both kinds (figure 2).
    """

    title: str
    provenance: Mapping[str, str]
    results: Results
    protocol: str
    metrics: Mapping[int, Sequence[Mapping[str, Any]]]
    commands: Sequence[str]
    errors: Errors
    features: Comparison | Missing
    attention: Comparison | Missing
    prompts: Comparison | Missing

    @property
    def class_names(self) -> list[str]:
        """The K classes."""
        return self.results.class_names

    @property
    def folds(self) -> list[int]:
        """Folds that are shown."""
        return list(self.metrics)


@dataclass(frozen=True)
class Runs:
    """The finished folds of the variant that the page is about.

    Attributes:
        results: Their predictions.
        data: Where the clips are.
        protocol: Which epoch is shown.
    """

    results: Results
    data: DataConfig
    protocol: str

    @property
    def by_fold(self) -> Mapping[int, FinishedRun]:
        """Finished runs, in order."""
        return self.results.runs

    @property
    def config(self) -> RunConfig:
        """Of the first of them."""
        return next(iter(self.by_fold.values())).record.config

    @property
    def tables(self) -> Mapping[int, pd.DataFrame]:
        """Predictions of the epoch that is shown, by fold."""
        return self.results.predictions[self.protocol]


def find_runs(
    runs: Path,
    dataset: str | None = None,
    variant: str | None = None,
    folds: Sequence[int] | None = None,
    protocol: str = "best",
    root: Path | None = None,
    manifests: Path | None = None,
) -> Runs:
    """Find the finished folds that a page is about.

    Args:
        runs: Folder of all runs.
        dataset: Its name; None takes that of the run that was finished last.
        variant: Its folder's name; None takes the one that was finished last.
        folds: Folds to show; None shows all that are finished.
        protocol: Which epoch is shown.
        root: Folder of the data; None takes the one that it was in when the runs were trained.
        manifests: Folder of its manifest; None takes the one that it was in then.

    Raises:
        CheckpointError: No such run, or not each of these folds, is finished; or the folds were
            not trained alike.
        ConfigError: The runs have no such epoch.
        DataError: Predictions are missing, damaged, or not those of their run.
    """
    results = read_results(runs, dataset, variant, folds)
    require_known("epoch", protocol, tuple(results.predictions))
    data = next(iter(results.runs.values())).record.config.data
    if manifests is not None:
        data = replace(data, manifest=str(manifests / Path(data.manifest).name))
    return Runs(results, replace(data, root=str(root or data.root)), protocol)


def read_input(
    runs: Runs,
    errors: Errors,
    features: Comparison | Missing,
    attention: Comparison | Missing,
    prompts: Comparison | Missing,
) -> ReportInput:
    """Read the record and the metrics of runs, and join what models make of clips."""
    records = [run.record for run in runs.by_fold.values()]
    metrics = {fold: run.read_metrics() for fold, run in runs.by_fold.items()}
    commands = [record.calls[0].command for record in records]
    commands += [call.command for record in records for call in record.resumed]
    return ReportInput(
        title=f"{runs.results.dataset}: {runs.results.name}",
        provenance=_describe(runs, records),
        results=runs.results,
        protocol=runs.protocol,
        metrics=metrics,
        commands=[line for line in dict.fromkeys(commands) if line],
        errors=errors,
        features=features,
        attention=attention,
        prompts=prompts,
    )


def _describe(runs: Runs, records: Sequence[RunRecord]) -> dict[str, str]:
    """Say what the page was made of."""
    versions = dict.fromkeys(describe_versions(record.calls[0].versions) for record in records)
    named = protocol_notes([runs.protocol])[0]
    shown = "none: nothing was trained" if runs.results.untrained else named
    return {
        **runs.results.provenance,
        "epoch shown": shown,
        "device": ", ".join(dict.fromkeys(str(record.calls[0].device) for record in records)),
        "versions": "; ".join(versions),
    }
