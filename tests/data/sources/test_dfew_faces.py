"""DFEW: all known layouts of its faces, which are distinguished from resampled frames."""

from dataclasses import replace
from pathlib import Path

import pytest
from official_trees import DFEW_FEW, put_clips, put_files, write_dfew

from dfercli.data.sources.base import Choices
from dfercli.data.sources.dfew import read_sources
from dfercli.errors import ConfigError, DataError

FACES = "Clip/clip_224x224"
FACES_16F = "Clip/clip_224x224_16f"
NAMES_16F = [f"{number}.jpg" for number in range(1, 17)]


@pytest.fixture
def few(tmp_path):
    return write_dfew(tmp_path, DFEW_FEW)


def _read(root, **choices):
    return read_sources(root, Choices(**choices))


def _refused(root, **choices):
    with pytest.raises(DataError) as caught:
        _read(root, **choices)
    (text,) = str(caught.value).splitlines()
    return text


def _paths(listing):
    return {source.clip_id: source.path for source in listing.sources}


@pytest.mark.parametrize(
    ("parts", "where"),
    [
        ([FACES], FACES),
        ([f"{FACES}/clip_224x224_part_1", f"{FACES}/clip_224x224_part_2"], FACES),
        (["Clip/jpg_256"], "Clip/jpg_256"),
        (["single_label/data"], "single_label/data"),
        (["a/Clip_224X224/Part_1/Part_1", "a/Clip_224X224/Part_2/Part_2"], "a/Clip_224X224"),
        (
            ["clip_224x224-2024-001/clip_224x224_part_1", "clip_224x224-2024-002/x_part_2"],
            "clip_224x224-2024-001/clip_224x224_part_1 and 1 more folder",
        ),
        (["davis/original DFEW & more/DFEW/DFEW/Clip/clip_224x224"], None),
    ],
)
def test_faces_are_found_whatever_their_folders(few, parts, where):
    ids, half = list(DFEW_FEW), 10 // len(parts)
    expected = {}
    for index, part in enumerate(parts):
        chosen = ids[index * half : (index + 1) * half]
        put_clips(few / part, chosen)
        expected |= {clip_id: f"{part}/{clip_id}" for clip_id in chosen}
    put_clips(few / FACES_16F, ids, NAMES_16F)
    put_files(few / "Clip/original/part_1", [f"{int(clip_id)}.mp4" for clip_id in ids])
    put_files(few / "Clip/clip_224x224_avi", [f"{clip_id}.avi" for clip_id in ids])
    listing = _read(few)
    assert _paths(listing) == expected
    assert listing.taken[1] == f"faces: {where or parts[0]} (10 clips)"
    assert (listing.media, listing.media_name) == ("crops", "clip_224x224")


@pytest.mark.parametrize("folder", ["Clip/my images", "davis/2024 x/my_256"])
def test_faces_of_a_name_that_nobody_knows_are_taken_and_asked_about(few, folder):
    put_clips(few / folder / "part_1", list(DFEW_FEW)[:6])
    put_clips(few / folder / "part_2", list(DFEW_FEW)[6:])
    put_clips(few / "some", ["00001"])
    put_clips(few / "Clip/original frames", [*DFEW_FEW, "00011"])
    put_clips(few / "Clip/avi frames", [*DFEW_FEW, "00011"])
    listing = _read(few)
    assert None not in _paths(listing).values()
    assert listing.taken[1] == f"faces: {folder} (10 clips, in a folder of unknown name)"
    assert listing.media == "frames"
    assert listing.answers == (
        "--adopt if they are the authors' crops; otherwise set --root to those crops"
    )
    adopted = _read(few, adopt=True)
    assert adopted == replace(listing, media="crops")


@pytest.mark.parametrize(
    "official",
    [
        FACES,
        f"{FACES}/clip_224x224_part_1",
        "Clip/clip_224x224_part_1",
        "Clip/CLIP_224x224 Part 1",
        "clip_224x224-2024-001/part_1",
        "a/b/clip_224x224",
    ],
)
@pytest.mark.parametrize(
    "other", ["Clip/clip_224x224_resized", "clip_224x224_test", "jpg_256", "my_clip_224x224"]
)
def test_the_official_name_wins_over_others(few, official, other):
    put_clips(few / other, [*DFEW_FEW, "00011"])
    listing = _read(few)
    assert _paths(listing)["00001"] == f"{other}/00001"
    assert listing.media == "crops"
    put_clips(few / official, list(DFEW_FEW)[:9])
    listing = _read(few)
    assert _paths(listing)["00001"] == f"{official}/00001"
    assert _paths(listing)["00010"] is None
    assert listing.media == "crops"


def test_unpadded_folders_and_stubs_of_macos_are_understood(few):
    put_clips(few / FACES, [str(int(clip_id)) for clip_id in DFEW_FEW])
    put_clips(few / "__MACOSX" / FACES, ["00001"])
    put_files(few / "EmoLabel_DataSplit/train(single-labeled)", ["._set_1.csv", "Thumbs.db"])
    assert _paths(_read(few))["00010"] == f"{FACES}/10"


