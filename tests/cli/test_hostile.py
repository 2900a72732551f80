"""No input stops the others, leaves a trace or hangs: what is bad is named, in a line each."""

import io
import json
import os
import socket
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import hostile
import pytest
from jsonschema import Draft202012Validator
from predict.batch import by_hand

from dfercli.config import ModelConfig
from dfercli.faces.align import CropRecipe
from dfercli.models.base import build_model
from dfercli.predict.prediction import plain_text
from dfercli.runs.checkpoint import save_checkpoint
from dfercli.text import printable

CLASSES = ("happiness", "sadness")


@pytest.fixture
def model(dfer):
    config = ModelConfig(backbone="demo-ViT-tiny", weights="random")
    crop = asdict(CropRecipe("mtcnn", 48))
    save_checkpoint(build_model(config, CLASSES, crop), Path("model"))


@pytest.fixture
def stdin(monkeypatch):
    def give(data):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return give


def _closed_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def _statuses(path):
    document = json.loads(Path(path).read_bytes())
    Draft202012Validator(by_hand.load_schema()).validate(document)
    return {video["video"]: video["status"] for video in document["videos"]}


@pytest.mark.slow
@pytest.mark.usefixtures("model")
def test_a_folder_of_hostile_inputs_is_read_to_its_end(dfer, stdin):
    expected = {f"h/{name}": s for name, s in hostile.make_hostile(Path("h")).items()}
    assert len(expected) >= 60
    assert Counter(expected.values())["ok"] >= 20
    dead = f"http://127.0.0.1:{_closed_port()}/live"
    listed = [dead, "foo://bar", "gone.mp4", "h/good.mp4"]
    expected |= dict.fromkeys(listed[:-1], "unreadable")
    stdin("\n\n  \r\n".join(listed).encode() + b"\n")
    done = dfer("predict h - --checkpoint model --out x.json")
    assert done.code == 4
    assert "Traceback" not in done.out + done.err
    found = _statuses("x.json")
    assert set(found) == {plain_text(name) for name in expected}
    wrong = {
        name: (status, found[plain_text(name)])
        for name, status in expected.items()
        if status not in ("any", found[plain_text(name)])
    }
    assert wrong == {}
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    bad = [name for name in expected if found[plain_text(name)] == "unreadable"]
    assert len(lines) == len(bad)
    for name in bad:
        assert [printable(name) in line for line in lines].count(True) >= 1, name
    total = f"{len(expected)} videos in "
    assert done.out.splitlines()[-1].startswith(total)
    before = Path("x.json").read_bytes()
    stdin("\n".join(listed).encode())
    again = dfer("predict h - --checkpoint model --out x.json")
    assert again.code == 4
    finished = len(found) - len(bad)
    assert f"already predicted, skipped: {finished}\n" in again.err
    assert Path("x.json").read_bytes() == before


@pytest.mark.usefixtures("model")
def test_names_by_hand_and_through_a_pipe(dfer, stdin):
    hostile.make_hostile(Path("h"))
    name = os.fsdecode(b"h/\xff\xfe-bytes.mp4")
    stdin(b"h/new\nline.mp4\0" + os.fsencode(name) + b"\0h/with space.mp4\0")
    done = dfer("predict - --checkpoint model --out x.jsonl")
    assert (done.code, len(done.out.splitlines())) == (0, 4)
    assert done.out.splitlines()[0].startswith(r"h/new\nline.mp4: ")
    one = dfer("predict h/UPPER.MP4 --checkpoint model")
    assert one.code == 0
    empty = dfer("predict h/empty.mp4 --checkpoint model")
    assert (empty.code, empty.out) == (4, "")
    assert empty.err.splitlines()[-1].startswith("error: ")
