"""Tables: each format is read back, and carries the same, whatever the names are like."""

import io
import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from dfercli.errors import ConfigError
from dfercli.tables import FORMATS, Column, Document, Table, format_cell, render
from dfercli.text import escape_cell

HOSTILE = [
    "a|b",
    "under_score_",
    'say "hi", twice',
    "two\nlines",
    "an empty\n\nline",
    "# no comment",
    "100 % & more",
    "$5 {x} ~ ^ < > `code`",
    "back\\slash\\",
    "[x] *y*",
    "--no-msta ---",
    " spaces ",
    "± Δ − ÄÖ 顔",
    "carriage\rreturn",
]

COLUMNS = [
    Column("fold"),
    Column("clips", "count"),
    Column("WAR", "percent", "best epoch"),
    Column("UAR", "percent", "best epoch"),
    Column("WAR", "percent", "last epoch"),
    Column("Δ UAR", "signed_percent"),
    Column("p", "number"),
]
ROWS = [
    ["1", 12000, 0.65123, 0.5, 1 / 3, -0.012, 0.00042],
    ["mean", None, 0.6, math.nan, np.float64(0.25), 0.0345, 1234.5],
]
TABLE = Table("dfew, full", COLUMNS, ROWS, ["optimistic"], bold_rows=[1])
SOURCE = {"dataset": "dfew", "folds": "1, 2", "data": "PARTIAL"}
DOCUMENT = Document([TABLE], SOURCE, {"war": [0.6, math.nan], "matrix": np.eye(2, dtype=int)})


def _hostile_document():
    columns = [Column(name, "number", f"group {name}") for name in HOSTILE]
    rows = [[0.5] * len(HOSTILE)]
    wide = Table(HOSTILE[0], columns, rows, HOSTILE, bold_rows=[0])
    narrow = Table(
        "names", [Column("name"), Column("WAR", "percent")], [[name, 0.5] for name in HOSTILE]
    )
    source = {f"{name}:": name for name in HOSTILE}
    return Document([wide, narrow], source, dict.fromkeys(HOSTILE, HOSTILE))


def _read_csv(text, **settings):
    return pd.read_csv(io.StringIO(text, newline=""), comment="#", **settings)


def _read_markdown(text):
    """The cells of each table's lines: pipes that are not escaped part them."""
    tables = []
    for block in re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE):
        lines = [re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1] for line in block.splitlines()]
        tables.append([[cell.strip() for cell in line] for line in lines])
    return tables


def _check_latex(text):
    """Find each tabular's columns, and that all rows have as many and all braces are closed."""
    bare = re.sub(r"(?m)^%.*\n", "", text)
    bare = re.sub(r"\\[{}$&#%_]", "x", bare)  # escaped marks stand for themselves
    assert not re.search(r"[#%_~^`<>|Δ±−]", bare.replace("\\cmidrule(lr)", ""))
    depth = 0
    for mark in re.findall(r"[{}]", bare):
        depth += 1 if mark == "{" else -1
        assert depth >= 0
    assert depth == 0
    for name in ("table", "tabular"):
        assert bare.count(rf"\begin{{{name}}}") == bare.count(rf"\end{{{name}}}") > 0
    found = []
    for columns, body in re.findall(
        r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", bare, re.S
    ):
        rows = re.findall(r"(?m)^(.*) \\\\$", body)
        for row in rows:
            spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", row)]
            assert row.count("&") + 1 + sum(spans) - len(spans) == len(columns)
            assert not row.lstrip().startswith(("[", "*"))
        found.append((columns, len(rows)))
    return found


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        ("a\n b", "text", "a b"),
        (None, "text", "-"),
        ("", "text", ""),
        (12000, "count", "12,000"),
        (np.int64(7), "count", "7"),
        (None, "count", "-"),
        (0.65123, "percent", "65.12"),
        (1, "percent", "100.00"),
        (-1e-9, "percent", "0.00"),
        (math.nan, "percent", "-"),
        (0.0123, "signed_percent", "+1.23"),
        (-0.0123, "signed_percent", "-1.23"),
        (-1e-9, "signed_percent", "0.00"),
        (1e-9, "signed_percent", "0.00"),
        (156.984, "number", "156.98"),
        (12345.6, "number", "12,345.60"),
        (0.0312, "number", "0.0312"),
        (0.5, "number", "0.500"),
        (0.00000123, "number", "1.23e-06"),
        (0, "number", "0.00"),
        (-0.0, "number", "0.00"),
        (-2, "number", "-2.00"),
        (np.float32("nan"), "number", "-"),
    ],
)
def test_cells_as_people_read_them(value, kind, text):
    assert format_cell(value, kind) == text


