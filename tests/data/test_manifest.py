"""The manifest: what is written comes back, folds do not leak, and what is wrong is named."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from dfercli.data.manifest import (
    COLUMNS,
    Manifest,
    find_manifest,
    read_manifest,
    side_file,
    write_manifest,
)
from dfercli.data.spec import BASIC_EXPRESSIONS, check_inside_root
from dfercli.errors import DataError

DEMO = Path(__file__).parents[2] / "data_manifests" / "demo.csv"
CLASS_NAMES = ("surprise", "anger", "boredom")
GOOD_LINE = "a,faces/a,25,anger,1"


def _rows():
    """Nine clips of three people; the last always trains."""
    return pd.DataFrame(
        {
            "clip_id": [f"p{i // 3}/clip {i}" for i in range(9)],
            "path": [f"faces/p{i // 3}/clip {i}" for i in range(9)],
            "n_frames": range(1, 10),
            "label": [CLASS_NAMES[i % 3] for i in range(9)],
            "test_fold": [1, 1, 1, 2, 2, 2, 3, 3, 0],
            "group": ["007", "007", "007", "NA", "NA", "NA", "é", "é", "é"],
        }
    )


@pytest.fixture
def manifest():
    crop = {"detector": "mtcnn", "size": 112}
    return Manifest("mine", _rows(), CLASS_NAMES, crop, "data/mine")


@pytest.fixture
def write_lines(tmp_path):
    """Write a manifest's CSV by its lines, with a sound side file, and give its path."""

    def write(*lines, columns=COLUMNS, ends="\n", start=""):
        path = tmp_path / "mine.csv"
        path.write_bytes((start + ends.join([",".join(columns), *lines, ""])).encode())
        shared = {"dataset": "mine", "root": "data", "class_names": CLASS_NAMES, "crop": None}
        side_file(path).write_text(json.dumps(shared), encoding="utf-8")
        return path

    return write


def _error(path):
    """Text of the error that reading gives, which must be one line."""
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    (text,) = str(caught.value).splitlines()
    return text


def test_what_is_written_comes_back(manifest, tmp_path):
    path = tmp_path / "new folder" / "mine.csv"
    write_manifest(manifest, path)
    read = read_manifest(path)
    pd.testing.assert_frame_equal(read.rows, manifest.rows, check_dtype=False)
    assert read.rows["n_frames"].dtype == read.rows["test_fold"].dtype == int
    assert read.class_names == CLASS_NAMES
    assert (read.dataset, read.crop, read.root) == ("mine", manifest.crop, "data/mine")
    assert read.fingerprint == manifest.fingerprint
    assert {each.name for each in path.parent.iterdir()} == {"mine.csv", "mine.json"}
    assert b"\r" not in path.read_bytes()


def test_a_manifest_that_could_not_be_read_is_not_written(manifest, tmp_path):
    manifest.rows.loc[4, "label"] = "joy"
    with pytest.raises(DataError, match="line 6: label 'joy'"):
        write_manifest(manifest, tmp_path / "mine.csv")
    assert list(tmp_path.iterdir()) == []


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
    assert _error(path) == f"{path} lists no clip; run `dfer preprocess` again"


@pytest.mark.parametrize("content", [b"", b"clip_id\n\xff\xfe\n", b'a,b\n"c,d\n', b"a\n1\n2,3\n"])
def test_a_file_that_is_no_table_is_refused(write_lines, content):
    path = write_lines()
    path.write_bytes(content)
    assert _error(path).startswith(f"cannot read {path}: ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b,faces/b,3,joy,1", "label 'joy' is none of the classes surprise, anger, boredom"),
        ("b,faces/b,3,Anger,1", "label 'Anger' is none of the classes surprise, anger, boredom"),
        ("b,faces/b,3,1,1", "label '1' is none of the classes surprise, anger, boredom"),
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


OUTSIDE = ["../x", "/abs", "a/../../b", "a/..", "..", "C:/x", "c:x", "a\\b", "\\\\host\\x", "", "."]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_that_leaves_the_data_root_is_refused(write_lines, path):
    manifest = write_lines(GOOD_LINE, f"b,{path},3,anger,1")
    assert _error(manifest) == (
        f"{manifest} line 3: path {path!r} leaves the data root; "
        f"give it relative, with / and without .."
    )


