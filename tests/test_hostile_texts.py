"""Hostile texts: names that control a terminal, cells that a spreadsheet evaluates, and
configurations that would run code.
"""

import csv
import json
from pathlib import Path

import pytest
from cli.conftest import dfer  # noqa: F401 (a fixture)
from predict.batch import by_hand

from dfercli.data.sources.base import Choices
from dfercli.data.sources.folder import read_sources
from dfercli.errors import CheckpointError, DataError
from dfercli.predict.batch.formats import write_csv
from dfercli.predict.prediction import describe_video, describe_window
from dfercli.preprocess.crops import ClipOutcome
from dfercli.preprocess.review import check_review, write_review
from dfercli.publish.hub import _read_config
from dfercli.runs.checkpoint import load_checkpoint, save_checkpoint
from dfercli.tables import Column, Document, Table, render_csv
from dfercli.text import escape_cell

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "=cmd|' /C calc'!A0")


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_a_text(text):
    assert escape_cell(text) == f"'{text}"
    assert escape_cell(f"a{text}") == f"a{text}"


def test_no_file_for_spreadsheets_has_a_formula(tmp_path):
    prediction = by_hand.make_prediction("=1+1.mp4")
    windows = [describe_window(w, by_hand.CLASSES, True) for w in prediction.windows]
    write_csv(tmp_path / "x.csv", by_hand.ORIGIN, [(describe_video(prediction, None), windows)])
    with (tmp_path / "x.csv").open(newline="") as stream:
        assert {row["video"] for row in csv.DictReader(stream)} == {"'=1+1.mp4"}
    write_review([ClipOutcome("-a", "missing", detail="@b")], tmp_path / "review.csv")
    assert (tmp_path / "review.csv").read_text().splitlines()[1] == "'-a,missing,0,,,,,,,'@b"
    check_review(tmp_path / "review.csv")
    table = Table("t", [Column("class", "text"), Column("n", "count")], [["=1", -1]], [])
    text = render_csv(Document([table], {}))
    assert text.splitlines()[-1] == "'=1,-1"


def test_escape_sequences_never_reach_the_terminal(dfer):  # noqa: F811
    for line in (
        "predict \x1b[2Ja.mp4 --zero-shot",
        "preprocess --dataset folder --root \x1b]0;x\x07",
    ):
        done = dfer(line)
        assert done.code != 0
        assert "\x1b" not in done.err + done.out
        assert "\\x1b" in done.err + done.out


@pytest.mark.parametrize("line", ["a.mp4,\x1b[31manger", "a.mp4,an\x9bger"])
def test_labels_with_control_characters_are_refused(tmp_path, line):
    (tmp_path / "labels.csv").write_text(f"path,label\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2: a control character in a label or group"):
        read_sources(tmp_path, Choices())


@pytest.fixture
def checkpoint(make_model, tmp_path):
    save_checkpoint(make_model(), tmp_path / "model")
    return tmp_path / "model"


def _change(checkpoint, path, value):
    settings = json.loads((checkpoint / "config.json").read_text())
    place = settings
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    (checkpoint / "config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("model", "num_frames"), 10**30, "num_frames is 1000000000000000000000000000000, more"),
        (("model", "num_blocks"), "2", "num_blocks is '2'"),
        (("model", "interfit"), 1, "interfit is 1"),
        (("model", "msta_pools"), [[5, "3"]], r"msta_pools is \[\[5, '3'\]\]"),
        (("model", "prompt_scale"), float("nan"), "prompt_scale is nan"),
        (("model", "backbone"), None, "backbone is None"),
        (("class_names",), [], "0 classes"),
        (("class_names",), ["a", 1], "a class name is empty or not text"),
        (("class_names",), ["a", "\x1b[2J"], "a class name is empty or not text"),
        (("class_names",), ["a", "a"], "a class name occurs twice"),
        (("crop",), [], "crop is not an object"),
        (("crop",), {"detector": "mtcnn", "size": 10**9}, "crop lacks a detector or a valid size"),
        (("trained",), {"fold": "1"}, "fold is '1'"),
        (("trained",), {"clip_s": -1}, "clip_s is -1"),
        (("calibration",), {"temperature": 0}, "the temperature is 0"),
        (("calibration",), {"temperature": "2"}, "the temperature is '2'"),
    ],
)
def test_a_damaged_configuration_is_refused_before_anything_is_built(
    checkpoint, path, value, said, monkeypatch
):
    monkeypatch.setattr("dfercli.models.pretrained.build_untrained", pytest.fail)
    _change(checkpoint, path, value)
    with pytest.raises(CheckpointError, match=f"config.json of .*model is damaged: {said}") as told:
        load_checkpoint(str(checkpoint))
    assert str(told.value).endswith("; copy it again")


def test_what_is_published_tells_no_folder_of_this_machine(checkpoint):
    assert _read_config(checkpoint) == (checkpoint / "config.json").read_bytes()
    _change(checkpoint, ("model", "weights"), "/home/somebody/clip.pt")
    assert b"somebody" not in _read_config(checkpoint)
    assert json.loads(_read_config(checkpoint))["model"]["weights"] == "clip.pt"


def test_workflows_may_read_and_nothing_else():
    for path in Path(__file__).parents[1].glob(".github/workflows/*.yml"):
        assert "\npermissions:\n  contents: read\n" in path.read_text(encoding="utf-8")
