"""The commands that make and look at data, as they are typed: what they print, and exit codes."""

import errno
import re
import shutil
from pathlib import Path

import pytest
from data.official_trees import JPEG
from preprocess.small_sets import (
    FACES,
    crop_here,
    look_at,
    publish,
    write_mafw_videos,
    write_set,
)

from dfercli.data.manifest import read_manifest
from dfercli.doctor import Finding
from dfercli.errors import DetectorError
from dfercli.media.images import list_frames

A_CLIP = Path("data", "dfew", FACES["dfew"], "00003")
REFUSED = (
    "error: dfew in data/dfew differs from the official set: {what}; use --allow-partial to "
    "continue, which marks the manifest and its tables as partial\n"
)
WHOLE = (
    "clips: 10 (happiness 0, sadness 5, neutral 0, anger 0, surprise 0, disgust 0, fear 5); "
    "by test fold 1: 2, 2: 2, 3: 2, 4: 2, 5: 2"
)
LACKING = [
    "differs: missing: 1 of 10 clips (00003)",
    "this needs --allow-partial",
]


@pytest.fixture
def dfew(dfer, monkeypatch):
    """A small DFEW in its usual place, and a machine that is well."""
    publish(monkeypatch, "dfew")
    monkeypatch.setattr("dfercli.doctor.inspect_machine", lambda: [Finding("disk", "ok", "free")])
    return write_set(Path("data", "dfew"), "dfew")


@pytest.fixture
def mafw(dfer, monkeypatch):
    """A small MAFW of videos in its usual place."""
    publish(monkeypatch, "mafw")
    return write_mafw_videos(Path("data", "mafw"))


