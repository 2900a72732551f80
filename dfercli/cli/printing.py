"""Tables on the screen or in files, in every format."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as ScreenTable
from rich.text import Text

from dfercli.cli.options import in_output
from dfercli.errors import ConfigError, require_known
from dfercli.files import write_text
from dfercli.tables import (
    FORMATS,
    MISSING,
    Cell,
    Column,
    Document,
    Table,
    format_cell,
    render,
    render_files,
)

BETWEEN = 2
"""Characters between two columns; the table adds one more."""

screen = Console(highlight=False)


def start_table(words: Sequence[str], numbers: Sequence[str]) -> ScreenTable:
    """Return an empty table with columns of words, then of numbers."""
    table = ScreenTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for header in words:
        table.add_column(header)
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def show_table(title: str, table: ScreenTable) -> None:
    """Print a table with its title, as wide as its columns need."""
    screen.print(Text(title, "bold"))
    needed = 1 + sum(BETWEEN + (column.min_width or 0) for column in table.columns)
    wide = screen if needed <= screen.width else Console(highlight=False, width=needed)
    wide.print(table)


MARKS: dict["State", str] = {
    "ok": "[green]ok[/]",
    "note": "[yellow]note[/]",
    "wrong": "[red]WRONG[/]",
}


def print_diagnosis(diagnosis: "Diagnosis") -> None:
    """Print the findings of `dfer doctor`: the machine, then each dataset."""
    show_table("machine", _findings_table(diagnosis.machine))
    for report in diagnosis.datasets:
        show_table(
            f"{report.name}: {report.manifest}, data in {report.root}",
            _findings_table(report.findings),
        )
        if report.sheet:
            screen.print(f"sample frames: {report.sheet}", markup=False, soft_wrap=True)
    screen.print(diagnosis.verdict)


def _findings_table(findings: "Sequence[Finding]") -> ScreenTable:
    table = start_table(["", "", ""], [])
    table.show_header = False
    for finding in findings:
        table.add_row(MARKS[finding.state], finding.topic, Text(finding.text))
    return table


if TYPE_CHECKING:
    from dfercli.doctor import Diagnosis, Finding, State

SCREEN = "screen"
SUFFIXES = {".csv": "csv", ".md": "markdown", ".tex": "latex", ".json": "json"}
"""Format of a file by its suffix."""

WORDS = ("text",)
"""Kinds of columns that are left-aligned."""

ALONE = ("text", "count")
"""Kinds of columns that never share a column of the screen."""

MIN_WIDTH = 8
"""Minimum width of a column of words on a narrow screen (our choice)."""

WHOLE_WORD = 13
"""Longest word that is never cut on a narrow screen (our choice)."""

MANY = 5
"""Maximum number of count columns with full headings on the screen (our choice)."""

SHORT = 4
"""Length of a shortened heading, unless two headings would be equal (our choice)."""

SPREAD = "±"
"""First character in the name of a column of deviations."""

Format = Annotated[
    str,
    in_output("Format of the tables: `screen`, `csv`, `markdown`, `latex` or `json`.", "--format"),
]
Out = Annotated[
    Path | None,
    in_output(
        "Write the tables to this file, in the format of its suffix: `.csv`, `.md`, `.tex` or "
        "`.json`. With CSV, each further table gets its own file, named after its title."
    ),
]


def check_format(table_format: str, out: Path | None) -> str:
    """Return the requested format, by name or by the suffix of the file."""
    require_known("format", table_format, FORMATS)
    if out is None or table_format != SCREEN:
        return table_format
    if out.suffix.lower() not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise ConfigError(f"unknown suffix of --out {out}; use {known}, or add --format")
    return SUFFIXES[out.suffix.lower()]


def show_document(document: Document, table_format: str, out: Path | None) -> None:
    """Print tables, or write them to a file (CSV: one file per table)."""
    if table_format == SCREEN:
        _print_document(document)
        return
    if out is None:
        print(render(document, table_format), end="")
        return
    for path, text in render_files(document, out, table_format).items():
        write_text(path, text)
        print(f"written: {path}")


def _print_document(document: Document) -> None:
    for name, value in document.provenance_lines:
        style = "bold red" if value.startswith("PARTIAL") else "dim"
        screen.print(Text(f"{name}: {value}", style))
    screen.print()
    for table in document.tables:
        show_table(table.title, _screen_table(table))
        for note in table.notes:
            screen.print(Text(f"  {note}", "dim"))
        screen.print()


def _screen_table(table: Table) -> ScreenTable:
    """Return a table for the screen; figures of one group share a column to save width."""
    groups = _share_columns(table.columns)
    rows = [
        [_join_cells(group, row[at : at + len(group)]) for at, group in groups.items()]
        for row in table.rows
    ]
    screen_table = start_table([], [])
    for number, (head, group) in enumerate(zip(_heads(groups), groups.values(), strict=True)):
        words = group[0].kind in WORDS
        lines = [
            line for text in (head, *(row[number] for row in rows)) for line in text.split("\n")
        ]
        longest = max(map(cell_len, lines))
        screen_table.add_column(
            Text(head),  # a plain string would be read as markup
            justify="left" if words else "right",
            no_wrap=not words,
            min_width=min(longest, max(MIN_WIDTH, _find_word(lines))) if words else longest,
        )
    for number, row in enumerate(rows):
        screen_table.add_row(*map(Text, row), style="bold" if number in table.bold_rows else None)
    return screen_table


def _find_word(lines: Sequence[str]) -> int:
    """Return the width of the longest word that must not be cut."""
    widths = (cell_len(word) for line in lines for word in line.split())
    return max((width for width in widths if width <= WHOLE_WORD), default=0)


def _share_columns(columns: Sequence[Column]) -> dict[int, list[Column]]:
    """Return the columns in each column of the screen, by the index of the first one."""
    shared: dict[int, list[Column]] = {}
    for at, column in enumerate(columns):
        last = next(reversed(shared.values()), [Column("")])[-1]
        alone = column.kind in ALONE or last.kind in ALONE or not column.group
        if alone or last.group != column.group:
            shared[at] = [column]
        else:
            next(reversed(shared.values())).append(column)
    return shared


def _heads(groups: Mapping[int, Sequence[Column]]) -> list[str]:
    """Return the heading of each column of the screen; headings of many counts are shortened."""
    counts = [columns[0].name for columns in groups.values() if columns[0].kind == "count"]
    if len(counts) <= MANY:
        return [_head(columns) for columns in groups.values()]
    longest = max(map(len, counts))
    apart = (n for n in range(SHORT, longest) if len({name[:n] for name in counts}) == len(counts))
    width = next(apart, longest)
    return [
        columns[0].name[:width] if columns[0].kind == "count" else _head(columns)
        for columns in groups.values()
    ]


def _head(columns: Sequence[Column]) -> str:
    """Return the heading of figures that share a column, with their unit once if it is the same."""
    named = [column for column in columns if not column.name.startswith(SPREAD)]
    units = {column.header.removeprefix(column.name) for column in named}
    if len(units) == 1:
        text = " / ".join(column.name for column in named) + units.pop()
    else:
        text = " / ".join(column.header for column in named)
    return f"{columns[0].group}\n{text}" if columns[0].group else text


def _join_cells(columns: Sequence[Column], values: Sequence[Cell]) -> str:
    """Return figures side by side, with their deviations below, if there are any."""
    texts = [format_cell(value, column.kind) for column, value in zip(columns, values, strict=True)]
    spreads = [column.name.startswith(SPREAD) for column in columns]
    figures = [text for text, spread in zip(texts, spreads, strict=True) if not spread]
    below = [f"{SPREAD}{text}" for text, spread in zip(texts, spreads, strict=True) if spread]
    known = any(not text.endswith(MISSING) for text in below)
    return " / ".join(figures) + (f"\n{' / '.join(below)}" if known else "")
