"""The manifest: it reads back as written, folds do not leak, and it is found by its name."""

import json
import os
import runpy
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from dfercli.data.manifest import (
    Manifest,
    find_manifest,
    mark_partial,
    read_manifest,
    review_file,
    side_file,
    write_manifest,
)
from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.errors import DataError

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "data_manifests" / "demo.csv"
CLASS_NAMES = ("surprise", "anger", "boredom")
IDLE = "no test clips are left in fold {}; delete the manifest to assign folds again"


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
    return Manifest("mine", _rows(), CLASS_NAMES, {"detector": "mtcnn", "size": 112}, "data/mine")


def test_what_is_written_comes_back(manifest, tmp_path):
    path = tmp_path / "new folder" / "mine.csv"
    write_manifest(manifest, path)
    read = read_manifest(path)
    pd.testing.assert_frame_equal(read.rows, manifest.rows, check_dtype=False)
    assert read.rows["n_frames"].dtype == read.rows["test_fold"].dtype == int
    assert read.class_names == CLASS_NAMES
    assert (read.dataset, read.crop, read.root) == ("mine", manifest.crop, "data/mine")
    assert read.fingerprint == manifest.fingerprint
    assert (read.num_folds, read.kind, read.deviations, read.partial) == (None, "folder", (), False)
    assert {each.name for each in path.parent.iterdir()} == {"mine.csv", "mine.json"}
    assert b"\r" not in path.read_bytes()


def test_what_differs_from_the_official_lists_comes_back(manifest, tmp_path):
    said = ("fold 1 test has 3 clips, officially 4", "clip 9 is not there")
    partial = replace(manifest, kind="dfew", deviations=said, num_folds=3)
    write_manifest(partial, tmp_path / "mine.csv")
    read = read_manifest(tmp_path / "mine.csv")
    assert (read.kind, read.deviations, read.partial, read.num_folds) == ("dfew", said, True, 3)
    assert read.fingerprint == manifest.fingerprint


def test_folds_of_videos_that_are_left_out_come_back(manifest, tmp_path):
    left_out = {"p3/été 顔": 2, "p4/x": 1}
    write_manifest(replace(manifest, left_out=left_out), tmp_path / "mine.csv")
    read = read_manifest(tmp_path / "mine.csv")
    assert read.left_out == left_out
    assert read.fingerprint == manifest.fingerprint
    assert not read.partial


def test_a_manifest_of_an_older_version_has_left_nothing_out(manifest, tmp_path):
    write_manifest(manifest, tmp_path / "mine.csv")
    side = side_file(tmp_path / "mine.csv")
    shared = json.loads(side.read_text(encoding="utf-8"))
    assert shared.pop("left_out") == {}
    side.write_text(json.dumps(shared), encoding="utf-8")
    assert read_manifest(tmp_path / "mine.csv").left_out == {}


@pytest.mark.parametrize("left_out", [3, [1, 2], None])
def test_folds_of_videos_that_are_no_table_are_refused(manifest, tmp_path, left_out):
    write_manifest(manifest, tmp_path / "mine.csv")
    side = side_file(tmp_path / "mine.csv")
    shared = json.loads(side.read_text(encoding="utf-8"))
    side.write_text(json.dumps(shared | {"left_out": left_out}), encoding="utf-8")
    with pytest.raises(DataError, match=r"mine\.json"):
        read_manifest(tmp_path / "mine.csv")


def test_what_a_person_should_look_at_is_in_a_folder_beside_the_manifest():
    review = review_file(Path("data_manifests/mine.csv"), "-worst.png")
    assert review == Path("data_manifests/review/mine-worst.png")


@pytest.mark.parametrize(
    ("deviations", "said"),
    [
        ([], "DFEW"),
        (["fold 1 lacks 2 clips"], "DFEW\nPARTIAL DATA: fold 1 lacks 2 clips"),
        (["a", "b", "c"], "DFEW\nPARTIAL DATA: a; 2 more"),
    ],
)
def test_the_first_deviation_is_said_under_a_title(deviations, said):
    assert mark_partial("DFEW", deviations) == said


def test_shares_of_frames_with_a_face_may_stand_beside_the_group(manifest, tmp_path):
    manifest.rows["coverage"] = [i / 8 for i in range(9)]
    write_manifest(manifest, tmp_path / "mine.csv")
    read = read_manifest(tmp_path / "mine.csv")
    assert read.rows["coverage"].tolist() == manifest.rows["coverage"].tolist()
    manifest.rows.loc[3, "coverage"] = float("nan")
    with pytest.raises(DataError, match="line 5: coverage is nan; it must be a number"):
        write_manifest(manifest, tmp_path / "mine.csv")


def test_a_manifest_that_could_not_be_read_is_not_written(manifest, tmp_path):
    manifest.rows.loc[4, "label"] = "joy"
    with pytest.raises(DataError, match="line 6: label 'joy'"):
        write_manifest(manifest, tmp_path / "mine.csv")
    assert list(tmp_path.iterdir()) == []


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


