"""Atomic writes of files and folders, and names of folders."""

import json
from functools import partial
from pathlib import Path

import pytest
from filelock import Timeout

from dfercli.errors import DataError
from dfercli.files import (
    FolderKind,
    check_name,
    locking,
    replacing,
    replacing_files,
    replacing_folder,
    write_json,
    write_text,
)

KIND = FolderKind("letters", "[0-9x]|half|old")


def _make_folder(path, names):
    path.mkdir(parents=True)
    for name in names:
        (path / name).write_text(name, encoding="utf-8")


def _content(folder):
    """Text of all files below a folder by path, hidden ones too."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}


def test_a_file_appears_in_folders_that_were_not_there(tmp_path):
    with replacing(tmp_path / "a" / "b" / "new.txt") as partial:
        partial.write_text("new", encoding="utf-8")
        assert _content(tmp_path) == {"a/b/.new.txt.partial": "new"}
    assert _content(tmp_path) == {"a/b/new.txt": "new"}


def test_a_file_takes_the_place_of_the_old_one_at_the_end(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old", encoding="utf-8")
    with replacing(path) as partial:
        partial.write_text("new", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
    assert _content(tmp_path) == {"file.txt": "new"}


def test_a_folder_takes_the_place_of_the_old_one_with_all_that_was_in_it(tmp_path):
    path = tmp_path / "faces" / "clip"
    _make_folder(path, ["1", "2", "3"])
    with replacing_folder(path, KIND) as partial:
        _make_folder(partial, ["1", "x"])
        assert set(_content(path)) == {"1", "2", "3"}
    assert _content(tmp_path) == {"faces/clip/1": "1", "faces/clip/x": "x"}


def test_a_folder_does_not_take_the_place_of_a_file(tmp_path):
    (tmp_path / "clip").write_text("a file", encoding="utf-8")
    with (
        pytest.raises(
            DataError, match="clip is a file, but dfer writes letters there; move it elsewhere"
        ),
        replacing_folder(tmp_path / "clip", KIND),
    ):
        pytest.fail("it was begun")
    assert _content(tmp_path) == {"clip": "a file"}


@pytest.mark.parametrize("write", [replacing_folder, replacing_files])
def test_a_folder_does_not_take_the_place_of_a_link(tmp_path, write):
    _make_folder(tmp_path / "documents", ["1", "thesis"])
    (tmp_path / "clip").symlink_to(tmp_path / "documents")
    with (
        pytest.raises(DataError, match="clip is a symbolic link; replace it"),
        write(tmp_path / "clip", KIND),
    ):
        pytest.fail("it was begun")
    assert _content(tmp_path / "documents") == {"1": "1", "thesis": "thesis"}
    assert (tmp_path / "clip").is_symlink()


def test_a_folder_with_somebodys_file_in_it_is_not_replaced(tmp_path):
    _make_folder(tmp_path / "clip" / "below", ["thesis"])
    with (
        pytest.raises(DataError, match="clip holds below/thesis, which dfer did not write"),
        replacing_folder(tmp_path / "clip", KIND),
    ):
        pytest.fail("it was begun")
    assert _content(tmp_path) == {"clip/below/thesis": "thesis"}


def test_what_an_operating_system_puts_into_folders_is_no_obstacle(tmp_path):
    _make_folder(tmp_path / "clip", ["1", ".DS_Store", "._1", "Thumbs.db"])
    with replacing_folder(tmp_path / "clip", KIND) as partial:
        _make_folder(partial, ["2"])
    assert _content(tmp_path) == {"clip/2": "2"}


@pytest.mark.parametrize("letter", ["x", "é"])
@pytest.mark.parametrize("makes_folder", [False, True])
def test_names_as_long_as_file_systems_take_are_written(tmp_path, letter, makes_folder):
    names = [letter * (250 // len(letter.encode())), letter * (254 // len(letter.encode()))]
    write = partial(replacing_folder, kind=KIND) if makes_folder else replacing
    with write(tmp_path / names[0]) as first, write(tmp_path / names[1]) as second:
        for given in (first, second):
            assert given.parent == tmp_path
            if makes_folder:
                _make_folder(given, ["1"])
            else:
                given.write_text("new", encoding="utf-8")
    expected = {f"{name}/1": "1" for name in names} if makes_folder else dict.fromkeys(names, "new")
    assert _content(tmp_path) == expected


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_old_file_is_untouched_and_nothing_is_left(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(error), replacing(path) as partial:
        partial.write_text("half", encoding="utf-8")
        raise error
    assert _content(tmp_path) == {"file.txt": "old"}


def test_after_an_error_the_old_folder_is_untouched_and_nothing_is_left(tmp_path):
    _make_folder(tmp_path / "clip", ["1", "2"])
    with (
        pytest.raises(OSError, match="disk full"),
        replacing_folder(tmp_path / "clip", KIND) as partial,
    ):
        _make_folder(partial, ["1"])
        raise OSError("disk full")
    assert _content(tmp_path) == {"clip/1": "1", "clip/2": "2"}
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


def test_a_file_does_not_take_the_place_of_a_folder(tmp_path):
    _make_folder(tmp_path / "clip", ["1"])
    with pytest.raises(DataError, match="clip: it is a folder"):
        write_text(tmp_path / "clip", "a file")
    assert _content(tmp_path) == {"clip/1": "1"}


def test_a_block_that_makes_nothing_leaves_the_old(tmp_path):
    (tmp_path / "file.txt").write_text("old", encoding="utf-8")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file.txt"):
        pass
    assert _content(tmp_path) == {"file.txt": "old"}


@pytest.mark.parametrize("makes_folder", [False, True])
def test_what_a_killed_call_left_is_no_obstacle_and_no_part(tmp_path, makes_folder):
    left = tmp_path / ".clip.partial"
    if makes_folder:
        _make_folder(left, ["1", "half", ".x.partial"])
    else:
        left.write_text("half", encoding="utf-8")
    write = partial(replacing_folder, kind=KIND) if makes_folder else replacing
    with write(tmp_path / "clip") as given:
        assert given == left
        assert not given.exists()
        if makes_folder:
            _make_folder(given, ["1"])
        else:
            given.write_text("whole", encoding="utf-8")
    assert _content(tmp_path) == ({"clip/1": "1"} if makes_folder else {"clip": "whole"})


@pytest.mark.parametrize("write", [replacing, partial(replacing_folder, kind=KIND)])
def test_what_somebody_named_like_half_a_file_is_not_removed(tmp_path, write):
    _make_folder(tmp_path / ".clip.partial", ["thesis"])
    with pytest.raises(DataError, match="partial"), write(tmp_path / "clip"):
        pytest.fail("it was begun")
    assert _content(tmp_path) == {".clip.partial/thesis": "thesis"}


def test_a_link_is_replaced_and_not_what_it_points_to(tmp_path):
    (tmp_path / "thesis").write_text("thesis", encoding="utf-8")
    for name in ("file", ".file.partial"):
        (tmp_path / name).symlink_to(tmp_path / "thesis")
    write_text(tmp_path / "file", "new")
    assert _content(tmp_path) == {"thesis": "thesis", "file": "new"}
    assert not (tmp_path / "file").is_symlink()


def test_a_lock_keeps_others_out_and_never_empties_somebodys_file(tmp_path):
    with locking(tmp_path / "lock"), pytest.raises(Timeout), locking(tmp_path / "lock"):
        pytest.fail("two hold it")
    (tmp_path / "thesis").write_text("thesis", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "thesis")
    for name in ("thesis", "link"):
        with pytest.raises(DataError, match="is not a lock file of dfer"), locking(tmp_path / name):
            pytest.fail("it was taken")
    assert (tmp_path / "thesis").read_text(encoding="utf-8") == "thesis"


def test_text_is_utf_8_with_posix_line_ends(tmp_path):
    write_text(tmp_path / "text.csv", "é,顔\nß\n")
    assert (tmp_path / "text.csv").read_bytes() == "é,顔\nß\n".encode()


def test_json_is_readable_and_comes_back(tmp_path):
    values = {"name": "données 顔", "list": [1, 2.5, None], "inner": {"b": True, "a": False}}
    write_json(tmp_path / "values.json", values)
    text = (tmp_path / "values.json").read_bytes().decode("utf-8")
    assert json.loads(text) == values
    assert text.startswith('{\n  "name": "données 顔",\n')
    assert text.endswith("}\n")


def test_values_that_are_no_json_leave_the_old_file(tmp_path):
    write_json(tmp_path / "values.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "values.json", {"a": object()})
    assert _content(tmp_path) == {"values.json": "1\n"}


def test_a_new_folder_comes_into_being_whole(tmp_path):
    with replacing_files(tmp_path / "best", KIND) as partial:
        _make_folder(partial, ["1", "2"])
        assert not (tmp_path / "best").exists()
    assert _content(tmp_path) == {"best/1": "1", "best/2": "2"}


def test_files_are_replaced_without_a_moment_in_which_one_is_missing(tmp_path, monkeypatch):
    folder = tmp_path / "best"
    _make_folder(folder, ["1", "2", "old"])
    (folder / "1").write_text("before", encoding="utf-8")
    seen, replace = [], Path.replace

    def look(path, target):
        seen.append(set(_content(folder)))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", look)
    with replacing_files(folder, KIND) as partial:
        _make_folder(partial, ["1", "2"])
    assert seen == [{"1", "2", "old"}] * 2
    assert _content(tmp_path) == {"best/1": "1", "best/2": "2", "best/old": "old"}


def test_files_that_could_not_all_be_written_replace_none(tmp_path):
    _make_folder(tmp_path / "best", ["1"])
    with pytest.raises(OSError, match="full"), replacing_files(tmp_path / "best", KIND) as partial:
        partial.mkdir()
        (partial / "1").write_text("half", encoding="utf-8")
        raise OSError("disk full")
    assert _content(tmp_path) == {"best/1": "1"}


@pytest.mark.parametrize("name", ["", ".", "..", "a/../b", "/a", "a//b", "C:/a", "nul", "a" * 256])
def test_names_that_are_not_safe_are_refused(name):
    with pytest.raises(DataError, match=r"^clip: "):
        check_name(name, "clip")


@pytest.mark.parametrize("name", ["a", "p0/surprise", "Überraschung 1", "顔", "a.b", "cons", "a b"])
def test_usual_names_are_safe(name):
    check_name(name, "clip")
