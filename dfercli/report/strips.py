"""Pictures with frames of clips: errors, attention (figure 4), similarities (figure 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from dfercli.visualize.style import SERIES, WIDTH_IN, hide_axes, make_figure, shorten, styled

FRAME_IN = 0.8
"""Width of a frame in a strip (our choice: a face is recognised on a phone)."""

LABEL_IN = 1.25
"""Width of the words before a row (our choice)."""

PAIR = (SERIES[2], SERIES[1])
"""Colours of two kinds of prompts. Source: those of the paper's figure 2."""

MOST_FRAMES = 8
"""Frames of a clip that are drawn. Source: the paper's T."""


@dataclass(frozen=True)
class ClipPicture:
    """A clip, and what models make of it.

    Attributes:
        clip_id: Its name.
        frames: (T, H, W, 3) uint8 RGB.
        label: Its true class.
        predictions: By model's name, the predicted class and its probability.
        maps: By model's name, (T, h, w) shares of the patches.
        interaction: By model's name, share that comes through InterFIT's tokens, mean over frames.
        similarities: By model's name, (K,) cosine to each class.
    """

    clip_id: str
    frames: np.ndarray
    label: int
    predictions: Mapping[str, tuple[int, float]]
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    interaction: Mapping[str, float] = field(default_factory=dict)
    similarities: Mapping[str, np.ndarray] = field(default_factory=dict)


@styled
def errors_figure(clips: Sequence[ClipPicture], class_names: Sequence[str]) -> Figure:
    """Draw clips as strips of their frames, with the true class and the one predicted.

    Args:
        clips: With one model's prediction each.
        class_names: K classes.
    """
    shown = _num_frames(clips)
    figure = make_figure(max(WIDTH_IN, FRAME_IN * shown), 1.16 * len(clips) * FRAME_IN + 0.1)
    strips = figure.subfigures(len(clips), 1, squeeze=False)[:, 0]
    for strip, clip in zip(strips, clips, strict=True):
        ((predicted, confidence),) = clip.predictions.values()
        true, named = shorten(class_names[clip.label]), shorten(class_names[predicted])
        title = f"{true}, named {named} ({confidence:.0%})"
        strip.suptitle(title, x=0.01, ha="left", fontsize=9, fontweight="bold")
        for axes, index in zip(strip.subplots(1, shown), choose_frames(clip), strict=False):
            axes.imshow(clip.frames[index])
            hide_axes(axes)
    return figure


@styled
def attention_figure(clips: Sequence[ClipPicture], class_names: Sequence[str]) -> Figure:
    """Draw a row of frames a clip, and under it a row a model: what spoke for its prediction.

    Args:
        clips: With maps and predictions of the same models each.
        class_names: K classes.
    """
    shown, models = _num_frames(clips), list(clips[0].maps)
    num_rows = len(clips) * (1 + len(models))
    figure = make_figure(LABEL_IN + FRAME_IN * shown, FRAME_IN * num_rows + 0.06 * len(clips))
    ratios = [LABEL_IN / FRAME_IN, *[1.0] * shown]
    blocks = figure.subfigures(len(clips), 1, squeeze=False)[:, 0]
    for block, clip in zip(blocks, clips, strict=True):
        rows = block.subplots(1 + len(models), 1 + shown, width_ratios=ratios, squeeze=False)
        for axes in rows.flat:
            hide_axes(axes)
        true = shorten(class_names[clip.label])
        _write(rows[0, 0], f"true class:\n{true}", "#222222")
        for axes, index in zip(rows[0, 1:], choose_frames(clip), strict=False):
            axes.imshow(clip.frames[index])
        for row, name, color in zip(rows[1:], models, SERIES, strict=False):
            predicted, confidence = clip.predictions[name]
            words = f"{name}:\n{shorten(class_names[predicted])}\n{confidence:.0%}"
            if clip.interaction.get(name):
                words += f"\n(interaction {clip.interaction[name]:.0%})"
            _write(row[0], words, color)
            for axes, index in zip(row[1:], choose_frames(clip), strict=False):
                _draw_heat(axes, clip.frames[index], clip.maps[name][index], clip.maps[name].max())
    return figure


