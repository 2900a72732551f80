"""Results as tables, which `dfer eval` and `dfer test` print in every format."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dfercli.data import DATASETS, load_dataset
from dfercli.errors import DataError
from dfercli.evaluation.compare import calibrate, compare
from dfercli.evaluation.results import Results
from dfercli.metrics.intervals import ENOUGH_GROUPS
from dfercli.metrics.scores import FoldSummary
from dfercli.runs.provenance import UNKNOWN, join
from dfercli.runs.run_folder import PROTOCOLS
from dfercli.tables import Column, Document, Table

LABELS = {
    "best": "best epoch",
    "val": "val epoch",
    "last": "last epoch",
    "checkpoint": "checkpoint",
    "views": "mean of views",
}
"""Heading of each protocol's columns."""

METRICS = {"war": "WAR", "uar": "UAR"}

SHARES = (0.8, 1.0)
"""Shares of decided clips for which the error is reported (our choice)."""

VAL_BIAS_NOTE = (
    "val epoch: the temperature is fitted on the clips that chose the epoch, which biases it: "
    "a true value of 1 becomes about 0.86 with 100 clips, 0.94 with 450, 0.97 with 1,870"
)
VIEWS_NOTE = (
    "the mean probabilities of several samplings of each video, shifted within its segments; "
    "checkpoint: the first of them alone"
)
UNTRAINED_NOTE = "nothing was trained: all epochs are the same model"


def results_document(results: Results, confusion: bool = False) -> Document:
    """Return all tables of one variant: folds and their mean, classes, calibration, confusion."""
    tables = [_folds_table(results), _classes_table(results)]
    if results.held_out:
        tables.append(_calibration_table(results))
    if confusion:
        tables += [_confusion_table(name, results) for name in results.predictions]
    data = {
        "name": results.name,
        "class_names": results.class_names,
        "deviations": results.deviations,
        "protocols": {name: _summary_data(results, name) for name in results.predictions},
    }
    return Document(tables, results.provenance, data)


def side_by_side_document(variants: Sequence[Results]) -> Document:
    """Return one table of the means of several variants, one row per variant.

    Raises:
        DataError: The variants have different classes.
    """
    first, *others = variants
    for other in others:
        if other.class_names != first.class_names:
            raise DataError(
                f"{first.name} and {other.name} have different classes; compare runs of one dataset"
            )
    protocols = [name for name in PROTOCOLS if any(name in v.predictions for v in variants)]
    columns = [Column("run", "text"), Column("folds", "text"), Column("clips", "count")]
    columns += [column for name in protocols for column in mean_columns(name)]
    rows = []
    for results in variants:
        summaries = results.summaries
        summary = next(iter(summaries.values()))
        folds = ", ".join(map(str, summary.folds))
        cells = [value for name in protocols for value in _mean_cells(summaries.get(name))]
        rows.append([results.title, folds, summary.num_clips.sum(), *cells])
    provenance = describe_several(variants)
    data = {
        "runs": [
            {
                "name": results.name,
                "dataset": results.dataset,
                "provenance": results.provenance,
                "protocols": {name: _summary_data(results, name) for name in results.predictions},
            }
            for results in variants
        ]
    }
    notes = [*protocol_notes(protocols), "± is the standard deviation over folds"]
    notes += [f"{results.title}: {UNTRAINED_NOTE}" for results in variants if results.untrained]
    notes += dict.fromkeys(note for results in variants for note in dataset_notes(results.kind))
    return Document([Table("side by side", columns, rows, notes)], provenance, data)


def _folds_table(results: Results) -> Table:
    summaries = results.summaries
    first = next(iter(summaries.values()))
    columns = [Column("fold", "text"), Column("clips", "count")]
    columns += [
        Column(title, "percent", LABELS[name]) for name in summaries for title in METRICS.values()
    ]
    rows: list[list[Any]] = [
        [str(fold), first.num_clips[at]]
        + [getattr(summary, metric)[at] for summary in summaries.values() for metric in METRICS]
        for at, fold in enumerate(first.folds)
    ]
    rows.append(["mean", first.num_clips.sum()])
    rows += [["sd", None], ["95 % from", None], ["to", None]]
    rows.append(["all clips", first.num_clips.sum()])
    for name, summary in summaries.items():
        for metric in METRICS:
            interval = getattr(results.intervals[name], metric)
            values = (
                getattr(summary, f"mean_{metric}"),
                getattr(summary, f"sd_{metric}"),
                interval.low,
                interval.high,
                getattr(summary, f"pooled_{metric}"),
            )
            for row, value in zip(rows[-5:], values, strict=True):
                row.append(value)
    intervals = next(iter(results.intervals.values()))
    method = describe_method(intervals.method, intervals.units, results)
    notes = [
        *([UNTRAINED_NOTE] if results.untrained else protocol_notes(list(summaries))),
        f"95 %: {method}, of the mean over folds; covers the choice of clips, not the training",
        "all clips: all folds pooled, each clip once",
        *_note_missing_classes(results, first),
        *dataset_notes(results.kind),
    ]
    mean_row = len(first.folds)
    return Table(f"{results.title}, each fold", columns, rows, notes, (mean_row,))


