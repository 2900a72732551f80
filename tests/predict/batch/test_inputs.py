"""What is typed becomes videos: each kind of word, the order, and what is wrong with one."""

import os
import socket
from pathlib import Path

import pytest

from dfercli.predict.batch.inputs import Input, find_inputs, split_lines
from dfercli.predict.prediction import plain_text
from dfercli.text import printable


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


def _names(*typed, lines=()):
    return [each.name for each in find_inputs(typed, lines)]


def _error(word):
    (found,) = find_inputs([word])
    return found.error


def test_nothing_typed_is_nothing():
    assert find_inputs([]) == []


def test_files_of_any_suffix_are_taken_as_named():
    _touch("a.mp4", "b.JPG", "c", ".hidden.mp4")
    assert find_inputs(["c", "a.mp4", "b.JPG", ".hidden.mp4"]) == [
        Input("c"),
        Input("a.mp4"),
        Input("b.JPG"),
        Input(".hidden.mp4"),
    ]


def test_a_folder_is_searched_in_natural_order():
    _touch("v/clip10.mp4", "v/clip2.MKV", "v/b/x.gif", "v/.h.mp4", "v/.h/y.mp4", "v/notes.txt")
    assert _names("v") == ["v/b/x.gif", "v/clip2.MKV", "v/clip10.mp4"]


def test_a_folder_of_nothing_but_images_is_one_video():
    _touch("f/1.png", "f/2.jpg", "f/notes.txt", "f/empty/notes.txt")
    assert find_inputs(["f"]) == [Input("f", "frames")]


def test_images_beside_videos_are_no_video():
    _touch("v/thumb.jpg", "v/a.mp4", "w/poster.png", "w/s1/1.png", "w/s1/2.png", "w/s2/a.mp4")
    assert find_inputs(["v", "w"]) == [
        Input("v/a.mp4"),
        Input("w/s1", "frames"),
        Input("w/s2/a.mp4"),
    ]


def test_each_real_folder_is_read_once_and_loops_end():
    _touch("v/a/x.mp4")
    Path("v/a/loop").symlink_to("..")
    Path("v/a/self").symlink_to(".")
    Path("v/0link").symlink_to("a")  # comes first in order; the real name is given all the same
    assert _names("v") == ["v/a/x.mp4"]
    _touch("elsewhere/y.mp4")
    Path("v/z").symlink_to("../elsewhere")
    assert _names("v") == ["v/a/x.mp4", "v/z/y.mp4"]


def test_what_is_there_twice_is_given_once():
    _touch("v/a.mp4", "v/b.mp4")
    Path("link.mp4").symlink_to("v/b.mp4")
    assert _names("link.mp4", "v", "v/a.mp4", "./v/../v/a.mp4") == ["link.mp4", "v/a.mp4"]


def test_patterns_that_the_shell_left_alone():
    _touch("v/a2.mp4", "v/a10.mp4", "v/n/a1.mp4", "v/.a3.mp4", "v/.h/a4.mp4", "v/a5.txt")
    assert _names("v/*.mp4") == ["v/a2.mp4", "v/a10.mp4"]
    assert _names("v/**/*.mp4") == ["v/a2.mp4", "v/a10.mp4", "v/n/a1.mp4"]
    assert _names("v/**") == ["v/a2.mp4", "v/a10.mp4", "v/n/a1.mp4"]
    assert _names("**/a[12].mp4") == ["v/a2.mp4", "v/n/a1.mp4"]
    assert _names(str(Path("v/n").resolve() / "*.mp4")) == [str(Path("v/n/a1.mp4").resolve())]
    assert _error("w/*.mp4") == "no file matches this pattern"
    assert _error("v/a**b.mp4") is not None


def test_a_file_of_a_patterns_name_is_that_file():
    _touch("a[1].mp4", "a1.mp4")
    assert _names("a[1].mp4") == ["a[1].mp4"]


def test_names_from_standard_input():
    _touch("a b.mp4", "c\n.mp4")
    assert _names("-", lines=["a b.mp4\n", "\n", "  \n", "gone.mp4\r\n"]) == ["a b.mp4", "gone.mp4"]
    assert _names("-", lines=["a b.mp4\0c\n", ".mp4\0"]) == ["a b.mp4", "c\n.mp4"]
    assert split_lines([]) == []


