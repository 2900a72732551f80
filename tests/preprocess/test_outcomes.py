"""What becomes of single clips, videos or folders of frames, cropped or adopted."""

import os
import shutil
import signal

import numpy as np
import pytest
from filelock import FileLock
from preprocess.small_sets import BRIGHT, DARK, BrightFaces, crop_here, look_at, work_here

from dfercli.data.manifest import read_manifest
from dfercli.data.sources.base import Choices, Source
from dfercli.errors import DataError, JobsError
from dfercli.faces.align import CropRecipe
from dfercli.faces.crop_files import RECORD_FILE
from dfercli.media.images import list_frames, read_image, write_image
from dfercli.media.video_writer import write_video
from dfercli.parallel import run_in_workers
from dfercli.preprocess.crops import ClipOutcome, adopt_clips, crop_clip, crop_clips
from dfercli.preprocess.plan import plan_preprocess
from dfercli.preprocess.run import preprocess

RECIPE = CropRecipe("mtcnn", size=32)
NUM_FRAMES = 3
OTHERS = {
    "garbage": "garbage.mp4",
    "wall": "wall.mp4",
    "hollow": "hollow",
    "torn": "torn",
    "gone": "gone.mp4",
    "unlisted": None,
}
PATHS = {"video": "video.mp4", "frames": "frames", **OTHERS}


def _frame(grey, height=96, width=96):
    return np.full((height, width, 3), grey, dtype=np.uint8)


def _put_frames(folder, count=NUM_FRAMES, **size):
    folder.mkdir(parents=True)
    for number in range(count):
        write_image(folder / f"{number}.jpg", _frame(BRIGHT, **size))


