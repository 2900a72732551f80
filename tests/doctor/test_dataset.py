"""The diagnosis of datasets: faults are found, and healthy data has none."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from data.official_trees import JPEG
from preprocess.small_sets import FACES, look_at, publish, write_set

from dfercli.data.manifest import read_manifest, side_file, write_manifest
from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.doctor import Diagnosis, Finding, diagnose, inspect_dataset
from dfercli.faces.align import CROP_VERSION, CropRecipe
from dfercli.media.images import list_frames, read_image, write_image
from dfercli.preprocess.plan import plan_preprocess
from dfercli.preprocess.run import preprocess

NUM_FRAMES = 16
OURS = "detector mtcnn, size 32, template loose-five-points"


@pytest.fixture
def clip(healthy):
    """The frames of one of its clips, in their order."""
    return list_frames(healthy.parents[1] / "root" / "faces" / "ben" / "anger")


def _findings(path, root=None):
    """Return state and text by topic."""
    findings = inspect_dataset(path, root).findings
    found = {finding.topic: (finding.state, finding.text) for finding in findings}
    assert len(found) == len(findings)
    return found


def _odd(path, root=None):
    """Return the findings that are not ok."""
    return {topic: found for topic, found in _findings(path, root).items() if found[0] != "ok"}


def _change(path, **fields):
    write_manifest(replace(read_manifest(path), **fields), path)


def test_of_a_healthy_dataset_everything_is_ok(healthy):
    report = inspect_dataset(healthy)
    assert report.findings == (
        Finding("clips", "ok", "4 (happiness 2, anger 2); by test fold 1: 2, 2: 2"),
        Finding("frames", "ok", "64; 16 to 16 per clip, mean 16.0; 0 clips with fewer than 16"),
        Finding("frame sizes", "ok", "8x8 (4)"),
        Finding("crops", "ok", f"{OURS}, version {CROP_VERSION}"),
    )
    assert (report.name, report.manifest) == ("own", healthy)
    assert report.root == healthy.parents[1] / "root"
    assert Diagnosis((), (report,)).healthy


def test_the_data_is_left_as_it_is_and_some_of_it_shown(healthy, clip):
    write_image(clip[NUM_FRAMES // 2], np.full((8, 8, 3), 255, dtype=np.uint8))
    before = look_at(healthy.parents[1] / "root")
    report = inspect_dataset(healthy)
    assert look_at(healthy.parents[1] / "root") == before
    assert report.sheet == healthy.parent / "review" / "own-sample.png"
    tiles = read_image(report.sheet)[84:85, 84::168].astype(int)
    reddish = tiles[0, :4, 0] - tiles[0, :4, 2] > 100
    assert reddish.tolist() == [True, True, True, False]  # middle frames, in the order of lines


def test_another_root_is_looked_at_where_it_is_given(healthy):
    root = healthy.parents[1] / "root"
    root.rename(root.with_name("moved"))
    gone = inspect_dataset(healthy)
    assert (gone.root, gone.sheet) == (root, None)
    assert gone.findings == (
        Finding("data", "wrong", f"data folder {root} does not exist; set --root"),
    )
    assert _odd(healthy, root.with_name("moved")) == {}


@pytest.mark.parametrize(("requested", "state"), [(True, "wrong"), (False, "note")])
def test_data_that_is_not_there_is_wrong_where_somebody_asked_for_it(
    healthy, monkeypatch, requested, state
):
    monkeypatch.setattr("dfercli.doctor.inspect_machine", list)
    root = healthy.parents[1] / "root"
    shutil.rmtree(root)
    page = diagnose({healthy: None}, requested=requested)
    (report,) = page.datasets
    assert report.findings == (
        Finding("data", state, f"data folder {root} does not exist; set --root"),
    )
    assert page.healthy is not requested


def _remove(clip):
    shutil.rmtree(clip[0].parent)


def _empty(clip):
    for path in clip:
        path.unlink()


def _cut(clip):
    clip[7].write_bytes(JPEG[: len(JPEG) // 2])


def _blank(clip):
    clip[7].write_bytes(b"")


def _enlarge(clip):
    write_image(clip[-1], np.zeros((12, 16, 3), dtype=np.uint8))


def _lose(clip):
    clip[7].unlink()


def _garble(clip):
    clip[8].write_bytes(b"no image, but for its end" + JPEG[-2:])


@pytest.mark.parametrize(
    ("harm", "topic", "text"),
    [
        (_remove, "missing", "1 clip (ben/anger)"),
        (_empty, "empty", "1 clip (ben/anger)"),
        (_cut, "unreadable", "1 clip (ben/anger): 7.jpg is cut off"),
        (_blank, "unreadable", "1 clip (ben/anger): 7.jpg is empty"),
        (_enlarge, "unreadable", "1 clip (ben/anger): frames of different sizes"),
        (_lose, "different number of frames", "1 clip (ben/anger); ben/anger has 15, not 16"),
        (_garble, "contact sheet", "cannot read {clip}/8.jpg: not an image"),
    ],
)
def test_a_clip_that_is_not_whole_is_wrong(healthy, clip, harm, topic, text):
    harm(clip)
    found = {topic: ("wrong", text.format(clip=clip[0].parent))}
    assert _odd(healthy) == found
    assert not Diagnosis((), (inspect_dataset(healthy),)).healthy


def test_many_clips_are_counted_and_some_named(healthy):
    shutil.rmtree(healthy.parents[1] / "root" / "faces")
    text = "4 clips (anna/happiness, anna/anger, ben/happiness, ...)"
    assert _odd(healthy) == {"missing": ("wrong", text)}


def test_clips_of_another_size_are_noted(healthy, clip):
    for path in clip:
        write_image(path, np.zeros((12, 16, 3), dtype=np.uint8))
    assert _odd(healthy) == {"frame sizes": ("note", "8x8 (3), 16x12 (1)")}
    assert Diagnosis((), (inspect_dataset(healthy),)).healthy


def test_short_clips_are_counted(healthy, clip):
    clip[0].unlink()
    text = "63; 15 to 16 per clip, mean 15.8; 1 clip with fewer than 16"
    assert _findings(healthy)["frames"] == ("ok", text)


def test_a_group_in_two_folds_is_wrong(healthy):
    rows = read_manifest(healthy).rows
    _change(healthy, rows=rows.assign(group=["anna", "ben", "anna", "dan"]))
    assert _odd(healthy) == {"groups": ("wrong", "1 group (anna) in several folds")}
    _change(healthy, rows=rows.assign(group=list("abab")))
    assert _odd(healthy) == {"groups": ("wrong", "2 groups (a, b) in several folds")}
    _change(healthy, rows=rows.assign(group=["", "", "anna", ""]))  # clips without one are apart
    assert _odd(healthy) == {}


AGAIN = (
    f"this dfer uses crop version {CROP_VERSION}; delete the folder of crops and run "
    "`dfer preprocess` again"
)


@pytest.mark.parametrize(
    ("crop", "found"),
    [
        (
            {"detector": "mtcnn", "version": 1},
            ("wrong", f"detector mtcnn, version 1; {AGAIN}"),
        ),
        ({"detector": "mtcnn", "version": 2}, ("note", f"detector mtcnn, version 2; {AGAIN}")),
        (None, ("note", "unknown")),
        ({"adopted": "folder frames", "size": "8x8"}, ("ok", "adopted folder frames, size 8x8")),
    ],
)
def test_how_the_faces_were_cropped_is_told(healthy, crop, found):
    _change(healthy, crop=crop)
    assert _findings(healthy)["crops"] == found


def _spoil_line(path):
    path.write_text(path.read_text().replace("ben/anger,faces", "ben/happiness,faces"))


def _spoil_side_file(path):
    side_file(path).write_text("{")


def _spoil_kind(path):
    side_file(path).write_text(side_file(path).read_text().replace('"folder"', '"dfw"'))


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (_spoil_line, "{path} line 5: clip 'ben/happiness' is listed twice"),
        (_spoil_side_file, "cannot use {side} (JSONDecodeError("),
        (
            _spoil_kind,
            "no dataset 'dfw'; known: dfew, ferv39k, mafw, ravdess, crema-d, enterface, folder",
        ),
    ],
)
def test_a_manifest_that_cannot_be_used_is_wrong(healthy, spoil, text):
    spoil(healthy)
    report = inspect_dataset(healthy)
    (finding,) = report.findings
    assert (finding.topic, finding.state) == ("manifest", "wrong")
    assert finding.text.startswith(text.format(path=healthy, side=side_file(healthy)))
    assert (report.name, report.sheet) == ("own", None)


@pytest.fixture
def official(tmp_path, monkeypatch):
    """Path of the manifest of a small DFEW, made with the options of a call."""

    def make(allow_partial=False):
        path = tmp_path / "manifests" / "dfew.csv"
        plan = plan_preprocess("dfew", tmp_path / "root", path, CropRecipe("mtcnn"))
        preprocess(plan, allow_partial=allow_partial)
        return path

    publish(monkeypatch, "dfew")
    write_set(tmp_path / "root", "dfew")
    return make


FOLDS = {f"fold {fold}" for fold in range(1, 6)}
"""Remarked on: they test none of five classes."""


def test_an_official_set_is_held_against_what_is_published(official):
    found = _findings(official())
    assert found["official lists"] == ("ok", "counts and fingerprints match the published ones")
    assert found["clips"][1].startswith("10 (happiness 0, sadness 5, ")
    assert found["clips"][1].endswith("; officially 10")
    assert {topic for topic, (state, _) in found.items() if state != "ok"} == FOLDS


def test_a_set_that_is_not_the_official_one_is_wrong(official):
    path = official()
    rows = read_manifest(path).rows
    _change(path, rows=rows[rows["clip_id"] != "00001"])
    wrong = [finding for finding in inspect_dataset(path).findings if finding.state == "wrong"]
    assert [finding.topic for finding in wrong] == ["official lists"] * 5 + ["lists on disk"]
    assert wrong[0].text == "fold 1 test has 1 clip, officially 2 (fear 0, not 1)"
    assert wrong[5].text == (
        "1 of 10 clips (00001) not in the manifest; labels and folds of all others agree"
    )


@pytest.mark.parametrize("class_names", [("fear", "sadness"), ("joy", "fear", "sadness")])
def test_classes_that_are_not_the_official_ones_are_wrong(official, class_names):
    path = official()
    rows = read_manifest(path).rows
    label = rows["label"].mask(rows["clip_id"] == "00001", class_names[0])
    _change(path, class_names=class_names, rows=rows.assign(label=label))
    wrong = [finding for finding in inspect_dataset(path).findings if finding.state == "wrong"]
    text = f"{', '.join(class_names)}; officially {', '.join(BASIC_EXPRESSIONS)}"
    assert wrong == [Finding("classes", "wrong", text)]


def test_a_partial_set_is_noted_and_not_wrong(official, tmp_path):
    shutil.rmtree(tmp_path / "root" / FACES["dfew"] / "00003")
    found = _odd(official(allow_partial=True))
    text = "PARTIAL DATA: missing: 1 of 10 clips (00003)"
    assert found.pop("manifest") == ("note", text)
    assert found.pop("lists on disk") == (
        "note",
        "1 of 10 clips (00003) not in the manifest; labels and folds of all others agree",
    )
    assert set(found) == FOLDS
    assert {state for state, _ in found.values()} == {"note"}
