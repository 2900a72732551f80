"""MAFW: clips, frames that have to be measured, and other people's faces."""

import pytest
from official_trees import MAFW_FEW, put_clips, put_files, write_mafw

from dfercli.data.sources.base import Choices
from dfercli.data.sources.mafw import read_sources
from dfercli.errors import ConfigError

NAMES = ("0000.png", "0001.png")
VIDEOS = [f"{clip_id}.mp4" for clip_id in MAFW_FEW]


@pytest.fixture
def few(tmp_path):
    return write_mafw(tmp_path, MAFW_FEW)


def _read(root, **choices):
    return read_sources(root, Choices(**choices))


def _paths(listing):
    return {source.clip_id: source.path for source in listing.sources}


@pytest.mark.parametrize(
    "folder", ["data/clips", "data/clips/unzip", "MAFW/Data/Clips/clips", "a face & more/clips"]
)
def test_clips_are_to_be_cropped(few, folder):
    put_files(few / folder, VIDEOS)
    listing = _read(few)
    assert _paths(listing) == {clip_id: f"{folder}/{clip_id}.mp4" for clip_id in MAFW_FEW}
    assert (listing.media, listing.media_name) == ("videos", "clips")
    assert listing.taken[1] == f"clips: {folder} (10 clips)"
    assert len([line for line in listing.deviations if line.startswith("no ")]) == 0


def test_clips_of_two_archives_are_taken_together(few):
    put_files(few / "clips_part1", VIDEOS[:6])
    put_files(few / "clips_part2", VIDEOS[6:])
    assert None not in _paths(_read(few)).values()


@pytest.mark.parametrize("folder", ["data/videos", ".", "x/y z"])
def test_clips_of_a_name_that_nobody_knows_are_taken_and_said(few, folder):
    put_files(few / folder, VIDEOS)
    put_files(few / "samples", VIDEOS[:2])
    listing = _read(few)
    assert None not in _paths(listing).values()
    assert listing.taken[1] == f"clips: {folder} (10 clips, in a folder of unknown name)"


@pytest.mark.parametrize(
    "folder", ["data/frames", "data/frames/frames", "MAFW/Frames", "faces project/data/frames"]
)
@pytest.mark.parametrize(("adopt", "media"), [(None, "frames"), (True, "crops"), (False, "videos")])
def test_nothing_is_assumed_about_frames(few, folder, adopt, media):
    put_clips(few / folder, MAFW_FEW, NAMES)
    put_clips(few / "Labels(auto)/landmarks", MAFW_FEW, ["1.png"])
    listing = _read(few, adopt=adopt)
    assert _paths(listing) == {clip_id: f"{folder}/{clip_id}" for clip_id in MAFW_FEW}
    assert (listing.media, listing.media_name) == (media, "frames")
    assert listing.taken[1] == f"frames: {folder} (10 clips)"


@pytest.mark.parametrize("folder", ["data/faces", "MAFW/face", "frames set/face_crops"])
@pytest.mark.parametrize(("adopt", "media"), [(None, "frames"), (True, "crops")])
def test_faces_of_others_are_taken_where_there_is_nothing_else(few, folder, adopt, media):
    put_clips(few / folder, MAFW_FEW, NAMES)
    listing = _read(few, adopt=adopt)
    assert _paths(listing) == {clip_id: f"{folder}/{clip_id}" for clip_id in MAFW_FEW}
    assert (listing.media, listing.media_name) == (media, "faces")


def _put_all(root):
    put_files(root / "data/clips", VIDEOS)
    put_clips(root / "data/frames", MAFW_FEW, NAMES)
    put_clips(root / "data/faces", MAFW_FEW, NAMES)


@pytest.mark.parametrize(
    ("choices", "name", "others"),
    [
        ({}, "clips", "frames or faces"),
        ({"media": "frames"}, "frames", "clips or faces"),
        ({"media": "faces"}, "faces", "clips or frames"),
        ({"adopt": True}, "frames", "clips or faces"),
        ({"adopt": True, "media": "faces"}, "faces", "clips or frames"),
        ({"adopt": False}, "clips", "frames or faces"),
    ],
)
def test_of_several_media_one_is_taken_and_the_others_are_said(few, choices, name, others):
    _put_all(few)
    listing = _read(few, **choices)
    assert listing.media_name == name
    assert listing.taken[1] == (f"{name}: data/{name} (10 clips); --media can also be {others}")


def test_videos_cannot_be_adopted(few):
    _put_all(few)
    with pytest.raises(ConfigError) as caught:
        _read(few, adopt=True, media="clips")
    assert str(caught.value) == (
        "MAFW's clips are videos; use --media frames or --media faces, or remove --adopt"
    )


@pytest.mark.parametrize("media", [None, "clips", "frames", "faces"])
@pytest.mark.parametrize("folder", ["faces-mtcnn-224", "Labels(auto)/landmarks"])
def test_our_own_crops_and_landmarks_are_no_media(few, folder, media):
    put_clips(few / folder, MAFW_FEW, NAMES)
    listing = _read(few, media=media)
    assert set(_paths(listing).values()) == {None}
    assert listing.media == "videos"  # nothing that only a look could tell
    name = media or "clips"
    assert listing.taken[1] == f"{name}: none"
    assert listing.deviations[0] == f"no {name} below {few}; they are usually in data/{name}"


def test_what_is_still_packed_is_named(few):
    put_files(few / "data/clips", VIDEOS[:-1])
    put_files(few / "data", ["clips.part2.rar"])
    assert _read(few).taken[1] == (
        "clips: data/clips (9 clips); not unpacked yet: 1 archive (data/clips.part2.rar)"
    )
