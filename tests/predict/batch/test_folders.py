"""Folders that are searched: frames or photos, and never what an earlier call has written."""

import os
import shutil
from pathlib import Path

import pytest

from dfercli.predict.batch.inputs import Input, find_inputs


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


def _names(*typed):
    return [each.name for each in find_inputs(typed)]


@pytest.mark.parametrize(
    ("names", "is_frames"),
    [
        ("1.png", True),
        ("7.png 8.jpg 9.png", True),
        ("f_001.png f_003.png f_004.png", True),
        ("f_0.png f_10.png f_20.png", True),
        ("cam2_f1.png cam2_f2.png", True),
        ("anna.jpg", False),
        ("anna.jpg 1.jpg 2.jpg", False),
        ("IMG_2031.jpg IMG_2040.jpg", False),
        ("IMG_2031.jpg IMG_2033.jpg IMG_2040.jpg", False),
        ("anna_1.jpg bob_2.jpg", False),
        ("f1.png f01.png f2.png", False),
    ],
)
def test_a_folder_of_images_is_one_video_where_they_are_numbered_in_a_row(names, is_frames):
    files = [f"v/f/{name}" for name in names.split()]
    _touch(*files)
    expected = [Input("v/f", "frames")] if is_frames else [Input(name) for name in files]
    assert sorted(find_inputs(["v"]), key=str) == sorted(expected, key=str)
    # by a pattern each is by itself
    assert len(_names("v/f/*")) == len(files)


def test_photos_are_read_beside_folders_of_photos():
    _touch("p/anna.jpg", "p/trip/b.jpg", "p/trip/c.jpg", "p/s/1.png")
    os.mkfifo("p/trip/d.jpg")
    found = {each.name: (each.kind, each.error is None) for each in find_inputs(["p/trip", "p/s"])}
    assert found == {
        "p/trip/b.jpg": ("file", True),
        "p/trip/c.jpg": ("file", True),
        "p/trip/d.jpg": ("file", False),
        "p/s": ("frames", True),
    }
    shutil.rmtree("p/s")
    assert _names("p") == ["p/anna.jpg", "p/trip/b.jpg", "p/trip/c.jpg", "p/trip/d.jpg"]


def test_outputs_of_earlier_calls_are_left_out_of_searches():
    _touch("v/a.mp4", "v/out/a.mp4", "v/plots/1.png", "v/x.mp4")
    Path("v/z").symlink_to("out")
    outputs = [Path("v/out"), Path("v/plots"), Path("v/x.mp4"), Path("gone")]
    for words in (["."], ["v"], ["v/*"], ["**/*.mp4"], [str(Path("v").resolve())]):
        found = find_inputs(words, outputs=outputs)
        assert [Path(each.name).resolve() for each in found] == [Path("v/a.mp4").resolve()], words
    typed = ["v/x.mp4", "v/out/a.mp4", "v/plots", "v/out"]
    assert [each.name for each in find_inputs(typed, outputs=outputs)] == typed[:3]
    assert _error_of("v/out/*.mp4", [Path("v/out")]) is None
    assert _error_of("v/out", [Path("v")]) is None


def _error_of(word, outputs):
    (found,) = find_inputs([word], outputs=outputs)
    return found.error
