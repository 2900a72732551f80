"""Figures with frames of clips: errors, attention maps, and similarities to the classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from dfercli.media.figure_style import (
    SERIES,
    WIDTH_IN,
    figure_name,
    hide_axes,
    make_figure,
    styled,
)

FRAME_IN = 0.8
"""Width of a frame (our choice: a face can be recognised on a phone)."""

LABEL_IN = 1.25
"""Width of the text before a row (our choice)."""

PAIR = (SERIES[2], SERIES[1])
"""Colours of two kinds of prompts. Source: the paper's Figure 2."""

MOST_FRAMES = 8
"""Frames drawn per clip. Source: the paper's T."""


@dataclass(frozen=True)
class ClipPicture:
    """A clip, and what each model makes of it, by the model's name.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        label: True class.
        predictions: Predicted class and its probability.
        maps: (T, h, w) shares of the patches.
        interaction: Share that comes through InterFIT's tokens, mean over frames.
        similarities: (K,) cosine to each class.
    """

    frames: np.ndarray
    label: int
    predictions: Mapping[str, tuple[int, float]]
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    interaction: Mapping[str, float] = field(default_factory=dict)
    similarities: Mapping[str, np.ndarray] = field(default_factory=dict)


@styled
def errors_figure(clips: Sequence[ClipPicture], class_names: Sequence[str]) -> Figure:
    """Draw the frames of clips with their true and predicted class, one row per clip."""
    shown = _num_columns(clips)
    figure = make_figure(max(WIDTH_IN, FRAME_IN * shown), 1.16 * len(clips) * FRAME_IN + 0.1)
    strips = figure.subfigures(len(clips), 1, squeeze=False)[:, 0]
    for strip, clip in zip(strips, clips, strict=True):
        ((predicted, confidence),) = clip.predictions.values()
        true = figure_name(class_names[clip.label])
        title = f"{true}, predicted {figure_name(class_names[predicted])} ({confidence:.0%})"
        strip.suptitle(title, x=0.01, ha="left", fontsize=9, fontweight="bold")
        _draw_frames(strip.subplots(1, shown), clip)
    return figure


@styled
def attention_figure(clips: Sequence[ClipPicture], class_names: Sequence[str]) -> Figure:
    """Draw the frames of clips, and below them one row of heat maps per model."""
    shown, models = _num_columns(clips), list(clips[0].maps)
    num_rows = len(clips) * (1 + len(models))
    figure = make_figure(LABEL_IN + FRAME_IN * shown, FRAME_IN * num_rows + 0.06 * len(clips))
    ratios = [LABEL_IN / FRAME_IN, *[1.0] * shown]
    blocks = figure.subfigures(len(clips), 1, squeeze=False)[:, 0]
    for block, clip in zip(blocks, clips, strict=True):
        rows = block.subplots(1 + len(models), 1 + shown, width_ratios=ratios, squeeze=False)
        for axes in rows.flat:
            hide_axes(axes)
        true = figure_name(class_names[clip.label])
        _write(rows[0, 0], f"true class:\n{true}", "#222222")
        _draw_frames(rows[0, 1:], clip)
        for row, name, color in zip(rows[1:], models, SERIES, strict=False):
            predicted, confidence = clip.predictions[name]
            text = f"{name}:\n{figure_name(class_names[predicted])}\n{confidence:.0%}"
            if clip.interaction.get(name):
                text += f"\n(interaction {clip.interaction[name]:.0%})"
            _write(row[0], text, color)
            for axes, index in zip(row[1:], choose_frames(clip), strict=False):
                _draw_heat(axes, clip.frames[index], clip.maps[name][index], clip.maps[name].max())
    return figure


@styled
def similarity_figure(clips: Sequence[ClipPicture], class_names: Sequence[str]) -> Figure:
    """Draw the frames of clips, and below them bars of their cosine to each class by each model.

    The true class is shaded, and the predicted class of a model outlined.
    """
    shown = _num_columns(clips)
    width_in = max(WIDTH_IN, 1.0 + 0.44 * len(class_names))
    strip_in = width_in / shown + 0.3
    figure = make_figure(width_in, len(clips) * (strip_in + 1.75) + 0.3)
    blocks = figure.subfigures(len(clips), 1, squeeze=False)[:, 0]
    for block, clip in zip(blocks, clips, strict=True):
        above, below = block.subfigures(2, 1, height_ratios=[strip_in, 1.75])
        above.suptitle(f"true class: {figure_name(class_names[clip.label])}", fontsize=9)
        _draw_frames(above.subplots(1, shown), clip)
        _draw_bars(below, clip, class_names)
    models = zip(clips[0].similarities, PAIR, strict=False)
    handles = [Patch(color=color, label=name) for name, color in models]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