def _tear(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """One of each: a video and a folder of frames that show a face, and all that can be wrong."""
    root = tmp_path_factory.mktemp("given")
    write_video(root / "video.mp4", [_frame(BRIGHT)] * NUM_FRAMES, fps=25)
    write_video(root / "wall.mp4", [_frame(DARK)] * NUM_FRAMES, fps=25)
    (root / "garbage.mp4").write_bytes(b"no video")
    _put_frames(root / "frames")
    (root / "hollow").mkdir()
    _put_frames(root / "torn")
    _tear(root / "torn" / "1.jpg")
    return root


@pytest.fixture
def root(given, tmp_path):
    """A copy of it."""
    return shutil.copytree(given, tmp_path / "root")


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    crop_here(monkeypatch)


def _source(clip_id):
    return Source(clip_id, PATHS[clip_id], "fear", 1)


def _crop(root, clip_id):
    return crop_clip(_source(clip_id), root, root / "faces", 32, BrightFaces())


def _adopt(root, *clip_ids):
    outcomes = adopt_clips([_source(clip_id) for clip_id in clip_ids], root)
    return {outcome.clip_id: outcome for outcome in outcomes}


@pytest.mark.parametrize("clip_id", ["video", "frames"])
def test_a_clip_with_a_face_is_cropped_once(root, clip_id):
    done, again = _crop(root, clip_id), _crop(root, clip_id)
    assert (done.status, again.status) == ("done", "reused")
    for outcome in (done, again):
        assert (outcome.clip_id, outcome.n_frames, outcome.detail) == (clip_id, NUM_FRAMES, "")
        assert (outcome.record.coverage, outcome.size) == (1.0, None)
    assert done.record == again.record
    folder = root / "faces" / clip_id
    assert [path.name for path in list_frames(folder)] == [f"00000{i}.jpg" for i in (1, 2, 3)]
    assert read_image(folder / "000001.jpg").shape == (32, 32, 3)
    (folder / "000002.jpg").write_bytes(b"")
    assert _crop(root, clip_id).status == "done"


@pytest.mark.parametrize(
    ("clip_id", "status", "detail"),
    [
        ("garbage", "unreadable", "cannot read {root}/garbage.mp4: no frame can be decoded; "),
        ("torn", "unreadable", "cannot read {root}/torn/1.jpg: cut off"),
        ("hollow", "unreadable", "no frames in {root}/hollow; "),
        ("wall", "no face", "no face in any frame"),
        ("gone", "missing", "listed but not on disk: gone.mp4"),
        ("unlisted", "missing", "listed but not on disk"),
    ],
)
def test_a_clip_that_gives_no_crops_says_why(root, clip_id, status, detail):
    outcome = _crop(root, clip_id)
    assert (outcome.status, outcome.n_frames) == (status, 0)
    assert outcome.detail.startswith(detail.format(root=root.as_posix()))
    assert list((root / "faces").rglob("*.jpg")) == []
    assert _crop(root, clip_id) == outcome


def test_a_video_without_a_face_is_searched_once(root):
    assert _crop(root, "wall").record.n_frames == 0
    record = root / "faces" / "wall" / RECORD_FILE
    written_ns = record.stat().st_mtime_ns
    assert _crop(root, "wall").status == "no face"
    assert record.stat().st_mtime_ns == written_ns


def test_frames_are_adopted_where_they_are(root):
    before = look_at(root)
    (outcome,) = _adopt(root, "frames").values()
    assert outcome == ClipOutcome("frames", "adopted", NUM_FRAMES, size=(96, 96))
    assert look_at(root) == before


@pytest.mark.parametrize(
    ("clip_id", "status", "detail"),
    [
        ("video", "unreadable", "a file; --adopt takes folders of face crops"),
        ("torn", "unreadable", "torn: 1.jpg is cut off"),
        ("hollow", "missing", "hollow: empty"),
        ("gone", "missing", "gone.mp4: missing"),
        ("unlisted", "missing", "listed but not on disk"),
    ],
)
def test_what_cannot_be_adopted_says_why(root, clip_id, status, detail):
    assert _adopt(root, clip_id)[clip_id] == ClipOutcome(clip_id, status, detail=detail)


def test_frames_of_several_sizes_are_not_adopted(root):
    write_image(root / "frames" / "9.jpg", _frame(BRIGHT, 48, 64))
    outcome = _adopt(root, "frames")["frames"]
    assert (outcome.status, outcome.detail) == ("unreadable", "frames: frames of different sizes")


def test_each_clip_has_one_outcome(root):
    sources = [_source(clip_id) for clip_id in PATHS]
    outcomes = list(crop_clips(sources, root, root / "faces", RECIPE, jobs=2))
    statuses = {outcome.clip_id: outcome.status for outcome in outcomes}
    assert len(outcomes) == len(PATHS)
    assert statuses == {
        "video": "done",
        "frames": "done",
        "garbage": "unreadable",
        "wall": "no face",
        "hollow": "unreadable",
        "torn": "unreadable",
        "gone": "missing",
        "unlisted": "missing",
    }
    assert len(_adopt(root, *PATHS)) == len(PATHS)


@pytest.mark.parametrize(
    ("jobs", "num_clips", "started"), [(1, 3, 1), (2, 3, 2), (8, 3, 3), (None, 8, 5)]
)
def test_no_more_processes_are_started_than_suit_the_detector_and_the_clips(
    root, monkeypatch, jobs, num_clips, started
):
    asked = []

    def keep(sources, start, shares, **options):
        asked.append(len(shares[: len(sources)]))
        return work_here(sources, start, shares)

    monkeypatch.setattr("dfercli.preprocess.crops.run_in_workers", keep)
    monkeypatch.setattr("dfercli.preprocess.crops.count_usual_jobs", {"mtcnn": 5}.__getitem__)
    sources = [_source("gone")] * num_clips
    assert len(list(crop_clips(sources, root, root / "faces", RECIPE, jobs))) == num_clips
    assert asked == [started]


def _start_dying(recipe, root, faces):
    """Prepare a worker that a video kills."""

    def crop(source, emit):
        if source.clip_id == "video":
            os.kill(os.getpid(), signal.SIGKILL)
        return crop_clip(source, root, faces, recipe.size, BrightFaces())

    return crop


def _start_dead(recipe, root, faces):
    """Be killed while the detector is loaded."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_process_that_dies_costs_one_clip(root, monkeypatch, jobs):
    monkeypatch.setattr("dfercli.preprocess.crops.run_in_workers", run_in_workers)
    monkeypatch.setattr("dfercli.preprocess.crops._start_cropping", _start_dying)
    sources = [_source(clip_id) for clip_id in ("wall", "video", "frames", "garbage")]
    outcomes = list(crop_clips(sources, root, root / "faces", RECIPE, jobs))
    assert {outcome.clip_id: outcome.status for outcome in outcomes} == {
        "wall": "no face",
        "video": "unreadable",
        "frames": "done",
        "garbage": "unreadable",
    }
    (dead,) = (outcome for outcome in outcomes if outcome.clip_id == "video")
    assert dead.detail == (
        "its process was ended by SIGKILL, perhaps because memory ran out; "
        "run the command again with a lower --jobs; a repeated call crops only the missing clips"
    )


def test_processes_that_cannot_start_are_an_error_of_one_line(root, monkeypatch):
    monkeypatch.setattr("dfercli.preprocess.crops.run_in_workers", run_in_workers)
    monkeypatch.setattr("dfercli.preprocess.crops._start_cropping", _start_dead)
    with pytest.raises(JobsError) as caught:
        list(crop_clips([_source("video")], root, root / "faces", RECIPE, jobs=1))
    assert str(caught.value) == (
        "a process that crops faces could not start: its process was ended by SIGKILL, "
        "perhaps because memory ran out; run the command again with a lower --jobs; a repeated "
        "call crops only the missing clips"
    )
    with FileLock(root / "faces" / ".lock", timeout=0):  # given back
        pass


def test_a_folder_that_another_call_crops_into_is_refused(root):
    faces = root / "faces"
    faces.mkdir()
    with FileLock(faces / ".lock"), pytest.raises(DataError) as caught:
        list(crop_clips([_source("video")], root, faces, RECIPE, jobs=1))
    assert (
        str(caught.value)
        == f"another dfer process is writing to {faces}; wait until it has finished"
    )
    assert [path.name for path in faces.iterdir()] == [".lock"]


def _preprocess(root, paths, adopt):
    lines = [f"{path},{'ab'[index % 2]}" for index, path in enumerate(paths)]
    (root / "labels.csv").write_text("\n".join(["path,label", *lines, ""]), encoding="utf-8")
    choices = Choices(adopt=adopt, num_folds=2)
    plan = plan_preprocess("folder", root, root.parent / "m" / "own.csv", RECIPE, choices)
    summary = preprocess(plan, jobs=1)
    return summary, read_manifest(plan.manifest)


def test_ones_own_folders_of_frames_are_cropped_beside_videos(root):
    summary, manifest = _preprocess(root, ["frames", "video.mp4", "torn"], adopt=None)
    assert summary.counts == {"done": 2, "unreadable": 1}
    assert manifest.rows["path"].tolist() == ["faces-mtcnn-32/frames", "faces-mtcnn-32/video"]
    assert (manifest.crop, manifest.kind, manifest.num_folds) == (vars(RECIPE), "folder", 2)
    assert (manifest.deviations, summary.left_out) == ((), 1)  # there is nothing official


def test_ones_own_face_crops_are_taken_as_they_are(root):
    _put_frames(root / "more" / "frames", 5)
    before = look_at(root)
    summary, manifest = _preprocess(root, ["more/frames", "frames", "video.mp4"], adopt=True)
    (root / "labels.csv").unlink()
    assert look_at(root) == before
    assert summary.counts == {"adopted": 2, "unreadable": 1}
    assert manifest.rows[["clip_id", "path", "n_frames"]].to_numpy().tolist() == [
        ["more/frames", "more/frames", 5],
        ["frames", "frames", NUM_FRAMES],
    ]
    assert manifest.crop == {"adopted": "folder frames", "size": "96x96"}
    assert (summary.sheet, "coverage" in manifest.rows) == (None, False)
    assert summary.review.read_text().splitlines()[1:] == [
        "video,unreadable,0,,,,,,,a file; --adopt takes folders of face crops"
    ]
