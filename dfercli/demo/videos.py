"""The demo dataset: short videos of drawn people with seven expressions.

It shows that the pipeline works on this machine, from videos to tables, but not how accurate a
method is on real people. Nobody in it resembles a real person. All numbers here are our choice.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.data.sources.folder import DEMO_FILE, DEMO_SETTINGS
from dfercli.demo.drawing import (
    HEIGHT,
    WIDTH,
    Action,
    Person,
    Pose,
    draw_backdrop,
    draw_person,
    make_person,
)
from dfercli.errors import DataError, JobsError
from dfercli.files import write_json, write_text
from dfercli.media.video_writer import write_video
from dfercli.parallel import Emit, Share, WorkerDied, run_in_workers
from dfercli.progress import show_progress

FPS = 12.5

NUM_FRAMES = 25

DRAWING_VERSION = 1
"""Counts up when the same settings give other pictures, so that old demos are recognised."""

GUEST = 1_000_000
"""Index of the person in the unseen video, beyond that of any dataset."""

JOURNEY = ("neutral", "happiness", "surprise", "anger", "sadness")

JOURNEY_HOLD_S = 2.2

PROTOTYPES: dict[str, tuple[Action, ...]] = {
    "happiness": (
        Action(smile=1.0, cheek=0.8, part=0.7),
        Action(smile=0.9, cheek=0.7),
        Action(smile=1.0, cheek=1.0, part=1.0, jaw=0.3, squint=0.2),
    ),
    "sadness": (
        Action(inner_brow=1.0, frown=0.45, sulk=0.9, chin=0.6, blink=0.15, gaze_y=0.5),
        Action(inner_brow=1.0, frown=0.3, sulk=0.8, blink=0.3, gaze_y=0.8),
        Action(inner_brow=0.9, frown=0.5, sulk=1.0, chin=0.9, blink=0.1),
    ),
    "neutral": (Action(),),
    "anger": (
        Action(frown=1.0, wide=0.6, squint=0.5, press=1.0),
        Action(frown=1.0, wide=0.7, squint=0.4, press=0.8, chin=0.5, sulk=0.3),
        Action(frown=1.0, wide=0.7, squint=0.3, upper_lip=0.5, stretch=0.5, part=1.0, jaw=0.25),
    ),
    "surprise": (
        Action(inner_brow=1.0, outer_brow=1.0, wide=0.9, jaw=0.8),
        Action(inner_brow=1.0, outer_brow=1.0, wide=1.0, jaw=1.0, part=0.3),
        Action(inner_brow=0.9, outer_brow=1.0, wide=0.8, jaw=0.5, part=0.3),
    ),
    "disgust": (
        Action(nose=1.0, upper_lip=1.0, squint=0.8, cheek=0.4, sulk=0.5, part=0.4),
        Action(nose=0.9, upper_lip=0.8, squint=0.6, chin=0.7, sulk=0.6, cheek=0.3),
        Action(nose=1.0, upper_lip=0.9, squint=0.8, part=0.8, jaw=0.25, tongue=1.0),
    ),
    "fear": (
        Action(inner_brow=1.0, outer_brow=0.5, frown=0.6, wide=1.0, stretch=1.0, part=0.7),
        Action(inner_brow=1.0, outer_brow=0.4, frown=0.7, wide=1.0, stretch=0.9, part=1.0, jaw=0.2),
        Action(inner_brow=0.9, outer_brow=0.5, frown=0.5, wide=1.0, stretch=0.8, part=0.8),
    ),
}
"""Variants of each expression. Source: the prototypes of EMFACS (Friesen and Ekman, 1983)."""

LEANINGS = {"sadness": (0.0, 0.1), "surprise": (0.02, -0.06), "disgust": (0.08, -0.02)}
"""Yaw and pitch of the head that go with an expression."""


@dataclass(frozen=True)
class DemoFiles:
    """The list of videos, their number, and a longer video of a person who is not in the list."""

    labels: Path
    unseen: Path
    num_videos: int


@dataclass(frozen=True)
class _Task:
    """One video to draw; without an expression it is the journey."""

    path: Path
    seed: int
    person: int
    expression: int | None = None
    take: int = 0


def make_demo(
    folder: Path, num_persons: int = 20, takes: int = 1, seed: int = 0, jobs: int | None = None
) -> DemoFiles:
    """Draw the demo dataset; existing videos are kept.

    Args:
        folder: Folder for `labels.csv`, `videos/<person>/<label>_<take>.mp4`, `unseen/journey.mp4`.
        num_persons: Number of persons; each is a group.
        takes: Videos per person and expression.
        seed: Random seed; the same seed gives the same pixels for any `jobs`.
        jobs: Number of processes; None for one per core.

    Raises:
        DataError: The folder holds something else, or a demo with other settings.
    """
    values = (num_persons, takes, seed, DRAWING_VERSION)
    settings = dict(zip(DEMO_SETTINGS, values, strict=True))
    _claim_folder(folder, settings)
    rows, tasks = [], [_Task(folder / "unseen" / "journey.mp4", seed, GUEST)]
    for person in range(num_persons):
        group = f"person{person + 1:02d}"
        for expression, name in enumerate(BASIC_EXPRESSIONS):
            for take in range(takes):
                path = f"videos/{group}/{name}_{take + 1}.mp4"
                rows.append((path, name, group))
                tasks.append(_Task(folder / path, seed, person, expression, take))
    _draw_all([task for task in tasks if not task.path.exists()], jobs or os.cpu_count() or 1)
    labels = folder / "labels.csv"
    if not labels.exists():
        lines = [",".join(row) for row in [("path", "label", "group"), *rows]]
        write_text(labels, "\n".join(lines) + "\n")
    return DemoFiles(labels, tasks[0].path, len(rows))


def _claim_folder(folder: Path, settings: dict[str, int]) -> None:
    """Write the settings into the folder, or compare them with those written earlier."""
    note = folder / DEMO_FILE
    if not note.exists():
        if (folder / "labels.csv").exists():
            raise DataError(f"{folder} holds a dataset that is not the demo; choose another folder")
        write_json(note, settings)
        return
    try:
        earlier = dict(json.loads(note.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"cannot read {note}; delete the folder and run the command again"
        ) from error
    pairs = [(name, earlier.get(name), value) for name, value in settings.items()]
    differing = [f"{name} {was}, not {value}" for name, was, value in pairs if was != value]
    if differing:
        raise DataError(
            f"{folder} holds a demo with {'; '.join(differing)}: "
            "use the same settings, choose another folder, or delete this one"
        )


def _draw_all(tasks: list[_Task], jobs: int) -> None:
    with show_progress(total=len(tasks), desc="drawing", unit="video") as bar:
        if min(jobs, len(tasks)) <= 1:
            for task in tasks:
                _draw_task(task)
                bar.update()
            return
        shares = [Share(threads=1)] * jobs
        failures = []
        for task, result in run_in_workers(tasks, _start_drawing, shares, purpose="draws"):
            if isinstance(result, WorkerDied):
                failures.append(f"{task.path}: {result.reason}")
            bar.update()
    if failures:
        raise JobsError(
            f"{len(failures)} of {len(tasks)} videos were not drawn ({failures[0]}); run the same "
            f"command again to draw them"
        )


def _start_drawing() -> Callable[[_Task, Emit], None]:
    return lambda task, emit: _draw_task(task)


def _draw_task(task: _Task) -> None:
    person = make_person(task.seed, task.person)
    if task.expression is None:
        frames = draw_journey(person, np.random.default_rng([task.seed, task.person, 1]))
    else:
        rng = np.random.default_rng([task.seed, task.person, task.expression, task.take])
        frames = draw_video(person, BASIC_EXPRESSIONS[task.expression], rng)
    write_video(task.path, frames, FPS)


def draw_video(person: Person, expression: str, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield `NUM_FRAMES` frames (HEIGHT, WIDTH, 3) uint8 of an expression: onset, apex and offset.

    `rng` decides on the variant, its strength and timing (which may cut off a part), and on random
    motion.
    """
    target = _choose_target(expression, rng)
    onset = rng.choice([-1.0, 0.06, 0.12])
    offset = rng.choice([2.0, 0.8, 0.7])
    share = np.linspace(0, 1, NUM_FRAMES)[:, None] - rng.uniform(0, 0.06, len(target))
    rise = _ease((share - onset) / rng.uniform(0.14, 0.24))
    fall = _ease((share - offset) / rng.uniform(0.18, 0.3))
    yield from _draw_frames(person, rise * (1 - 0.8 * fall) * target, rng)


