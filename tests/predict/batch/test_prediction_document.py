"""Predictions as data: what is written, that the schema holds, that nothing else is in it."""

import csv
import io
import json
import os
import sys
from pathlib import Path

import by_hand
import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator

from dfercli.errors import ConfigError, VideoError
from dfercli.predict.batch.formats import (
    to_line,
    write_csv,
    write_document,
    write_json_document,
    write_parquet,
)
from dfercli.predict.prediction import describe_failure, describe_video, describe_window, plain_text

HEAD = by_hand.ORIGIN


def _recorded(prediction, sha256="b" * 64):
    windows = [describe_window(w, by_hand.CLASSES, True) for w in prediction.windows]
    return describe_video(prediction, sha256), windows


@pytest.fixture
def videos():
    """Two faces, no face, and what cannot be read."""
    return [
        _recorded(by_hand.make_prediction()),
        _recorded(by_hand.make_prediction("empty.mp4", ())),
        (describe_failure("broken.mp4", "cannot read broken.mp4"), []),
    ]


def _document(videos):
    stream = io.StringIO()
    write_document(stream, HEAD, videos)
    return stream.getvalue()


def test_the_schema_is_one_and_describes_every_property():
    schema = by_hand.load_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == "urn:dfer:predictions:4"
    undescribed, open_ended = [], []

    def look(part, where):
        if not isinstance(part, dict):
            return
        for name, each in part.get("properties", {}).items():
            if "description" not in each and "$ref" not in each:
                undescribed.append(f"{where}/{name}")
            look(each, f"{where}/{name}")
        if "properties" in part and part.get("additionalProperties") is not False:
            open_ended.append(where)
        if "properties" in part:
            assert list(part["properties"]) == part["required"], where
        for name, each in part.get("$defs", {}).items():
            look(each, f"{where}/$defs/{name}")

    look(schema, "")
    assert (undescribed, open_ended) == ([], [])


def test_the_document_of_several_videos(videos):
    document = json.loads(_document(videos))
    Draft202012Validator(by_hand.load_schema()).validate(document)
    assert document["schema_version"] == 4
    assert document["checkpoint"] == {
        "name": "runs/x/best",
        "sha256": "a" * 64,
        "description": "x, trained on drawings; calibrated",
    }
    first, empty, broken = document["videos"]
    assert [v["status"] for v in document["videos"]] == ["ok", "no face", "unreadable"]
    assert (first["width"], first["height"], first["duration_s"]) == (64, 48, 4.0)
    assert first["coverage"] == 0.6667
    assert first["windows"][1] == {
        "track": 2,
        "start_s": 0.0,
        "end_s": 2.0,
        "coverage": 0.3333,
        "box_xyxy": [10.0, 20.0, 30.1, 40.0],
        "expression": "happiness",
        "confidence": 0.4,
        "uncertain": True,
        "probs": {"happiness": 0.4, "sadness": 0.35, "anger": 0.25},
    }
    unnamed = first["windows"][3]
    assert [unnamed[n] for n in ("expression", "confidence", "uncertain", "probs")] == [None] * 4
    assert [track["track"] for track in first["tracks"]] == [1, 2]
    assert first["tracks"][0] == {
        "track": 1,
        "start_s": 0.0,
        "end_s": 4.0,
        "coverage": 1.0,
        "expression": "happiness",
        "mean_probs": {"happiness": 0.4, "sadness": 0.4, "anger": 0.2},
        "shares": {"happiness": 0.5, "sadness": 0.5, "anger": 0.0},
    }
    assert (empty["tracks"], empty["windows"], empty["error"]) == ([], [], None)
    assert (broken["error"], broken["sha256"]) == ("cannot read broken.mp4", None)


def test_the_document_is_written_as_json_writes_it(videos):
    whole = HEAD | {"videos": [{**record, "windows": windows} for record, windows in videos]}
    assert _document(videos) == json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    assert _document([]) == json.dumps(HEAD | {"videos": []}, indent=2) + "\n"