def test_clips_are_counted_in_the_order_of_the_classes(manifest):
    said = "9 (surprise 3, anger 3, boredom 3); by test fold 0: 1, 1: 3, 2: 3, 3: 2"
    assert manifest.describe() == said


@pytest.mark.parametrize(
    ("num_folds", "deviations", "remarks"),
    [
        (None, (), []),
        (3, (), []),
        (5, (), [IDLE.format("4, 5")]),
        (None, ("a", "b"), ["PARTIAL DATA: a; 1 more"]),
        (4, ("a",), ["PARTIAL DATA: a", IDLE.format("4")]),
    ],
)
def test_what_a_manifest_lacks_is_remarked_on(manifest, num_folds, deviations, remarks):
    changed = replace(manifest, num_folds=num_folds, deviations=deviations)
    assert changed.remarks() == remarks


def test_a_fold_between_others_may_be_idle(manifest):
    rows = manifest.rows[manifest.rows["test_fold"] != 2]
    assert replace(manifest, rows=rows, num_folds=3).remarks() == [IDLE.format("2")]


@pytest.mark.parametrize("fold", [4, -1])
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
    assert manifest.fingerprint == "a9bec532449c"  # runs and checkpoints hold it


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
    with pytest.raises(
        DataError,
        match=r"mine.json: dataset: the name '../../elsewhere' contains a slash",
    ):
        read_manifest(path)


def test_the_benchmark_reads_and_writes(capsys):
    runpy.run_path(str(ROOT / "benchmarks" / "manifest.py"))["measure"](num_clips=10, repeats=5)
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("10 clips: written in ")
    assert len(others) == 5
    assert all(line.startswith("read and selected [8, 2] in ") for line in others)


def test_a_kill_between_the_two_files_mixes_no_recipes(manifest, tmp_path, monkeypatch):
    """What is read after any renaming is the old pair, the new one, or refused."""
    path = tmp_path / "made.csv"
    old = replace(manifest, crop={"detector": "mtcnn", "size": 64})
    rows = manifest.rows.assign(n_frames=manifest.rows["n_frames"] + 7)
    new = replace(manifest, rows=rows, crop={"detector": "mtcnn", "size": 112})
    rename, seen = Path.replace, []
    for call in range(4):
        write_manifest(old, path)
        calls = iter(range(call))

        def stop(source, target, calls=calls):
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return rename(source, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", stop)
            with suppress(KeyboardInterrupt):
                write_manifest(new, path)
        try:
            found = read_manifest(path)
            seen.append("old" if found.crop == old.crop else "new")
            assert found.fingerprint == {"old": old, "new": new}[seen[-1]].fingerprint
        except DataError as error:
            seen.append("refused")
            assert str(error) == (
                f"{side_file(path)} and its CSV do not match; run `dfer preprocess` again"
            )
            assert read_manifest(path, unfinished=True).folds == manifest.folds
    assert seen == ["old", "refused", "refused", "new"]


def _add_votes(manifest, **columns):
    empty = dict.fromkeys(CLASS_NAMES, 0)
    votes = {f"votes:{name}": value for name, value in {**empty, **columns}.items()}
    return replace(manifest, rows=manifest.rows.assign(**votes))


def test_votes_are_shares_of_each_class_and_a_clip_without_votes_has_its_label(manifest, tmp_path):
    votes = _add_votes(manifest, surprise=[1, 0, *[0] * 7], anger=[3, 0, *[5] * 7])
    expected = [[0.25, 0.75, 0], [0, 1, 0], *[[0, 1, 0]] * 7]
    write_manifest(votes, tmp_path / "mine.csv")
    read = read_manifest(tmp_path / "mine.csv")
    for table in (votes, read):
        shares = table.label_shares(table.rows)
        assert shares.dtype == "float32"
        assert shares.tolist() == expected
    assert read.label_shares(read.select(1, "train")).tolist() == [[0, 1, 0]] * 6
    assert read.fingerprint == manifest.fingerprint  # the classes are the same without votes


def test_votes_may_be_missing_in_some_lines_and_classes(manifest):
    rows = manifest.rows.assign(**{"votes:boredom": ["", "2", *["0.5"] * 7]})
    shares = replace(manifest, rows=rows).label_shares(rows)
    assert shares.tolist() == [[1, 0, 0], *[[0, 0, 1]] * 8]


def test_votes_that_cannot_be_used_are_refused(manifest, tmp_path):
    with pytest.raises(DataError, match="manifest mine has no votes; remove --labels votes"):
        manifest.label_shares(manifest.rows)
    other = _add_votes(manifest, joy=1)
    with pytest.raises(DataError, match="column votes:joy, which is not one of the classes"):
        other.label_shares(other.rows)
    for value in ("-1", "nan", "many", "inf"):
        wrong = _add_votes(manifest, anger=[1, value, *[1] * 7])
        with pytest.raises(DataError, match=rf"line 3: votes:anger is '{value}'; it must be"):
            write_manifest(wrong, tmp_path / "mine.csv")
