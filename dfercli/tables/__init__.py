"""What a command found, once for every format.

A `Document` holds fractions and counts, never formatted text, and each format prints all of it:
tables with their notes, and the provenance without which a figure cannot be judged. The screen is
printed by the command line, with the same `format_cell` and `Column.header`.
"""

from collections.abc import Callable

from dfercli.errors import require_known
from dfercli.tables.document import (
    MISSING,
    Cell,
    Column,
    Document,
    Kind,
    Provenance,
    Table,
    format_cell,
)
from dfercli.tables.latex import render_latex
from dfercli.tables.machine import render_csv, render_json
from dfercli.tables.markdown import render_markdown

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
            csv: fractions, not percent; provenance, titles and notes as comment lines, which
                `pandas.read_csv(comment="#")` passes over; an empty line between tables.
            markdown: GitHub's tables.
            latex: a `table` for each, with booktabs.
            json: title, provenance, notes and data; strict, so without NaN.

    Raises:
        ConfigError: No such format.
    """
    require_known("format", format, tuple(RENDERERS))
    return RENDERERS[format](document)
