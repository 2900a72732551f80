"""Tables for spreadsheets and programs: CSV and JSON."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from dfercli.cells import escape_cell
from dfercli.tables.document import Cell, Column, Document, Kind, Table, is_missing, one_line
from dfercli.tables.names import tell_apart


def render_csv(document: Document) -> str:
    """Write raw values; what is no table is a comment line. Tables have an empty line between."""
    head = "".join(f"# {key}: {value}\n" for key, value in document.provenance.pairs)
    return head + "\n".join(_csv_table(table) for table in document.tables)


def _csv_table(table: Table) -> str:
    lines = [f"# {one_line(table.title)}", *(f"# note: {one_line(note)}" for note in table.notes)]
    lines.append(",".join(_csv_names(table.columns)))
    for row in table.rows:
        cells = [_csv_cell(cell, col.kind) for cell, col in zip(row, table.columns, strict=True)]
        lines.append(",".join(cells) or '""')  # an empty line would be passed over
    return "\n".join(lines) + "\n"


def _csv_names(columns: Sequence[Column]) -> list[str]:
    """Name columns in snake case, each otherwise than the ones before."""
    headings = (f"{column.group} {column.name}".replace("Δ", "delta ") for column in columns)
    words = (re.findall(r"\w+", heading.lower()) for heading in headings)
    return tell_apart(("_".join(each).strip("_") or "column" for each in words), "_")


def _csv_cell(value: Cell, kind: Kind) -> str:
    if is_missing(value):
        return ""
    if kind == "text":
        text = escape_cell(str(value))
        hostile = text != text.strip() or any(mark in text for mark in ',"#\n\r')
        return '"{}"'.format(text.replace('"', '""')) if hostile else text
    number = cast(float, value)
    return str(int(number)) if kind == "count" else repr(float(number))


def render_json(document: Document) -> str:
    """Write title, provenance, the notes of all tables, tables and data as strict JSON."""
    values = {
        "title": document.tables[0].title if document.tables else "",
        "provenance": document.provenance.entries,
        "notes": [note for table in document.tables for note in table.notes],
        "tables": [_json_table(table) for table in document.tables],
        "data": document.data,
    }
    return json.dumps(_plain(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _json_table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "columns": [
            {"name": column.name, "group": column.group, "kind": column.kind}
            for column in table.columns
        ],
        "rows": table.rows,
        "notes": table.notes,
    }


def _plain(value: Any) -> Any:
    """Give a value as JSON has it, with null for what is not finite."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