def dataset_notes(kind: str) -> tuple[str, ...]:
    """Return what a reader of scores on a kind of dataset should know."""
    official = load_dataset(kind).OFFICIAL if kind in DATASETS else None
    return () if official is None else tuple(official.notes)


def _note_missing_classes(results: Results, summary: FoldSummary) -> list[str]:
    """Return a note about the folds that have no clip of some class, if there are any."""
    names = np.array(results.class_names)
    folds = [
        f"fold {fold} {', '.join(names[missing])}"
        for fold, missing in zip(summary.folds, np.isnan(summary.recalls), strict=True)
        if missing.any()
    ]
    if not folds:
        return []
    return [
        f"folds without clips of a class: {'; '.join(folds)}. Their UAR is over the other classes, "
        "so the mean is too high; the UAR of all clips includes every class"
    ]


def _classes_table(results: Results) -> Table:
    summaries = results.summaries
    columns = [Column("class", "text"), Column("clips", "count")]
    for name in summaries:
        columns += [Column(title, "percent", LABELS[name]) for title in ("recall", "F1")]
    counts = next(iter(summaries.values())).matrix.sum(axis=1)
    rows: list[list[Any]] = []
    for at, class_name in enumerate(results.class_names):
        cells = [v for s in summaries.values() for v in (s.mean_recalls[at], s.mean_f1[at])]
        rows.append([class_name, counts[at], *cells])
    return Table("each class, mean over the folds", columns, rows)


def _calibration_table(results: Results) -> Table:
    columns = [Column("epoch", "text"), Column("temperature", "number")]
    for group in ("as predicted", "calibrated"):
        columns += [Column("ECE", "percent", group), Column("NLL", "number", group)]
    columns += [Column(f"of {share:.0%}", "percent", "error") for share in SHARES]
    rows: list[list[Any]] = []
    remarks: dict[str, None] = {}
    for name in results.held_out:
        calibration = calibrate(results, name)
        before, after = calibration.before, calibration.after
        calibrated = [None, None] if after is None else [after.ece, after.nll]
        cells = [calibration.mean_temperature, before.ece, before.nll, *calibrated]
        rows.append([LABELS[name], *cells, *map(before.risk_at, SHARES)])
        remarks |= {f"{LABELS[name]}: {remark}": None for remark in calibration.remarks}
        if name == "val" and after is not None:
            remarks[VAL_BIAS_NOTE] = None
    notes = [
        *remarks,
        "temperature: fitted on each fold's held-out clips (Guo et al., 2017) with a prior at 1; "
        "mean over folds",
        "error of a share: error rate among that share of the clips, the most confident ones",
    ]
    return Table("calibration", columns, rows, notes)


def _confusion_table(protocol: str, results: Results) -> Table:
    names = results.class_names
    matrix = results.summaries[protocol].matrix.tolist()
    columns = [Column("true", "text"), *(Column(name, "count", "predicted") for name in names)]
    rows = [[name, *counts] for name, counts in zip(names, matrix, strict=True)]
    return Table(f"confusion matrix over all folds, {LABELS[protocol]}", columns, rows)


def mean_columns(protocol: str) -> list[Column]:
    """Return the columns of WAR and UAR with their deviations, under a protocol's heading."""
    return [
        Column(name, "percent", LABELS[protocol])
        for title in METRICS.values()
        for name in (title, f"± {title}")
    ]


def _mean_cells(summary: FoldSummary | None) -> list[float | None]:
    if summary is None:
        return [None] * 4
    return [summary.mean_war, summary.sd_war, summary.mean_uar, summary.sd_uar]


def _summary_data(results: Results, name: str) -> dict[str, Any]:
    data = results.summaries[name].to_dict()
    for metric in METRICS:
        interval = getattr(results.intervals[name], metric)
        data[f"{metric}_interval"] = [interval.low, interval.high]
    return data


