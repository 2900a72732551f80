"""Whether an ONNX file gives what PyTorch gives, on clips of drawn people."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from dfercli.data.transforms import fit_frame, normalise
from dfercli.drawing import Action, Pose, draw_backdrop, draw_person, make_person
from dfercli.metrics import apply_temperature
from dfercli.models.base import ExpressionModel

BATCHES = (1, 2, 3, 5, 9)
"""Clips in each batch (our choice): twenty, and no two batches alike, so that a model that was
frozen at one size does not pass."""

SEED = 0

FACE = slice(45, 215), slice(75, 245)
"""Rows and columns of a drawn picture that show the face, for a head that is not turned."""

MOVED = 0.4
"""Share of the face's action units that move in a drawn clip (our choice)."""


@dataclass(frozen=True)
class Difference:
    """How far the probabilities of an ONNX file are from PyTorch's.

    Attributes:
        largest: Of all clips and classes.
        mean: Over clips and classes.
        num_clips: Clips compared.
        num_same: Clips whose top class is the same.
    """

    largest: float
    mean: float
    num_clips: int
    num_same: int


def draw_clips(num_frames: int, image_size: int) -> np.ndarray:
    """Draw a clip each of different people, whose faces go from rest to some expression.

    Args:
        num_frames: T.
        image_size: S.

    Returns:
        (20, T, S, S, 3) uint8 RGB, the same each time.
    """
    every = range(sum(BATCHES))
    return np.stack([np.stack(list(_draw_clip(n, num_frames, image_size))) for n in every])


def _draw_clip(index: int, num_frames: int, image_size: int) -> Iterator[np.ndarray]:
    person, rng = make_person(SEED, index), np.random.default_rng([SEED, index])
    num_units = len(fields(Action))
    apex = rng.uniform(0, 1, num_units) * (rng.random(num_units) < MOVED)
    pose, backdrop = Pose(), draw_backdrop(person)
    for strength in np.linspace(0, 1, num_frames):
        image_rgb = draw_person(person, Action(*(strength * apex)), pose, backdrop)
        yield fit_frame(image_rgb[FACE], image_size).transpose(1, 2, 0)


def split_batches(clips: np.ndarray) -> list[np.ndarray]:
    """Cut clips (20, ...) into batches of `BATCHES`."""
    return np.split(clips, np.cumsum(BATCHES)[:-1])


@torch.inference_mode()
def predict_by_torch(model: ExpressionModel, clips: np.ndarray, temperature: float) -> np.ndarray:
    """Give the probabilities (N, K) of clips (N, T, S, S, 3), uint8, in single precision."""
    probs = []
    for batch in split_batches(clips):
        frames = torch.from_numpy(batch).permute(0, 1, 4, 2, 3)
        probs.append(model(normalise(frames)).softmax(dim=-1).double().numpy())
    return apply_temperature(np.concatenate(probs), temperature)


def predict_by_onnx(path: Path, clips: np.ndarray) -> np.ndarray:
    """Give the probabilities (N, K) of clips (N, T, S, S, 3), uint8, of an ONNX file on a CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: warnings are of how its own graph was rewritten
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    batches = split_batches(clips)
    return np.concatenate([session.run(["probs"], {"faces": batch})[0] for batch in batches])


def compare_probs(ours: np.ndarray, theirs: np.ndarray) -> Difference:
    """Compare probabilities (N, K) with those of PyTorch, (N, K)."""
    apart = np.abs(ours - theirs)
    same = ours.argmax(axis=1) == theirs.argmax(axis=1)
    return Difference(float(apart.max()), float(apart.mean()), len(same), int(same.sum()))
