"""Augmentation of training clips: whole batches, on their device.

Each clip has its own random generator, seeded by the run's seed, the epoch and the clip's index in
the dataset. Its changes therefore do not depend on its batch, on the number of workers and devices,
or on restarts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dfercli.config import AugmentConfig
from dfercli.data.loaders import send
from dfercli.data.transforms import normalise, pixel_statistics

STREAM = 1
"""Separates these random numbers from those of the sampled frames, which have the same seeds."""

CROP_RATIO = 1.1
"""Largest ratio of a crop's sides (our choice: more would distort the face)."""

LUMA = (299, 587, 114)
"""Weights of R, G and B in grey, in thousandths. Source: ITU-R BT.601."""

CHROMA = np.array([[0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""The colour axes I and Q of YIQ, one row each over R, G, B. Source: NTSC, 1953."""

GREY = np.outer(np.ones(3), np.array(LUMA) / sum(LUMA))
"""Matrix that removes the colour of a pixel."""

ROTATED = np.linalg.solve([GREY[0], *CHROMA], [np.zeros(3), -CHROMA[1], CHROMA[0]])
"""Matrix that rotates a pixel's chroma by a quarter turn and removes its grey."""


@dataclass(frozen=True)
class Changes:
    """The random changes of one clip, the same for all its frames.

    Attributes:
        area: Share of the frame's area that the crop keeps.
        ratio: Aspect ratio of the crop relative to that of the frame.
        place: Vertical and horizontal position of the crop, from 0 (top, left) to 1.
        flipped: Whether the clip is mirrored.
        brightness: Factor of the pixels.
        contrast: Factor of their distance from the clip's mean grey.
        saturation: Factor of their distance from their own grey.
        hue: Rotation of the colour wheel, in turns.
        angle: Anticlockwise rotation of the frames, in degrees.
    """

    area: float = 1.0
    ratio: float = 1.0
    place: tuple[float, float] = (0.0, 0.0)
    flipped: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    angle: float = 0.0


def draw_changes(config: AugmentConfig, rng: np.random.Generator) -> Changes:
    """Draw the changes of one clip; one strength does not affect the draws of the others.

    Factors are uniform around 1, as in torchvision's ColorJitter. The crop is that of its
    RandomResizedCrop, except that the ratio is drawn from those that fit (our choice) instead of
    being drawn until one fits.
    """
    area, ratio, top, left, flip, *colours, angle = rng.random(10).tolist()
    area = config.crop_scale + area * (1 - config.crop_scale)
    widest = min(math.log(CROP_RATIO), -math.log(area))
    strengths = (config.brightness, config.contrast, config.saturation, config.hue)
    brightness, contrast, saturation, hue = (
        strength * (2 * number - 1) for strength, number in zip(strengths, colours, strict=True)
    )
    return Changes(
        area=area,
        ratio=math.exp(widest * (2 * ratio - 1)),
        place=(top, left),
        flipped=flip < config.flip,
        brightness=1 + brightness,
        contrast=1 + contrast,
        saturation=1 + saturation,
        hue=hue,
        angle=config.rotation * (2 * angle - 1),
    )


class Augmenter:
    """Changes and normalises training clips (section 4.1 lists the kinds of changes)."""

    def __init__(
        self,
        config: AugmentConfig,
        seed: int,
        change: "ChangeBatch | None" = None,
        pixels: str = "clip",
    ) -> None:
        self._config = config
        self._seed = seed
        self._pixels = pixels
        self._change_batch = change or change_batch
        self._buffers = torch.empty(0)  # reused for each batch, to keep the heap unfragmented

    def __call__(self, clips: Tensor, views: Tensor, indices: Tensor) -> Tensor:
        """Return changed and normalised clips (B, T, 3, H, W) float32, on the same device.

        The result for a clip is bit for bit the same in any batch. `clips` are (B, T, 3, H, W)
        uint8; `views` (B,) are the epoch from 0, or another number for a repeated clip; `indices`
        (B,) are the clips' indices in their dataset.
        """
        draws = [
            draw_changes(self._config, np.random.default_rng([self._seed, view, index, STREAM]))
            for view, index in zip(views.tolist(), indices.tolist(), strict=True)
        ]
        height, width = clips.shape[-2:]
        if self._config.rotation > 0:
            clips = rotate(clips, [changes.angle for changes in draws])
        plan = plan_changes(draws, height, width, clips.device)
        statistics = pixel_statistics(clips.device, self._pixels)
        if clips.device.type != "cpu":
            return self._change_batch(clips, plan, statistics)
        shape = (3, *clips.shape[1:])
        if self._buffers.shape != shape:
            self._buffers = torch.empty(shape)
        return change_clips(clips, plan, self._buffers, statistics)


def rotate(clips: Tensor, angles: Sequence[float]) -> Tensor:
    """Rotate each clip anticlockwise about its centre by an angle in degrees, before other changes.

    Clips are (B, T, 3, H, W) uint8; pixels are interpolated bilinearly, and black beyond the edges,
    as torchvision's `rotate` has them. The result for a clip does not depend on its batch.
    """
    height, width = clips.shape[-2:]
    radians = send(np.radians(np.array(angles, np.float32)), clips.device)[:, None, None]
    rows = (torch.arange(height, device=clips.device) - (height - 1) / 2)[:, None]
    columns = torch.arange(width, device=clips.device) - (width - 1) / 2
    cosine, sine = radians.cos(), radians.sin()
    old_columns, old_rows = cosine * columns - sine * rows, sine * columns + cosine * rows
    grid = torch.stack([2 * old_columns / width, 2 * old_rows / height], dim=-1)
    frames = clips.flatten(1, 2).float()
    rotated = F.grid_sample(frames, grid, padding_mode="zeros", align_corners=False)
    return rotated.round().to(torch.uint8).view(clips.shape)


@dataclass(frozen=True)
class Neighbours:
    """The two old pixels along one side that surround each new pixel, (B, S) each.

    Attributes:
        before: Indices, int64.
        after: Indices, int64.
        share: Weight of `after` in [0, 1), float32.
    """

    before: Tensor
    after: Tensor
    share: Tensor


@dataclass(frozen=True)
class Plan:
    """The changes of B clips as tensors on their device.

    Attributes:
        rows: Old rows for each new row.
        columns: Old columns for each new column.
        colours: (B, 3, 4) float32, one `colour_matrix` per clip.
    """

    rows: Neighbours
    columns: Neighbours
    colours: Tensor


ChangeBatch = Callable[[Tensor, Plan, tuple[Tensor, Tensor]], Tensor]
"""`change_batch` or an equivalent function."""


def plan_changes(draws: list[Changes], height: int, width: int, device: torch.device) -> Plan:
    """Return the changes of B clips of this size as tensors, without waiting for the device."""
    bounds = [crop_bounds(changes, height, width) for changes in draws]
    vertical = [(top, bottom, False) for top, bottom, _, _ in bounds]
    horizontal = [
        (left, right, changes.flipped)
        for (_, _, left, right), changes in zip(bounds, draws, strict=True)
    ]
    matrices = np.stack([colour_matrix(changes) for changes in draws])
    return Plan(
        find_neighbours(vertical, height, device),
        find_neighbours(horizontal, width, device),
        send(matrices.astype(np.float32), device),
    )


def find_neighbours(
    intervals: list[tuple[int, int, bool]], side: int, device: torch.device
) -> Neighbours:
    """Stretch intervals (first, end, reversed) of a side to the whole side."""
    first, end, mirrored = np.array(intervals).T[:, :, None]
    places = first + (np.arange(side) + 0.5) * (end - first) / side - 0.5
    places = np.where(mirrored, places[:, ::-1], places).clip(first, end - 1)
    before = np.floor(places).astype(np.int64)
    after = np.minimum(before + 1, end - 1)
    share = (places - before).astype(np.float32)
    return Neighbours(send(before, device), send(after, device), send(share, device))


def change_batch(clips: Tensor, plan: Plan, statistics: tuple[Tensor, Tensor]) -> Tensor:
    """Crop, flip, recolour and normalise all clips at once, which suits a GPU.

    The number of operations does not depend on the number of clips. All of them are elementwise or
    integer sums, so that the result for a clip does not depend on its batch. `clips` are
    (B, T, 3, H, W) uint8, and the result is float32.
    """
    sums = clips.sum(dim=(1, 3, 4), dtype=torch.int64)  # (B, 3), exact
    red, green, blue = (sums[:, i] * LUMA[i] for i in range(3))
    mean = (red + green + blue) / (sum(LUMA) * clips[0, :, 0].numel())  # (B,)

    def blend(pixels: Tensor, places: Neighbours, shape: tuple[int, ...], dim: int) -> Tensor:
        before, after, share = (
            values.view(shape) for values in (places.before, places.after, places.share)
        )
        first = pixels.gather(dim, before.expand(pixels.shape))
        return first.lerp(pixels.gather(dim, after.expand(pixels.shape)), share)

    pixels = blend(clips.float(), plan.rows, (-1, 1, 1, clips.shape[-2], 1), -2)
    pixels = blend(pixels, plan.columns, (-1, 1, 1, 1, clips.shape[-1]), -1)
    red, green, blue, grey = plan.colours[:, None, :, :, None, None].unbind(3)  # (B, 1, 3, 1, 1)
    changed = pixels[:, :, 0:1] * red
    changed = torch.addcmul(changed, pixels[:, :, 1:2], green)
    changed = torch.addcmul(changed, pixels[:, :, 2:3], blue)
    changed = (changed + grey * mean[:, None, None, None, None]).clamp(0, 255)
    return normalise(changed, statistics=statistics)


def change_clips(
    clips: Tensor, plan: Plan, buffers: Tensor, statistics: tuple[Tensor, Tensor]
) -> Tensor:
    """Do the same as `change_batch`, one clip at a time, which stays in a CPU's cache.

    `buffers` are (3, T, 3, H, W) float32 and are overwritten.
    """
    weights = torch.tensor(LUMA)
    changed = torch.empty(clips.shape)
    whole, part, other = buffers
    for index, clip in enumerate(clips):
        whole.copy_(clip)
        mean = _mean_grey(whole, weights)
        before, after = plan.rows.before[index], plan.rows.after[index]
        torch.index_select(whole, -2, before, out=part)
        torch.index_select(whole, -2, after, out=other)
        part.lerp_(other, plan.rows.share[index][:, None])
        before, after = plan.columns.before[index], plan.columns.after[index]
        torch.gather(part, -1, before.expand(part.shape), out=whole)  # the faster way along rows
        torch.gather(part, -1, after.expand(part.shape), out=other)
        whole.lerp_(other, plan.columns.share[index])
        _recolour(whole, mean, plan.colours[index], out=changed[index])
        normalise(changed[index], statistics=statistics, out=changed[index])
    return changed


def _mean_grey(clip: Tensor, weights: Tensor) -> Tensor:
    """Return the mean over all frames; integer sums do not depend on the order of summation."""
    sums = clip.sum(dim=-1).long().sum(dim=(0, 2))  # the sum of a row is exact in float32
    return (sums * weights).sum() / (sum(LUMA) * clip[:, 0].numel())


def crop_bounds(changes: Changes, height: int, width: int) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of a crop in whole pixels; bottom and right exclusive."""
    rows = max(1, round(height * math.sqrt(changes.area / changes.ratio)))
    columns = max(1, round(width * math.sqrt(changes.area * changes.ratio)))
    top = int(changes.place[0] * (height - rows + 1))
    left = int(changes.place[1] * (width - columns + 1))
    return top, top + rows, left, left + columns


def colour_matrix(changes: Changes) -> np.ndarray:
    """Return the (3, 4) matrix of all colour changes, over R, G, B and the clip's mean grey.

    Saturation scales the chroma of YIQ and hue rotates it, which keeps the luma, while torchvision
    converts to HSV. Contrast is relative to the mean of all frames before the crop. (Both are our
    choices, so that one matrix is enough.) These maps are linear: their order does not matter, and
    pixels are clamped once, at the end.
    """
    angle = 2 * math.pi * changes.hue
    cosine, sine = changes.saturation * math.cos(angle), changes.saturation * math.sin(angle)
    colours = changes.contrast * (GREY + cosine * (np.eye(3) - GREY) + sine * ROTATED)
    return changes.brightness * np.column_stack([colours, np.full(3, 1 - changes.contrast)])


def _recolour(clip: Tensor, mean: Tensor, colours: Tensor, out: Tensor) -> None:
    """Apply a `colour_matrix` to a clip (T, 3, H, W) with this mean grey."""
    red, green, blue, grey = colours[:, :, None, None].unbind(1)  # (3, 1, 1)
    torch.mul(clip[:, 0:1], red, out=out)
    out.addcmul_(clip[:, 1:2], green).addcmul_(clip[:, 2:3], blue)
    out.add_(grey * mean).clamp_(0, 255)
