"""Tables of results, rendered as CSV, Markdown, LaTeX and JSON.

A `Document` contains fractions and counts, never formatted text, and every format renders all of
it: tables, notes and provenance. The command line prints tables on the screen, with the same
`format_cell` and `Column.header`.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from dfercli.errors import require_known
from dfercli.text import escape_cell

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
    """The tables that a command prints, at least one; the first one names the document.

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
    number = cast(float, value) + 0.0  # turns -0.0 into 0.0
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


def render_csv(document: Document) -> str:
    """Return raw values, with everything but the tables in comment lines."""
    head = "".join(f"# {key}: {value}\n" for key, value in document.provenance_lines)
    return head + "\n".join(_csv_table(table) for table in document.tables)


def _csv_table(table: Table) -> str:
    lines = [f"# {one_line(table.title)}", *(f"# note: {one_line(note)}" for note in table.notes)]
    lines.append(",".join(_csv_names(table.columns)))
    for row in table.rows:
        cells = [_csv_cell(cell, col.kind) for cell, col in zip(row, table.columns, strict=True)]
        lines.append(",".join(cells) or '""')  # readers skip empty lines
    return "\n".join(lines) + "\n"


def _csv_names(columns: Sequence[Column]) -> list[str]:
    """Return unique column names in snake case."""
    headings = (f"{column.group} {column.name}".replace("Δ", "delta ") for column in columns)
    words = (re.findall(r"\w+", heading.lower()) for heading in headings)
    return make_unique(("_".join(parts).strip("_") or "column" for parts in words), "_")


def _csv_cell(value: Cell, kind: Kind) -> str:
    if is_missing(value):
        return ""
    if kind == "text":
        text = escape_cell(str(value))
        needs_quotes = text != text.strip() or any(mark in text for mark in ',"#\n\r')
        return '"{}"'.format(text.replace('"', '""')) if needs_quotes else text
    number = cast(float, value)
    return str(int(number)) if kind == "count" else repr(float(number))


