"""A video that is brighter from frame to frame, and its crops."""

import json

import numpy as np

from dfercli.faces.align import TEMPLATE
from dfercli.faces.crop_files import RECORD_FILE, crop_video, read_record
from dfercli.faces.types import Face

STEP = 8
"""Grey levels from frame to frame: more than the codec is off by."""


class Everywhere:
    """A detector that sees a face in all frames but those it is told to miss."""

    def __init__(self, missed=()):
        self.searched, self._missed = [], missed

    def detect(self, image_rgb):
        index = round(float(image_rgb.mean()) / STEP)
        self.searched.append(index)
        if index in self._missed:
            return []
        return [Face(np.array([20.0, 20, 120, 120]), 20 + 100 * TEMPLATE, 0.9)]


def make_frames(count):
    return [np.full((144, 160, 3), STEP * index, dtype=np.uint8) for index in range(count)]


def crop(video, folder, missed=()):
    return crop_video(video.parent, video.name, folder, 32, Everywhere(missed))


def read(folder, video):
    return read_record(folder, video.parent, video.name)


def edit(folder, **values):
    record = json.loads((folder / RECORD_FILE).read_text())
    (folder / RECORD_FILE).write_text(json.dumps({**record, **values}))


def drop(folder, name):
    record = json.loads((folder / RECORD_FILE).read_text())
    del record[name]
    (folder / RECORD_FILE).write_text(json.dumps(record))
