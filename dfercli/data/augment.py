"""Random changes of training clips: on the whole batch, and on its device.

A clip's changes are drawn by a generator of its own, of the seed, the epoch and the clip's place
in its dataset. So they are the same whatever batch the clip is in, however many workers and
devices there are, and after a restart.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dfercli.config import AugmentConfig
from dfercli.data.transforms import normalise, pixel_statistics

STREAM = 1
"""Keeps these draws apart from those of the frames, which have seed, epoch and index too."""

CROP_RATIO = 1.1
"""Most that a crop's sides differ (our choice: more would change the face's proportions)."""

LUMA = (299, 587, 114)
"""Weights of R, G, B in grey, in thousandths. Source: ITU-R BT.601."""

CHROMA = np.array([[0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""The two axes of colour, I and Q of YIQ, each a row over R, G, B. Source: NTSC, 1953."""


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
    """

    def __init__(self, config: AugmentConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self._stages = torch.empty(0)  # kept from batch to batch: a heap would be torn by it

    def __call__(self, clips: Tensor, views: Tensor, indices: Tensor) -> Tensor:
        """Give clips as the model reads them in training, on the device that they are on.

        On the CPU, a clip comes out the same bit for bit whatever else is in the batch.

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
        shape = (3, *clips.shape[1:])
        if self._stages.shape != shape or self._stages.device != clips.device:
            self._stages = torch.empty(shape, device=clips.device)
        return change_clips(clips, draws, self._stages)


def change_clips(clips: Tensor, draws: list[Changes], stages: Tensor) -> Tensor:
    """Crop, flip, recolour and normalise each clip.

    Constants of all clips are sent to the device at once; the pixels go through one clip at a time,
    in memory that is there. That keeps them in a CPU's cache, and free of products of matrices
    over the batch, whose rounding depends on what else is in it.

    Args:
        clips: (B, T, 3, H, W) uint8.
        draws: Changes of each of the B clips.
        stages: (3, T, 3, H, W) float32, overwritten: a clip on its way.

    Returns:
        (B, T, 3, H, W) float32, as the model reads them.
    """
    height, width = clips.shape[-2:]
    device = clips.device
    bounds = [crop_bounds(drawn, height, width) for drawn in draws]
    upright = [(top, bottom, False) for top, bottom, _, _ in bounds]
    across = [(*each[2:], drawn.flipped) for each, drawn in zip(bounds, draws, strict=True)]
    rows = _Neighbours.of(upright, height, device)
    columns = _Neighbours.of(across, width, device)
    matrices = np.stack([colour_matrix(drawn) for drawn in draws])
    colours = torch.from_numpy(matrices.astype(np.float32)).to(device)  # (B, 3, 4)
    weights, statistics = torch.tensor(LUMA, device=device), pixel_statistics(device)
    changed = torch.empty(clips.shape, device=device)
    whole, part, other = stages
    for index, clip in enumerate(clips):
        whole.copy_(clip)
        mean = _mean_grey(whole, weights)
        rows.blend(whole, index, -2, out=part, other=other)
        columns.blend(part, index, -1, out=whole, other=other)
        _recolour(whole, mean, colours[index], out=changed[index])
        normalise(changed[index], statistics, out=changed[index])
    return changed


def _mean_grey(clip: Tensor, weights: Tensor) -> Tensor:
    """Give the mean over all frames; sums of whole numbers do not depend on their order."""
    sums = clip.sum(dim=-1).long().sum(dim=(0, 2))  # a row's sum is exact in float32 too
    return (sums * weights).sum() / (sum(LUMA) * clip[:, 0].numel())


def crop_bounds(drawn: Changes, height: int, width: int) -> tuple[int, int, int, int]:
    """Give top, bottom, left and right of a crop in whole pixels, the second and last exclusive."""
    rows = max(1, round(height * math.sqrt(drawn.area / drawn.ratio)))
    columns = max(1, round(width * math.sqrt(drawn.area * drawn.ratio)))
    top = int(drawn.place[0] * (height - rows + 1))
    left = int(drawn.place[1] * (width - columns + 1))
    return top, top + rows, left, left + columns


@dataclass(frozen=True)
class _Neighbours:
    """The two pixels along one side that each new pixel of B clips lies between, (B, S) each."""

    before: Tensor
    after: Tensor
    share: Tensor
    """Of the latter, in [0, 1)."""

    @classmethod
    def of(
        cls, stretches: list[tuple[int, int, bool]], side: int, device: torch.device
    ) -> "_Neighbours":
        """Spread stretches (first, end, reversed) of a side over the whole of it."""
        first, end, turned = np.array(stretches).T[:, :, None]
        places = first + (np.arange(side) + 0.5) * (end - first) / side - 0.5
        places = np.where(turned, places[:, ::-1], places).clip(first, end - 1)
        before = np.floor(places).astype(np.int64)
        after = np.minimum(before + 1, end - 1)
        share = (places - before).astype(np.float32)
        return cls(*(torch.from_numpy(values).to(device) for values in (before, after, share)))

    def blend(self, clip: Tensor, index: int, dim: int, out: Tensor, other: Tensor) -> None:
        """Interpolate the clip of this index along a dimension, into `out`; `other` is lost."""
        before, after, share = self.before[index], self.after[index], self.share[index]
        if dim == -2:
            torch.index_select(clip, dim, before, out=out)
            torch.index_select(clip, dim, after, out=other)
            out.lerp_(other, share[:, None])
        else:  # along the last one, gathering is the faster way
            torch.gather(clip, dim, before.expand(clip.shape), out=out)
            torch.gather(clip, dim, after.expand(clip.shape), out=other)
            out.lerp_(other, share)


def colour_matrix(drawn: Changes) -> np.ndarray:
    """Give the (3, 4) matrix of all changes of colour, over R, G, B and the clip's mean grey.

    Saturation scales the chroma of YIQ and hue turns it, which keeps the luma, where torchvision
    goes through HSV; contrast is around the mean of all frames, before the crop (our choices: one
    matrix does it). These maps are linear, so their order does not matter, and the range of the
    pixels is kept once, at the end.
    """
    angle = 2 * math.pi * drawn.hue
    cosine, sine = drawn.saturation * math.cos(angle), drawn.saturation * math.sin(angle)
    luma = np.array(LUMA) / sum(LUMA)
    grey = np.outer(np.ones(3), luma)
    turned = np.linalg.solve([luma, *CHROMA], [np.zeros(3), -CHROMA[1], CHROMA[0]])
    colours = drawn.contrast * (grey + cosine * (np.eye(3) - grey) + sine * turned)
    return drawn.brightness * np.column_stack([colours, np.full(3, 1 - drawn.contrast)])


def _recolour(clip: Tensor, mean: Tensor, colours: Tensor, out: Tensor) -> None:
    """Apply a matrix of `colour_matrix` to a clip (T, 3, H, W), given the mean grey."""
    red, green, blue, grey = colours[:, :, None, None].unbind(1)  # (3, 1, 1)
    torch.mul(clip[:, 0:1], red, out=out)
    out.addcmul_(clip[:, 1:2], green).addcmul_(clip[:, 2:3], blue)
    out.add_(grey * mean).clamp_(0, 255)
