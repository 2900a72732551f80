"""What a command found, once for every format.

A `Document` holds fractions and counts, never formatted text, and each format prints all of it:
tables with their notes, and the provenance without which a figure cannot be judged. The screen is
printed by the command line, with the same `format_cell` and `Column.header`.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dfercli.errors import require_known
from dfercli.tables.model import (
    MISSING,
    Cell,
    Column,
    Document,
    Kind,
    Provenance,
    Table,
    format_cell,
    slugs_of,
)
from dfercli.tables.renderers import render_csv, render_json, render_latex, render_markdown

__all__ = [
    "FORMATS",
    "MISSING",
    "Cell",
    "Column",
    "Document",
    "Kind",
    "Provenance",
    "Table",
    "format_cell",
    "render",
    "render_files",
]

RENDERERS: dict[str, Callable[[Document], str]] = {
    "csv": render_csv,
    "markdown": render_markdown,
    "latex": render_latex,
    "json": render_json,
}

FORMATS = ("screen", *RENDERERS)
"""All that a command can be asked for; `render` writes all but the screen."""


def render(document: Document, format: str) -> str:
    """Write a document as text that ends with a line end.

    Args:
        document: What to write.
        format: Of `FORMATS`, without the screen.
            csv: fractions, not percent; provenance, titles and notes as comment lines; an empty
                line between tables. One table is read by `pandas.read_csv(path, comment="#")`,
                several are not: `render_files` gives each a file.
            markdown: GitHub's tables.
            latex: a `table` for each, with booktabs.
            json: title, provenance, notes, tables and data; fractions, and null where there is no
                value; strict, so without NaN.

    Raises:
        ConfigError: No such format.
    """
    require_known("format", format, tuple(RENDERERS))
    return RENDERERS[format](document)


def render_files(document: Document, path: Path, format: str) -> dict[Path, str]:
    """Write a document as files: one, but in CSV one for each table.

    Args:
        document: What to write.
        path: Of the file; in CSV of the first table's, and beside it each other table has its
            title in the name: `x.csv`, `x-each-class.csv`.
        format: As for `render`.

    Returns:
        The text of each file. Each of several has all provenance, and its own table's notes.

    Raises:
        ConfigError: No such format.
    """
    if format != "csv" or len(document.tables) < 2:
        return {path: render(document, format)}
    slugs = slugs_of(table.title for table in document.tables[1:])
    paths = [path, *(path.with_name(f"{path.stem}-{slug}{path.suffix}") for slug in slugs)]
    each = (render(replace(document, tables=[table]), format) for table in document.tables)
    return dict(zip(paths, each, strict=True))
