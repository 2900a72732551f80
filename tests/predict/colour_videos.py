"""Videos of plain colours with marks where faces are, and what finds and names them by hand."""

import numpy as np
import torch
from torch import nn

from dfercli.config import CLIP_MEAN, CLIP_STD, ModelConfig
from dfercli.faces.align import TEMPLATE
from dfercli.faces.types import Face
from dfercli.media.video_writer import write_video

FPS = 16.0
SIDE = 64
CLASSES = ("red", "green", "blue")
RED, GREEN, BLUE, GREY = (230, 20, 20), (20, 200, 20), (20, 20, 230), (120, 120, 120)
MARK = 16
"""Side of the black corner of a tile that shows no face."""


class ColourModel(nn.Module):
    """Logits are ten times the mean of each channel in [0, 1]; keeps the clips it was given."""

    config = ModelConfig(num_frames=4)
    image_size = 24

    def __init__(self, **settings):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.settings = {"class_names": CLASSES, **settings}
        self.clips = []

    def forward(self, clips):
        pixels = clips * torch.tensor(CLIP_STD).view(3, 1, 1)
        pixels = pixels + torch.tensor(CLIP_MEAN).view(3, 1, 1)
        self.clips.append(pixels)
        return 10 * pixels.mean(dim=(1, 3, 4))


class TileDetector:
    """Finds a face that fills each tile of 64 px, but where the tile's corner is black."""

    def __init__(self):
        self.seen = 0

    def detect(self, image_rgb):
        self.seen += 1
        lefts = range(0, image_rgb.shape[1], SIDE)
        shown = [left for left in lefts if image_rgb[4, left + 4].max() > 60]
        return [
            Face(
                np.array([left, 0.0, left + SIDE, SIDE]),
                TEMPLATE * SIDE + [left, 0.0],
                0.9,
            )
            for left in shown
        ]


class CopyableTiles(TileDetector):
    """A detector of tiles of which every thread can have its own."""

    def copy(self):
        return CopyableTiles()


def draw(rgb, shown=True):
    """Draw a tile of one colour, with a black corner if it shows no face."""
    tile = np.full((SIDE, SIDE, 3), rgb, np.uint8)
    if not shown:
        tile[:MARK, :MARK] = 0
    return tile


def write_tiles(path, *tiles):
    """Write a video of tiles side by side; each is a list of frames, all of one length."""
    write_video(path, [np.concatenate(row, axis=1) for row in zip(*tiles, strict=True)], FPS)
    return path


def frames_of(*parts):
    """Give the frames of a tile: colour, seconds and, if it is not, whether the face is shown."""
    return [draw(rgb, *shown) for rgb, s, *shown in parts for _ in range(round(s * FPS))]


def playing(frames):
    """Stand in for `read_frames`: frames that come at their times, each as long as the one before.

    The first and only one lasts for no time.
    """

    def read(video, max_fps, extent, part):
        before_s = None
        for index, frame in enumerate(frames, 1):
            length_s = 0.0 if before_s is None else frame.time_s - before_s
            before_s = frame.time_s
            extent.num_frames, extent.end_s = index, frame.time_s + length_s
            yield frame

    return read
