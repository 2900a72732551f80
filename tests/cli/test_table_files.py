"""Tables as files, one per table in CSV, and tables on the screen."""

import io
import re
from pathlib import Path

import pandas as pd
import pytest

from dfercli.cli.printing import screen, show_document
from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.errors import ConfigError
from dfercli.tables import FORMATS, Column, Document, Table, render, render_files

SOURCE = {"dataset": 'dfew, "as published" # 1', "data": "PARTIAL: 3 clips missing"}
FOLDS = Table("dfew/full", [Column("fold"), Column("WAR", "percent")], [["1", 0.5]], ["optimistic"])
CLASSES = Table(
    "each class", [Column("class"), Column("recall", "percent")], [["a", 1], ["b", None]]
)
DOCUMENT = Document([FOLDS, CLASSES, FOLDS], SOURCE)

MAFW = (*BASIC_EXPRESSIONS, "contempt", "anxiety", "helplessness", "disappointment")


def test_csv_has_a_file_for_each_table_that_pandas_reads(tmp_path):
    files = render_files(DOCUMENT, tmp_path / "x.csv", "csv")
    assert [path.name for path in files] == ["x.csv", "x-each-class.csv", "x-dfew-full.csv"]
    for path, text in files.items():
        path.write_text(text, encoding="utf-8", newline="\n")
        assert text.startswith('# dataset: dfew, "as published" # 1\n# data: PARTIAL: ')
    first, second, third = (pd.read_csv(path, comment="#") for path in files)
    assert first.to_dict("list") == third.to_dict("list") == {"fold": [1], "war": [0.5]}
    assert second["class"].tolist() == ["a", "b"]
    assert second["recall"].tolist() == pytest.approx([1, float("nan")], nan_ok=True)
    notes = ["# note: optimistic\n" in text for text in files.values()]
    assert notes == [True, False, True]


def test_every_file_has_its_own_name():
    titles = ["first", "a b", "A: b", "a b 2", "±", "顔", "--", "A/../b", "first"]
    tables = [Table(title, [Column("x")], []) for title in titles]
    names = [path.name for path in render_files(Document(tables), Path("d", "x.y.csv"), "csv")]
    slugs = ["a-b", "a-b-2", "a-b-2-2", "table", "table-2", "table-3", "a-b-3", "first"]
    assert names == ["x.y.csv", *(f"x.y-{slug}.csv" for slug in slugs)]


@pytest.mark.parametrize("name", FORMATS[1:])
def test_one_table_and_every_other_format_are_one_file(name):
    path = Path("table")
    assert render_files(Document([FOLDS], SOURCE), path, name) == {
        path: render(Document([FOLDS], SOURCE), name)
    }
    if name != "csv":
        assert render_files(DOCUMENT, path, name) == {path: render(DOCUMENT, name)}
    assert render_files(Document([], SOURCE), path, name).keys() == {path}


def test_other_formats_are_no_files():
    with pytest.raises(ConfigError, match="no format 'screen'; known: csv, "):
        render_files(DOCUMENT, Path("x.csv"), "screen")


def test_csv_on_the_screen_parts_tables_by_an_empty_line_and_a_title(capsys):
    show_document(DOCUMENT, "csv", None)
    printed = capsys.readouterr().out
    assert printed == render(DOCUMENT, "csv")
    first, second, third = printed.split("\n\n")
    assert first.startswith("# dataset: ")
    assert second.startswith("# each class\n")
    assert third.startswith("# dfew/full\n# note: optimistic\n")
    assert len(pd.read_csv(io.StringIO(second), comment="#")) == 2


@pytest.mark.slow
def test_eval_says_which_files_it_wrote(dfer, write_tiny):
    write_tiny()
    recipe = "--backbone demo-ViT-tiny --weights random --epochs 1 --warmup-epochs 0 --workers 0"
    assert dfer(f"train {recipe} --folds 1").code == 0
    done = dfer("eval full --confusion --out found/x.csv")
    names = [
        "x.csv",
        "x-each-class-mean-over-the-folds.csv",
        "x-confusion-matrix-over-all-folds-best-epoch.csv",
        "x-confusion-matrix-over-all-folds-last-epoch.csv",
    ]
    paths = [Path("found", name) for name in names]
    assert (done.code, done.out) == (0, "".join(f"written: {path}\n" for path in paths))
    assert set(Path("found").iterdir()) == set(paths)
    read = [pd.read_csv(path, comment="#") for path in paths]
    assert [each.columns[0] for each in read] == ["fold", "class", "true", "true"]
    assert [len(each) for each in read] == [6, 2, 2, 2]  # with the figures of all clips together
    assert all("\n# seeds: 0\n" in path.read_text(encoding="utf-8") for path in paths)


