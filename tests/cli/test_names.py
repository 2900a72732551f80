"""What manifests are called, and which of them a call goes on with."""

import re
from pathlib import Path

import pytest
from data.official_trees import put_clips
from preprocess.small_sets import (
    BRIGHT,
    CLIPS,
    crop_here,
    look_at,
    paint,
    paint_video,
    publish,
    write_set,
)

from dfercli.data.manifest import read_manifest
from dfercli.media.images import write_image

OWN = ("a", "b", "c")
MANIFEST = Path("data_manifests", "own.csv")
COMMAND = "preprocess --dataset folder --root own --detector mtcnn --size 32"


@pytest.fixture
def dfew(dfer, monkeypatch):
    """A small DFEW in its usual place."""
    publish(monkeypatch, "dfew")
    return write_set(Path("data", "dfew"), "dfew")


@pytest.fixture
def own(dfer, monkeypatch):
    """Three videos of one's own, which are cropped in a thread."""
    crop_here(monkeypatch)
    for clip_id in OWN:
        paint_video(Path("own", f"{clip_id}.mp4"), BRIGHT)
    _list([f"{clip_id}.mp4" for clip_id in OWN])


def _list(paths):
    lines = [f"{path},{'fear' if path[0] == 'a' else 'anger'}" for path in paths]
    text = "\n".join(["path,label", *lines, ""])
    Path("own", "labels.csv").write_text(text, encoding="utf-8")


def _manifests():
    return {path.name for path in Path("data_manifests").glob("*.csv")}


def test_a_manifest_of_another_kind_is_not_overwritten(dfer, dfew, monkeypatch):
    publish(monkeypatch, "ferv39k")
    write_set(Path("data", "ferv39k"), "ferv39k")
    assert dfer("preprocess --dataset dfew").code == 0
    before = look_at(Path())
    done = dfer("preprocess --dataset ferv39k --name dfew")
    assert (done.code, done.out, done.err) == (
        1,
        "",
        "error: data_manifests/dfew.csv is the manifest of a dfew dataset, not ferv39k; "
        "choose another --name\n",
    )
    assert look_at(Path()) == before


def test_other_media_have_a_manifest_of_their_own(dfer, dfew):
    put_clips(dfew / "Clip" / "clip_224x224_16f", CLIPS["dfew"], [f"{i}.jpg" for i in range(16)])
    assert dfer("preprocess --dataset dfew").code == 0
    before = Path("data_manifests", "dfew.csv").read_bytes()
    done = dfer("preprocess --dataset dfew --media faces-16f")
    assert (done.code, _manifests()) == (0, {"dfew.csv", "dfew-faces-16f.csv"})
    assert read_manifest(Path("data_manifests", "dfew-faces-16f.csv")).dataset == "dfew-faces-16f"
    assert Path("data_manifests", "dfew.csv").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../zz", "zz/", "/zz", ".", ".."])
def test_a_name_that_is_a_path_is_refused(dfer, dfew, name):
    before = look_at(Path().resolve().parent)
    done = dfer(f"preprocess --dataset dfew --name {name}")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: --name: the name {name!r} ")
    assert look_at(Path().resolve().parent) == before


def test_a_dataset_may_be_written_in_capitals(dfer, dfew):
    done = dfer("preprocess --dataset DFEW")
    assert (done.code, _manifests()) == (0, {"dfew.csv"})
    assert read_manifest(Path("data_manifests", "dfew.csv")).kind == "dfew"


def test_ones_own_frames_that_are_adopted_are_looked_at(dfer, own):
    for clip_id in OWN:
        folder = Path("own", f"{clip_id}-frames")
        folder.mkdir()
        write_image(folder / "1.jpg", paint(BRIGHT, 64))
    _list([f"{clip_id}-frames" for clip_id in OWN])
    done = dfer("preprocess --dataset folder --root own --adopt --num-folds 2")
    assert (done.code, done.err.splitlines()) == (
        0,
        [
            "lists: labels.csv (3 clips)",
            "own has frames that look like face crops: a face fills 3 of 3 sampled clips (median "
            "50% of the side), sizes 64x64 (3 clips)",
        ],
    )


def test_the_number_of_folds_is_that_of_the_earlier_manifest(dfer, own):
    assert dfer(f"{COMMAND} --num-folds 2").code == 0
    before = MANIFEST.read_bytes()
    assert dfer(COMMAND).code == 0
    assert MANIFEST.read_bytes() == before
    done = dfer(f"{COMMAND} --num-folds 3")
    assert (done.code, done.err) == (
        1,
        "error: data_manifests/own.csv has 2 folds, not 3; use --num-folds 2, or delete it to "
        "assign all folds again\n",
    )


def test_classes_and_clips_in_each_fold_are_printed(dfer, own):
    counts = "clips: 3 (anger 2, fear 1); by test fold 1: 1, 2: 1, 3: 1"
    assert counts in dfer(f"{COMMAND} --num-folds 3 --dry-run").out.splitlines()
    assert dfer(f"{COMMAND} --num-folds 3").out.splitlines()[1:] == [counts]


def test_a_fold_that_lost_its_clips_is_told(dfer, own):
    assert "no clip is left" not in dfer(f"{COMMAND} --num-folds 2").err
    MANIFEST.write_text(re.sub("(fear|anger),2", r"\1,1", MANIFEST.read_text()))
    done = dfer(COMMAND)
    assert (done.code, done.out.splitlines()[1:]) == (
        0,
        ["clips: 3 (anger 2, fear 1); by test fold 1: 3"],
    )
    said = "no test clips are left in fold 2; delete the manifest to assign folds again"
    assert said in done.err.splitlines()
