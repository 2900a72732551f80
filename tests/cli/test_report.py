"""`dfer report`: the page, its files, and answers to bad input."""

import re
from pathlib import Path

import pytest

RECIPE = "--backbone demo-ViT-tiny --weights random --epochs 1 --warmup-epochs 0 --workers 0"


@pytest.fixture
def runs(write_tiny, dfer):
    """A finished run of two folds."""
    write_tiny()
    assert dfer(f"train {RECIPE}").code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("runs")
def test_a_page_and_its_pictures_are_written(dfer):
    done = dfer("report")
    assert (done.code, done.out) == (0, "written: runs/tiny/full/report.html\n")
    page = Path("runs/tiny/full/report.html").read_text()
    assert "dfer</span> <span>train" in page
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)", page)
    done = dfer("report runs/tiny/full --epoch last --fold 2 --out page.html --figures figures")
    assert done.out == "written: page.html\nfigures: figures\n"
    names = {path.name for path in Path("figures").iterdir()}
    assert {"classes-1.png", "classes-1.pdf", "training-1.pdf"} <= names
    assert Path("figures/classes-1.pdf").read_bytes().startswith(b"%PDF")
    assert "last epoch: " in Path("page.html").read_text()
    # Beside the runs' folder nothing is taken for a run.
    assert dfer("eval").code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("report none", "no finished run in runs/*/none; train one with `dfer train`"),
        ("report --epoch val", "no epoch 'val'; known: best, last"),
        ("report --fold 3", "fold 3 is not in this report; choose from 1, 2"),
        (
            "report --out page.pdf",
            "cannot write page.pdf: the name of the report must end in .html",
        ),
    ],
)
def test_what_cannot_be_drawn_is_one_line(line, said, dfer):
    done = dfer(line)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith(f"error: {said}")
