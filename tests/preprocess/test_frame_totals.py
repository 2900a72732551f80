"""Official sets whose frames came in several downloads, or not all of them."""

import shutil

import pytest
from data.official_trees import FERV39K_FEW, JPEG, put_clips, write_dfew, write_ferv39k
from preprocess.small_sets import CLIPS, FACES, FRAMES, publish, write_set

from dfercli.data.frames import FrameFolders, fingerprint_frames, open_cache
from dfercli.data.loaders import check_frames
from dfercli.data.manifest import read_manifest
from dfercli.data.sources.base import Choices
from dfercli.data.sources.official_lists import OfficialFrames, fingerprint
from dfercli.doctor import inspect_dataset
from dfercli.errors import DataError
from dfercli.faces.align import CropRecipe
from dfercli.preprocess.plan import plan_preprocess
from dfercli.preprocess.run import preprocess

NUM_FRAMES = dict(zip(FERV39K_FEW, (25, 8, 12, 9), strict=True))
PRINT = fingerprint(f"{clip_id} {number}" for clip_id, number in NUM_FRAMES.items())
COUNTS = {0: (25, 0, 0, 0, 0, 0, 9), 1: (8, 12, 0, 0, 0, 0, 0)}
PARTS = [f"2_ClipsforFaceCrop-20230101-00{part}/2_ClipsforFaceCrop" for part in range(1, 5)]
SPLIT = "Action/Happy/0000"
"""Its frames lie in all four parts; in fold 1 it trains for happiness."""


@pytest.fixture(autouse=True)
def _published(monkeypatch):
    publish(
        monkeypatch,
        "ferv39k",
        {"2_ClipsforFaceCrop": OfficialFrames(8, 47, COUNTS, PRINT)},
    )


@pytest.fixture
def root(tmp_path):
    """FERV39k as Google Drive packs it: two clips are split between parts, two are whole."""
    root = write_ferv39k(tmp_path / "ferv39k", FERV39K_FEW)
    for index, (clip_id, number) in enumerate(NUM_FRAMES.items()):
        for frame in range(number):
            part = frame * 7 % 4 if index == 0 else frame // 6 % 2 if index == 2 else index
            put_frame(root / PARTS[part] / clip_id / f"{frame:02d}.jpg")
    return root


def put_frame(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(JPEG)


def _run(root, kind="ferv39k", allow_partial=False, **choices):
    manifest = root.parent / "manifests" / f"{kind}.csv"
    plan = plan_preprocess(kind, root, manifest, CropRecipe("mtcnn"), Choices(**choices))
    return preprocess(plan, 1, allow_partial)


def _refused(root, kind="ferv39k", **choices):
    with pytest.raises(DataError) as caught:
        _run(root, kind, **choices)
    (text,) = str(caught.value).splitlines()
    before, _, after = text.partition(" differs from the official set: ")
    assert before == f"{kind} in {root}"
    return after.removesuffix(
        "; use --allow-partial to continue, which marks the manifest and its tables as partial"
    )


def _topic(path, topic):
    findings = inspect_dataset(path).findings
    return [(found.state, found.text) for found in findings if found.topic == topic]


def test_parts_that_share_clips_are_the_official_set(root):
    summary = _run(root)
    manifest = read_manifest(root.parent / "manifests" / "ferv39k.csv")
    assert dict(manifest.rows[["clip_id", "n_frames"]].to_numpy()) == NUM_FRAMES
    assert (manifest.deviations, summary.notes, summary.left_out) == ((), (), 0)
    paths = dict(manifest.rows[["clip_id", "path"]].to_numpy())
    assert sorted(paths[SPLIT].split("//")) == [f"{part}/{SPLIT}" for part in PARTS]
    assert paths["Action/Happy/0001"] == f"{PARTS[1]}/Action/Happy/0001"
    path = root.parent / "manifests" / "ferv39k.csv"
    assert _topic(path, "official frames") == [
        ("ok", "each class of each fold has the published number")
    ]
    assert not [found for found in inspect_dataset(path).findings if found.state == "wrong"]


@pytest.mark.parametrize("frame", range(25))
def test_one_frame_that_is_lost_anywhere_is_reported(root, frame):
    _run(root)
    (path,) = root.glob(f"*/*/{SPLIT}/{frame:02d}.jpg")
    path.unlink()
    said = "fold 1 train has 24 frames of happiness, officially 25 (1 is missing)"
    assert _refused(root) == said
    manifest = root.parent / "manifests" / "ferv39k.csv"
    assert _topic(manifest, "official frames") == [("wrong", said)]
    summary = _run(root, allow_partial=True)
    assert summary.manifest.deviations == (said,)
    assert _topic(manifest, "official frames") == [("note", said)]


def test_a_part_that_is_missing_is_reported(root):
    shutil.rmtree(root / PARTS[2].partition("/")[0])
    lost = 25 - 19  # of the split clip; no other one has frames in it
    assert _refused(root) == (
        f"fold 1 train has 19 frames of happiness, officially 25 ({lost} are missing)"
    )


def test_copies_beside_the_parts_change_nothing(root):
    shutil.copytree(root / PARTS[0], root / "backup" / "2_ClipsforFaceCrop")
    assert _run(root).manifest.deviations == ()


def test_another_version_of_a_part_is_refused(root):
    folder = root / "resized" / "2_ClipsforFaceCrop" / SPLIT
    for frame in (0, 30):
        put_frame(folder / f"{frame:02d}.jpg")
    (folder / "00.jpg").write_bytes(JPEG + b"larger")
    text = _refused(root)
    assert text.startswith(f"several folders have different images of 1 clip ({SPLIT}), such as ")
    assert text.endswith("; remove the wrong ones")


def test_frames_that_moved_from_clip_to_clip_are_a_note(root, monkeypatch):
    frames = {"2_ClipsforFaceCrop": OfficialFrames(8, 47, COUNTS, "0123456789ab")}
    publish(monkeypatch, "ferv39k", frames)
    summary = _run(root)
    assert summary.manifest.deviations == ()
    (note,) = summary.notes
    assert note.startswith(
        "each class of each fold has its published number of frames, but not each clip "
        f"(fingerprint {PRINT}, officially 0123456789ab)"
    )
    manifest = root.parent / "manifests" / "ferv39k.csv"
    assert _topic(manifest, "official frames") == [("note", note)]


def test_joined_clips_are_read_cached_and_moved_like_others(root, tmp_path):
    manifest = _run(root).manifest
    path = dict(manifest.rows[["clip_id", "path"]].to_numpy())[SPLIT]
    check_frames(manifest, root)
    frames = FrameFolders(root, 8).read_frames(path, lambda number: [0, number - 1])
    assert frames.shape == (2, 3, 8, 8)
    cache = open_cache(manifest, root, 8, tmp_path / "cache")
    assert (cache.read_frames(path, lambda number: [0, number - 1]) == frames).all()
    moved = root.rename(tmp_path / "elsewhere")
    check_frames(manifest, moved)
    before = fingerprint_frames(manifest, moved)
    (frame,) = moved.glob(f"*/*/{SPLIT}/13.jpg")
    frame.unlink()
    assert fingerprint_frames(manifest, moved) != before
    with pytest.raises(DataError) as caught:
        check_frames(manifest, moved)
    where = " and ".join(str(moved / folder) for folder in path.split("//"))
    assert str(caught.value) == (
        f"{where} have 24 frames, but the manifest says 25; run `dfer preprocess` again"
    )
    shutil.rmtree(frame.parent)
    with pytest.raises(
        DataError,
        match=f"^folder {frame.parent} does not exist; check that {moved} is the data root",
    ):
        check_frames(manifest, moved)
    with pytest.raises(DataError, match=f"^no frames in {frame.parent}; "):
        FrameFolders(moved, 8).read_frames(path, lambda number: [0])


@pytest.mark.parametrize("path", ["faces/1//../../etc", "faces/1///etc", "faces/1//", "//faces/1"])
def test_a_path_that_leaves_the_root_by_a_second_folder_is_refused(root, path):
    _run(root)
    manifest = root.parent / "manifests" / "ferv39k.csv"
    lines = manifest.read_text().splitlines()
    lines[1] = f"{SPLIT},{path},25,happiness,0"
    manifest.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"line 2: path .* leaves the data root"):
        read_manifest(manifest)