def _print(table, capsys, provenance=None):
    """Return the screen without trailing spaces."""
    show_document(Document([table], provenance or {}), "screen", None)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_a_table_of_figures_alone_is_shown(capsys):
    columns = [Column("WAR", "percent"), Column("clips", "count"), Column("p", "number")]
    lines = _print(Table("figures", columns, [[0.5, 12000, 0.04]]), capsys)
    assert lines[1] == "figures"
    assert [line.split() for line in lines if "12,000" in line] == [["50.00", "12,000", "0.0400"]]
    header, row = (next(line for line in lines if word in line) for word in ("WAR", "12,000"))
    for heading, cell in (("WAR %", "50.00"), ("clips", "12,000"), ("p", "0.0400")):
        ends = header.rindex(heading) + len(heading), row.index(cell) + len(cell)
        assert ends[0] == ends[1]  # to the right


def test_words_after_figures_are_aligned_to_the_left(capsys):
    columns = [Column("clips", "count"), Column("class"), Column("p", "number")]
    lines = _print(Table("t", columns, [[7, "a", 2], [123456, "a long name", 3]]), capsys)
    header, first = (next(line for line in lines if word in line) for word in ("class", "2.00"))
    assert header.index("class") == first.index("a")
    assert first.index("7") == header.index("clips") + len("clips") - 1 + len("7") - 1


@pytest.mark.parametrize("rows", [[], [[None] * 6], [[None] * 6, [float("nan")] * 6]])
def test_a_table_of_which_nothing_is_known_is_shown(rows, capsys):
    columns = [
        Column("fold"),
        Column("clips", "count"),
        *(Column(name, "percent", "best epoch") for name in ("WAR", "± WAR", "UAR", "± UAR")),
    ]
    lines = _print(Table("nothing", columns, rows), capsys)
    assert any("WAR / UAR %" in line for line in lines)
    cells = [line.split() for line in lines if "-" in line]
    assert cells == [["-", "-", "-", "/", "-"]] * len(rows)


def test_a_table_without_a_name_or_a_row_is_shown(capsys):
    assert "t" in _print(Table("t", [Column("")], []), capsys)


def test_a_confusion_matrix_of_many_classes_keeps_its_rows_whole(capsys):
    columns = [Column("true"), *(Column(name, "count", "predicted") for name in MAFW)]
    rows = [[name, *(100 * at + other for other in range(11))] for at, name in enumerate(MAFW)]
    lines = _print(Table("confusion matrix", columns, rows), capsys)
    header = next(line for line in lines if "true" in line)
    assert header.split() == ["true", *(name[:4] for name in MAFW)]
    figures = [re.findall(r"[\d,]+", line) for line in lines]
    assert [row for row in figures if row] == [[f"{n:,}" for n in row[1:]] for row in rows]


def test_shortened_headings_tell_classes_apart(capsys):
    names = [f"class{at}" for at in range(6)]
    columns = [Column("true"), *(Column(name, "count") for name in names)]
    columns += [Column(name, "percent", "best epoch") for name in ("WAR", "UAR")]
    lines = _print(Table("t", columns, [["x", *range(6), 0.5, 0.25]]), capsys)
    header = next(line for line in lines if "class0" in line)
    assert [word for word in header.split() if word.startswith("class")] == names
    assert any("WAR / UAR %" in line for line in lines)
    assert any("50.00 / 25.00" in line for line in lines)


@pytest.mark.parametrize(
    "name", ["[red]x[/red]", "[1]", "[/]", "[bold]", "\\[b]", "a:x:b", "顔顔顔顔顔"]
)
def test_names_are_shown_as_they_are(name, capsys):
    columns = [Column(name), Column(name, "count"), Column(name, "number", name)]
    table = Table("t", columns, [[name, 1, 2]], [name])
    lines = _print(table, capsys, {name: name})
    assert lines[0] == f"{name}: {name}"
    assert [line.split() for line in lines if name in line][1:] == [
        [name],  # the group
        [name, name, name],
        [name, "1", "2.00"],
        [name],  # the note
    ]


def test_a_table_wider_than_the_terminal_keeps_its_rows_whole(monkeypatch, capsys):
    monkeypatch.setattr(screen, "width", 30)
    columns = [Column("class"), *(Column(f"figure {at}", "number", str(at)) for at in range(6))]
    lines = _print(Table("wide", columns, [["disappointment", *range(6)]]), capsys)
    row = next(line for line in lines if "5.00" in line)
    assert row.split()[1:] == [f"{at}.00" for at in range(6)]