def test_every_line_holds_to_the_schema(videos):
    schema = {"$ref": "urn:dfer:predictions:4#/$defs/line", "$defs": {"all": by_hand.load_schema()}}
    check = Draft202012Validator(schema)
    lines = [to_line("settings", HEAD)]
    for record, windows in videos:
        lines += [to_line("window", {"video": record["video"], **window}) for window in windows]
        lines.append(
            to_line("video", {**record, "pictures": {"x.png": "c" * 64}, "seal": "d" * 64})
        )
    for line in lines:
        assert line.count("\n") == 1
        check.validate(json.loads(line))
    wrong = json.loads(lines[1]) | {"extra": 1}
    assert not check.is_valid(wrong)
    assert not check.is_valid(json.loads(lines[0]) | {"schema_version": 5})


def test_what_is_not_calibrated_is_never_called_uncertain():
    window = by_hand.make_window(probs=(0.4, 0.35, 0.25))
    assert describe_window(window, by_hand.CLASSES, False)["uncertain"] is None


def test_numbers_that_are_none_are_an_error():
    with pytest.raises(VideoError, match="not finite; use --precision fp32"):
        describe_window(by_hand.make_window(probs=(np.nan, 0, 0)), by_hand.CLASSES, True)


def test_names_that_are_no_utf_8():
    name = os.fsdecode(b"\xffa\n\xe7\xac\x91.mp4")
    assert plain_text(name) == "\\xffa\n笑.mp4"
    record = describe_video(by_hand.make_prediction(name), None)
    assert json.loads(to_line("video", record).encode("utf-8"))["video"] == "\\xffa\n笑.mp4"


def test_tables_have_the_columns_of_a_prediction_after_the_video(videos, tmp_path):
    write_csv(tmp_path / "x.csv", HEAD, videos)
    write_parquet(tmp_path / "x.parquet", HEAD, videos)
    expected = by_hand.make_prediction().to_frame()
    for table in (pd.read_csv(tmp_path / "x.csv"), pd.read_parquet(tmp_path / "x.parquet")):
        assert list(table.columns[:4]) == ["video", "track", "start_s", "end_s"]
        assert sorted(table.columns) == sorted(["video", *expected.columns, "model"])
        assert table["video"].tolist() == ["v.mp4"] * 4
        for column in ("start_s", "coverage", "left", "confidence", "prob_sadness"):
            assert table[column].tolist() == pytest.approx(expected[column], abs=1e-6, nan_ok=True)
        assert table["expression"].tolist()[:3] == ["happiness", "happiness", "sadness"]
        assert table["expression"].isna().tolist() == [False, False, False, True]
        assert table["uncertain"].tolist()[:3] == [False, True, False]
    assert list(tmp_path.iterdir()) != []
    assert {path.name for path in tmp_path.iterdir()} == {"x.csv", "x.parquet"}


def test_a_table_without_a_window_has_its_columns(tmp_path, videos):
    write_csv(tmp_path / "x.csv", HEAD, videos[1:])
    write_parquet(tmp_path / "x.parquet", HEAD, videos[1:])
    with (tmp_path / "x.csv").open(encoding="utf-8") as stream:
        (columns,) = csv.reader(stream)
    assert columns == list(pd.read_parquet(tmp_path / "x.parquet").columns)


def test_parquet_without_pyarrow_is_one_line(tmp_path, videos, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError) as caught:
        write_parquet(Path("x.parquet"), HEAD, videos)
    assert str(caught.value) == (
        "x.parquet needs pyarrow: pip install '.[parquet]' in the clone; or use another suffix"
    )


def test_the_same_predictions_give_the_same_bytes(videos, tmp_path):
    for writer in (write_json_document, write_csv, write_parquet):
        writer(tmp_path / "one", HEAD, videos)
        writer(tmp_path / "two", HEAD, videos)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