@styled
def similarity_histogram_figure(
    similarities: Mapping[str, np.ndarray], labels: np.ndarray
) -> Figure:
    """Draw histograms of the cosines to the true class and to the other classes.

    `similarities` are (N, K) by the model's name; `labels` are (N,) true classes.
    """
    figure = make_figure(WIDTH_IN, 0.5 + 1.9 * len(similarities))
    panels = figure.subplots(len(similarities), 1, sharex=True, squeeze=False)[:, 0]
    all_cosines = np.concatenate([values.ravel() for values in similarities.values()])
    edges = np.linspace(all_cosines.min(), all_cosines.max() + 1e-6, 31)
    for axes, (name, values) in zip(panels, similarities.items(), strict=True):
        true = np.arange(values.shape[1]) == np.asarray(labels)[:, None]
        kinds = (("other classes", ~true, "#999999"), ("true class", true, SERIES[1]))
        for label, chosen, color in kinds:
            cosines = values[chosen]
            weights = np.full(len(cosines), 1 / max(1, len(cosines)))
            axes.hist(cosines, edges, weights=weights, color=color, alpha=0.65, label=label)
            axes.axvline(cosines.mean(), color=color, lw=1.6, ls="--")
        axes.set(title=name, ylabel="share")
        axes.grid(axis="y")
    panels[0].legend(loc="best")
    panels[-1].set_xlabel("cosine of video and class (dashed: mean)")
    return figure


def choose_frames(clip: ClipPicture) -> np.ndarray:
    """Return the indices of the frames that are drawn: all, or evenly spread ones."""
    number = len(clip.frames)
    return np.linspace(0, number - 1, min(number, MOST_FRAMES)).round().astype(int)


def _num_columns(clips: Sequence[ClipPicture]) -> int:
    """Return the columns that the frames need; at least 2, so that there is an array of axes."""
    return max(2, *(len(choose_frames(clip)) for clip in clips), 2)


def _draw_frames(columns: np.ndarray, clip: ClipPicture) -> None:
    for axes, index in zip(columns, choose_frames(clip), strict=False):
        axes.imshow(clip.frames[index])
        hide_axes(axes)


def _write(axes: Axes, text: str, color: str) -> None:
    axes.text(0, 0.5, text, color=color, va="center", ha="left", transform=axes.transAxes)


def _draw_heat(axes: Axes, image_rgb: np.ndarray, heat: np.ndarray, highest: float) -> None:
    """Draw a heat map over its frame in grey, so that all colour is the map's."""
    height, width = image_rgb.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(image_rgb.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    shares = heat / max(float(highest), 1e-9)
    style: dict[str, Any] = {"cmap": "inferno", "vmin": 0, "vmax": 1, "interpolation": "bilinear"}
    axes.imshow(shares, alpha=0.2 + 0.6 * shares, extent=extent, **style)


def _draw_bars(figure: SubFigure, clip: ClipPicture, class_names: Sequence[str]) -> None:
    axes = figure.subplots()
    positions, width = np.arange(len(class_names)), 0.8 / len(clip.similarities)
    axes.axvspan(clip.label - 0.5, clip.label + 0.5, color="#f0e442", alpha=0.35, lw=0)
    for index, cosines in enumerate(clip.similarities.values()):
        offset = (index - (len(clip.similarities) - 1) / 2) * width
        edges = ["none"] * len(cosines)
        edges[cosines.argmax()] = "#000000"
        axes.bar(positions + offset, cosines, width, color=PAIR[index % 2], edgecolor=edges)
    axes.axhline(0, color="#222222", lw=0.8)
    names = [figure_name(name) for name in class_names]
    axes.set_xticks(positions, names, rotation=35, ha="right", rotation_mode="anchor")
    axes.get_xticklabels()[clip.label].set_fontweight("bold")
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("cosine")
    axes.grid(axis="y")