def test_of_several_copies_the_shallowest_is_taken(few):
    put_clips(few / "backup/DFEW" / FACES, DFEW_FEW)
    put_clips(few / FACES, DFEW_FEW)
    write_dfew(few / "backup/DFEW", DFEW_FEW)
    listing = _read(few)
    assert listing.taken == (
        "lists: EmoLabel_DataSplit/test(single-labeled)/set_1.csv and 9 more",
        f"faces: {FACES} (10 clips, 10 copies elsewhere ignored)",
    )
    assert set(_paths(listing).values()) == {f"{FACES}/{clip_id}" for clip_id in DFEW_FEW}


def test_clips_that_are_not_there_have_no_path_and_what_is_packed_is_named(few):
    put_clips(few / FACES / "clip_224x224_part_1", list(DFEW_FEW)[:9])
    put_files(few / FACES, ["clip_224x224_part_2.zip", "._clip_224x224_part_2.zip"])
    listing = _read(few)
    assert [clip_id for clip_id, path in _paths(listing).items() if not path] == ["00010"]
    assert listing.taken[1] == (
        f"faces: {FACES}/clip_224x224_part_1 (9 clips)"
        f"; not unpacked yet: 1 archive ({FACES}/clip_224x224_part_2.zip)"
    )
    put_clips(few / FACES / "clip_224x224_part_2", ["00010"])
    assert _read(few).taken[1] == f"faces: {FACES} (10 clips)"


def test_without_any_face_the_archives_are_named_first(few):
    put_files(few / "Clip", ["clip_224x224-001.zip"])
    put_files(few / "Clip/original", ["1.mp4"])
    listing = _read(few)
    assert set(_paths(listing).values()) == {None}
    assert listing.deviations[0] == (
        f"no faces below {few}; they are usually in Clip/clip_224x224; "
        f"not unpacked yet: 1 archive (Clip/clip_224x224-001.zip)"
    )


def test_resampled_frames_alone_are_refused(few):
    put_clips(few / FACES_16F, DFEW_FEW, NAMES_16F)
    assert _refused(few) == (
        f"{few / FACES_16F} has only 16 resampled frames per clip, and results "
        f"on them are not comparable; use --media faces-16f to continue"
    )


@pytest.mark.parametrize("folder", [FACES_16F, f"{FACES_16F}/{FACES_16F}", "Clip/clip_224x16f"])
@pytest.mark.parametrize("also_all", [False, True])
def test_resampled_frames_are_taken_on_request_with_a_remark(few, folder, also_all):
    put_clips(few / folder, DFEW_FEW, NAMES_16F)
    if also_all:
        put_clips(few / FACES, DFEW_FEW)
    listing = _read(few, media="faces-16f")
    assert set(_paths(listing).values()) == {f"{folder}/{clip_id}" for clip_id in DFEW_FEW}
    assert listing.media_name == "clip_224x224_16f"
    assert listing.taken[1] == f"faces: {folder} (10 clips)"
    assert listing.remarks == (
        "16 resampled frames per clip (clip_224x224_16f): not comparable with results on all "
        "frames",
    )


def test_resampled_frames_that_are_asked_for_and_not_there_are_missed(few):
    put_clips(few / FACES, DFEW_FEW)
    listing = _read(few, media="faces-16f")
    assert set(_paths(listing).values()) == {None}
    assert listing.deviations[0].startswith(
        f"no faces below {few}; they are usually in {FACES_16F}"
    )


@pytest.mark.parametrize("folder", [FACES, "Clip/faces"])
@pytest.mark.parametrize("names", [NAMES_16F, [f"{number:03d}.jpg" for number in range(16)]])
def test_resampled_frames_under_another_name_are_refused(few, folder, names):
    put_clips(few / folder, DFEW_FEW, names)
    put_files(few / folder / "00002", ["Thumbs.db", "._1.jpg"])
    for path in (few / folder / "00001").iterdir():  # an empty clip tells nothing
        path.unlink()
    assert _refused(few).startswith(f"{few / folder} has the authors' 16 resampled frames per clip")


@pytest.mark.parametrize(
    "names",
    [
        [f"{{0}}_{number:05d}.jpg" for number in range(1, 17)],
        [f"{number}.jpg" for number in range(1, 18)],
        [],
    ],
)
def test_other_frames_are_not_taken_for_resampled(few, names):
    put_clips(few / FACES, DFEW_FEW, names)
    assert None not in _paths(_read(few)).values()


def test_a_clip_that_may_not_be_read_is_left_to_the_look_at_its_frames(few, monkeypatch):
    put_clips(few / FACES, DFEW_FEW)

    def refuse(path, iterdir=Path.iterdir):  # root may read everything, so chmod would not do
        if path.name == "00001":
            raise PermissionError
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert _paths(_read(few))["00001"] == f"{FACES}/00001"


def test_faces_of_the_authors_are_never_cropped_again(few):
    put_clips(few / FACES, DFEW_FEW)
    with pytest.raises(ConfigError) as caught:
        _read(few, adopt=False)
    assert str(caught.value) == ("DFEW is used with its authors' face crops; remove --crop")
    assert _read(few, adopt=True) == _read(few)
