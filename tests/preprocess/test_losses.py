"""What is lost on the way, and what the next call makes of it."""

import json
import re

import numpy as np
import pytest
from preprocess.small_sets import BRIGHT, crop_here, publish, write_mafw_videos

from dfercli.data.manifest import read_manifest, side_file
from dfercli.data.sources.base import Choices
from dfercli.errors import DataError, DetectorError
from dfercli.faces.align import CropRecipe
from dfercli.media.images import find_fault, list_frames
from dfercli.media.video_writer import write_video
from dfercli.preprocess import run
from dfercli.preprocess.plan import plan_preprocess

RECIPE = CropRecipe("mtcnn", size=32)
NUM_FRAMES = 20
OWN = ("a", "b", "c", "d")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """The few clips of MAFW are official, and faces are seen in bright frames."""
    publish(monkeypatch, "mafw")
    crop_here(monkeypatch)


def _bright_noise():
    """Frames that take bytes, unlike those of one grey."""
    rng = np.random.default_rng(0)
    return rng.integers(BRIGHT - 40, BRIGHT + 40, (NUM_FRAMES, 48, 64, 3), dtype=np.uint8)


@pytest.fixture
def own(tmp_path):
    """The folder of four videos of one class."""
    root = tmp_path / "own"
    for clip_id in OWN:
        write_video(root / f"{clip_id}.mp4", _bright_noise()[:3], fps=25)
    lines = [f"{clip_id}.mp4,fear" for clip_id in OWN]
    (root / "labels.csv").write_text("\n".join(["path,label", *lines, ""]), encoding="utf-8")
    return root


def _manifest_path(root, kind="folder"):
    return root.parent / "manifests" / f"{kind}.csv"


def _run(root, kind="folder", allow_partial=False):
    manifest = _manifest_path(root, kind)
    plan = plan_preprocess(kind, root, manifest, RECIPE, Choices(num_folds=2))
    return run.preprocess(plan, 1, allow_partial)


def _folds(root):
    rows = read_manifest(_manifest_path(root)).rows
    return dict(rows[["clip_id", "test_fold"]].to_numpy())


def _left_out(root, kind="folder"):
    side = side_file(_manifest_path(root, kind))
    return json.loads(side.read_text(encoding="utf-8"))["left_out"]


def test_a_video_that_was_away_comes_back_to_its_fold(own):
    """Set by hand, so that a video that is dealt anew would go to the other fold."""
    by_hand = {"a": 1, "b": 1, "c": 1, "d": 2}
    _run(own)
    assert _left_out(own) == {}
    text = _manifest_path(own).read_text(encoding="utf-8")
    for clip_id, fold in by_hand.items():
        text = re.sub(rf"(?m)^({clip_id},.*,fear),\d", rf"\1,{fold}", text)
    _manifest_path(own).write_text(text, encoding="utf-8")
    hidden = (own / "b.mp4").rename(own.parent / "hidden.mp4")
    for _ in range(2):
        summary = _run(own)
        assert (summary.counts, summary.left_out) == ({"reused": 3, "missing": 1}, 1)
        assert _folds(own) == {"a": 1, "c": 1, "d": 2}
        assert _left_out(own) == {"b": 1}
    hidden.rename(own / "b.mp4")
    _run(own)
    assert (_folds(own), _left_out(own)) == (by_hand, {})


def test_what_an_official_set_lacks_is_not_left_out_for_a_while(tmp_path):
    root = write_mafw_videos(tmp_path / "mafw", dark=["00021"])
    summary = _run(root, "mafw", allow_partial=True)
    assert (summary.left_out, _left_out(root, "mafw")) == (1, {})


def test_a_harmed_crop_is_made_anew(own):
    _run(own)
    crop = list_frames(own / "faces-mtcnn-32" / "b")[1]  # the one that the sheet of the worst shows
    whole = crop.read_bytes()
    crop.write_bytes(whole[:-20])  # most of its bytes are a header
    assert find_fault(crop) == "cut off"
    summary = _run(own)
    assert summary.counts == {"done": 1, "reused": 3}
    assert crop.read_bytes() == whole


def _cut_off(root, kept):
    """Put a video in the place of another that promises twenty frames and holds so many."""
    (root / "data" / "clips" / "00021.mp4").unlink()
    video = root / "data" / "clips" / "00021.avi"
    write_video(video, _bright_noise(), fps=25)
    content = video.read_bytes()
    _, *frames = (match.start() for match in re.finditer(b"00dc", content))  # one in the header
    video.write_bytes(content[: frames[kept]])


def test_a_video_that_ends_before_its_middle_differs_from_the_official_one(tmp_path):
    root = write_mafw_videos(tmp_path / "mafw")
    _cut_off(root, NUM_FRAMES // 2 - 1)
    lost = "truncated to less than half: 1 of 10 clips (00021)"
    with pytest.raises(DataError) as caught:
        _run(root, "mafw")
    assert f" differs from the official set: {lost} (clips listed in " in str(caught.value)
    assert not (tmp_path / "manifests" / "mafw.csv").exists()
    summary = _run(root, "mafw", allow_partial=True)
    assert (summary.counts, summary.left_out) == ({"reused": 10}, 0)
    manifest = read_manifest(_manifest_path(root, "mafw"))
    assert (manifest.deviations, len(manifest.rows)) == ((lost,), 10)
    assert (manifest.rows["n_frames"][manifest.rows["clip_id"] == "00021"] == 9).all()


def test_a_video_that_holds_half_of_its_frames_is_one_to_look_at(tmp_path):
    root = write_mafw_videos(tmp_path / "mafw")
    _cut_off(root, NUM_FRAMES // 2)
    summary = _run(root, "mafw")
    assert summary.manifest.deviations == ()
    assert "ends after 10 of 20 frames; truncated?" in summary.review.read_text(encoding="utf-8")


def test_a_detector_that_cannot_be_set_up_is_told_before_any_clip_is_cropped(own, monkeypatch):
    def fail(name):
        raise DetectorError(f"no {name} here")

    monkeypatch.setattr(run, "load_detector", fail)
    with pytest.raises(DetectorError, match="no mtcnn here"):
        _run(own)
    assert {path.name for path in own.iterdir()} == {"labels.csv", *(f"{i}.mp4" for i in OWN)}
    assert not (own.parent / "manifests").exists()
