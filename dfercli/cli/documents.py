"""Tables on the screen or in a file, in every format."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table as ScreenTable

from dfercli.cli.tables import screen, show_table, start_table
from dfercli.errors import ConfigError, require_known
from dfercli.files import write_text
from dfercli.tables import FORMATS, MISSING, Cell, Column, Document, Table, format_cell, render

SCREEN = "screen"
SUFFIXES = {".csv": "csv", ".md": "markdown", ".tex": "latex", ".json": "json"}
"""Format of a file by its suffix."""

WORDS = ("text",)
"""Kinds of columns that are aligned to the left."""

ALONE = ("text", "count")
"""Kinds of columns that share none on the screen."""

MANY = 5
"""Columns of counts from which on their headings are shortened on the screen (our choice)."""

SPREAD = "±"
"""Begins the name of a column that says how far the figure before it varies."""

Format = Annotated[
    str, typer.Option("--format", help="`screen`, `csv`, `markdown`, `latex` or `json`.")
]
Out = Annotated[
    Path | None,
    typer.Option(help="Write a file instead: `.csv`, `.md`, `.tex` or `.json` tell the format."),
]


def check_format(table_format: str, out: Path | None) -> str:
    """Give the format that was asked for, by name or by a file's suffix, before time is spent.

    Raises:
        ConfigError: There is no such format, or the suffix tells none.
    """
    require_known("format", table_format, FORMATS)
    if out is None or table_format != SCREEN:
        return table_format
    if out.suffix.lower() not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise ConfigError(f"--out {out} tells no format; name it with {known}, or add --format")
    return SUFFIXES[out.suffix.lower()]


def show_document(document: Document, table_format: str, out: Path | None) -> None:
    """Print tables, or write them into a file."""
    if table_format == SCREEN:
        _print_document(document)
        return
    text = render(document, table_format)
    if out is None:
        print(text, end="" if text.endswith("\n") else "\n")
        return
    write_text(out, text)
    print(f"written: {out}")


def _print_document(document: Document) -> None:
    for name, value in document.provenance.joined:
        style = "bold red" if value.startswith("PARTIAL") else "dim"
        screen.print(f"{name}: {value}", style=style, markup=False)
    screen.print()
    for table in document.tables:
        show_table(table.title, _screen_table(table))
        for note in table.notes:
            screen.print(f"  {note}", style="dim", markup=False)
        screen.print()


def _screen_table(table: Table) -> ScreenTable:
    """Give a table for the screen, where figures of one group share a column to save width."""
    groups = _share_columns(table.columns)
    many = sum(column.kind == "count" for column in table.columns) > MANY
    heads = [_shorten(columns[0]) if many else _head(columns) for columns in groups.values()]
    num_words = sum(columns[0].kind in WORDS for columns in groups.values())
    shown = start_table(heads[:num_words], heads[num_words:])
    for number, row in enumerate(table.rows):
        values = iter(row)
        cells = [
            _join_cells(columns, [next(values) for _ in columns]) for columns in groups.values()
        ]
        shown.add_row(*cells, style="bold" if number in table.bold_rows else None)
    for column in shown.columns[num_words:]:
        column.min_width = max(
            (len(line) for cell in column.cells for line in str(cell).splitlines()), default=0
        )
    return shown


def _share_columns(columns: Sequence[Column]) -> dict[int, list[Column]]:
    """Give the columns that stand in each column of the screen, by the place of the first."""
    shared: dict[int, list[Column]] = {}
    for at, column in enumerate(columns):
        last = next(reversed(shared.values()), [Column("")])[-1]
        alone = column.kind in ALONE or last.kind in ALONE or not column.group
        if alone or last.group != column.group:
            shared[at] = [column]
        else:
            next(reversed(shared.values())).append(column)
    return shared


def _shorten(column: Column) -> str:
    """Give the heading of one of many columns of counts, as of a confusion matrix."""
    return column.name[:4] if column.kind == "count" else column.name


def _head(columns: Sequence[Column]) -> str:
    """Give the heading of figures that share a column, with one sign of percent if all are."""
    named = [column for column in columns if not column.name.startswith(SPREAD)]
    units = {column.header.removeprefix(column.name) for column in named}
    if len(units) == 1:
        text = " / ".join(column.name for column in named) + units.pop()
    else:
        text = " / ".join(column.header for column in named)
    return f"{columns[0].group}\n{text}" if columns[0].group else text


def _join_cells(columns: Sequence[Column], values: Sequence[Cell]) -> str:
    """Give figures beside each other, and their spreads, where there are some, below them."""
    texts = [format_cell(value, column.kind) for column, value in zip(columns, values, strict=True)]
    spreads = [column.name.startswith(SPREAD) for column in columns]
    figures = [text for text, spread in zip(texts, spreads, strict=True) if not spread]
    below = [f"{SPREAD}{text}" for text, spread in zip(texts, spreads, strict=True) if spread]
    known = any(not text.endswith(MISSING) for text in below)
    return " / ".join(figures) + (f"\n{' / '.join(below)}" if known else "")