def test_a_clip_of_dfew_that_lost_most_frames_is_named(tmp_path, monkeypatch):
    counts = dict.fromkeys(range(1, 6), (0, 3, 0, 0, 0, 0, 3))
    publish(monkeypatch, "dfew", {"clip_224x224": OfficialFrames(2, 3, counts)})
    root = write_set(tmp_path / "dfew", "dfew")
    assert _run(root, "dfew").manifest.deviations == ()
    for name in FRAMES[1:]:
        (root / FACES["dfew"] / "00002" / name.format("00002")).unlink()
    assert _refused(root, "dfew") == (
        "1 clip (00002) has 1 frame, officially 2 to 3 per clip; "
        "fold 2 test has 1 frame of fear, officially 3 (2 are missing)"
    )


def test_sixteen_frames_of_dfew_are_sixteen(tmp_path, monkeypatch):
    publish(monkeypatch, "dfew", {"clip_224x224_16f": OfficialFrames(16, 16)})
    root = write_dfew(tmp_path / "dfew", CLIPS["dfew"])
    folder = root / "Clip" / "clip_224x224_16f"
    put_clips(folder, CLIPS["dfew"], [f"{number}.jpg" for number in range(1, 17)])
    _run(root, "dfew", media="faces-16f")
    for number in range(1, 12):
        (folder / "00003" / f"{number}.jpg").unlink()
    said = "1 clip (00003) has 5 frames, officially 16 per clip"
    assert _refused(root, "dfew", media="faces-16f") == said
    manifest = root.parent / "manifests" / "dfew.csv"
    assert _topic(manifest, "official frames") == [("wrong", said)]
    summary = _run(root, "dfew", allow_partial=True, media="faces-16f")
    assert summary.manifest.deviations[0] == said
    assert summary.manifest.deviations[1].startswith("16 resampled frames per clip")


@pytest.mark.parametrize("kind", ["dfew", "ferv39k"])
def test_missing_and_damaged_clips_are_reported_at_once(tmp_path, monkeypatch, kind):
    publish(monkeypatch, kind)
    root = write_set(tmp_path / kind, kind)
    first, second, third = sorted(CLIPS[kind])[:3]
    folder, among = root / FACES[kind], len(CLIPS[kind])
    shutil.rmtree(folder / first)
    for path in (folder / third).iterdir():
        path.unlink()
    next((folder / second).iterdir()).write_bytes(b"")
    assert _refused(root, kind).startswith(
        f"missing: 2 of {among} clips ({first}, {third}); "
        f"unreadable: 1 of {among} clips ({second}) (clips listed in "
    )
    review = (tmp_path / "manifests" / "review" / f"{kind}.csv").read_text()
    assert [line.split(",")[0] for line in review.splitlines()[1:]] == [first, second, third]
