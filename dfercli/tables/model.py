"""Tables, where they come from, and plain data: one model that every format is printed from."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

Kind = Literal["text", "count", "percent", "number", "signed_percent"]
Cell: TypeAlias = str | int | float | None

MISSING = "-"
"""What people read where there is no value; machines read nothing, or null."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its heading, without a unit.
        kind: What its cells are: text; counts; fractions that are printed as percent, or as percent
            with a sign; or other numbers.
        group: Heading over several columns in a row, as a protocol's.
    """

    name: str
    kind: Kind = "text"
    group: str = ""

    @property
    def header(self) -> str:
        """Its name, with a percent sign where the cells are printed as percent."""
        return f"{self.name} %" if self.kind in ("percent", "signed_percent") else self.name


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns.

    Attributes:
        title: A line that says what of.
        columns: C columns.
        rows: Of C cells each, as each column's kind has them; None or nan where there is no value.
        notes: What must be read with it, a line each.
        bold_rows: Indices of the rows that stand out.

    Raises:
        ValueError: A row has not one cell a column.
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
class Provenance:
    """Where figures come from: dataset, folds, seeds, recipe and so on.

    Attributes:
        entries: A value by name, in the order in which they are printed.
    """

    entries: Mapping[str, str] = field(default_factory=dict)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Name and value, each on one line."""
        return [(one_line(name), one_line(value)) for name, value in self.entries.items()]


@dataclass(frozen=True)
class Document:
    """All that a command has to say.

    Attributes:
        tables: At least one; the first one's title is the document's.
        provenance: Where they come from.
        data: Figures by name, as plain values or arrays, that only JSON has beside the tables;
            nan and infinity become null there.
    """

    tables: Sequence[Table]
    provenance: Provenance = field(default_factory=Provenance)
    data: Any = None


def format_cell(value: Cell, kind: Kind) -> str:
    """Give a cell as people read it.

    Percent has two decimals and no sign of its own, which the header has. Other numbers have two
    decimals from 1 on, and three digits below, so that a small p-value is not 0.00.
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
    """Tell whether there is no value: None or nan."""
    return value is None or value != value


def one_line(text: str) -> str:
    """Give a text on one line."""
    return " ".join(text.split())


def slugs_of(titles: Iterable[str]) -> list[str]:
    """Give a slug for each title, of lower-case ASCII letters, digits and hyphens; none twice."""
    words = (re.findall(r"[a-z0-9]+", title.lower()) for title in titles)
    return tell_apart(("-".join(each) or "table" for each in words), "-")


def tell_apart(names: Iterable[str], between: str) -> list[str]:
    """Give names of which none comes twice: a number from 2 on follows where one came before.

    Args:
        names: In the order in which they are given away.
        between: Stands between name and number.
    """
    given: list[str] = []
    for first in names:
        name, count = first, 1
        while name in given:
            count += 1
            name = f"{first}{between}{count}"
        given.append(name)
    return given
