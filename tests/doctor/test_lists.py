"""The diagnosis of folds and lists: what cannot be trained, and what changed since."""

from dataclasses import replace

import pytest

from dfercli.data.manifest import read_manifest, write_manifest
from dfercli.doctor import Finding, inspect_dataset

LABELS = {
    "anna/happiness.mp4": "happiness,anna",
    "anna/anger.mp4": "anger,anna",
    "ben/happiness.mp4": "happiness,ben",
    "ben/anger.mp4": "anger,ben",
}
"""Lines of the list of the healthy manifest."""


def _odd(path):
    return [finding for finding in inspect_dataset(path).findings if finding.state != "ok"]


def _list(path, **changes):
    """Write the list with other lines, by clip id with `_` for `/`."""
    lines = LABELS | {f"{name.replace('_', '/')}.mp4": line for name, line in changes.items()}
    text = "".join(f"{video},{line}\n" for video, line in lines.items() if line)
    (path.parents[1] / "root" / "labels.csv").write_text(f"path,label,group\n{text}")


def _change(path, class_names=None, **columns):
    manifest = read_manifest(path)
    class_names = class_names or manifest.class_names
    rows = manifest.rows.assign(**columns)
    write_manifest(replace(manifest, rows=rows, class_names=class_names), path)


def test_clips_of_one_class_only_are_wrong(healthy):
    _list(healthy, anna_anger="happiness,anna", ben_anger="happiness,ben")
    _change(healthy, class_names=("happiness",), label="happiness")
    text = "all clips have the same label; training needs at least two classes"
    assert _odd(healthy) == [Finding("classes", "wrong", text)]


def test_a_fold_that_leaves_nothing_to_train_on_is_wrong(healthy):
    _change(healthy, test_fold=1)
    assert _odd(healthy) == [
        Finding(
            "manifest",
            "note",
            "no test clips are left in fold 2; delete the manifest to assign folds again",
        ),
        Finding("fold 1", "wrong", "no training clips; use more folds"),
    ]


def test_a_class_that_a_fold_does_not_test_is_noted(healthy):
    _change(healthy, test_fold=[1, 1, 0, 2], group=["anna", "anna", "cleo", "ben"])
    text = "no test clips of happiness; UAR does not include these classes"
    assert _odd(healthy) == [Finding("fold 2", "note", text)]


def test_a_class_that_is_tested_and_never_trained_is_noted(healthy):
    _change(healthy, test_fold=[1, 1, 0, 2], group=["anna", "anna", "cleo", "ben"])
    _change(healthy, label=["happiness", "anger", "anger", "anger"])
    _list(healthy, ben_happiness="anger,ben")
    assert _odd(healthy) == [
        Finding(
            "fold 1",
            "note",
            "no training clips of happiness, which are tested; a model cannot predict these "
            "classes",
        ),
        Finding("fold 2", "note", "no test clips of happiness; UAR does not include these classes"),
    ]


def test_a_fold_of_which_no_clip_is_left_is_noted(healthy):
    _list(healthy, cleo_anger="anger,cleo", dan_anger="anger,dan")
    left_out = {"cleo/anger": 3, "dan/anger": 4}
    write_manifest(replace(read_manifest(healthy), num_folds=4, left_out=left_out), healthy)
    text = "no test clips are left in fold 3, 4; delete the manifest to assign folds again"
    assert _odd(healthy) == [Finding("manifest", "note", text)]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"cleo_anger": "anger,cleo"},
            "added since the last `dfer preprocess`: 1 clip (cleo/anger)",
        ),
        ({"ben_anger": ""}, "removed since the last `dfer preprocess`: 1 clip (ben/anger)"),
        (
            {"ben_anger": "fear,ben"},
            "relabelled since the last `dfer preprocess`: 1 clip (ben/anger)",
        ),
        (
            {"anna_anger": "fear,anna", "ben_anger": "fear,ben"},
            "relabelled since the last `dfer preprocess`: 2 clips (",
        ),
    ],
)
def test_a_list_that_changed_since_is_wrong(healthy, changes, text):
    _list(healthy, **changes)
    (finding,) = _odd(healthy)
    assert (finding.topic, finding.state) == ("list", "wrong")
    assert finding.text.startswith(text)
    assert finding.text.endswith("; run it again")


@pytest.mark.parametrize("fold", [0, 1])
def test_clips_that_were_left_out_are_not_new(healthy, fold):
    manifest = read_manifest(healthy)
    _list(healthy, cleo_anger="anger,cleo")
    write_manifest(replace(manifest, left_out={"cleo/anger": fold}), healthy)
    assert _odd(healthy) == []


def test_a_list_that_is_gone_is_wrong(healthy):
    path = healthy.parents[1] / "root" / "labels.csv"
    path.unlink()
    (finding,) = _odd(healthy)
    assert (finding.topic, finding.state) == ("list", "wrong")
    assert finding.text.startswith(f"{path} does not exist; create it")
