"""Videos to crops and manifest: what is written, what is reused, and what is left out."""

import csv
import os
import shutil
import signal
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from preprocess.small_sets import work_here

from dfercli.data.loaders import check_frames
from dfercli.data.manifest import COLUMNS, Manifest, read_manifest, write_manifest
from dfercli.data.sources.base import Choices
from dfercli.demo.drawing import make_person
from dfercli.demo.videos import draw_video
from dfercli.errors import DataError, DferError
from dfercli.faces import load_detector
from dfercli.faces.align import TEMPLATE, CropRecipe
from dfercli.files import write_json
from dfercli.media.images import list_frames, read_image
from dfercli.media.video_writer import write_video
from dfercli.parallel import run_in_workers
from dfercli.preprocess.crops import AGAIN, _start_cropping
from dfercli.preprocess.plan import plan_preprocess
from dfercli.preprocess.run import preprocess

RECIPE = CropRecipe("mtcnn", size=112)
FACES = "faces-mtcnn-112"
NUM_FRAMES = 4
GOOD = ("p0/neutral", "p0/surprise", "p1/neutral", "p1/surprise")
BAD = {"p0/garbage": "unreadable", "p1/missing": "missing", "p1/wall": "no face"}


def _draw(path, person, expression):
    """Write a moment of a drawn person."""
    frames = draw_video(make_person(0, person), expression, np.random.default_rng(0))
    write_video(path, islice(frames, 10, 10 + NUM_FRAMES), fps=12.5)


def _paint_wall(path):
    write_video(path, [np.full((180, 240, 3), 90, dtype=np.uint8)] * NUM_FRAMES, fps=12.5)


def _write_labels(root, clip_ids):
    lines = [f"{clip_id}.mp4,{Path(clip_id).stem},{clip_id[:2]}" for clip_id in clip_ids]
    (root / "labels.csv").write_text("\n".join(["path,label,group", *lines, ""]), encoding="utf-8")


