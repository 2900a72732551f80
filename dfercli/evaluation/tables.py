"""Results as tables: what `dfer eval` prints, in every format."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dfercli.errors import DataError
from dfercli.evaluation.compare import calibrate, compare
from dfercli.evaluation.results import Results
from dfercli.metrics import ENOUGH_GROUPS, FoldSummary
from dfercli.runs.provenance import UNKNOWN, join
from dfercli.runs.run_folder import PROTOCOLS
from dfercli.tables import Column, Document, Provenance, Table

LABELS = {
    "best": "best epoch",
    "val": "val epoch",
    "last": "last epoch",
    "checkpoint": "checkpoint",
}
"""Heading of each protocol's columns."""

METRICS = {"war": "WAR", "uar": "UAR"}

SHARES = (0.8, 1.0)
"""Shares of the clips that are decided where errors are told (our choice)."""

VAL_BIAS_NOTE = (
    "val epoch: the clips that fit its temperature chose it, which makes it look surer than it is: "
    "a true 1 is fitted as about 0.86 of 100 clips, 0.94 of 450, 0.97 of 1,870"
)
UNTRAINED_NOTE = "nothing was trained: all epochs are one and the same model"


def results_document(results: Results, confusion: bool = False) -> Document:
    """Give all figures of one variant: per fold, their mean, per class, and how sure it is.

    Args:
        results: Of a variant or a checkpoint.
        confusion: Add the confusion matrix over all folds, for each protocol.
    """
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
    return Document(tables, Provenance(results.provenance), data)


def side_by_side_document(every: Sequence[Results]) -> Document:
    """Give the means of several variants, a row each.

    Raises:
        DataError: They have other classes.
    """
    first = every[0]
    for other in every[1:]:
        if other.class_names != first.class_names:
            raise DataError(
                f"{first.name} and {other.name} have other classes; compare runs of one dataset"
            )
    protocols = [name for name in PROTOCOLS if any(name in each.predictions for each in every)]
    columns = [Column("run", "text"), Column("folds", "text"), Column("clips", "count")]
    columns += [column for name in protocols for column in mean_columns(name)]
    rows = []
    for each in every:
        summaries = each.summaries
        some = next(iter(summaries.values()))
        cells = [value for name in protocols for value in _mean_cells(summaries.get(name))]
        rows.append([each.title, ", ".join(map(str, some.folds)), some.num_clips.sum(), *cells])
    provenance = describe_several(every)
    data = {
        "runs": [
            {"name": each.name, "dataset": each.dataset, "provenance": each.provenance}
            | {"protocols": {name: _summary_data(each, name) for name in each.predictions}}
            for each in every
        ]
    }
    notes = [*protocol_notes(protocols), "± is the standard deviation over folds"]
    notes += [f"{each.title}: {UNTRAINED_NOTE}" for each in every if each.untrained]
    return Document([Table("side by side", columns, rows, notes)], provenance, data)


def _folds_table(results: Results) -> Table:
    summaries = results.summaries
    some = next(iter(summaries.values()))
    columns = [Column("fold", "text"), Column("clips", "count")]
    columns += [
        Column(title, "percent", LABELS[name]) for name in summaries for title in METRICS.values()
    ]
    rows: list[list[Any]] = [
        [str(fold), some.num_clips[at]]
        + [getattr(each, metric)[at] for each in summaries.values() for metric in METRICS]
        for at, fold in enumerate(some.folds)
    ]
    rows.append(["mean", some.num_clips.sum()])
    rows += [["sd", None], ["95 % from", None], ["to", None]]
    rows.append(["all clips", some.num_clips.sum()])
    for name, each in summaries.items():
        for metric in METRICS:
            at_95 = getattr(results.intervals[name], metric)
            figures = getattr(each, f"mean_{metric}"), getattr(each, f"sd_{metric}")
            values = *figures, at_95.low, at_95.high, getattr(each, f"pooled_{metric}")
            for row, value in zip(rows[-5:], values, strict=True):
                row.append(value)
    chosen = [UNTRAINED_NOTE] if results.untrained else protocol_notes(list(summaries))
    notes = [
        *chosen,
        f"95 %: {_describe_intervals(results)}, of the mean over folds: what other clips would "
        "change, not what another training would",
        "all clips: of the clips of all folds together, each clip once",
        *_note_lacking(results, some),
    ]
    mean = len(some.folds)
    title = f"{results.title}, each fold"
    return Table(title, columns, rows, notes, (mean,))


def _note_lacking(results: Results, summary: FoldSummary) -> list[str]:
    """Say which folds have no clip of some class, and what that does to the mean UAR."""
    names = np.array(results.class_names)
    lacking = [
        f"fold {fold} {', '.join(names[gone])}"
        for fold, gone in zip(summary.folds, np.isnan(summary.recalls), strict=True)
        if gone.any()
    ]
    if not lacking:
        return []
    return [
        f"without a clip of some class: {'; '.join(lacking)}. Their UAR is over the other classes, "
        "which lets the mean look better than it is; that of all clips misses none"
    ]