def test_csv_has_fractions_and_says_where_they_come_from():
    text = render(DOCUMENT, "csv")
    assert text.splitlines() == [
        "# dataset: dfew",
        "# folds: 1, 2",
        "# data: PARTIAL",
        "# dfew, full",
        "# note: optimistic",
        "fold,clips,best_epoch_war,best_epoch_uar,last_epoch_war,delta_uar,p",
        "1,12000,0.65123,0.5,0.3333333333333333,-0.012,0.00042",
        "mean,,0.6,,0.25,0.0345,1234.5",
    ]
    read = _read_csv(text)
    assert read["fold"].tolist() == ["1", "mean"]
    given = [[math.nan if value is None else value for value in row[1:]] for row in ROWS]
    assert read.iloc[:, 1:].to_numpy(dtype=float) == pytest.approx(np.array(given), nan_ok=True)


@pytest.mark.parametrize("name", HOSTILE)
def test_csv_gives_hostile_names_back(name):
    columns = [Column("name"), Column(name, "number", name), Column(name, "number", name)]
    table = Table(name, columns, [[name, 0.5, 0.25], [None, None, None], [name, 1, 2]], [name])
    read = _read_csv(render(Document([table], {name: name}), "csv"))
    assert len(read) == 3
    assert read["name"][0] == read["name"][2] == escape_cell(name)  # a formula is none any more
    assert read["name"].isna().tolist() == [False, True, False]
    assert read.iloc[[0, 2], 1:].to_numpy().tolist() == [[0.5, 0.25], [1, 2]]
    assert read.columns.is_unique
    assert all(re.fullmatch(r"\w+", column) for column in read.columns)


def test_csv_keeps_a_row_of_which_nothing_is_known():
    table = Table("t", [Column("WAR", "percent")], [[0.5], [None], [0.25]])
    read = _read_csv(render(Document([table]), "csv"))
    assert read["war"].tolist() == pytest.approx([0.5, math.nan, 0.25], nan_ok=True)


def test_csv_names_every_column_otherwise():
    columns = [Column(name, "count") for name in ("n", "n", "n 2", "N", "%", "±")]
    header = render(Document([Table("t", columns, [])]), "csv").splitlines()[-1]
    assert header == "n,n_2,n_2_2,n_3,column,column_2"


def test_markdown_by_hand():
    assert render(DOCUMENT, "markdown") == (
        "### dfew, full\n\n"
        "| fold | clips | best epoch WAR % | best epoch UAR % | last epoch WAR % | Δ UAR % | p |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| 1 | 12,000 | 65.12 | 50.00 | 33.33 | -1.20 | 0.000420 |\n"
        "| **mean** | **-** | **60.00** | **-** | **25.00** | **+3.45** | **1,234.50** |\n\n"
        "- optimistic\n\n"
        "- **dataset**: dfew\n"
        "- **folds**: 1, 2\n"
        "- **data**: PARTIAL\n"
    )


def test_markdown_has_as_many_cells_as_columns_whatever_the_names():
    wide, narrow = _read_markdown(render(_hostile_document(), "markdown"))
    assert {len(line) for line in wide} == {len(HOSTILE)}
    assert len(wide) == 3
    assert {len(line) for line in narrow} == {2}
    names = [re.sub(r"\\(.)", r"\1", line[0]) for line in narrow[2:]]
    assert names == [" ".join(name.split()) for name in HOSTILE]


@pytest.mark.parametrize(
    ("note", "line"),
    [("- x", r"\- x"), ("1. x", r"1\. x"), ("# x", r"\# x"), ("* x", r"\* x"), ("3 x", "3 x")],
)
def test_markdown_notes_begin_nothing_else(note, line):
    table = Table("t", [Column("a")], [], [note])
    assert f"- {line}" in render(Document([table]), "markdown").splitlines()


