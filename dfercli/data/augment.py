"""Random changes of training clips: on the whole batch, and on its device.

A clip's changes are drawn by a generator of its own, of the seed, the epoch and the clip's place
in its dataset. So they are the same whatever batch the clip is in, however many workers and
devices there are, and after a restart.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dfercli.config import AugmentConfig
from dfercli.data.loaders import send
from dfercli.data.transforms import normalise, pixel_statistics

STREAM = 1
"""Keeps these draws apart from those of the frames, which have seed, epoch and index too."""

CROP_RATIO = 1.1
"""Most that a crop's sides differ (our choice: more would change the face's proportions)."""

LUMA = (299, 587, 114)
"""Weights of R, G, B in grey, in thousandths. Source: ITU-R BT.601."""

CHROMA = np.array([[0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""The two axes of colour, I and Q of YIQ, each a row over R, G, B. Source: NTSC, 1953."""

GREY = np.outer(np.ones(3), np.array(LUMA) / sum(LUMA))
"""Matrix that takes the colour out of a pixel."""

TURNED = np.linalg.solve([GREY[0], *CHROMA], [np.zeros(3), -CHROMA[1], CHROMA[0]])
"""Matrix that turns a pixel's chroma by a quarter of the colour wheel, without its grey."""


@dataclass(frozen=True)
class Changes:
    """What was drawn for one clip; all its frames are changed alike.

    Attributes:
        area: Share of the frame's area that the crop keeps.
        ratio: Width over height of the crop, in units of the frame's.
        place: Where the crop lies between its extremes, from the top and from the left, in [0, 1).
        flipped: Whether left and right are exchanged.
        brightness: Factor of the pixels.
        contrast: Factor of their distance from the clip's mean grey.
        saturation: Factor of their distance from their own grey.
        hue: Turns of the colour wheel.
    """

    area: float = 1.0
    ratio: float = 1.0
    place: tuple[float, float] = (0.0, 0.0)
    flipped: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0


def draw_changes(config: AugmentConfig, rng: np.random.Generator) -> Changes:
    """Draw the changes of one clip; a strength does not shift what is drawn for the others.

    Factors are uniform around 1, as torchvision's ColorJitter has them. The crop is that of its
    RandomResizedCrop, but its ratio is drawn among those that fit (our choice), not until one fits.

    Args:
        config: The strengths.
        rng: Where chance comes from.
    """
    area, ratio, top, left, flip, *colours = rng.random(9).tolist()
    area = config.crop_scale + area * (1 - config.crop_scale)
    widest = min(math.log(CROP_RATIO), -math.log(area))
    strengths = (config.brightness, config.contrast, config.saturation, config.hue)
    brightness, contrast, saturation, hue = (
        strength * (2 * drawn - 1) for strength, drawn in zip(strengths, colours, strict=True)
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
    )


class Augmenter:
    """Changes and normalises training clips (section 4.1 names the kinds of changes).

    Args:
        config: The strengths; without any, clips are but normalised, bit for bit.
        seed: Of all that is random.
        change: Changes a whole batch on a GPU; by default `change_batch`.
    """

    def __init__(
        self,
        config: AugmentConfig,
        seed: int,
        change: "ChangeBatch | None" = None,
    ) -> None:
        self._config = config
        self._seed = seed
        self._change_batch = change or change_batch
        self._stages = torch.empty(0)  # kept from batch to batch: a heap would be torn by it

    def __call__(self, clips: Tensor, views: Tensor, indices: Tensor) -> Tensor:
        """Return clips as the model reads them in training, on the device that they are on.

        A clip comes out the same bit for bit whatever else is in the batch.

        Args:
            clips: (B, T, 3, H, W) uint8.
            views: (B,) int64: the epoch from 0, or another number for a clip that comes again.
            indices: (B,) int64: the clips' places in their dataset.

        Returns:
            (B, T, 3, H, W) float32.
        """
        draws = [
            draw_changes(self._config, np.random.default_rng([self._seed, view, index, STREAM]))
            for view, index in zip(views.tolist(), indices.tolist(), strict=True)
        ]
        height, width = clips.shape[-2:]
        plan = plan_changes(draws, height, width, clips.device)
        if clips.device.type != "cpu":
            return self._change_batch(clips, plan, pixel_statistics(clips.device))
        shape = (3, *clips.shape[1:])
        if self._stages.shape != shape:
            self._stages = torch.empty(shape)
        return change_clips(clips, plan, self._stages)


@dataclass(frozen=True)
class Neighbours:
    """The two pixels along one side that each new pixel of B clips lies between, (B, S) each.

    Attributes:
        before: int64.
        after: int64.
        share: float32, weight of `after` in [0, 1).
    """

    before: Tensor
    after: Tensor
    share: Tensor


@dataclass(frozen=True)
class Plan:
    """The changes of B clips as tensors on their device.

    Attributes:
        rows: Where the new rows come from.
        columns: Where the new columns come from.
        colours: (B, 3, 4) float32, a matrix of `colour_matrix` per clip.
    """

    rows: Neighbours
    columns: Neighbours
    colours: Tensor


