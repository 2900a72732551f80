"""The official sets from lists and media to a manifest, on trees of a handful of clips."""

import csv
import shutil

import numpy as np
import pytest
from data.official_trees import JPEG, put_clips, write_dfew, write_ferv39k
from preprocess.small_sets import (
    CLIPS,
    FACES,
    crop_here,
    look_at,
    publish,
    write_mafw_videos,
    write_set,
)

from dfercli.data.loaders import check_frames
from dfercli.data.manifest import COLUMNS, read_manifest
from dfercli.data.sources.base import Choices
from dfercli.errors import ConfigError, DataError
from dfercli.faces.align import CropRecipe
from dfercli.media.images import list_frames, read_image, write_image
from dfercli.preprocess.plan import plan_preprocess
from dfercli.preprocess.run import preprocess

RECIPE = CropRecipe("mtcnn", size=32)
SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
CLASS_NAMES = {
    "dfew": SEVEN,
    "ferv39k": SEVEN,
    "mafw": (
        *("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
        *("contempt", "anxiety", "helplessness", "disappointment"),
    ),
}
RELABELLED = "fold 1 test has 2 clips, officially 2 (anger 1, not 0; fear 0, not 1)"
A_CLIP = {"dfew": "00003", "ferv39k": "Action/Happy/0001"}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Few clips are official, faces are seen in bright frames, and crops made in a thread."""
    for kind in CLIPS:
        publish(monkeypatch, kind)
    crop_here(monkeypatch)


@pytest.fixture
def root(tmp_path):
    """Where the data lies; manifests go beside it."""
    return tmp_path / "given"


def _run(kind, root, allow_partial=False, **choices):
    manifest = root.parent / "manifests" / f"{kind}.csv"
    plan = plan_preprocess(kind, root, manifest, RECIPE, Choices(**choices))
    return preprocess(plan, 1, allow_partial)


def _read(root, kind):
    return read_manifest(root.parent / "manifests" / f"{kind}.csv")


def _review(root, kind):
    """Status and reason of each clip that is listed for a look."""
    path = root.parent / "manifests" / "review" / f"{kind}.csv"
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return {row["clip_id"]: (row["status"], row["reason"]) for row in rows}


def _refused(kind, root, **choices):
    with pytest.raises(DataError) as caught:
        _run(kind, root, **choices)
    (text,) = str(caught.value).splitlines()
    return text


def _write_dfew_lists(root, **changed):
    """Write DFEW's lists anew, without clips or with others."""
    clips = {name: clip for name, clip in (CLIPS["dfew"] | changed).items() if clip}
    shutil.rmtree(root / "EmoLabel_DataSplit", ignore_errors=True)
    return write_dfew(root, clips)


@pytest.mark.parametrize("kind", ["dfew", "ferv39k"])
def test_faces_of_the_authors_are_adopted_where_they_are(root, kind):
    write_set(root, kind)
    longer = root / FACES[kind] / A_CLIP[kind]
    (longer / "a_4.jpg").write_bytes(JPEG)
    before = look_at(root)
    summary = _run(kind, root)
    assert look_at(root) == before
    assert (summary.counts, summary.left_out) == ({"adopted": len(CLIPS[kind])}, 0)
    assert (summary.review, summary.sheet) == (None, None)
    manifest = _read(root, kind)
    assert manifest.rows.columns.tolist() == [*COLUMNS]
    assert manifest.rows.to_numpy().tolist() == [
        [name, f"{FACES[kind]}/{name}", 3 + (name == A_CLIP[kind]), class_name, fold]
        for name, (class_name, fold) in sorted(CLIPS[kind].items())
    ]
    adopted = f"{kind} {FACES[kind].rpartition('/')[2]}"
    assert manifest.crop == {"adopted": adopted, "size": "8x8"}
    assert (manifest.dataset, manifest.kind, manifest.root) == (kind, kind, root.as_posix())
    assert (manifest.deviations, manifest.partial, manifest.num_folds) == ((), False, None)
    assert manifest.class_names == CLASS_NAMES[kind]
    check_frames(manifest, root)
    assert {path.name for path in (root.parent / "manifests").iterdir()} == {
        f"{kind}.csv",
        f"{kind}.json",
    }


def _remove(clip):
    shutil.rmtree(clip)


def _empty(clip):
    for path in clip.iterdir():
        path.unlink()


def _cut(clip):
    list_frames(clip)[1].write_bytes(JPEG[: len(JPEG) // 2])


def _blank(clip):
    list_frames(clip)[1].write_bytes(b"")


@pytest.mark.parametrize("kind", ["dfew", "ferv39k"])
@pytest.mark.parametrize(
    ("harm", "lacking", "status", "reason"),
    [
        (_remove, "missing: {clips}", "missing", "listed but not on disk"),
        (_empty, "missing: {clips}", "missing", "{path}: empty"),
        (_cut, "unreadable: {clips}", "unreadable", "{path}: {name}_2.jpg is cut off"),
        (_blank, "unreadable: {clips}", "unreadable", "{path}: {name}_2.jpg is empty"),
    ],
)
def test_a_clip_that_is_not_whole_is_refused_by_name(root, kind, harm, lacking, status, reason):
    write_set(root, kind)
    clip_id = A_CLIP[kind]
    path, clips = f"{FACES[kind]}/{clip_id}", f"1 of {len(CLIPS[kind])} clips ({clip_id})"
    harm(root / path)
    review = root.parent / "manifests" / "review" / f"{kind}.csv"
    assert _refused(kind, root) == (
        f"{kind} in {root} differs from the official set: {lacking.format(clips=clips)} "
        f"(clips listed in {review}); use --allow-partial to continue, which marks the manifest "
        f"and its tables as partial"
    )
    name = clip_id.rpartition("/")[2]
    assert _review(root, kind) == {clip_id: (status, reason.format(path=path, name=name))}
    assert not (root.parent / "manifests" / f"{kind}.csv").exists()

    summary = _run(kind, root, allow_partial=True)
    assert summary.left_out == 1
    assert summary.counts == {"adopted": len(CLIPS[kind]) - 1, status: 1}
    manifest = _read(root, kind)
    assert set(manifest.rows["clip_id"]) == CLIPS[kind].keys() - {clip_id}
    assert manifest.partial
    assert manifest.deviations == summary.manifest.deviations == (lacking.format(clips=clips),)


def test_lists_that_deviate_are_refused_before_any_frame_is_looked_at(root, monkeypatch):
    write_set(root, "dfew")
    _write_dfew_lists(root, **{"00001": ("anger", 1)})
    before = look_at(root.parent)
    with monkeypatch.context() as patch:
        patch.delattr("dfercli.data.frame_checks.inspect_frames")
        text = _refused("dfew", root)
    assert text.startswith(
        f"dfew in {root} differs from the official set: {RELABELLED}; fold 2 train "
    )
    assert look_at(root.parent) == before
    summary = _run("dfew", root, allow_partial=True)
    assert summary.left_out == 0
    assert _read(root, "dfew").deviations == summary.manifest.deviations
    assert summary.manifest.deviations[0] == RELABELLED


def test_an_error_names_three_deviations_and_how_many_more(root):
    write_set(root, "dfew")
    _write_dfew_lists(root, **{"00001": None})
    text = _refused("dfew", root)
    assert text.count("officially") == 3
    assert "; 2 more; use --allow-partial to continue" in text


def test_a_clip_that_the_lists_of_ferv39k_leave_out_is_named(root):
    write_set(root, "ferv39k")
    clips = {name: clip for name, clip in CLIPS["ferv39k"].items() if name != "Action/Happy/0000"}
    write_ferv39k(root, clips)
    assert ": the lists lack 1 clip (Action/Happy/0000); fold 1 train " in _refused("ferv39k", root)


def test_sixteen_resampled_frames_mark_the_manifest(root):
    write_set(root, "dfew")
    put_clips(root / "Clip" / "clip_224x224_16f", CLIPS["dfew"], [f"{i}.jpg" for i in range(1, 17)])
    summary = _run("dfew", root, media="faces-16f")
    assert (summary.counts, summary.left_out) == ({"adopted": 10}, 0)
    manifest = _read(root, "dfew")
    assert manifest.crop == {"adopted": "dfew clip_224x224_16f", "size": "8x8"}
    assert set(manifest.rows["n_frames"]) == {16}
    assert manifest.partial
    assert manifest.deviations == (
        "16 resampled frames per clip (clip_224x224_16f): not comparable with results on all "
        "frames",
    )


def test_sizes_that_differ_from_clip_to_clip_are_told(root):
    write_set(root, "dfew")
    for path in list_frames(root / FACES["dfew"] / "00003"):
        write_image(path, np.full((12, 16, 3), 90, dtype=np.uint8))
    _run("dfew", root)
    assert _read(root, "dfew").crop == {"adopted": "dfew clip_224x224", "size": "several"}


@pytest.mark.parametrize(
    ("kind", "choices", "said"),
    [
        ("dfew", {"adopt": False}, "DFEW is used with its authors' face crops; "),
        ("ferv39k", {"adopt": False}, "FERV39k is used with its authors' face crops; "),
        ("mafw", {"adopt": True, "media": "clips"}, "MAFW's clips are videos; use --media frames "),
        ("dfew", {"media": "clips"}, "no media 'clips' in dfew datasets; known: faces, faces-16f"),
        ("mafw", {"media": "avi"}, "no media 'avi' in mafw datasets; known: clips, frames, faces"),
        ("folder", {"media": "faces"}, "no media 'faces' in folder datasets; known: none"),
    ],
)
def test_choices_that_a_set_does_not_have_are_refused(root, kind, choices, said):
    with pytest.raises(ConfigError) as caught:
        _run(kind, root, **choices)
    assert str(caught.value).startswith(said)


def test_clips_of_mafw_are_cropped(root):
    write_mafw_videos(root)
    given = look_at(root)
    summary = _run("mafw", root)
    assert summary.counts == {"done": 10}
    assert {path: held for path, held in look_at(root).items() if path in given} == given
    manifest = _read(root, "mafw")
    assert manifest.rows.to_numpy().tolist() == [
        [clip_id, f"faces-mtcnn-32/{clip_id}", 3, class_name, fold, 1.0]
        for clip_id, (class_name, fold) in sorted(CLIPS["mafw"].items())
    ]
    assert manifest.class_names == CLASS_NAMES["mafw"]
    assert (manifest.crop, manifest.deviations) == (vars(RECIPE), ())
    assert read_image(root / "faces-mtcnn-32" / "00019" / "000001.jpg").shape == (32, 32, 3)
    assert summary.sheet == root.parent / "manifests" / "review" / "mafw-worst.png"
    assert _run("mafw", root).counts == {"reused": 10}


def test_a_clip_of_mafw_without_a_face_makes_it_partial(root):
    write_mafw_videos(root, dark=["00021"])
    lost = "without a face: 1 of 10 clips (00021)"
    assert f"differs from the official set: {lost} (clips listed in " in _refused("mafw", root)
    assert _review(root, "mafw")["00021"] == ("no face", "no face in any frame")
    summary = _run("mafw", root, allow_partial=True)
    assert summary.counts == {"reused": 9, "no face": 1}
    manifest = _read(root, "mafw")
    assert (len(manifest.rows), manifest.partial) == (9, True)
    assert manifest.deviations == (lost,)


@pytest.mark.parametrize(
    ("adopt", "counts", "crop", "path"),
    [
        (True, {"adopted": 10}, {"adopted": "mafw frames", "size": "8x8"}, "data/frames/00019"),
        (False, {"done": 10}, vars(RECIPE), "faces-mtcnn-32/00019"),
    ],
)
def test_frames_of_mafw_are_adopted_or_cropped_as_told(root, adopt, counts, crop, path):
    write_set(root, "mafw")
    assert _run("mafw", root, adopt=adopt).counts == counts
    manifest = _read(root, "mafw")
    assert (manifest.crop, manifest.deviations) == (crop, ())
    assert manifest.rows["path"].iloc[0] == path
    check_frames(manifest, root)


def test_a_set_of_which_nothing_is_left_is_an_error(root):
    write_set(root, "dfew")
    shutil.rmtree(root / "Clip")
    review = root.parent / "manifests" / "review" / "dfew.csv"
    assert _refused("dfew", root, allow_partial=True) == (
        f"no clip of {root} can be used (10 missing); see {review}"
    )
    assert len(_review(root, "dfew")) == 10