@pytest.mark.parametrize("path", ["a", "a/b c/d.mp4", "..a/b..", "./a", "été/顔", "take 1:2"])
def test_a_path_below_the_data_root_is_accepted(path):
    assert check_inside_root(path, "here") is None


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_train_and_test_share_no_clip_and_leave_none_out(manifest, fold):
    test, train = manifest.select(fold, "test"), manifest.select(fold, "train")
    assert set(test["test_fold"]) == {fold}
    assert fold not in set(train["test_fold"])
    assert "p2/clip 8" in set(train["clip_id"])  # of fold 0
    both = sorted([*test["clip_id"], *train["clip_id"]])
    assert both == sorted(manifest.rows["clip_id"])
    assert test.index.tolist() == list(range(len(test)))
    assert train.index.tolist() == list(range(len(train)))


@pytest.mark.parametrize("fold", [0, 4, -1])
def test_an_unknown_fold_is_named_with_the_known(manifest, fold):
    assert manifest.folds == (1, 2, 3)
    with pytest.raises(DataError) as caught:
        manifest.select(fold, "test")
    assert str(caught.value) == f"no fold {fold} in manifest mine; its folds: 1, 2, 3"


def _fingerprint(class_names=CLASS_NAMES, **changes):
    rows = _rows()
    for column, value in changes.items():
        rows.loc[4, column] = value
    return Manifest("mine", rows, class_names, None, "").fingerprint


def test_the_fingerprint_does_not_depend_on_the_order_of_lines_or_the_place(manifest):
    shuffled = _rows().sample(frac=1, random_state=0)
    assert shuffled["clip_id"].tolist() != manifest.rows["clip_id"].tolist()
    other = Manifest("other", shuffled, CLASS_NAMES, manifest.crop, "elsewhere")
    assert other.fingerprint == manifest.fingerprint != _fingerprint()  # cropped otherwise
    assert len(manifest.fingerprint) == 12
    int(manifest.fingerprint, 16)


@pytest.mark.parametrize(
    "changes",
    [
        {"label": "surprise"},
        {"test_fold": 3},
        {"n_frames": 6},
        {"clip_id": "other"},
        {"path": "faces/other"},
        {"class_names": CLASS_NAMES[::-1]},
        {"class_names": (*CLASS_NAMES, "contempt")},
    ],
)
def test_the_fingerprint_changes_with_clips_labels_folds_and_classes(changes):
    assert _fingerprint(**changes) != _fingerprint()


@pytest.fixture
def folder(tmp_path):
    """Two manifests; the first by name was written last."""
    for age_s, name in enumerate(("mafw.csv", "demo.csv", "demo.json", "notes.txt")):
        (tmp_path / name).write_text("", encoding="utf-8")
        os.utime(tmp_path / name, (1000 + age_s, 1000 + age_s))
    return tmp_path


def test_a_manifest_is_found_by_name_or_as_the_newest(folder):
    assert find_manifest(folder, "mafw") == folder / "mafw.csv"
    assert find_manifest(folder, None) == folder / "demo.csv"
    os.utime(folder / "mafw.csv", (2000, 2000))
    assert find_manifest(folder, None) == folder / "mafw.csv"


def test_an_unknown_manifest_is_named_with_the_known(folder):
    with pytest.raises(DataError) as caught:
        find_manifest(folder, "dfew")
    assert str(caught.value) == f"no manifest of 'dfew' in {folder}; known: demo, mafw"


@pytest.mark.parametrize("dataset", [None, "demo"])
def test_a_folder_without_manifests_says_who_writes_them(tmp_path, dataset):
    for empty in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError) as caught:
            find_manifest(empty, dataset)
        assert str(caught.value) == f"no manifest in {empty}; `dfer preprocess` writes one"


def test_the_demo_s_manifest_keeps_its_people_apart():
    demo = read_manifest(DEMO)
    assert demo.folds == (1, 2, 3, 4, 5)
    assert demo.class_names == BASIC_EXPRESSIONS
    assert set(demo.rows["label"]) == set(BASIC_EXPRESSIONS)
    folds_by_group = demo.rows.groupby("group")["test_fold"].agg(set)
    assert len(folds_by_group) == 20
    assert all(len(folds) == 1 for folds in folds_by_group)
    assert demo.rows["test_fold"].value_counts().tolist() == [28] * 5  # 4 people, 7 clips each


def test_a_dataset_whose_name_leads_elsewhere_is_refused(manifest, tmp_path):
    path = tmp_path / "mine.csv"
    write_manifest(replace(manifest, dataset="../../elsewhere"), path)
    with pytest.raises(DataError, match=r"mine.json: dataset '../../elsewhere' is no plain name"):
        read_manifest(path)
