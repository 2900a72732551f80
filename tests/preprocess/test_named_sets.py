"""RAVDESS from an archive to a manifest: unpacked once, with people, folds and traits."""

import zipfile

import pytest
from preprocess.small_sets import BRIGHT, crop_here, paint_video

from dfercli.data.manifest import read_manifest
from dfercli.doctor.dataset import inspect_dataset
from dfercli.errors import DataError
from dfercli.faces.align import CropRecipe
from dfercli.preprocess.plan import plan_preprocess
from dfercli.preprocess.run import preprocess

RECIPE = CropRecipe("mtcnn", size=32)
CLIPS = ("01-01-01-01-01-01", "01-03-02-01-01-01", "01-04-01-02-01-06")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Archives of two actors, with both recordings of each take."""
    crop_here(monkeypatch)
    root = tmp_path / "ravdess"
    root.mkdir()
    paint_video(tmp_path / "video.mp4", BRIGHT)
    for actor in ("01", "06"):
        with zipfile.ZipFile(root / f"Video_Speech_Actor_{actor}.zip", "w") as archive:
            for clip in (clip for clip in CLIPS if clip.endswith(actor)):
                for modality in ("01", "02"):
                    archive.write(tmp_path / "video.mp4", f"Actor_{actor}/{modality}-{clip}.mp4")
    return root


def _plan(root):
    return plan_preprocess("ravdess", root, root.parent / "m" / "ravdess.csv", RECIPE)


def test_an_archive_becomes_a_manifest_with_people_folds_and_sex(root):
    with pytest.raises(DataError, match="fold 1 has 2 clips, officially 240"):
        preprocess(_plan(root), 1)
    assert not [path for path in root.iterdir() if path.is_dir()]  # refused before unpacking
    preprocess(_plan(root), 1, allow_partial=True)
    rows = read_manifest(root.parent / "m" / "ravdess.csv").rows
    columns = ["clip_id", "label", "test_fold", "group", "sex"]
    assert rows[columns].to_numpy().tolist() == [
        ["01-01-01-01-01-01", "neutral", 1, "1", "male"],
        ["01-03-02-01-01-01", "happiness", 1, "1", "male"],
        ["01-04-01-02-01-06", "sadness", 2, "6", "female"],
    ]
    unpacked = sorted(path.name for path in root.rglob("*.mp4"))
    assert unpacked == [f"01-{clip}.mp4" for clip in CLIPS]
    assert not _plan(root).listing.packed
    again = preprocess(_plan(root), 1, allow_partial=True)
    assert again.counts == {"reused": 3}


def test_the_doctor_compares_labels_with_the_names(root):
    preprocess(_plan(root), 1, allow_partial=True)
    path = root.parent / "m" / "ravdess.csv"
    findings = {finding.topic: finding for finding in inspect_dataset(path, root).findings}
    assert findings["lists on disk"].state == "ok"
    path.write_text(path.read_text().replace("sadness", "anger"))
    findings = {finding.topic: finding for finding in inspect_dataset(path, root).findings}
    assert findings["lists on disk"].state == "wrong"
    assert "label differs from the lists: 1 clip" in findings["lists on disk"].text


def test_votes_become_columns_of_the_manifest(tmp_path, monkeypatch):
    crop_here(monkeypatch)
    root, path = tmp_path / "crema-d", tmp_path / "m" / "crema-d.csv"
    (root / "VideoFlash").mkdir(parents=True)
    for clip in ("1001_DFA_ANG_XX", "1001_DFA_SAD_XX"):
        paint_video(root / "VideoFlash" / f"{clip}.mp4", BRIGHT)

    def prepare():
        plan = plan_preprocess("crema-d", root, path, RECIPE)
        preprocess(plan, 1, allow_partial=True)
        return read_manifest(path)

    assert not [name for name in prepare().rows.columns if name.startswith("votes:")]
    votes = '"","A","D","F","H","N","S","fileName"\n"200001",1,0,0,0,3,0,"1001_DFA_ANG_XX"\n'
    (root / "tabulatedVotes.csv").write_text(votes)
    manifest = prepare()
    assert manifest.class_names == ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
    assert manifest.rows["label"].tolist() == ["anger", "sadness"]
    shares = manifest.label_shares(manifest.rows)
    assert shares.tolist() == [[0.25, 0, 0, 0, 0.75, 0], [0, 0, 0, 0, 0, 1]]
