"""Probe what the temporal modules learn of order and of brief events: `python benchmarks/dynamics.py`.

The paper's Challenge 1 on drawn faces, where nothing but time can tell the classes apart:

- `order`: an expression that appears, and the very same frames backwards: one that fades. The mean
  over frames cannot tell them apart, whatever the frames' embeddings are.
- `event`: a long clip of a neutral face that looks about, blinks and talks. In two frames somewhere
  in it there is an expression, and it alone differs between the classes. The mean over frames can
  tell them apart, but the event is an eighth of what it sees.

Each variant of the model is trained from random weights by the engine of `dfer train`, once a seed,
and tested on other persons. Figures are of the last epoch. A finished run is taken as it is, so the
same command goes on after an interruption. The numbers here are our choice.
"""

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import cv2
import numpy as np
import pandas as pd
from machine import MACHINE, RESULTS, describe_machine

from dfercli.config import (
    AugmentConfig,
    ComputeConfig,
    DataConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    to_dict,
)
from dfercli.data.manifest import Manifest, write_manifest
from dfercli.demo import PROTOTYPES
from dfercli.drawing import Action, Pose, draw_backdrop, draw_person, make_person
from dfercli.engine.jobs import run_jobs
from dfercli.files import write_json
from dfercli.images import write_image

SIZE = 48
"""Side of a frame in pixels: what `demo-ViT-tiny` reads."""

FACE = (slice(51, 205), slice(83, 237))
"""Rows and columns of the drawn picture that hold the face, about as our crops of faces do."""

TRAIN_PERSONS, TEST_PERSONS, TAKES = 80, 32, 3
"""Persons of each side, and pairs of clips of each person: a clip of each class."""

EVENT_FRAMES = 2

VARIANTS = {
    "frame mean": {"interfit": False, "msta": False, "biehpro": False},
    "InterFIT": {"interfit": True, "msta": False, "biehpro": False},
    "MSTA": {"interfit": False, "msta": True, "biehpro": False},
    "InterFIT + MSTA": {"interfit": True, "msta": True, "biehpro": False},
    "full": {"interfit": True, "msta": True, "biehpro": True},
}
"""Modules of each variant that is trained."""

PACKAGES = ("torch", "open_clip_torch", "numpy", "opencv-python")

ACTIONS = [field.name for field in fields(Action)]


@dataclass(frozen=True)
class Probe:
    """One made dataset.

    Attributes:
        class_names: Of the first and the second clip of each pair.
        num_frames: T, which is also how many frames a clip has: each of them is read.
    """

    class_names: tuple[str, str]
    num_frames: int


PROBES = {
    "order": Probe(("appearing", "fading"), 8),
    "event": Probe(("happiness", "anger"), 16),
}

RECIPE = TrainConfig(
    epochs=20, warmup_epochs=2, batch_size=16, lr=1e-3, min_lr=1e-5, weight_decay=0.05
)

AUGMENT = AugmentConfig(0.9, 0.2, 0.2, 0.2, 0.02, 0.5)


