"""Time `dfer predict`: `python benchmarks/predict.py VIDEO`.

The video is repeated to a length where the start does not count. What decoding, detecting, the
model and writing take is measured inside one process; the time to the first printed result, and
the peak of memory over short and long videos, are those of the command itself, started cold. By
default the model is the full one of the paper with random weights, which cost what trained ones do.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine, write_results

from dfercli.video import Frame, read_frames, write_video

PARTS = ("decode", "detect", "model", "write", "rest")


def repeat_video(video: Path, seconds: float, folder: Path) -> Path:
    """Write a video over and over, without sound, to a length."""
    frames = list(read_frames(video))
    fps = (len(frames) - 1) / (frames[-1].time_s - frames[0].time_s)
    longer = folder / f"{seconds:.0f}s.mp4"
    images = (frames[i % len(frames)].image_rgb for i in range(round(seconds * fps)))
    write_video(longer, images, fps)
    return longer


def make_checkpoint(folder: Path) -> Path:
    """Save the paper's model with random weights."""
    import torch

    from dfercli.config import ModelConfig
    from dfercli.data.spec import BASIC_EXPRESSIONS
    from dfercli.engine.checkpoint import save_checkpoint
    from dfercli.faces.align import TEMPLATE_VERSION
    from dfercli.models.base import build_model

    torch.manual_seed(0)
    crop = {"detector": "mtcnn", "size": 224, "version": TEMPLATE_VERSION}
    save_checkpoint(build_model(ModelConfig(weights="random"), BASIC_EXPRESSIONS, crop), folder)
    return folder


class Stopwatch:
    """Seconds by the name of what took them."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Add what the block takes."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.spent[part] += time.perf_counter() - started

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Time each call of a method."""
        plain = getattr(owner, name)

        def timed(*arguments: Any) -> Any:
            with self.timing(part):
                return plain(*arguments)

        setattr(owner, name, timed)


def split_time(video: Path, checkpoint: Path, folder: Path) -> dict[str, float]:
    """Give the seconds of each part, and how many times faster than the video all of it is."""
    from dfercli.predict import Predictor, PredictSettings, reading
    from dfercli.predict.document import make_document
    from dfercli.files import write_json

    predictor = Predictor.from_checkpoint(checkpoint)
    watch = Stopwatch()
    watch.wrap(predictor.detector, "detect", "detect")
    watch.wrap(predictor, "name_expressions", "model")
    plain = read_frames

    def timed(source: Path, max_fps: float) -> Iterator[Frame]:
        frames = plain(source, max_fps)
        while True:
            with watch.timing("decode"):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    reading.read_frames = timed  # type: ignore[assignment]
    started = time.perf_counter()
    opened = predictor.open(video, PredictSettings())
    for _ in opened:
        pass
    prediction = opened.finish()
    with watch.timing("write"):
        prediction.to_frame().to_csv(folder / "out.csv", index=False)
    total_s = time.perf_counter() - started
    reading.read_frames = plain
    watch.spent["rest"] = total_s - sum(watch.spent.values())
    return {
        **{f"{part}_share": watch.spent[part] / total_s for part in PARTS},
        "times_real_time": prediction.duration_s / total_s,
        "model_s_a_window": watch.spent["model"] / len(prediction.windows),
    }