def protocol_notes(names: Sequence[str]) -> list[str]:
    """Return one line per protocol that says what it is."""
    texts: dict[str, str] = {"views": VIEWS_NOTE}
    texts |= {str(name): text for name, text in PROTOCOLS.items()}
    return [f"{LABELS[name]}: {texts[name]}" for name in names if name in texts]


def describe_method(method: str, units: int, results: Results) -> str:
    """Return how an interval was computed, and over how many groups or clips (`units`)."""
    table = next(iter(next(iter(results.predictions.values())).values()))
    grouped = "group" in table.columns
    over = f"{units:,} {'groups of clips' if grouped else 'clips'}"
    if method == "bootstrap":
        return f"bootstrap over {over}"
    kind = "groups" if grouped else "clips"
    return f"Student's t over {over} (a fold has fewer than {ENOUGH_GROUPS} {kind} to draw from)"


def describe_several(variants: Sequence[Results]) -> dict[str, str]:
    """Return the provenance of several variants; values that differ are listed by variant."""
    origins = {results.title: results.provenance for results in variants}
    if len({"network" in origin for origin in origins.values()}) > 1:  # with and without CLIP
        origins = {title: _call_network(origin) for title, origin in origins.items()}
    lines = {}
    for name in dict.fromkeys(name for origin in origins.values() for name in origin):
        values = {title: origin.get(name, UNKNOWN) for title, origin in origins.items()}
        if len(set(values.values())) == 1:
            lines[name] = next(iter(values.values()))
        else:
            lines[name] = join(f"{title}: {value}" for title, value in values.items())
    return lines


def _call_network(origin: Mapping[str, str]) -> dict[str, str]:
    """Return a provenance in which the backbone of CLIP is called network, like that of others."""
    return {"network" if name == "backbone" else name: text for name, text in origin.items()}


JUDGED = ("war_interval", "war_p", "uar_interval", "uar_p", "mcnemar_p")
"""Entries of a comparison that say whether a difference is more than chance."""

MCNEMAR_COLUMNS = [
    Column("epoch", "text"),
    Column("right only in A", "count"),
    Column("right only in B", "count"),
    Column("p", "number"),
]
SELECTION_NOTE = (
    "best epoch: both tests ignore that it was chosen on these clips; use another epoch instead"
)
UNEQUAL_NOTE = (
    "best epoch: no interval and no p-value, because the best of more epochs is higher by chance; "
    "these runs had {} epochs"
)
MCNEMAR_NOTE = "exact test; assumes independent clips, which clips of one person are not"


def comparison_document(ours: Results, theirs: Results) -> Document:
    """Return tables that show whether two variants differ by more than chance.

    Raises:
        DataError: The variants did not test the same clips.
    """
    columns = [
        Column("epoch", "text"),
        Column("figure", "text"),
        Column("A", "percent"),
        Column("B", "percent"),
        Column("A minus B", "signed_percent"),
        Column("from", "signed_percent", "95 %"),
        Column("to", "signed_percent", "95 %"),
        Column("p", "number"),
    ]
    rows: list[list[Any]] = []
    tests: list[list[Any]] = []
    data = {}
    epochs = [results.epochs for results in (ours, theirs)]
    unequal = epochs[0] != epochs[1]
    for name in ours.predictions:
        if name not in theirs.predictions:
            continue
        pair = compare(ours, theirs, name)
        if name == "best" and unequal:
            pair |= dict.fromkeys(JUDGED)
        for metric, title in METRICS.items():
            means = [getattr(v.summaries[name], f"mean_{metric}") for v in (ours, theirs)]
            interval = pair[f"{metric}_interval"] or (None, None)
            p_value = pair[f"{metric}_p"]
            rows.append([LABELS[name], title, *means, pair[metric], *interval, p_value])
        tests.append([LABELS[name], pair["only_a"], pair["only_b"], pair["mcnemar_p"]])
        data[name] = pair
    methods = {describe_method(pair["method"], pair["units"], ours) for pair in data.values()}
    notes = [
        *(f"95 % and p: paired, {method}, of the mean over folds" for method in methods),
        UNEQUAL_NOTE.format(" and ".join(map(_list_epochs, epochs))) if unequal else SELECTION_NOTE,
        *protocol_notes(list(data)),
    ]
    title = f"A: {ours.title}, B: {theirs.title}"
    tables = [
        Table(title, columns, rows, notes),
        Table("McNemar's test", MCNEMAR_COLUMNS, tests, [MCNEMAR_NOTE]),
    ]
    provenance = describe_several([ours, theirs])
    return Document(tables, provenance, {"against": data})


def _list_epochs(epochs: frozenset[int]) -> str:
    return "/".join(map(str, sorted(epochs))) or "an unknown number of"