def draw_pair(name: str, seed: int, person: int, take: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a clip of each class, (T, SIZE, SIZE, 3) uint8 RGB.

    Args:
        name: One of `PROBES`.
        seed: The same seed gives the same pixels.
        person: Index of the person.
        take: Number of the pair among the person's.
    """
    rng = np.random.default_rng([seed, list(PROBES).index(name), person, take])
    num_frames, class_names = PROBES[name].num_frames, PROBES[name].class_names
    life = draw_life(num_frames, rng)
    poses = draw_poses(num_frames, rng)
    if name == "order":
        expression = str(rng.choice([each for each in PROTOTYPES if each != "neutral"]))
        length = rng.uniform(2, 5)
        onset = rng.uniform(0, num_frames - length)
        rise = ease((np.arange(num_frames) + 0.5 - onset) / length)
        frames = draw_frames(seed, person, life, rise[:, None] * choose_target(expression, rng), poses, rng)
        return frames, frames[::-1]
    start = int(rng.integers(num_frames - EVENT_FRAMES + 1))
    inside = slice(start, start + EVENT_FRAMES)
    course = np.zeros((num_frames, len(ACTIONS)))
    clips = []
    calm = draw_frames(seed, person, life, course, poses, rng)
    for each in class_names:
        clip = calm.copy()
        target = np.broadcast_to(choose_target(each, rng), (EVENT_FRAMES, len(ACTIONS)))
        clip[inside] = draw_frames(seed, person, life[inside], target, poses[inside], rng)
        clips.append(clip)
    return clips[0], clips[1]


def choose_target(expression: str, rng: np.random.Generator) -> np.ndarray:
    """Give the strengths of an expression, in the order of `ACTIONS`."""
    variants = PROTOTYPES[expression]
    target = np.array(astuple(variants[rng.integers(len(variants))]))
    return target * rng.uniform(0.6, 1.0)


def draw_life(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Draw what a face does without an expression, (T, actions): blinks, looks, talk, brows."""
    life = np.zeros((num_frames, len(ACTIONS)))
    column = {action: life[:, index] for index, action in enumerate(ACTIONS)}
    times = np.arange(num_frames)
    for actions, chance in ((("blink",), 0.1), (("jaw", "part"), 0.15), (("inner_brow", "outer_brow"), 0.1)):
        begins = rng.random(num_frames) < chance
        for begin in times[begins]:
            length, strength = rng.integers(1, 4), rng.uniform(0.3, 0.8)
            for action in actions:
                column[action][begin : begin + length] = strength
    look = rng.normal(0, 0.3, (num_frames // 4 + 2, 2))[(times + rng.integers(4)) // 4]
    column["gaze_x"][:], column["gaze_y"][:] = look.T
    return life


def draw_poses(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Draw how the head is held and sways, (T, 6), in the order of `Pose`."""
    rest = rng.uniform(-1, 1, 6) * (0.06, 0.05, 0.05, 0.06, 0.1, 0.03)
    phase, speed = rng.uniform(0, 2 * np.pi, 6), rng.uniform(0.1, 0.5, 6)
    waves = np.sin(np.arange(num_frames)[:, None] * speed + phase)
    return rest + waves * (0.05, 0.03, 0.04, 0.02, 0.07, 0.03)


def draw_frames(
    seed: int,
    person: int,
    life: np.ndarray,
    course: np.ndarray,
    poses: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw frames (T, SIZE, SIZE, 3) uint8 RGB of what a face does, with the grain of a camera."""
    who = make_person(seed, person)
    backdrop = draw_backdrop(who)
    frames = []
    for action, (x, y, roll, scale, yaw, pitch) in zip(np.clip(life + course, -1, 1), poses, strict=True):
        image = draw_person(who, Action(*action), Pose(x, y, roll, 1 + scale, yaw, pitch), backdrop)
        face = cv2.resize(image[FACE], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        frames.append(np.clip(face + rng.normal(0, 2.5, face.shape), 0, 255).astype(np.uint8))
    return np.stack(frames)


def ease(x: np.ndarray) -> np.ndarray:
    """Go from 0 to 1 without a jerk."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def make_probe(
    name: str,
    folder: Path,
    seed: int,
    train_persons: int = TRAIN_PERSONS,
    test_persons: int = TEST_PERSONS,
) -> Path:
    """Draw a dataset into a folder, unless it is there, and give its manifest."""
    path = folder / f"{name}.csv"
    if path.exists():
        return path
    probe, rows = PROBES[name], []
    for person in range(train_persons + test_persons):
        for take in range(TAKES):
            pair = draw_pair(name, seed, person, take)
            for label, frames in zip(probe.class_names, pair, strict=True):
                clip_id = f"{name}/{person:03d}-{take}-{label}"
                (folder / clip_id).mkdir(parents=True, exist_ok=True)
                for index, frame in enumerate(frames):
                    write_image(folder / clip_id / f"{index + 1:06d}.png", frame)
                fold = int(person >= train_persons)  # fold 0 always trains
                rows.append((clip_id, clip_id, len(frames), label, fold, f"person{person:03d}"))
    columns = ["clip_id", "path", "n_frames", "label", "test_fold", "group"]
    table = pd.DataFrame(rows, columns=columns)
    write_manifest(Manifest(name, table, probe.class_names, None, str(folder)), path)
    return path
