"""Predictions that are worked out by hand, and a predictor that gives them."""

import json
import os
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np

from dfercli.errors import DataError, DetectorError, VideoError
from dfercli.predict.batch.inputs import find_inputs
from dfercli.predict.batch.journal import open_journal
from dfercli.predict.batch.predict_all import Recorder, Task, predict_all
from dfercli.predict.hashes import hash_content
from dfercli.predict.model_info import PredictSettings
from dfercli.predict.prediction import VideoPrediction, Window, describe_origin

CLASSES = ("happiness", "sadness", "anger")
INFO = SimpleNamespace(
    checkpoint="runs/x/best",
    checkpoint_sha256="a" * 64,
    detector_name="mtcnn",
    precision="fp32",
    class_names=CLASSES,
    calibrated=True,
    describe=lambda: "x, trained on drawings; calibrated",
)
ORIGIN = describe_origin(INFO, PredictSettings(2.0, 2.0))


def change_origin(**changes):
    """Return `ORIGIN` with other values, wherever they stand in it."""
    origin = ORIGIN | {name: value for name, value in changes.items() if name in ORIGIN}
    for part, prefix in (("settings", ""), ("checkpoint", "checkpoint_")):
        values = {name.removeprefix(prefix): value for name, value in changes.items()}
        found = {name: value for name, value in values.items() if name in ORIGIN[part]}
        origin[part] = ORIGIN[part] | found
    return origin


def make_window(track=1, start_s=0.0, probs=(0.7, 0.2, 0.1), coverage=1.0):
    box = np.array([10.04, 20.0, 30.06, 40.0], np.float32)
    given = None if probs is None else np.array(probs, np.float32)
    return Window(track, start_s, start_s + 2.0, coverage, box, given, np.zeros((4, 4, 3), "u1"))


def make_prediction(video="v.mp4", windows=None):
    if windows is None:
        windows = (
            make_window(1, 0.0),
            make_window(2, 0.0, (0.4, 0.35, 0.25), 1 / 3),
            make_window(1, 2.0, (0.1, 0.6, 0.3)),
            make_window(2, 2.0, None, 0.125),
        )
    return VideoPrediction(video, CLASSES, True, (64, 48), 4.00004, 32, 2 / 3, tuple(windows))


class FakeReading:
    """Reads a text file of JSON: `windows` to give, `raise` to stop with, `kill`, `sleep`.

    A stream `rtsp://PATH` is such a file too.
    """

    def __init__(self, video):
        self.position_s, self.num_read = 0.0, 0
        self.on_frame = lambda at_s: None
        self._video = str(video)
        try:
            path = Path(str(video).removeprefix("rtsp://"))
            self._told = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise VideoError(f"cannot read {video}: no frame can be decoded") from None
        self._windows = []

    def __iter__(self):
        for start_s in self._told.get("windows", [0.0, 2.0]):
            self.position_s = start_s + 2.0
            self.on_frame(self.position_s)
            self._windows.append(make_window(1, start_s))
            yield self._windows[-1]
        if self._told.get("kill"):
            os.kill(os.getpid(), 9)
        time.sleep(self._told.get("sleep", 0))
        kinds = {
            "video": VideoError("cannot read it: broken off"),
            "memory": MemoryError(),
            "cv2": cv2.error("OpenCV\nsays"),
            "os": OSError(5, "Input/output error"),
            "runtime": RuntimeError("CUDA out of memory.\nTried to"),
            "interrupt": KeyboardInterrupt(),
        }
        if self._told.get("raise"):
            raise kinds[self._told["raise"]]

    def finish(self):
        return make_prediction(self._video, self._windows)


class FakePredictor:
    class_names = CLASSES
    calibrated = True
    detector_name = "mtcnn"
    precision = "fp32"

    def open(self, video, settings, keep_paths=False):
        return FakeReading(video)


def make_fake():
    """Make a predictor; a function of a module, so that processes can call it."""
    return FakePredictor()


def make_none():
    """Find no detector."""
    raise DetectorError("no detector here")


def die():
    """Be killed while the model is loaded."""
    os.kill(os.getpid(), 9)


@dataclass(frozen=True)
class Notes:
    """Writes a file a video, beside it."""

    keep_paths: bool = False
    suffix: str = ".note"

    def make(self, each, prediction, on_progress):
        if self.suffix == "fail":
            raise DataError("the disk is full")
        Path(each.name + self.suffix).write_text(f"{os.getpid()}", encoding="utf-8")
        note = Path(each.name + self.suffix)
        return (f"made: {each.name}",), {str(note): hash_content(note)}

    def are_made(self, each, pictures):
        note = Path(each.name + self.suffix)
        return note.exists() and pictures.get(str(note)) == hash_content(note)


def load_schema():
    """Return the JSON Schema of the document; its `$defs/line` describes a line."""
    return json.loads(files("dfercli.predict.batch").joinpath("schema.json").read_bytes())


def write_fake(path, **told):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told), encoding="utf-8")
    return path


def run(
    inputs, make=make_fake, out=None, origin=ORIGIN, artifacts=None, jobs=1, device="auto", **calls
):
    """Predict all, with a journal where a file is named, and write that."""
    inputs = find_inputs(inputs)
    task, recorder = Task(make, PredictSettings(), artifacts), Recorder(**calls)
    if out is None:
        return predict_all(inputs, task, recorder, jobs, device)
    with open_journal([Path(out)], origin, inputs) as recorder.journal:
        done = predict_all(inputs, task, recorder, jobs, device)
        recorder.journal.finish([each.title for each in inputs])
        return done


def closing_lines(path):
    lines = [json.loads(line) for line in Path(path).read_bytes().splitlines()]
    return [line for line in lines if line["type"] == "video"]
