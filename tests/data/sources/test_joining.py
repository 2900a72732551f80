"""Clips in several folders: parts are joined, copies are ignored, contradictions are reported."""

from pathlib import Path

import pytest

from dfercli.data.manifest import clip_folders
from dfercli.data.sources.find_media import (
    find_clip_number,
    find_clips,
    join_parts,
    keep_apart,
    scan_tree,
)
from dfercli.media.images import list_frames


@pytest.fixture
def find(tmp_path):
    """Write images by folder, as `name=bytes` or bare names, and find the clip that they are of."""

    def found(*folders, join=join_parts):
        for part, names in enumerate(folders, start=1):
            folder = tmp_path / f"faces-{part}" / "00001"
            folder.mkdir(parents=True)
            for text in names.split():
                name, _, content = text.partition("=")
                (folder / name).write_bytes(content.encode() or b"any")
        return join(tmp_path, find_clips(scan_tree(tmp_path).clips, find_clip_number, "faces"))

    return found


def _parts(clips):
    """The numbers of the folders that the clip is made of."""
    return [folder[len("faces-")] for folder in clips.paths["00001"].split("//")]


@pytest.mark.parametrize(
    ("folders", "parts", "copies"),
    [
        (["1.jpg 2.jpg"], "1", 0),
        (["1.jpg 2.jpg", "3.jpg"], "12", 0),
        (["3.jpg", "1.jpg 2.jpg", "4.jpg"], "213", 0),  # the fullest first
        (["1.jpg 2.jpg", "1.jpg 2.jpg"], "1", 1),
        (["1.jpg", "1.jpg 2.jpg"], "2", 1),  # a copy that lost a frame
        (["1.jpg 2.jpg", "2.jpg 3.jpg"], "12", 0),  # they overlap
        (["", "1.jpg"], "2", 1),
        (["", ""], "1", 1),
        (["Thumbs.db ._1.jpg", "1.jpg"], "2", 1),
        (["1.jpg 2.jpg=other", "1.jpg 2.jpg"], "1", 1),  # another version, which has no more
        (["1.jpg 2.jpg", "1.png 2.png"], "1", 1),
        (["c_1.jpg c_2.jpg", "1.jpg"], "1", 1),  # resampled frames, perhaps
    ],
)
def test_folders_are_joined_unless_they_repeat_each_other(find, folders, parts, copies):
    clips = find(*folders)
    assert _parts(clips) == list(parts)
    assert (clips.copies, clips.joined, clips.faults) == (copies, int(len(parts) > 1), ())


@pytest.mark.parametrize(
    ("folders", "taken", "other"),
    [
        (["1.jpg 2.jpg", "2.jpg=other 3.jpg"], 1, 2),
        (["1.jpg=other", "1.jpg 2.jpg"], 2, 1),
        (["1.jpg 2.jpg", "01.jpg 02.jpg 03.jpg"], 2, 1),  # one frame under two names
        (["1.jpg 2.jpg", "c_1.jpg c_2.jpg c_3.jpg"], 2, 1),
        (["c_1.jpg", "1.jpg", "2.jpg"], 2, 1),  # a version in two parts
    ],
)
def test_versions_of_which_one_lacks_frames_are_reported_and_never_mixed(
    find, folders, taken, other
):
    clips = find(*folders)
    assert _parts(clips)[0] == str(taken)
    assert clips.faults == (
        f"several folders have different images of 1 clip (00001), such as faces-{taken}/00001 "
        f"and faces-{other}/00001; remove the wrong ones",
    )


def test_what_was_joined_is_told(find):
    assert str(find("1.jpg", "2.jpg", "1.jpg")) == (
        "faces-1 and 1 more folder (1 clip, 1 of them joined from several folders, 1 copy "
        "elsewhere ignored)"
    )


def test_frames_of_all_folders_come_in_their_order(find, tmp_path):
    clips = find("10.jpg 2.jpg", "1.jpg 9.jpg", "2.jpg 11.jpg")
    frames = list_frames(*clip_folders(tmp_path, clips.paths["00001"]))
    assert [path.stem for path in frames] == ["1", "2", "9", "10", "11"]
    assert {path.parent.parent.name for path in frames} == {"faces-1", "faces-2", "faces-3"}


def test_clips_that_are_to_be_cropped_are_not_joined_and_it_is_said(find):
    clips = find("1.jpg", "2.jpg 3.jpg", join=keep_apart)
    assert _parts(clips) == ["2"]
    assert clips.faults == (
        "the frames of 1 clip (00001) are in several folders, such as faces-2/00001 and "
        "faces-1/00001; move the frames of each clip into one folder to crop them",
    )


def test_a_folder_that_may_not_be_read_is_said(find, monkeypatch):
    def refuse(folder):  # root may read everything, so chmod would not do
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dfercli.data.sources.find_media.list_image_names", refuse)
    (fault,) = find("1.jpg", "2.jpg").faults
    assert fault.startswith("cannot read ")
    assert fault.endswith("Permission denied")


@pytest.mark.parametrize("name", ["a + b", "a|b", "a, b", "x;y", "ü \"'", "#", "-", "~"])
def test_no_name_of_a_folder_is_taken_for_several(tmp_path, name):
    for part in (name, f"{name}-2"):
        (tmp_path / part / "faces" / "1").mkdir(parents=True)
        (tmp_path / part / "faces" / "1" / f"{len(part)}.jpg").write_bytes(b"any")
    clips = join_parts(tmp_path, find_clips(scan_tree(tmp_path).clips, find_clip_number, "faces"))
    folders = clip_folders(tmp_path, clips.paths["00001"])
    assert sorted(folders) == sorted(tmp_path / p / "faces" / "1" for p in (name, f"{name}-2"))
    assert len(list_frames(*folders)) == 2
    assert clip_folders(Path("r"), f"{name}/1") == [Path("r", name, "1")]