def render_json(document: Document) -> str:
    """Return title, provenance, notes, tables and data as JSON without NaN."""
    values = {
        "title": document.tables[0].title if document.tables else "",
        "provenance": document.provenance,
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
    """Return a value for JSON; numbers that are not finite become null."""
    if hasattr(value, "tolist"):  # a value of numpy, whose import would slow down `dfer --help`
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


MARKS = re.compile(r"([\\`*_{}\[\]<>|#~&$])")
STARTS = re.compile(r"^(\d*)([-+=.)])")
"""Start of a line that Markdown would take for a list or heading."""


def render_markdown(document: Document) -> str:
    """Return a heading, rows and notes for each table, then the provenance as a list."""
    parts = []
    for table in document.tables:
        parts += [f"### {_markdown(table.title)}", _markdown_table(table)]
        parts += ["\n".join(f"- {_item(note)}" for note in table.notes)]
    pairs = document.provenance_lines
    parts.append("\n".join(f"- **{_markdown(key)}**: {_markdown(value)}" for key, value in pairs))
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_table(table: Table) -> str:
    columns = table.columns
    lines = [
        [_markdown(f"{column.group} {column.header}") for column in columns],
        ["---" if column.kind == "text" else "---:" for column in columns],
    ]
    for index, row in enumerate(table.rows):
        pairs = zip(row, columns, strict=True)
        cells = [_markdown(format_cell(cell, column.kind)) for cell, column in pairs]
        bold = index in table.bold_rows
        lines.append([f"**{cell}**" if bold and cell else cell for cell in cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _markdown(text: str) -> str:
    return MARKS.sub(r"\\\1", one_line(text))


def _item(text: str) -> str:
    """Return text for a list item that does not itself start a list."""
    return STARTS.sub(r"\1\\\2", _markdown(text))


LATEX_MARKS = str.maketrans(
    {
        **{mark: f"\\{mark}" for mark in "{}$&#%_"},
        # After the end of a row these would start an argument.
        **{mark: f"{{{mark}}}" for mark in "[]*"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "`": r"\textasciigrave{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "Δ": r"$\Delta$",
        "±": r"$\pm$",
        "−": "$-$",
    }
)


def render_latex(document: Document) -> str:
    """Return one `table` environment each; provenance as comments, and in each caption."""
    pairs = document.provenance_lines
    comments = "".join(f"% {key}: {value}\n" for key, value in pairs)
    source = "; ".join(f"{_latex(key)}: {_latex(value)}" for key, value in pairs)
    labels = slugs_of(table.title for table in document.tables)
    parts = zip(document.tables, labels, strict=True)
    return comments + "\n".join(_latex_table(table, source, label) for table, label in parts)


def _latex_table(table: Table, source: str, label: str) -> str:
    title = _latex(table.title).rstrip(".")
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption[{title}]{{{title}.{f' {source}.' if source else ''}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{''.join('l' if c.kind == 'text' else 'r' for c in table.columns)}}}",
        r"\toprule",
        *_latex_groups(table.columns),
        _latex_row([_latex(column.header) for column in table.columns]),
        r"\midrule",
    ]
    for index, row in enumerate(table.rows):
        pairs = zip(row, table.columns, strict=True)
        cells = [_latex_cell(cell, column.kind) for cell, column in pairs]
        bold = index in table.bold_rows
        lines.append(_latex_row([rf"\textbf{{{cell}}}" if bold else cell for cell in cells]))
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip{{\footnotesize {_latex(note)}\par}}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _latex_groups(columns: Sequence[Column]) -> list[str]:
    """Return the row of group headings and the rules below it; empty without groups."""
    cells, rules, start = [], [], 1
    for group, members in groupby(column.group for column in columns):
        width = len(list(members))
        if group:
            cells.append(rf"\multicolumn{{{width}}}{{c}}{{{_latex(group)}}}")
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        else:
            cells += [""] * width
        start += width
    return [_latex_row(cells), " ".join(rules)] if rules else []


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(value: Cell, kind: Kind) -> str:
    text = format_cell(value, kind)
    minus = kind != "text" and text != MISSING
    return text.replace("-", "$-$") if minus else _latex(text)


def _latex(text: str) -> str:
    return re.sub("-(?=-)", "-{}", one_line(text).translate(LATEX_MARKS))  # not a dash


RENDERERS: dict[str, Callable[[Document], str]] = {
    "csv": render_csv,
    "markdown": render_markdown,
    "latex": render_latex,
    "json": render_json,
}

FORMATS = ("screen", *RENDERERS)
"""Formats of a command's output; `render` covers all but the screen."""


def render(document: Document, format: str) -> str:
    """Return a document as text that ends with a newline.

    Args:
        document: The document.
        format: One of `FORMATS` except the screen.
            csv: fractions, not percent; provenance, titles and notes as comment lines; an empty
                line between tables. `pandas.read_csv(path, comment="#")` reads a single table;
                `render_files` puts several into one file each.
            markdown: GitHub's tables.
            latex: one `table` each, with booktabs.
            json: title, provenance, notes, tables and data; fractions; null for a missing value.

    Raises:
        ConfigError: The format is unknown.
    """
    require_known("format", format, tuple(RENDERERS))
    return RENDERERS[format](document)


def render_files(document: Document, path: Path, format: str) -> dict[Path, str]:
    """Return the contents of a document's files: one per table in CSV, otherwise a single one.

    In CSV `path` is that of the first table; the others have their title in the name, such as
    `x-each-class.csv` beside `x.csv`.

    Raises:
        ConfigError: The format is unknown.
    """
    if format != "csv" or len(document.tables) < 2:
        return {path: render(document, format)}
    slugs = slugs_of(table.title for table in document.tables[1:])
    paths = [path, *(path.with_name(f"{path.stem}-{slug}{path.suffix}") for slug in slugs)]
    texts = (render(replace(document, tables=[table]), format) for table in document.tables)
    return dict(zip(paths, texts, strict=True))
