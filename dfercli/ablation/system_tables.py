"""The tables of Table 1: costs beside published ones, what each row reads, and printed figures."""

from collections.abc import Mapping, Sequence
from typing import Any

from dfercli.ablation.paper_tables import STILL_IMAGE, STILL_IMAGE_NOTE
from dfercli.ablation.row import Row
from dfercli.ablation.table1 import DATASETS, QUOTED, SOURCES
from dfercli.tables import Column, Document, Table

BASELINE = "baseline"
"""Name of the row that gains are counted from."""

NOT_IN_PAPER = "{}: not in the paper's table; torchvision's network of this name"
RULES_NOTE = (
    "by rule: multiply-accumulates in convolutions, linear layers and the LSTM, nothing inside "
    "attention modules; true: all of them. Published numbers are given for the settings of the "
    "papers only"
)
HOW_FAR_NOTE = (
    "network, recipe: how far they are those of the paper or of its code; changed: by options or "
    "the preset; frames: number and side in pixels"
)


def system_data(row: Row, reading: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what is known about a row, ready for JSON.

    `reading` is that of `describe_reading`, None for a system that cannot be built.
    """
    system = row.system
    assert system is not None
    return {
        "model": system.name,
        "in_paper": system.in_paper,
        "network": system.network,
        "recipe": system.recipe or None,
        **(reading or {}),
        "result_note": system.result_note or None,
    }


def published_cost(row: Row, own_size: bool) -> dict[str, Any]:
    """Return the published cost of a row, ready for JSON; None if its size is not the published."""
    system = row.system
    published = system.published if system and own_size else None
    return {
        "published_parameters": published.parameters if published else None,
        "published_gflops": published.gflops if published else None,
        "published_by": published.source if published else None,
        "cost_note": system.cost_note or None if system and own_size else None,
    }


def systems_cost_document(
    title: str,
    entries: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
    provenance: Mapping[str, str],
) -> Document:
    """Return the costs of the rows of Table 1, and what they read, from `cost_table`."""
    columns = [
        Column("row", "text"),
        Column("trained", "number", "M params"),
        Column("in all", "number", "M params"),
        Column("by rule", "number", "GMACs"),
        Column("true", "number", "GMACs"),
        Column("M", "number", "published"),
        Column("GFLOPs", "number", "published"),
        Column("source", "text"),
    ]
    rows = [
        [
            entry["row"],
            _millions(entry.get("trainable_parameters")),
            _millions(entry.get("total_parameters")),
            entry.get("paper_convention_gmacs"),
            entry.get("true_gmacs"),
            entry.get("published_parameters"),
            entry.get("published_gflops"),
            entry.get("published_by"),
        ]
        for entry in entries
    ]
    cost_notes = [RULES_NOTE]
    for entry in entries:
        if "exact_type_gmacs" in entry:
            cost_notes.append(
                f"{entry['row']}: counted by exact types, as profilers do that skip subclasses of "
                f"the layers that they know: {entry['exact_type_gmacs']:.2f} G"
            )
        if entry.get("cost_note"):
            cost_notes.append(f"{entry['row']}: {entry['cost_note']}")
    named = dict.fromkeys(entry.get("published_by") for entry in entries)
    cost_notes += [f"source {name}: {SOURCES[name]}" for name in named if name]
    if any(entry["row"] == STILL_IMAGE.name for entry in entries):
        cost_notes.append(STILL_IMAGE_NOTE)
    systems = [entry for entry in entries if "network" in entry]
    tables = [Table(title, columns, rows, cost_notes), _reading_table(systems, notes)]
    of = {"of": "one clip as each row reads it, 7 classes"}
    return Document(tables, {**of, **provenance}, {"rows": list(entries)})


def reading_table(
    rows: Sequence[tuple[Row, Mapping[str, Any] | None]], notes: Sequence[str]
) -> Table:
    """Return what each row reads, what it starts from, and how faithful it is."""
    entries = [{"row": row.name, **system_data(row, reading)} for row, reading in rows]
    return _reading_table(entries, notes)


def _reading_table(entries: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> Table:
    columns = [
        Column("row", "text"),
        Column("frames", "text"),
        Column("sampling", "text"),
        Column("weights", "text"),
        Column("epochs", "count"),
        Column("network", "text"),
        Column("recipe", "text"),
    ]
    rows = [
        [
            entry["row"],
            f"{entry['num_frames']} x {entry['image_size']}" if "num_frames" in entry else None,
            entry.get("sampling"),
            entry.get("weights"),
            entry.get("epochs"),
            entry["network"],
            entry["recipe"],
        ]
        for entry in entries
    ]
    others = [NOT_IN_PAPER.format(entry["row"]) for entry in entries if not entry["in_paper"]]
    return Table("settings of each row", columns, rows, [HOW_FAR_NOTE, *notes, *others])


def printed_table(title: str, rows: Sequence[Row]) -> Table:
    """Return the paper's figures of all datasets as printed, and their errors as notes."""
    columns = [Column("row", "text")]
    for name in DATASETS.values():
        columns += [Column("UAR", "percent", name), Column("WAR", "percent", name)]
    cells: list[list[Any]] = []
    notes = ["as printed in the paper; notes, with UAR/WAR, say where that differs from its source"]
    for row in (row for row in rows if row.system and row.system.in_paper):
        figures = [row.paper.get(kind, (None, None)) for kind in DATASETS]
        values = [value for pair in figures for value in pair]
        cells.append([row.name, *(None if value is None else value / 100 for value in values)])
        if row.system and row.system.result_note:
            notes.append(f"{row.name}: {row.system.result_note}")
        elif row.system and row.system.network == QUOTED:
            notes.append(f"{row.name}: only quoted")
    return Table(f"{title} as printed", columns, cells, notes)


def _millions(count: int | None) -> float | None:
    return None if count is None else count / 1e6
