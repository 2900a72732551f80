"""What belongs to each of many videos has a file of its own, and takes the place of none."""

import os
from pathlib import Path

import pytest

from dfercli.errors import ConfigError
from dfercli.predict.batch.artifacts import name_outputs
from dfercli.predict.batch.inputs import Input, find_inputs


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


def _outputs(*names, kind="file", suffix=".png"):
    made = name_outputs([Input(name, kind) for name in names], Path("out"), suffix)
    return [path.as_posix() for path in made.values()]


def test_outputs_lie_as_the_videos_do():
    assert name_outputs([], Path("out"), ".png") == {}
    assert _outputs("v/a.mp4") == ["out/a.png"]
    assert _outputs("v/a.mp4", "v/n/b.mov") == ["out/a.png", "out/n/b.png"]
    assert _outputs("../a/x.mp4", "../b/x.mp4") == ["out/a/x.png", "out/b/x.png"]
    assert _outputs("v/clip.v1", "v/clip.v2", kind="frames") == [
        "out/clip.v1.png",
        "out/clip.v2.png",
    ]


def test_outputs_that_would_be_alike_keep_their_suffixes():
    assert _outputs("a.mov", "a.mp4", "b.mp4") == ["out/a.mov.png", "out/a.mp4.png", "out/b.png"]
    assert _outputs("a.mov", "a.mp4", "a.mov.avi") == [
        "out/a.mov.png",
        "out/a.mp4.png",
        "out/a.mov.avi.png",
    ]
    assert _outputs("A.mp4", "a.mp4") == ["out/A.mp4.png", "out/a.mp4-2.png"]


def test_outputs_of_streams_do_not_tell_the_password():
    assert _outputs("rtsp://u:p@h:8/a/b?token=1", kind="stream") == ["out/h_8_a_b.png"]
    assert _outputs("rtsp://h/a", "http://h/a", kind="stream") == ["out/h_a.png", "out/h_a-2.png"]
    assert _outputs("0", kind="camera") == ["out/camera0.png"]


def test_long_names_leave_room_for_a_suffix():
    one, two = _outputs("é" * 120 + "a.mp4", "é" * 120 + "b.mp4")
    assert one != two
    assert max(len(os.fsencode(Path(path).name)) for path in (one, two)) < 220


def test_no_output_takes_the_place_of_a_video():
    _touch("v/a.mp4", "v/b.mp4")
    with pytest.raises(ConfigError) as caught:
        name_outputs(find_inputs(["v"]), Path("v"), ".mp4")
    assert str(caught.value) == (
        "the output of v/a.mp4 would replace the input v/a.mp4; choose another folder than v"
    )
