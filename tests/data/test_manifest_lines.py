"""Lines of a manifest: what is accepted, and the error for the first wrong line."""

import json

import pandas as pd
import pytest

from dfercli.data.folds import name_groups
from dfercli.data.manifest import COLUMNS, check_rows, read_manifest, side_file, write_manifest
from dfercli.data.sources.base import check_inside_root
from dfercli.errors import DataError

CLASS_NAMES = ("surprise", "anger", "boredom")
GOOD_LINE = "a,faces/a,25,anger,1"


@pytest.fixture
def write_lines(tmp_path):
    """Write a manifest's CSV with these lines and a valid side file, and return its path."""

    def write(*lines, columns=COLUMNS, ends="\n", start=""):
        path = tmp_path / "mine.csv"
        path.write_bytes((start + ends.join([",".join(columns), *lines, ""])).encode())
        shared = {"dataset": "mine", "root": "data", "class_names": CLASS_NAMES, "crop": None}
        side_file(path).write_text(json.dumps(shared), encoding="utf-8")
        return path

    return write


def _error(path):
    """Return the text of the error when reading, which must be one line."""
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    (text,) = str(caught.value).splitlines()
    return text


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_a_spreadsheet_s_ends_of_line_and_byte_order_mark_are_accepted(write_lines, ends, start):
    read = read_manifest(write_lines(GOOD_LINE, "b,faces/b,3,surprise,0", ends=ends, start=start))
    assert read.rows.columns.tolist() == list(COLUMNS)
    assert read.rows.to_numpy().tolist() == [
        ["a", "faces/a", 25, "anger", 1],
        ["b", "faces/b", 3, "surprise", 0],
    ]


def test_a_missing_manifest_is_named(tmp_path):
    path = tmp_path / "mine.csv"
    assert _error(path) == f"no manifest {path}; `dfer preprocess` writes it"


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[1]", b'{"dataset": "mine"}', b'"text"', b"\xff\xfe"]
)
def test_a_missing_or_damaged_side_file_is_named(write_lines, content):
    path = write_lines(GOOD_LINE)
    side_file(path).unlink()
    if content is not None:
        side_file(path).write_bytes(content)
    text = _error(path)
    assert text.startswith(f"cannot use {side_file(path)} (")
    assert text.endswith("); remove it and its CSV, and run `dfer preprocess`")


@pytest.mark.parametrize("missing", COLUMNS)
def test_a_missing_column_is_named(write_lines, missing):
    path = write_lines("a,b,c,d", columns=[name for name in COLUMNS if name != missing])
    expected = f"{path} has no column '{missing}'; it needs clip_id,path,n_frames,label,test_fold"
    assert _error(path) == expected


def test_a_manifest_without_clips_is_refused(write_lines):
    path = write_lines()
    assert _error(path) == f"{path} lists no clips; run `dfer preprocess` again"


@pytest.mark.parametrize("content", [b"", b"clip_id\n\xff\xfe\n", b'a,b\n"c,d\n', b"a\n1\n2,3\n"])
def test_a_file_that_is_no_table_is_refused(write_lines, content):
    path = write_lines()
    path.write_bytes(content)
    assert _error(path).startswith(f"cannot read {path}: ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b,faces/b,3,joy,1", "label 'joy' is not one of the classes surprise, anger, boredom"),
        ("b,faces/b,3,Anger,1", "label 'Anger' is not one of the classes surprise, anger, boredom"),
        ("b,faces/b,3,1,1", "label '1' is not one of the classes surprise, anger, boredom"),
        ("a,faces/b,3,anger,1", "clip 'a' is listed twice"),
        ("b,faces/b,0,anger,1", "n_frames is '0'; it must be 1 or more"),
        ("b,faces/b,-3,anger,1", "n_frames is '-3'; it must be 1 or more"),
        ("b,faces/b,many,anger,1", "n_frames is 'many'; it must be 1 or more"),
        ("b,faces/b,2.0,anger,1", "n_frames is '2.0'; it must be 1 or more"),
        ("b,faces/b,,anger,1", "n_frames is ''; it must be 1 or more"),
        ("b,faces/b,3,anger,-1", "test_fold is '-1'; it must be 0, 1, 2 ..."),
        ("b,faces/b,3,anger,one", "test_fold is 'one'; it must be 0, 1, 2 ..."),
        ("b,faces/b,3,anger,", "test_fold is ''; it must be 0, 1, 2 ..."),
        ("b,faces/b,3,anger", "test_fold is ''; it must be 0, 1, 2 ..."),
    ],
)
def test_a_line_that_does_not_hold_together_is_named(write_lines, line, message):
    path = write_lines(GOOD_LINE, line)
    assert _error(path) == f"{path} line 3: {message}"


BAD = {
    "path": "../x",
    "label": "joy",
    "clip_id": "clip 0",
    "n_frames": 0,
    "test_fold": -1,
    "coverage": "much",
}
"""A refused value for each column, in the order in which faults of one line are reported."""


@pytest.mark.parametrize("later", BAD)
@pytest.mark.parametrize("earlier", BAD)
def test_the_first_line_that_does_not_hold_together_is_named(earlier, later):
    rows = pd.DataFrame(
        {
            "clip_id": [f"clip {i}" for i in range(9)],
            "path": "faces",
            "n_frames": 1,
            "label": "anger",
            "test_fold": 1,
            "coverage": 1.0,
        },
        dtype=object,
    )
    rows.loc[5, earlier], rows.loc[7, later] = BAD[earlier], BAD[later]
    with pytest.raises(DataError, match=rf"^here line 7: .*{BAD[earlier]!r}"):
        check_rows(rows, CLASS_NAMES, "here")
    rows.loc[5, later] = BAD[later]
    told = BAD[min(earlier, later, key=list(BAD).index)]
    with pytest.raises(DataError, match=rf"^here line 7: .*{told!r}"):
        check_rows(rows, CLASS_NAMES, "here")


OUTSIDE = ["../x", "/abs", "a/../../b", "a/..", "..", "C:/x", "c:x", "a\\b", "\\\\host\\x", "", "."]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_that_leaves_the_data_root_is_refused(write_lines, path):
    manifest = write_lines(GOOD_LINE, f"b,{path},3,anger,1")
    assert _error(manifest) == (
        f"{manifest} line 3: path {path!r} leaves the data root; use a relative path with / and no "
        f".."
    )


@pytest.mark.parametrize("path", ["a", "a/b c/d.mp4", "..a/b..", "./a", "été/顔", "take 1:2"])
def test_a_path_below_the_data_root_is_accepted(path):
    assert check_inside_root(path, "here") is None


@pytest.mark.parametrize("word", ["nan", "NA", "None", "null", "NaN", "n/a"])
def test_words_that_others_read_as_missing_are_labels_and_names(write_lines, word):
    path = write_lines(f"{word},{word},25,{word},1,{word}", columns=[*COLUMNS, "group"])
    side = json.loads(side_file(path).read_text())
    side_file(path).write_text(json.dumps(side | {"class_names": [word, "anger"]}))
    manifest = read_manifest(path)
    row = manifest.rows.iloc[0]
    assert (row["clip_id"], row["path"], row["label"], row["group"]) == (word,) * 4
    write_manifest(manifest, path)
    assert read_manifest(path).fingerprint == manifest.fingerprint
    assert name_groups(manifest.rows) == [f"group {word}"]