def test_cameras_and_streams():
    assert find_inputs(["0", "rtsp://u:p@h/live"]) == [
        Input("0", "camera"),
        Input("rtsp://u:p@h/live", "stream"),
    ]
    camera, stream = find_inputs(["07", "HTTP://h/a.m3u8"])
    assert (camera.source, stream.source) == (7, "HTTP://h/a.m3u8")
    assert camera.path is stream.path is None
    assert (_error("foo://x") or "").startswith("unsupported stream scheme foo://; ")
    assert _error("4711") == "no such file or folder"
    _touch("0")
    assert find_inputs(["0"]) == [Input("0")]


def test_what_cannot_be_read_says_why_and_the_others_go_on():
    Path("dangling.mp4").symlink_to("gone")
    Path("loop.mp4").symlink_to("loop.mp4")
    Path("empty.mp4").mkdir()
    os.mkfifo("pipe.mp4")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.mp4")
    _touch("good.mp4")
    assert {each.name: each.error for each in find_inputs(["."])} == {
        "dangling.mp4": "a broken link",
        "good.mp4": None,
        "loop.mp4": "too many levels of symbolic links",
        "pipe.mp4": "a pipe, not a file; save the video to a file first",
        "socket.mp4": "a socket, not a file; save the video to a file first",
    }
    assert _error("gone.mp4") == "no such file or folder"
    assert _error("empty.mp4") == "no videos or images in this folder or its subfolders"
    assert _error("/dev/null") == "a device, not a file; save the video to a file first"
    assert _error("x" * 300) == "file name too long"
    assert _error("a\0b") == "embedded null byte"
    assert _error(" ") == "the name is empty"


def test_a_pipe_among_frames_would_never_end():
    _touch("f/1.png")
    os.mkfifo("f/2.png")
    assert _error("f") == "its 2.png is a pipe, not a file; save the video to a file first"


def test_a_folder_that_cannot_be_read_is_recorded(monkeypatch):
    _touch("v/a.mp4", "v/locked/b.mp4")
    listed = Path.iterdir

    def refuse(folder):
        if folder.name == "locked":
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert find_inputs(["v"]) == [
        Input("v/a.mp4"),
        Input("v/locked", "frames", "this folder cannot be read: permission denied"),
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a b 'c' \"d\".mp4", "a b 'c' \"d\".mp4"),
        ("zwei\nzeilen\t.mp4", r"zwei\nzeilen\t.mp4"),
        ("\x1b[31mred.mp4", r"\x1b[31mred.mp4"),
        ("Grüße-笑-👩‍👩‍👧.mp4", "Grüße-笑-👩‍👩‍👧.mp4"),
        ("\u202egpm.mp4", r"\u202egpm.mp4"),
        (os.fsdecode(b"\xff\xe9.mp4"), r"\xff\xe9.mp4"),
    ],
)
def test_names_are_found_whatever_they_hold_and_printed_on_one_line(name, shown):
    _touch(f"v/{name}")
    assert _names("v") == [f"v/{name}"]
    assert _names(f"v/{name}") == [f"v/{name}"]
    assert printable(name) == shown
    printable(name).encode("utf-8")


def test_passwords_are_not_shown():
    said = "stream rtsp://me:p@ss@host/a does not answer"
    assert printable(said) == "stream rtsp://***@host/a does not answer"
    assert printable("rtsp://host/a@b") == "rtsp://host/a@b"
    assert plain_text("http://me@host:8/a b") == "http://***@host:8/a b"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("rtsp://cam/live?user=admin&password=secret", "rtsp://cam/live?user=***&password=***"),
        ("cannot read http://h/a?t=s: no answer", "cannot read http://h/a?t=***: no answer"),
        ("http://h/a?s3cret", "http://h/a?***"),
        ("rtsp://u:p?q@h/a?x=1=2&&y=", "rtsp://***@h/a?x=***&&y="),
        ("what?a=b", "what?a=b"),
    ],
)
def test_values_of_queries_are_not_shown(said, shown):
    assert printable(said) == shown
    assert printable(shown) == shown


def test_names_that_are_written_alike_get_numbers():
    odd, plain = os.fsdecode(b"a\xff.mp4"), "a\\xff.mp4"
    _touch(odd, plain, "a\\xff.mp4 (2)")
    found = find_inputs([odd, plain, "a\\xff.mp4 (2)", "http://a:1@h/c", "http://b:2@h/c", "0"])
    assert [each.title for each in found] == [
        "a\\xff.mp4",
        "a\\xff.mp4 (2)",
        "a\\xff.mp4 (2) (2)",
        "http://***@h/c",
        "http://***@h/c (2)",
        "0",
    ]
    assert [each.name for each in found][:2] == [odd, plain]
