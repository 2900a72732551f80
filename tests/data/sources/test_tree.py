"""Searching below a root: ignored names, and clips in known and unknown folders."""

import os

import pytest

from dfercli.data.sources.find_media import MAX_DEPTH, find_clip_number, find_clips, scan_tree
from dfercli.errors import DataError
from dfercli.text import list_some


def _make(root, *paths):
    """Make files, and folders for paths that end with a slash."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).mkdir() if path.endswith("/") else (root / path).write_bytes(b"")
    return scan_tree(root)


def _found(*folders, known="faces", excluded="whole", guess=True):
    paths = [f"{folder}/{clip}".lstrip("/") for folder, clips in folders for clip in clips]
    return find_clips(paths, find_clip_number, known, excluded, guess)


def test_clips_are_told_from_folders_and_not_entered(tmp_path):
    tree = _make(tmp_path, "a b/00001/1.jpg", "a b/x&(y)/2/", "a b/list.csv", "00007/")
    assert tree.clips == ("00007", "a b/00001", "a b/x&(y)/2")
    assert tree.files == ("a b/list.csv",)


def test_the_shallowest_come_first(tmp_path):
    tree = _make(tmp_path, "a/b/c/1/", "z/1/", "a/b/set.csv", "z.csv")
    assert tree.clips == ("z/1", "a/b/c/1")
    assert tree.files == ("z.csv", "a/b/set.csv")


def test_hidden_names_stubs_of_macos_and_our_own_crops_are_left_out(tmp_path):
    tree = _make(
        tmp_path,
        "__MACOSX/clips/00001/",
        "._set_1.csv",
        ".cache/00002/",
        "faces-mtcnn-224/00003/0.jpg",
        "faces-face-alignment-112/4/",
        "faces/00005/",
    )
    assert (tree.files, tree.clips) == ((), ("faces/00005",))


def test_links_to_folders_are_followed_and_a_circle_ends(tmp_path):
    _make(tmp_path / "disk", "00001/")
    _make(tmp_path / "root", "lists/")
    (tmp_path / "root/clips").symlink_to(tmp_path / "disk")
    (tmp_path / "root/lists/up").symlink_to(tmp_path / "root")
    (tmp_path / "root/gone").symlink_to(tmp_path / "nothing")
    tree = scan_tree(tmp_path / "root")
    assert tree.clips[0] == "clips/00001"
    assert max(path.count("/") for path in tree.clips) < MAX_DEPTH


def test_a_folder_that_may_not_be_read_holds_nothing(tmp_path, monkeypatch):
    _make(tmp_path, "lost+found/1/", "2/")

    def refuse(folder, scandir=os.scandir):  # root may read everything, so chmod would not do
        if folder.name == "lost+found":
            raise PermissionError
        return scandir(folder)

    monkeypatch.setattr("dfercli.data.sources.find_media.os.scandir", refuse)
    assert scan_tree(tmp_path).clips == ("2",)


@pytest.mark.parametrize("name", ["nowhere", "file.zip"])
def test_a_root_that_is_no_folder_is_named(tmp_path, name):
    _make(tmp_path, "file.zip")
    with pytest.raises(DataError) as caught:
        scan_tree(tmp_path / name)
    assert (
        str(caught.value)
        == f"folder {tmp_path / name} does not exist; set --root to the dataset's folder"
    )


def test_archives_are_named_wherever_they_are(tmp_path):
    assert _make(tmp_path, "a.csv").packed == ""
    tree = _make(tmp_path, "Clip/part_1.ZIP", "x.rar", "b.7z", "c.tar.gz", "._d.zip")
    assert tree.packed == "; not unpacked yet: 4 archives (b.7z, c.tar.gz, x.rar, ...)"


def test_a_folder_of_a_known_name_is_taken_and_not_a_fuller_one():
    found = _found(("other", "123"), ("Faces_256", "12"))
    assert found.paths == {"00001": "Faces_256/1", "00002": "Faces_256/2"}
    assert str(found) == "Faces_256 (2 clips)"


def test_parts_are_taken_together_and_copies_left_alone():
    found = _found(("faces/part_1", "12"), ("faces/part_2", "3"), ("old/faces/part_1", "12"))
    assert found.paths["00002"] == "faces/part_1/2"
    assert found.paths["00003"] == "faces/part_2/3"
    assert str(found) == "faces (3 clips, 2 copies elsewhere ignored)"


@pytest.mark.parametrize(
    "holder", ["whole set/faces", "whole/faces/part_1", "faces whole/x/my faces", "WHOLE/FACES"]
)
def test_the_nearest_folder_that_says_what_it_holds_decides(holder):
    assert len(_found((holder, "12")).paths) == 2


@pytest.mark.parametrize(
    "holder", ["faces/whole", "faces_whole", "whole_faces", "whole", "w/Whole"]
)
def test_folders_of_other_media_are_never_taken(holder):
    found = _found((holder, "12"))
    assert found.paths == {}
    assert str(found) == "none"


def test_without_a_known_name_the_folder_that_holds_most_is_taken_and_said():
    found = _found(("a", "1"), ("b/c", "123"), ("b/whole", "12345"))
    assert set(found.paths.values()) == {"b/c/1", "b/c/2", "b/c/3"}
    assert str(found) == "b/c (3 clips, in a folder of unknown name)"
    assert _found(("b/c", "123"), guess=False).paths == {}
    assert str(_found(("", "12"))) == ". (2 clips, in a folder of unknown name)"


@pytest.mark.parametrize("parts", [("x/part_1", "x/Part 2"), ("x_part1", "x_part2")])
def test_parts_under_an_unknown_name_are_taken_together(parts):
    found = _found(("y", "1234"), (parts[0], "123"), (parts[1], "45"))
    assert set(found.paths) == {"00001", "00002", "00003", "00004", "00005"}


@pytest.mark.parametrize(
    ("known", "taken"),
    [
        (["first", "second"], "a/first"),
        (["second", "first"], "second"),
        (["none", "first"], "a/first"),
        (["none", "other"], "x"),
        ("first|second", "second"),
    ],
)
def test_of_several_patterns_the_first_that_finds_any_decides(known, taken):
    folders = [("second", "123"), ("x", "1234"), ("a/first", "12"), ("first/whole", "12345")]
    found = _found(*folders, known=known)
    assert found.paths["00001"] == f"{taken}/1"
    assert found.guessed == (taken == "x")


def test_a_clip_below_folders_of_its_own_counts_for_the_folder_above_them():
    paths = ["x/a/1", "x/b/2", "y/a/1"]
    found = find_clips(paths, lambda path: path.partition("/")[2], "known")
    assert found.paths == {"a/1": "x/a/1", "b/2": "x/b/2"}
    assert found.where == "x"


@pytest.mark.parametrize(
    ("path", "key"),
    [("a/1", "00001"), ("00012.mp4", "00012"), ("a/x1", None), ("a/1_2", None), ("²", None)],
)
def test_numbers_are_padded(path, key):
    assert find_clip_number(path) == key


def test_a_few_of_many_are_named():
    assert list_some(["a"], "clip") == "1 clip (a)"
    assert list_some(["a", "b", "c"], "clip") == "3 clips (a, b, c)"
    assert list_some(list(map(str, range(1234))), "clip") == "1,234 clips (0, 1, 2, ...)"
    assert list_some(["a"], "clip", total=2000) == "1 of 2,000 clips (a)"