def _cut():
    list_frames(A_CLIP)[1].write_bytes(JPEG[: len(JPEG) // 2])


def test_an_official_set_is_one_command(dfer, dfew):
    done = dfer("preprocess --dataset dfew")
    assert done.code == 0
    assert done.out.splitlines() == [
        "10 adopted; faces in data/dfew, manifest data_manifests/dfew.csv",
        WHOLE,
    ]
    assert done.err.splitlines() == [
        "lists: EmoLabel_DataSplit/test(single-labeled)/set_1.csv and 9 more",
        "faces: Clip/clip_224x224 (10 clips)",
    ]
    manifest = read_manifest(Path("data_manifests", "dfew.csv"))
    assert (manifest.root, manifest.folds) == ("data/dfew", (1, 2, 3, 4, 5))


def test_what_differs_is_refused_or_left_out(dfer, dfew):
    _cut()
    done = dfer("preprocess --dataset dfew")
    assert (done.code, done.out) == (1, "")
    what = "unreadable: 1 of 10 clips (00003) (clips listed in data_manifests/review/dfew.csv)"
    assert done.err.endswith(f"\n{REFUSED.format(what=what)}")
    assert list(Path("data_manifests").iterdir()) == [Path("data_manifests/review")]
    done = dfer("preprocess --dataset dfew --allow-partial --name mine")
    assert done.code == 4
    first, second = done.out.splitlines()
    assert first == "9 adopted, 1 unreadable; faces in data/dfew, manifest data_manifests/mine.csv"
    assert second.startswith("clips: 9 (happiness 0, ")
    assert done.err.splitlines()[2:] == [
        "PARTIAL DATA: unreadable: 1 of 10 clips (00003)",
        "clips to review: data_manifests/review/mine.csv",
        "left out: 1 clip; reasons in data_manifests/review/mine.csv",
    ]


def test_lists_that_differ_are_no_clips_left_out(dfer, dfew):
    for path in dfew.rglob("set_*.csv"):
        path.write_text(path.read_text().replace("1,7\n", "1,4\n"))
    assert dfer("preprocess --dataset dfew").code == 1
    done = dfer("preprocess --dataset dfew --allow-partial")
    assert (done.code, done.out[:11]) == (0, "10 adopted;")
    assert "PARTIAL DATA: fold 1 test has 2 clips, officially 2 (anger 1, not 0; " in done.err


@pytest.mark.parametrize(
    ("options", "removed", "code", "told"),
    [
        ("", False, 0, []),
        ("", True, 1, LACKING),
        ("--allow-partial", True, 0, LACKING),
    ],
)
def test_a_dry_run_tells_all_and_writes_nothing(dfer, dfew, options, removed, code, told):
    if removed:
        shutil.rmtree(A_CLIP)
    before = look_at(Path())
    done = dfer(f"preprocess --dataset dfew --dry-run {options}")
    assert look_at(Path()) == before
    assert (done.code, done.err) == (code, "")
    number = 9 if removed else 10
    assert done.out.splitlines() == [
        "dfew in data/dfew",
        "lists: EmoLabel_DataSplit/test(single-labeled)/set_1.csv and 9 more",
        f"faces: Clip/clip_224x224 ({number} clips)",
        WHOLE,
        f"faces: adopted in place as they are; sizes in a sample: 8x8 ({number} clips)",
        "manifest: data_manifests/dfew.csv",
        *told,
        "frames and videos are not checked in a dry run",
    ]


def test_a_dry_run_does_without_a_detector(dfer, mafw, monkeypatch):
    loaded = []

    def load(module):
        loaded.append(module)
        raise DetectorError("no weights here")

    monkeypatch.setattr("dfercli.faces.import_module", load)
    before = look_at(Path())
    done = dfer("preprocess --dataset mafw --dry-run")
    assert (done.code, done.err, loaded) == (0, "", [])
    told = "\nfaces: cropped with face-alignment into data/mafw/faces-face-alignment-224\n"
    assert told in done.out
    done = dfer("preprocess --dataset mafw")
    assert (done.code, done.err.splitlines()[-1]) == (1, "error: no weights here")
    assert loaded == ["dfercli.faces.detectors.face_alignment"]
    assert look_at(Path()) == before


def full_disk(path, data):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_ends_the_call(dfer, mafw, monkeypatch):
    crop_here(monkeypatch)
    command = "preprocess --dataset mafw --detector mtcnn --size 32"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        done = dfer(command)
    assert (done.code, done.out) == (1, "")
    *taken, line = done.err.splitlines()
    assert [text.partition(":")[0] for text in taken] == ["lists", "clips"]
    said = r"/000001\.jpg: No space left on device; free some space"
    assert re.fullmatch(rf"error: cannot write data/mafw/faces-mtcnn-32/\S+{said}", line)
    assert not Path("data_manifests").exists()
    assert set(look_at(mafw / "faces-mtcnn-32")) == {".lock", "recipe.json"}
    assert dfer(command).out.startswith("10 done; ")


def test_frames_of_mafw_are_asked_about(dfer, monkeypatch):
    publish(monkeypatch, "mafw")
    write_set(Path("data", "mafw"), "mafw")
    before = look_at(Path())
    for options in ("", " --dry-run"):
        done = dfer(f"preprocess --dataset mafw{options}")
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("error: data/mafw/data/frames has frames that look like whole")
        assert done.err.endswith("; choose --adopt to use them as they are, or --crop\n")
    assert look_at(Path()) == before
    assert dfer("preprocess --dataset mafw --adopt").out.startswith("10 adopted; ")
    told = dfer("preprocess --dataset mafw --crop --detector mtcnn --size 64 --dry-run")
    assert "\nfaces: cropped with mtcnn into data/mafw/faces-mtcnn-64\n" in told.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("dfew --crop", "DFEW is used with its authors' face crops; remove --crop"),
        ("dfew --media avi", "no media 'avi' in dfew datasets; known: faces, faces-16f"),
        ("dfew --root gone", "folder gone does not exist; set --root to the dataset's folder"),
        (
            "dfw",
            "no dataset 'dfw'; known: dfew, ferv39k, mafw, ravdess, crema-d, enterface, folder",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_one_line(dfer, dfew, options, said):
    done = dfer(f"preprocess --dataset {options}")
    assert (done.code, done.out, done.err) == (1, "", f"error: {said}\n")