def _files(folder):
    """Time of all files below a folder by path, hidden ones too."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in files}


def _make_newer(video):
    later_s = video.stat().st_mtime + 3600
    os.utime(video, (later_s, later_s))


def _leave_half(partial):
    """Leave what a call leaves that is killed while it writes crops."""
    partial.mkdir(parents=True)
    for number in (1, 77):
        (partial / f"{number:06d}.jpg").write_bytes(b"half")


def _crops(*clip_ids):
    return {f"{FACES}/{clip_id}/{i:06d}.jpg" for clip_id in clip_ids for i in (1, 2, 3, 4)}


def _records(*clip_ids):
    return {f"{FACES}/{clip_id}/crop.json" for clip_id in clip_ids}


def _preprocess(root, manifest, jobs=1, num_folds=2, recipe=RECIPE, kind="folder"):
    plan = plan_preprocess(kind, root, manifest, recipe, Choices(num_folds=num_folds))
    return preprocess(plan, jobs)


@pytest.fixture(scope="module", autouse=True)
def _here():
    """Crop in this process, all but once: workers take a while to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dfercli.preprocess.crops.run_in_workers", work_here)
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A dataset of four good and three bad videos after its first call, and the summary."""
    root = tmp_path_factory.mktemp("first") / "my data"
    for clip_id in GOOD:
        _draw(root / f"{clip_id}.mp4", int(clip_id[1]), Path(clip_id).stem)
    (root / "p0" / "garbage.mp4").write_bytes(b"no video")
    _paint_wall(root / "p1" / "wall.mp4")
    _write_labels(root, [*GOOD[:2], *BAD, *GOOD[2:]])
    summary = _preprocess(root, root / "mine.csv")
    return root, summary


def _copy(root, tmp_path):
    """Copy a dataset together with its manifest, which then says where the copy is."""
    copied = Path(shutil.copytree(root, tmp_path / "copy"))
    manifest = read_manifest(copied / "mine.csv")
    write_manifest(replace(manifest, root=copied.as_posix()), copied / "mine.csv")
    return copied


def test_exactly_these_files_are_written(first):
    root, summary = first
    videos = {f"{clip_id}.mp4" for clip_id in (*GOOD, "p0/garbage", "p1/wall")}
    lists = {"labels.csv", "mine.csv", "mine.json", f"{FACES}/recipe.json", f"{FACES}/.lock"}
    review = {"review/mine.csv", "review/mine-worst.png", "review/.dfer"}
    crops = _crops(*GOOD) | _records(*GOOD, "p1/wall")
    assert set(_files(root)) == videos | lists | review | crops
    written = read_manifest(root / "mine.csv")
    assert (summary.manifest.fingerprint, summary.manifest.left_out) == (
        written.fingerprint,
        written.left_out,
    )


def test_the_manifest_holds_the_good_videos(first):
    root, _ = first
    manifest = read_manifest(root / "mine.csv")
    assert manifest.rows.columns.tolist() == [*COLUMNS, "group", "coverage"]
    assert manifest.rows.drop(columns="test_fold").to_numpy().tolist() == [
        [clip_id, f"{FACES}/{clip_id}", NUM_FRAMES, Path(clip_id).stem, clip_id[:2], 1.0]
        for clip_id in GOOD
    ]
    folds = manifest.rows["test_fold"].tolist()
    assert folds[0] == folds[1] != folds[2] == folds[3]
    assert (manifest.dataset, manifest.folds, manifest.crop) == ("mine", (1, 2), vars(RECIPE))
    assert Path(manifest.root) == root.resolve()
    assert manifest.class_names[:2] == ("neutral", "surprise")
    check_frames(manifest, root)


def test_bad_videos_are_counted_and_listed_while_the_others_are_done(first):
    root, summary = first
    assert summary.counts == {"done": 4, "unreadable": 1, "missing": 1, "no face": 1}
    assert summary.left_out == 3
    assert summary.review == root / "review" / "mine.csv"
    rows = list(csv.DictReader(summary.review.read_text(encoding="utf-8").splitlines()))
    listed = {row["clip_id"]: row for row in rows if row["clip_id"] in BAD}
    assert {clip_id: row["status"] for clip_id, row in listed.items()} == BAD
    assert [row["reason"] for row in listed.values()] == [
        f"cannot read {root / 'p0/garbage.mp4'}: "
        "no frame can be decoded; it may be incomplete, or not a video",
        "listed but not on disk: p1/missing.mp4",
        "no face in any frame",
    ]


def test_a_clip_of_few_frames_needs_a_look(first):
    rows = pd.read_csv(first[1].review, keep_default_na=False)
    short = rows[~rows["clip_id"].isin(BAD)]
    assert set(short["clip_id"]) == set(GOOD)
    assert set(short["reason"]) == {f"only {NUM_FRAMES} frames"}


def test_processes_do_the_same(first, tmp_path, monkeypatch):
    root = _copy(first[0], tmp_path)
    shutil.rmtree(root / FACES)
    monkeypatch.setattr("dfercli.preprocess.crops.run_in_workers", run_in_workers)
    summary = _preprocess(root, root / "mine.csv", jobs=2)
    assert summary.counts == first[1].counts
    assert set(_files(root)) == set(_files(first[0]))
    for path in ("mine.csv", *_crops(*GOOD)):
        assert (root / path).read_bytes() == (first[0] / path).read_bytes()


def _start_dying(recipe, root, faces):
    """Prepare a worker that one clip kills."""
    work = _start_cropping(recipe, root, faces)

    def crop(source, emit):
        if source.clip_id == "p1/surprise":
            os.kill(os.getpid(), signal.SIGKILL)
        return work(source, emit)

    return crop


def test_after_a_process_died_the_same_command_crops_the_clip_that_is_missing(
    first, tmp_path, monkeypatch
):
    root, manifest = _copy(first[0], tmp_path), tmp_path / "own.csv"
    shutil.rmtree(root / FACES)
    with monkeypatch.context() as patch:
        patch.setattr("dfercli.preprocess.crops.run_in_workers", run_in_workers)
        patch.setattr("dfercli.preprocess.crops._start_cropping", _start_dying)
        summary = _preprocess(root, manifest)
    assert summary.notes == (f"a process died while cropping 1 clip (p1/surprise); {AGAIN}",)
    again = _preprocess(root, manifest)
    assert (again.counts["done"], again.counts["reused"], again.notes) == (1, 3, ())


def test_crops_show_the_face_where_the_template_says(first):
    root, detector = first[0], load_detector("mtcnn")
    for clip_id in GOOD:
        for path in list_frames(root / FACES / clip_id):
            image_rgb = read_image(path)
            assert image_rgb.shape == (112, 112, 3)
            face = max(detector.detect(image_rgb), key=lambda face: face.area)
            distances = np.linalg.norm(face.landmarks_xy / 112 - TEMPLATE, axis=1)
            assert distances.mean() < 0.03  # three pixels
            # The detector's box goes from above the brows to the chin.
            left, top, right, bottom = face.box_xyxy / 112
            assert left > 0 and top > 0 and right < 1 and bottom < 1
            assert top < 0.25 and bottom > 0.8


def test_a_second_call_does_only_what_is_new(first, tmp_path):
    root = _copy(first[0], tmp_path)
    before = _files(root)
    folds = dict(read_manifest(root / "mine.csv").rows[["clip_id", "test_fold"]].to_numpy())
    shutil.rmtree(root / FACES / "p0" / "surprise")
    _make_newer(root / "p1" / "neutral.mp4")
    _leave_half(root / FACES / "p0" / ".surprise.partial")
    _draw(root / "p2" / "anger.mp4", 2, "anger")
    _write_labels(root, ["p2/anger", *GOOD[::-1]])
    summary = _preprocess(root, root / "mine.csv")
    assert summary.counts == {"reused": 2, "done": 3}
    assert summary.left_out == 0
    after = _files(root)
    assert not [path for path in after if "partial" in path]
    assert {path for path in after if path.endswith(".jpg")} == _crops("p2/anger", *GOOD)
    old = _crops("p0/neutral", "p1/surprise")
    assert {path: after[path] for path in old} == {path: before[path] for path in old}
    assert all(after[path] > before[path] for path in _crops("p1/neutral"))
    rows = read_manifest(root / "mine.csv").rows
    assert rows["clip_id"].tolist() == ["p2/anger", *GOOD[::-1]]
    assert dict(rows[["clip_id", "test_fold"]].to_numpy()[1:]) == folds


def test_a_dataset_without_any_face_is_an_error(tmp_path):
    _paint_wall(tmp_path / "p0" / "wall.mp4")
    _write_labels(tmp_path, ["p0/wall"])
    with pytest.raises(DataError) as caught:
        _preprocess(tmp_path, tmp_path / "mine.csv", num_folds=1)
    review = tmp_path / "review" / "mine.csv"
    assert str(caught.value) == (f"no clip of {tmp_path} can be used (1 no face); see {review}")
    assert "p0/wall,no face" in review.read_text(encoding="utf-8")
    assert not (tmp_path / "mine.csv").exists()


@pytest.mark.parametrize(
    ("dataset", "recipe", "num_folds", "message"),
    [
        ("dfw", RECIPE, 2, "no dataset 'dfw'; known: "),
        ("folder", replace(RECIPE, detector="mtcn"), 2, "no detector 'mtcn'; known: "),
        ("folder", replace(RECIPE, template="other"), 2, "of another recipe; delete"),
        (
            "folder",
            replace(RECIPE, version=99),
            2,
            f"{FACES} has crops of version {RECIPE.version}, but this dfer uses version 99; delete "
            f"the folder to crop again, or train on it as it is",
        ),
        (
            "folder",
            RECIPE,
            3,
            "has 2 folds, not 3; use --num-folds 2, or delete it to assign all folds again",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_first(tmp_path, dataset, recipe, num_folds, message):
    _write_labels(tmp_path, GOOD)
    write_json(tmp_path / FACES / "recipe.json", vars(RECIPE))
    rows = [[clip_id, "a", 4, "neutral", 1 + i % 2] for i, clip_id in enumerate(GOOD)]
    manifest = Manifest(
        "mine", pd.DataFrame(rows, columns=COLUMNS), ("neutral",), None, str(tmp_path), 2
    )
    write_manifest(manifest, tmp_path / "mine.csv")
    before = _files(tmp_path)
    with pytest.raises(DferError, match=message):
        _preprocess(tmp_path, tmp_path / "mine.csv", 1, num_folds, recipe, dataset)
    assert _files(tmp_path) == before


def test_another_dataset_does_not_take_over_a_manifest(first, tmp_path):
    _write_labels(tmp_path, GOOD)
    with pytest.raises(DataError, match=r"mine.csv is the manifest of .*choose another --name"):
        _preprocess(tmp_path, first[0] / "mine.csv")
