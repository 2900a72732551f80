"""Tables for papers: LaTeX with booktabs."""

import re
from collections.abc import Sequence
from itertools import groupby

from dfercli.tables.document import (
    MISSING,
    Cell,
    Column,
    Document,
    Kind,
    Table,
    format_cell,
    one_line,
)
from dfercli.tables.names import slugs_of

LATEX_MARKS = str.maketrans(
    {
        **{mark: f"\\{mark}" for mark in "{}$&#%_"},
        **{mark: f"{{{mark}}}" for mark in "[]*"},  # after a row's end they would be arguments
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
    """Write a `table` for each table; provenance as comments, and in each caption."""
    pairs = document.provenance.pairs
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
    """Give the row of the groups' headings and the rules under them; none without groups."""
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
    return re.sub("-(?=-)", "-{}", one_line(text).translate(LATEX_MARKS))  # -- would be one dash