def test_latex_by_hand():
    assert render(DOCUMENT, "latex").splitlines() == [
        "% dataset: dfew",
        "% folds: 1, 2",
        "% data: PARTIAL",
        r"\begin{table}[t]",
        r"\centering",
        r"\caption[dfew, full]{dfew, full. dataset: dfew; folds: 1, 2; data: PARTIAL.}",
        r"\label{tab:dfew-full}",
        r"\begin{tabular}{lrrrrrr}",
        r"\toprule",
        r" &  & \multicolumn{2}{c}{best epoch} & \multicolumn{1}{c}{last epoch} &  &  \\",
        r"\cmidrule(lr){3-4} \cmidrule(lr){5-5}",
        r"fold & clips & WAR \% & UAR \% & WAR \% & $\Delta$ UAR \% & p \\",
        r"\midrule",
        r"1 & 12,000 & 65.12 & 50.00 & 33.33 & $-$1.20 & 0.000420 \\",
        r"\textbf{mean} & \textbf{-} & \textbf{60.00} & \textbf{-} & \textbf{25.00} & "
        r"\textbf{+3.45} & \textbf{1,234.50} \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip{\footnotesize optimistic\par}",
        r"\end{table}",
    ]


def test_latex_holds_together_whatever_the_names():
    assert _check_latex(render(DOCUMENT, "latex")) == [("lrrrrrr", 4)]
    text = render(_hostile_document(), "latex")
    assert _check_latex(text) == [("r" * len(HOSTILE), 3), ("lr", 1 + len(HOSTILE))]
    assert not re.search("--", re.sub(r"(?m)^%.*\n", "", text))


def test_latex_labels_are_each_other():
    titles = ["α", "dfew, full", "table 2", "β"]
    tables = [Table(title, [Column("a")], [["b"]]) for title in titles]
    labels = re.findall(r"\\label\{(.*)\}", render(Document(tables), "latex"))
    assert labels == ["tab:table", "tab:dfew-full", "tab:table-2", "tab:table-3"]


def test_json_is_strict_and_whole():
    read = json.loads(render(DOCUMENT, "json"), parse_constant=pytest.fail)
    assert read == {
        "title": "dfew, full",
        "provenance": SOURCE,
        "notes": ["optimistic"],
        "tables": [
            {
                "title": "dfew, full",
                "columns": [vars(column) for column in COLUMNS],
                "rows": [ROWS[0], ["mean", None, 0.6, None, 0.25, 0.0345, 1234.5]],
                "notes": ["optimistic"],
            }
        ],
        "data": {"war": [0.6, None], "matrix": [[1, 0], [0, 1]]},
    }


def test_json_gives_hostile_names_back_and_has_no_infinity():
    document = _hostile_document()
    read = json.loads(render(document, "json"), parse_constant=pytest.fail)
    assert read["provenance"] == document.provenance
    assert read["data"] == document.data
    wide, narrow = read["tables"]
    assert [column["name"] for column in wide["columns"]] == wide["notes"] == HOSTILE
    assert [name for name, _ in narrow["rows"]] == HOSTILE
    data = {"a": math.inf, 3: (np.float32("nan"), np.int64(2), True, None, "nan")}
    read = json.loads(render(Document([], data=data), "json"), parse_constant=pytest.fail)
    assert read["data"] == {"a": None, "3": [None, 2, True, None, "nan"]}


@pytest.mark.parametrize("name", FORMATS[1:])
def test_every_format_carries_the_same_and_ends_its_last_line(name):
    text = render(DOCUMENT, name)
    for word in ("dfew, full", "PARTIAL", "optimistic"):
        assert word in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize("name", FORMATS[1:])
def test_a_table_without_rows_is_written_too(name):
    assert "only a title" in render(Document([Table("only a title", COLUMNS, [])]), name)


@pytest.mark.parametrize("name", ["screen", "html"])
def test_other_formats_are_refused(name):
    with pytest.raises(ConfigError, match=f"no format '{name}'; known: csv, markdown, latex, json"):
        render(DOCUMENT, name)


def test_a_row_has_a_cell_for_each_column():
    with pytest.raises(ValueError, match="row 1 has 1 cells under 2 columns"):
        Table("t", [Column("a"), Column("b")], [["x", "y"], ["x"]])