def draw_journey(person: Person, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the frames of a person who shows the expressions of `JOURNEY`, one after the other."""
    targets = np.array([_choose_target(name, rng) for name in JOURNEY])
    stage = np.arange(round(JOURNEY_HOLD_S * FPS) * len(JOURNEY)) / (JOURNEY_HOLD_S * FPS)
    now = np.minimum(stage.astype(int), len(JOURNEY) - 1)
    blend = _ease((stage - now) / 0.18)[:, None]
    course = targets[np.maximum(now - 1, 0)] * (1 - blend) + targets[now] * blend
    yield from _draw_frames(person, course, rng)


def _choose_target(expression: str, rng: np.random.Generator) -> np.ndarray:
    """Return the strengths at the apex, in the order of `Action`, then the head's yaw and pitch."""
    variants = PROTOTYPES[expression]
    action = np.array(astuple(variants[rng.integers(len(variants))]))
    action *= rng.uniform(0.8, 1.0) * rng.uniform(0.88, 1.08, len(action))
    action[-1] = rng.uniform(-0.6, 0.6)
    return np.append(action, LEANINGS.get(expression, (0.0, 0.0)))


def _draw_frames(
    person: Person, course: np.ndarray, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Draw facial actions over time, (frames, strengths), with random motion and noise."""
    n, names = len(course), [field.name for field in fields(Action)]
    course = course.copy()
    lips = names.index("part")  # later actions would open the mouth
    course[:, :lips] += 0.03 * _drift(n, lips, rng)
    blink, gaze = names.index("blink"), names.index("gaze_x")
    for start in np.arange(rng.uniform(4, 30), n, rng.uniform(28, 45)):
        closed = np.exp(-np.square((np.arange(n) - start) / 1.3))
        course[:, blink] += closed * (1 - course[:, blink])
    look = rng.normal(0, 0.22, (n // 12 + 2, 2))
    course[:, gaze : gaze + 2] += look[(np.arange(n) + rng.integers(12)) // 12]
    course[:, :gaze] = np.clip(course[:, :gaze], 0, 1)
    sway = _drift(n, 6, rng) * (0.06, 0.035, 0.04, 0.02, 0.07, 0.035)
    rest = rng.uniform(-1, 1, 6) * (0.16, 0.05, 0.05, 0.07, 0.1, 0.02)
    grain = rng.normal(0, 2.5, (HEIGHT + 32, WIDTH + 32, 3)).round().astype(np.int8)
    backdrop = draw_backdrop(person)
    for frame, motion in zip(course, sway + rest, strict=True):
        pose = Pose(
            x=motion[0],
            y=motion[1],
            roll=motion[2],
            scale=1.0 + motion[3],
            yaw=motion[4] + frame[-2],
            pitch=motion[5] + frame[-1],
        )
        image = draw_person(person, Action(*frame[:-2]), pose, backdrop)
        y, x = rng.integers(32, size=2)
        yield cv2.add(image, grain[y : y + HEIGHT, x : x + WIDTH], dtype=cv2.CV_8U)


def _drift(n: int, tracks: int, rng: np.random.Generator) -> np.ndarray:
    """Return (n, tracks) slow motions of about unit size."""
    time_s = np.arange(n)[:, None, None] / FPS
    speed, phase = rng.uniform(0.2, 0.9, (tracks, 2)), rng.uniform(0, 1, (tracks, 2))
    return np.sin(2 * np.pi * (time_s * speed + phase)).sum(axis=-1) / 1.4


def _ease(x: np.ndarray) -> np.ndarray:
    """Return a smooth step from 0 to 1."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
