"""Tables of results, rendered as CSV, Markdown, LaTeX and JSON.

A `Document` contains fractions and counts, never formatted text, and every format renders all of
it: tables, notes and provenance. The command line prints tables on the screen, with the same
`format_cell` and `Column.header`.
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
