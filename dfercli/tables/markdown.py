"""Tables for READMEs and issues: GitHub's Markdown."""

import re

from dfercli.tables.document import Document, Table, format_cell, one_line

MARKS = re.compile(r"([\\`*_{}\[\]<>|#~&$])")
STARTS = re.compile(r"^(\d*)([-+=.)])")
"""What begins a list or a heading at the start of a line."""


def render_markdown(document: Document) -> str:
    """Write a heading, a table and its notes for each table, then the provenance as a list."""
    parts = []
    for table in document.tables:
        parts += [f"### {_markdown(table.title)}", _markdown_table(table)]
        parts += ["\n".join(f"- {_item(note)}" for note in table.notes)]
    pairs = document.provenance.pairs
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
    """Give a text as an item of a list, that is not itself the start of one."""
    return STARTS.sub(r"\1\\\2", _markdown(text))