def _describe_intervals(results: Results) -> str:
    some = next(iter(results.intervals.values()))
    return describe_method(some.method, some.units, results)


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
        found = calibrate(results, name)
        before, after = found.before, found.after
        calibrated = [None, None] if after is None else [after.ece, after.nll]
        cells = [found.mean_temperature, before.ece, before.nll, *calibrated]
        rows.append([LABELS[name], *cells, *map(before.risk_at, SHARES)])
        remarks |= {f"{LABELS[name]}: {remark}": None for remark in found.remarks}
        if name == "val" and after is not None:
            remarks[VAL_BIAS_NOTE] = None
    notes = [
        *remarks,
        "temperature: of each fold's held-out clips (Guo et al., 2017), with a prior at 1, mean "
        "over folds",
        "error of a share: of the clips that it is surest of, the others left undecided",
    ]
    return Table("how sure it is", columns, rows, notes)


def _confusion_table(protocol: str, results: Results) -> Table:
    names = results.class_names
    matrix = results.summaries[protocol].matrix.tolist()
    columns = [Column("true", "text"), *(Column(name, "count", "predicted") for name in names)]
    rows = [[name, *counts] for name, counts in zip(names, matrix, strict=True)]
    return Table(f"confusion matrix over all folds, {LABELS[protocol]}", columns, rows)


def mean_columns(protocol: str) -> list[Column]:
    """Give the columns of WAR and UAR with their deviations, under a protocol's heading."""
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
    every = results.intervals[name]
    found = {f"{metric}_interval": getattr(every, metric) for metric in METRICS}
    pairs = {metric: [each.low, each.high] for metric, each in found.items()}
    return results.summaries[name].to_dict() | pairs


def protocol_notes(names: Sequence[str]) -> list[str]:
    """Say what each protocol is."""
    known = {str(name): text for name, text in PROTOCOLS.items()}
    return [f"{LABELS[name]}: {known[name]}" for name in names if name in known]


def describe_method(method: str, units: int, results: Results) -> str:
    """Say how an interval was found, and over how many groups or clips.

    Args:
        method: `bootstrap`, or `t`.
        units: How many there are.
        results: Of the model, whose clips are in groups or not.
    """
    some = next(iter(next(iter(results.predictions.values())).values()))
    grouped = "group" in some.columns
    over = f"{units:,} {'groups of clips' if grouped else 'clips'}"
    if method == "bootstrap":
        return f"bootstrap over {over}"
    kind = "groups" if grouped else "clips"
    return f"Student's t over {over} (a fold has fewer than {ENOUGH_GROUPS} {kind} to draw from)"


def describe_several(every: Sequence[Results]) -> Provenance:
    """Give what figures of several runs are of; what differs is told run by run."""
    names = dict.fromkeys(name for each in every for name in each.provenance)
    lines = {}
    for name in names:
        values = {each.title: each.provenance.get(name, UNKNOWN) for each in every}
        same = len(set(values.values())) == 1
        told = [value if same else f"{title}: {value}" for title, value in values.items()]
        lines[name] = join(told)
    return Provenance(lines)


JUDGED = ("war_interval", "war_p", "uar_interval", "uar_p", "mcnemar_p")
"""Entries of a comparison that say whether a difference is more than chance."""

MCNEMAR_COLUMNS = [
    Column("epoch", "text"),
    Column("right only in A", "count"),
    Column("right only in B", "count"),
    Column("p", "number"),
]
SELECTION_NOTE = (
    "both tests take the epoch as given; these very clips chose the best epoch, so judge by another"
)
UNEQUAL_NOTE = (
    "best epoch: no interval or p, since the best of more epochs is better by chance alone, and "
    "these runs had {} epochs"
)
MCNEMAR_NOTE = "exact; it takes clips as independent, which those of one person are not"


def comparison_document(ours: Results, theirs: Results) -> Document:
    """Say whether two variants differ by more than chance, on the clips that both tested.

    Raises:
        DataError: They did not test the same clips.
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
    epochs = [each.epochs for each in (ours, theirs)]
    unequal = epochs[0] != epochs[1]
    for name in ours.predictions:
        if name not in theirs.predictions:
            continue
        found = compare(ours, theirs, name)
        if name == "best" and unequal:
            found |= dict.fromkeys(JUDGED)
        for metric, title in METRICS.items():
            means = [getattr(each.summaries[name], f"mean_{metric}") for each in (ours, theirs)]
            interval = found[f"{metric}_interval"] or (None, None)
            rows.append(
                [LABELS[name], title, *means, found[metric], *interval, found[f"{metric}_p"]]
            )
        tests.append([LABELS[name], found["only_a"], found["only_b"], found["mcnemar_p"]])
        data[name] = found
    methods = {describe_method(found["method"], found["units"], ours) for found in data.values()}
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