@styled
def similarity_figure(clips: Sequence[ClipPicture], class_names: Sequence[str]) -> Figure:
    """Draw clips with bars of their cosine to each class, for each model; the true class marked.

    Args:
        clips: With similarities of the same models each.
        class_names: K classes.
    """
    shown = _num_frames(clips)
    width_in = max(WIDTH_IN, 1.0 + 0.44 * len(class_names))
    strip_in = width_in / shown + 0.3
    figure = make_figure(width_in, len(clips) * (strip_in + 1.75) + 0.3)
    blocks = figure.subfigures(len(clips), 1, squeeze=False)[:, 0]
    for block, clip in zip(blocks, clips, strict=True):
        above, below = block.subfigures(2, 1, height_ratios=[strip_in, 1.75])
        above.suptitle(f"true class: {shorten(class_names[clip.label])}", fontsize=9)
        for axes, index in zip(above.subplots(1, shown), choose_frames(clip), strict=False):
            axes.imshow(clip.frames[index])
            hide_axes(axes)
        _draw_bars(below, clip, class_names)
    marks = [Patch(color=c, label=n) for n, c in zip(clips[0].similarities, PAIR, strict=False)]
    figure.legend(handles=marks, loc="outside upper center", ncols=len(marks))
    return figure


@styled
def similarity_histogram_figure(
    similarities: Mapping[str, np.ndarray], labels: np.ndarray
) -> Figure:
    """Draw how the cosines to the true class lie against those to the other classes.

    Args:
        similarities: (N, K) by model's name.
        labels: (N,) int, true classes.
    """
    figure = make_figure(WIDTH_IN, 0.5 + 1.9 * len(similarities))
    panels = figure.subplots(len(similarities), 1, sharex=True, squeeze=False)[:, 0]
    everything = np.concatenate([values.ravel() for values in similarities.values()])
    edges = np.linspace(everything.min(), everything.max() + 1e-6, 31)
    for axes, (name, values) in zip(panels, similarities.items(), strict=True):
        true = np.arange(values.shape[1]) == np.asarray(labels)[:, None]
        kinds = (("other classes", ~true, "#999999"), ("true class", true, SERIES[1]))
        for label, chosen, color in kinds:
            cosines = values[chosen]
            weights = np.full(len(cosines), 1 / max(1, len(cosines)))
            look = {"color": color, "alpha": 0.65, "label": label}
            axes.hist(cosines, edges, weights=weights, **look)
            axes.axvline(cosines.mean(), color=color, lw=1.6, ls="--")
        axes.set(title=name, ylabel="share")
        axes.grid(axis="y")
    panels[0].legend(loc="best")
    panels[-1].set_xlabel("cosine of video and class (dashed: mean)")
    return figure


def choose_frames(clip: ClipPicture) -> np.ndarray:
    """Give the frames of a clip that are drawn: all, or some that are evenly spread."""
    number = len(clip.frames)
    return np.linspace(0, number - 1, min(number, MOST_FRAMES)).round().astype(int)


def _num_frames(clips: Sequence[ClipPicture]) -> int:
    return max(2, *(len(choose_frames(clip)) for clip in clips), 2)


def _write(axes: Axes, words: str, color: str) -> None:
    axes.text(0, 0.5, words, color=color, va="center", ha="left", transform=axes.transAxes)


def _draw_heat(axes: Axes, image_rgb: np.ndarray, heat: np.ndarray, highest: float) -> None:
    """Draw a map over its frame in grey, so that the colours are the map's alone."""
    height, width = image_rgb.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(image_rgb.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    shares = heat / max(float(highest), 1e-9)
    look: dict[str, Any] = {"cmap": "inferno", "vmin": 0, "vmax": 1, "interpolation": "bilinear"}
    axes.imshow(shares, alpha=0.2 + 0.6 * shares, extent=extent, **look)


def _draw_bars(figure: SubFigure, clip: ClipPicture, class_names: Sequence[str]) -> None:
    axes = figure.subplots()
    places, width = np.arange(len(class_names)), 0.8 / len(clip.similarities)
    axes.axvspan(clip.label - 0.5, clip.label + 0.5, color="#f0e442", alpha=0.35, lw=0)
    for index, cosines in enumerate(clip.similarities.values()):
        offset = (index - (len(clip.similarities) - 1) / 2) * width
        top = np.arange(len(cosines)) == cosines.argmax()
        edges = ["#000000" if is_top else "none" for is_top in top]
        axes.bar(places + offset, cosines, width, color=PAIR[index % 2], edgecolor=edges)
    axes.axhline(0, color="#222222", lw=0.8)
    axes.set_xticks(
        places,
        [shorten(name) for name in class_names],
        rotation=35,
        ha="right",
        rotation_mode="anchor",
    )
    axes.get_xticklabels()[clip.label].set_fontweight("bold")
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("cosine")
    axes.grid(axis="y")