ChangeBatch = Callable[[Tensor, Plan, tuple[Tensor, Tensor]], Tensor]
"""`change_batch`, or a function that does the same."""


def plan_changes(draws: list[Changes], height: int, width: int, device: torch.device) -> Plan:
    """Return the changes of each of B clips of this size; nothing waits for the device."""
    bounds = [crop_bounds(drawn, height, width) for drawn in draws]
    upright = [(top, bottom, False) for top, bottom, _, _ in bounds]
    across = [(*each[2:], drawn.flipped) for each, drawn in zip(bounds, draws, strict=True)]
    matrices = np.stack([colour_matrix(drawn) for drawn in draws])
    return Plan(
        find_neighbours(upright, height, device),
        find_neighbours(across, width, device),
        send(matrices.astype(np.float32), device),
    )


def find_neighbours(
    stretches: list[tuple[int, int, bool]], side: int, device: torch.device
) -> Neighbours:
    """Spread stretches (first, end, reversed) of a side over the whole of it."""
    first, end, turned = np.array(stretches).T[:, :, None]
    places = first + (np.arange(side) + 0.5) * (end - first) / side - 0.5
    places = np.where(turned, places[:, ::-1], places).clip(first, end - 1)
    before = np.floor(places).astype(np.int64)
    after = np.minimum(before + 1, end - 1)
    share = (places - before).astype(np.float32)
    return Neighbours(send(before, device), send(after, device), send(share, device))


def change_batch(clips: Tensor, plan: Plan, statistics: tuple[Tensor, Tensor]) -> Tensor:
    """Crop, flip, recolour and normalise all clips at once: the way of a GPU.

    It takes the same number of operations however many clips there are, each of them element by
    element (or a sum of whole numbers), so that a clip does not depend on its batch.

    Args:
        clips: (B, T, 3, H, W) uint8.
        plan: Changes of each clip.
        statistics: Of `pixel_statistics`, on the clips' device.

    Returns:
        (B, T, 3, H, W) float32, as the model reads them.
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
    return normalise(changed, statistics)


def change_clips(clips: Tensor, plan: Plan, stages: Tensor) -> Tensor:
    """Do what `change_batch` does, one clip at a time: on a CPU it stays in the cache.

    Args:
        clips: (B, T, 3, H, W) uint8.
        plan: Changes of each clip.
        stages: (3, T, 3, H, W) float32, overwritten: a clip on its way.

    Returns:
        (B, T, 3, H, W) float32, as the model reads them.
    """
    weights, statistics = torch.tensor(LUMA), pixel_statistics(clips.device)
    changed = torch.empty(clips.shape)
    whole, part, other = stages
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
        normalise(changed[index], statistics, out=changed[index])
    return changed


def _mean_grey(clip: Tensor, weights: Tensor) -> Tensor:
    """Return the mean over all frames; sums of whole numbers do not depend on their order."""
    sums = clip.sum(dim=-1).long().sum(dim=(0, 2))  # a row's sum is exact in float32 too
    return (sums * weights).sum() / (sum(LUMA) * clip[:, 0].numel())


def crop_bounds(drawn: Changes, height: int, width: int) -> tuple[int, int, int, int]:
    """Give top, bottom, left and right of a crop in whole pixels, the second and last exclusive."""
    rows = max(1, round(height * math.sqrt(drawn.area / drawn.ratio)))
    columns = max(1, round(width * math.sqrt(drawn.area * drawn.ratio)))
    top = int(drawn.place[0] * (height - rows + 1))
    left = int(drawn.place[1] * (width - columns + 1))
    return top, top + rows, left, left + columns


def colour_matrix(drawn: Changes) -> np.ndarray:
    """Give the (3, 4) matrix of all changes of colour, over R, G, B and the clip's mean grey.

    Saturation scales the chroma of YIQ and hue turns it, which keeps the luma, where torchvision
    goes through HSV; contrast is around the mean of all frames, before the crop (our choices: one
    matrix does it). These maps are linear, so their order does not matter, and the range of the
    pixels is kept once, at the end.
    """
    angle = 2 * math.pi * drawn.hue
    cosine, sine = drawn.saturation * math.cos(angle), drawn.saturation * math.sin(angle)
    colours = drawn.contrast * (GREY + cosine * (np.eye(3) - GREY) + sine * TURNED)
    return drawn.brightness * np.column_stack([colours, np.full(3, 1 - drawn.contrast)])


def _recolour(clip: Tensor, mean: Tensor, colours: Tensor, out: Tensor) -> None:
    """Apply a matrix of `colour_matrix` to a clip (T, 3, H, W), given the mean grey."""
    red, green, blue, grey = colours[:, :, None, None].unbind(1)  # (3, 1, 1)
    torch.mul(clip[:, 0:1], red, out=out)
    out.addcmul_(clip[:, 1:2], green).addcmul_(clip[:, 2:3], blue)
    out.add_(grey * mean).clamp_(0, 255)
