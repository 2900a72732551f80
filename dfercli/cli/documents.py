"""Tables on the screen or in a file, in every format."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table as ScreenTable

from dfercli.cli.tables import screen, show_table, start_table
from dfercli.errors import ConfigError, require_known
from dfercli.files import write_text
from dfercli.tables import FORMATS, Document, Table, format_cell, render

SCREEN = "screen"
SUFFIXES = {".csv": "csv", ".md": "markdown", ".tex": "latex", ".json": "json"}
"""Format of a file by its suffix."""

WORDS = ("text",)
"""Kinds of columns that are aligned to the left."""

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
    for name, value in document.provenance.items():
        style = "bold red" if value.startswith("PARTIAL") else "dim"
        screen.print(f"{name}: {value}", style=style, markup=False)
    screen.print()
    for table in document.tables:
        show_table(table.title, _screen_table(table))
        for note in table.notes:
            screen.print(f"  {note}", style="dim", markup=False)
        screen.print()


def _screen_table(table: Table) -> ScreenTable:
    """Give a table for the screen, where a deviation stands beside its figure."""
    kept = [at for at, column in enumerate(table.columns) if not column.name.startswith("±")]
    words: list[str] = []
    numbers: list[str] = []
    for at in kept:
        column = table.columns[at]
        unit = " %" if column.kind == "percent" else ""
        header = f"{column.name}{unit}" + (f"\n{column.group}" if column.group else "")
        (words if column.kind in WORDS else numbers).append(header)
    shown = start_table(words, numbers)
    for number, row in enumerate(table.rows):
        cells = []
        for at, column in enumerate(table.columns):
            text = format_cell(row[at], column.kind)
            if at in kept:
                cells.append(text)
            elif row[at] is not None:
                cells[-1] += f" ±{text}"
        shown.add_row(*cells, style="bold" if number in table.bold_rows else None)
    return shown
