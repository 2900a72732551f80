"""Two variants on the same clips, as a table: `dfer eval A --against B`."""

from typing import Any

from dfercli.engine.compare import compare
from dfercli.engine.documents import (
    LABELS,
    METRICS,
    describe_method,
    describe_several,
    protocol_notes,
)
from dfercli.engine.evaluate import Results
from dfercli.tables import Column, Document, Table

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
