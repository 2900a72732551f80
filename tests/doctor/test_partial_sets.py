"""The diagnosis of official datasets that are partial, resampled, or edited by hand."""

import shutil

import pytest
from data.official_trees import put_clips
from preprocess.small_sets import (
    CLIPS,
    FACES,
    crop_here,
    publish,
    write_mafw_videos,
    write_set,
)

from dfercli.data.manifest import read_manifest
from dfercli.data.sources.base import Choices
from dfercli.doctor import inspect_dataset
from dfercli.faces.align import CropRecipe
from dfercli.preprocess.plan import plan_preprocess
from dfercli.preprocess.run import preprocess

LISTS = "EmoLabel_DataSplit"
AGREE = "labels and folds of all others agree"


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    """Write a small dataset, damage it, prepare it, and return the path of its manifest."""

    def make(kind, missing=None, media=None):
        publish(monkeypatch, kind)
        root = write_set(tmp_path / "root", kind)
        if media == "faces-16f":
            folder = root / "Clip" / "clip_224x224_16f"
            put_clips(folder, CLIPS[kind], [f"{number}.jpg" for number in range(1, 17)])
        if missing:
            shutil.rmtree(root / FACES[kind] / missing)
        path = tmp_path / "manifests" / "set.csv"
        adopt = True if kind == "mafw" else None
        plan = plan_preprocess(kind, root, path, CropRecipe("mtcnn"), Choices(media, adopt))
        preprocess(plan, allow_partial=True)
        return path

    return make


def _edit(path, clip_id, column, value):
    """Change a field of a row, as a user may do by hand."""
    columns, *rows = (line.split(",") for line in path.read_text().splitlines())
    for row in rows:
        if row[0] == clip_id:
            row[columns.index(column)] = str(value)
    path.write_text("".join(",".join(row) + "\n" for row in [columns, *rows]))


def _odd(path):
    """Return topic, state and text of what is not ok, except folds that lack a class."""
    return [
        (found.topic, found.state, found.text)
        for found in inspect_dataset(path).findings
        if found.state != "ok" and not found.topic.startswith(("fold ", "manifest"))
    ]


def _wrong(path):
    return [(topic, text) for topic, state, text in _odd(path) if state == "wrong"]


def test_a_partial_set_agrees_with_its_lists(prepare):
    path = prepare("dfew", missing="00003")
    text = f"1 of 10 clips (00003) not in the manifest; {AGREE}"
    assert _odd(path) == [("lists on disk", "note", text)]


@pytest.mark.parametrize(
    ("kind", "missing", "clip_id", "old", "new"),
    [
        ("dfew", "00003", "00001", "fear", "anger"),
        ("ferv39k", "Action/Happy/0000", "OfficialEvent/Fear/0000", "fear", "sadness"),
        ("mafw", "00020", "00019", "neutral", "anger"),
    ],
)
def test_a_label_of_a_partial_set_that_was_changed_by_hand_is_wrong(
    prepare, kind, missing, clip_id, old, new
):
    path = prepare(kind, missing)
    _edit(path, clip_id, "label", new)
    said = (
        f"label differs from the lists: 1 clip ({clip_id}); {clip_id} has {new}, the lists say "
        f"{old}; run `dfer preprocess` again"
    )
    assert ("lists on disk", said) in _wrong(path)


def test_a_fold_of_a_partial_set_that_was_changed_by_hand_is_wrong(prepare):
    path = prepare("dfew", missing="00003")
    _edit(path, "00001", "test_fold", 4)
    _edit(path, "00002", "test_fold", 4)
    said = (
        "test fold differs from the lists: 2 clips (00001, 00002); 00001 has 4, the lists say "
        "1; run `dfer preprocess` again"
    )
    assert _wrong(path) == [("lists on disk", said)]


def test_a_row_that_was_removed_or_added_by_hand_is_named(prepare):
    path = prepare("dfew", missing="00003")
    text = path.read_text()
    path.write_text("".join(line for line in text.splitlines(True) if line[:5] != "00004"))
    said = f"2 of 10 clips (00003, 00004) not in the manifest; {AGREE}"
    assert _odd(path) == [("lists on disk", "note", said)]
    path.write_text(text + f"00099,{FACES['dfew']}/00001,3,fear,1\n")
    assert ("lists on disk", "1 clip (00099) not in the lists") in _wrong(path)


def test_without_lists_it_is_said_that_nothing_was_compared(prepare):
    path = prepare("dfew", missing="00003")
    root = path.parents[1] / "root"
    shutil.rmtree(root / LISTS)
    said = (
        f"labels and folds cannot be compared: no split lists below {root}; their original path is "
        f"{LISTS}/train(single-labeled)/..."
    )
    assert _odd(path) == [("lists on disk", "note", said)]


@pytest.mark.parametrize("with_lists", [True, False])
def test_resampled_frames_are_compared_with_what_is_published(prepare, with_lists):
    path = prepare("dfew", media="faces-16f")
    assert read_manifest(path).partial
    if not with_lists:
        shutil.rmtree(path.parents[1] / "root" / LISTS)
    assert _odd(path) == []
    _edit(path, "00001", "label", "anger")
    wrong = _wrong(path)
    said = "fold 1 test has 2 clips, officially 2 (anger 1, not 0; fear 0, not 1)"
    assert ("official lists", said) in wrong
    named = "label differs from the lists: 1 clip (00001); 00001 has anger, the lists say fear"
    assert any(text.startswith(named) for _, text in wrong) == with_lists


@pytest.mark.parametrize("kind", ["dfew", "ferv39k", "mafw"])
def test_a_row_that_points_at_the_folder_of_another_clip_is_wrong(prepare, kind):
    path = prepare(kind)
    assert _wrong(path) == []
    first, second = sorted(CLIPS[kind])[:2]
    _edit(path, first, "path", f"{FACES[kind]}/{second}")
    said = f"folder of another clip: 1 clip ({first}); {first} has {FACES[kind]}/{second}"
    assert _wrong(path) == [("paths", f"{said}; run `dfer preprocess` again")]


def test_a_row_that_borrows_frames_from_another_clip_is_wrong(prepare):
    path = prepare("dfew")
    folders = [f"{FACES['dfew']}/{clip_id}" for clip_id in ("00001", "00002")]
    _edit(path, "00001", "path", "//".join(folders))
    said = f"folder of another clip: 1 clip (00001); 00001 has {folders[1]}"
    assert ("paths", f"{said}; run `dfer preprocess` again") in _wrong(path)


def test_a_row_of_crops_of_ones_own_that_points_at_another_clip_is_wrong(healthy):
    assert _wrong(healthy) == []
    _edit(healthy, "anna/anger", "path", "faces/ben/anger")
    said = "folder of another clip: 1 clip (anna/anger); anna/anger has faces/ben/anger"
    assert _wrong(healthy) == [("paths", f"{said}; run `dfer preprocess` again")]
    _edit(healthy, "anna/anger", "path", "faces/ben/anger/copy")  # a name of no clip: by hand
    assert [topic for topic, _ in _wrong(healthy)] == ["missing"]


def test_crops_of_mafw_lie_in_folders_of_their_own(tmp_path, monkeypatch):
    publish(monkeypatch, "mafw")
    crop_here(monkeypatch)
    path = tmp_path / "mafw.csv"
    root = write_mafw_videos(tmp_path / "root")
    preprocess(plan_preprocess("mafw", root, path, CropRecipe("mtcnn", 32)), 1)
    assert _wrong(path) == []
    _edit(path, "00019", "path", "faces-mtcnn-32/00020")
    assert [topic for topic, _ in _wrong(path)] == ["paths"]
