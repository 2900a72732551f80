"""Documents of tables, provenance and plain data, independent of the format."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

Kind = Literal["text", "count", "percent", "number", "signed_percent"]
Cell: TypeAlias = str | int | float | None

MISSING = "-"
"""Text of a missing value; it is empty in CSV, and null in JSON."""


@dataclass(frozen=True)
class Column:
    """A column of a table, with a heading without a unit.

    Cells of `percent` and `signed_percent` are fractions. `group` is a heading above several
    adjacent columns, such as a protocol.
    """

    name: str
    kind: Kind = "text"
    group: str = ""

    @property
    def header(self) -> str:
        """The name, with a percent sign if the cells are printed in percent."""
        return f"{self.name} %" if self.kind in ("percent", "signed_percent") else self.name


@dataclass(frozen=True)
class Table:
    """A table: rows of one cell per column, None or nan for a missing value, and notes of one line.

    Raises:
        ValueError: A row has too many or too few cells.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    bold_rows: Collection[int] = ()

    def __post_init__(self) -> None:
        for index, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                columns = len(self.columns)
                raise ValueError(f"row {index} has {len(row)} cells under {columns} columns")


@dataclass(frozen=True)
class Document:
    """The output of a command: at least one table, the first of which names the document.

    `provenance` says where the figures come from, by name, in the order of printing. `data` has
    further figures for JSON, as plain values or arrays; nan and infinity become null.
    """

    tables: Sequence[Table]
    provenance: Mapping[str, str] = field(default_factory=dict)
    data: Any = None

    @property
    def provenance_lines(self) -> list[tuple[str, str]]:
        """Names and values of the provenance, with line breaks replaced by spaces."""
        return [(one_line(name), one_line(value)) for name, value in self.provenance.items()]


def format_cell(value: Cell, kind: Kind) -> str:
    """Return a cell as text for people.

    Percentages have two decimals; the header has the percent sign. Other numbers have two decimals
    from 1 on and three digits below, so that a small p-value is not 0.00.
    """
    if is_missing(value):
        return MISSING
    if kind == "text":
        return one_line(str(value))
    number = cast(float, value) + 0.0  # never -0.00
    if kind == "count":
        return f"{int(number):,}"
    if kind == "number":
        return f"{number:,.2f}" if number == 0 or abs(number) >= 1 else f"{number:#.3g}"
    percent = round(100 * number, 2) + 0.0
    return f"{percent:+.2f}" if kind == "signed_percent" and percent else f"{percent:.2f}"


def is_missing(value: Cell) -> bool:
    """Return whether a value is missing: None or nan."""
    return value is None or value != value


def one_line(text: str) -> str:
    """Return text with line breaks and runs of spaces replaced by single spaces."""
    return " ".join(text.split())


def slugs_of(titles: Iterable[str]) -> list[str]:
    """Return a unique slug for each title: lower-case ASCII letters, digits and hyphens."""
    words = (re.findall(r"[a-z0-9]+", title.lower()) for title in titles)
    return make_unique(("-".join(parts) or "table" for parts in words), "-")


def make_unique(names: Iterable[str], separator: str) -> list[str]:
    """Return names, with a number from 2 on after each one that occurred before."""
    unique: list[str] = []
    for base in names:
        name, count = base, 1
        while name in unique:
            count += 1
            name = f"{base}{separator}{count}"
        unique.append(name)
    return unique
