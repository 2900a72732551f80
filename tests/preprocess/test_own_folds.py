"""Folds of one's own videos, of which some are of no use at first."""

from dataclasses import replace

import pytest
from preprocess.small_sets import BRIGHT, DARK, crop_here, paint_video

from dfercli.data.manifest import read_manifest, write_manifest
from dfercli.data.sources.base import Choices
from dfercli.errors import DataError
from dfercli.faces.align import CropRecipe
from dfercli.preprocess.plan import plan_preprocess
from dfercli.preprocess.run import preprocess

RECIPE = CropRecipe("mtcnn", size=32)
OWN = ("a", "b", "c")


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    crop_here(monkeypatch)


@pytest.fixture
def root(tmp_path):
    """A folder of three people with a video each."""
    root = tmp_path / "own"
    for clip_id in OWN:
        paint_video(root / f"{clip_id}.mp4", BRIGHT)
    lines = [f"{clip_id}.mp4,fear,{clip_id}" for clip_id in OWN]
    (root / "labels.csv").write_text("\n".join(["path,label,group", *lines, ""]), encoding="utf-8")
    return root


def _run(root, num_folds=None):
    """Give the folds, and those of clips that are left out."""
    path = root.parent / "m" / "own.csv"
    plan = plan_preprocess("folder", root, path, RECIPE, Choices(num_folds=num_folds))
    preprocess(plan, 1)
    manifest = read_manifest(path)
    assert manifest.num_folds == 2
    return dict(manifest.rows[["clip_id", "test_fold"]].to_numpy()), manifest.left_out


def test_further_columns_of_the_list_are_columns_of_the_manifest(root):
    _run(root, num_folds=2)
    path = root.parent / "m" / "own.csv"
    before = read_manifest(path)
    lines = [f"{clip_id}.mp4,fear,{clip_id},{sex}" for clip_id, sex in zip(OWN, "fmf", strict=True)]
    (root / "labels.csv").write_text("\n".join(["path,label,group,sex", *lines, ""]))
    _run(root)
    after = read_manifest(path)
    assert dict(after.rows[["clip_id", "sex"]].to_numpy()) == {"a": "f", "b": "m", "c": "f"}
    assert after.fingerprint == before.fingerprint  # runs on the data stay comparable


@pytest.mark.parametrize("dark", OWN)
def test_a_group_without_any_face_takes_no_fold(root, dark):
    paint_video(root / f"{dark}.mp4", DARK)
    folds, left_out = _run(root, num_folds=2)
    assert folds.keys() == set(OWN) - {dark}
    assert (set(folds.values()), left_out) == ({1, 2}, {dark: 0})
    assert _run(root) == (folds, left_out)
    paint_video(root / f"{dark}.mp4", BRIGHT, num_frames=4)
    later, left_out = _run(root)
    assert {clip_id: later[clip_id] for clip_id in folds} == folds
    assert (later[dark] in (1, 2), left_out) == (True, {})


def test_a_clip_that_is_of_no_use_has_the_fold_of_its_group(root):
    paint_video(root / "a2.mp4", DARK)
    with (root / "labels.csv").open("a", encoding="utf-8") as labels:
        labels.write("a2.mp4,fear,a\n")
    folds, left_out = _run(root, num_folds=2)
    assert left_out == {"a2": folds["a"]}


def test_too_few_groups_of_use_cannot_fill_the_folds(root):
    for clip_id in "ab":
        paint_video(root / f"{clip_id}.mp4", DARK)
    with pytest.raises(DataError, match=r"^1 group .* cannot be split into 2 folds; add videos$"):
        _run(root, num_folds=2)
    assert not (root.parent / "m" / "own.csv").exists()


@pytest.mark.parametrize("asked", [None, 2])
def test_folds_of_a_manifest_that_does_not_say_how_many_are_kept(root, asked):
    folds, _ = _run(root, num_folds=2)
    path = root.parent / "m" / "own.csv"
    turned = {clip_id: 3 - fold for clip_id, fold in folds.items()}  # none that would be dealt
    manifest = read_manifest(path)
    rows = manifest.rows.assign(test_fold=[turned[clip] for clip in manifest.rows["clip_id"]])
    write_manifest(replace(manifest, rows=rows, num_folds=None), path)
    assert _run(root, num_folds=asked) == (turned, {})


def test_a_fold_that_is_not_among_those_dealt_is_an_error(root):
    _run(root, num_folds=2)
    path = root.parent / "m" / "own.csv"
    path.write_text(path.read_text().replace(",1,a,", ",7,a,").replace(",2,a,", ",7,a,"))
    with pytest.raises(
        DataError, match="2 folds, but a clip with test_fold 7; correct it, or delete it"
    ):
        _run(root)


def test_a_list_that_changes_while_faces_are_cropped_is_an_error(root):
    paint_video(root / "a.mp4", DARK)
    choices = Choices(num_folds=2)
    plan = plan_preprocess("folder", root, root.parent / "m" / "own.csv", RECIPE, choices)
    (root / "labels.csv").write_text("path,label\nb.mp4,fear\nc.mp4,joy\n")
    with pytest.raises(DataError, match="changed during the run; run the same command again"):
        preprocess(plan, 1)
