"""Figures of results and of clips: confusions, classes, calibration, features and frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter
from sklearn.manifold import TSNE

from dfercli.errors import DataError
from dfercli.media.figure_style import (
    MARKERS,
    SERIES,
    WIDTH_IN,
    figure_name,
    hide_axes,
    make_figure,
    styled,
)
from dfercli.metrics.calibration import ReliabilityBins
from dfercli.visualize.class_colors import CLASS_COLORS

LEAST_CELL_IN, MOST_CELL_IN = 0.45, 0.53
"""Side of a cell with many and with few classes: room for four digits (our choice)."""

DARK = 0.55
"""Fraction from which a cell is so dark that its text is white (our choice)."""

PANEL_IN = 2.4
"""Side of one model's t-SNE panel: two of them fit a phone (our choice)."""

LEAST_CLIPS = 5
"""Clips that t-SNE needs (our choice): fewer have no neighbourhoods to keep."""

MANY_CLIPS = 200
"""Clips from which t-SNE's approximation is faster (our choice)."""

PERPLEXITY = 30.0
"""Neighbours of a clip, if there are enough clips. Source: scikit-learn's default."""


@styled
def confusion_matrix_figure(matrix: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Draw a (K, K) confusion matrix: each cell has its percentage of the row, and its clips."""
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    cell_in = min(MOST_CELL_IN, max(LEAST_CELL_IN, 3.7 / len(class_names)))
    side_in = cell_in * len(class_names)
    width_in = max(WIDTH_IN, side_in + 1.55) if len(class_names) > 7 else WIDTH_IN
    figure = make_figure(width_in, side_in + 1.2)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        color = "white" if shares[row, column] > DARK else "#222222"
        percent = f"{100 * shares[row, column]:.0f}" if totals[row, 0] else "–"
        style: dict[str, Any] = {"ha": "center", "color": color}
        axes.text(column, row - 0.02, percent, va="bottom", fontsize=9, **style)
        axes.text(column, row + 0.06, f"({count})", va="top", fontsize=7, **style)
    ticks, names = range(len(class_names)), [figure_name(name) for name in class_names]
    axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.spines[:].set_visible(False)
    return figure


@styled
def per_class_bars(
    series: Mapping[str, Sequence[float] | np.ndarray], class_names: Sequence[str]
) -> Figure:
    """Draw bars per class, such as recall and F1.

    `series` has one value in [0, 1] per class, by name; nan if no clip was tested.
    """
    height = 0.8 / len(series)
    figure = make_figure(WIDTH_IN, 0.75 + len(class_names) * (0.16 + 0.17 * len(series)))
    axes = figure.subplots()
    positions = np.arange(len(class_names))
    for index, (name, values) in enumerate(series.items()):
        shares = np.asarray(values, dtype=float)
        offset = (index - (len(series) - 1) / 2) * height
        lengths = np.nan_to_num(shares)
        axes.barh(positions + offset, lengths, 0.92 * height, color=SERIES[index], label=name)
        for position, length, share in zip(positions + offset, lengths, shares, strict=True):
            text = "no clips" if np.isnan(share) else f"{100 * share:.0f}"
            axes.text(length + 0.01, position, text, va="center", fontsize=7.5)
    axes.set_yticks(positions, [figure_name(name) for name in class_names])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.08)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=len(series))
    return figure


@styled
def reliability_figure(series: Mapping[str, ReliabilityBins]) -> Figure:
    """Draw accuracy against confidence by name, and the distribution of confidence below."""
    figure = make_figure(WIDTH_IN, 4.9)
    above, below = figure.subplots(2, 1, height_ratios=[3, 1.2], sharex=True)
    above.plot([0, 1], [0, 1], color="#666666", ls="--", lw=1, label="perfectly calibrated")
    for index, (name, bins) in enumerate(series.items()):
        full = bins.count > 0
        color, marker = SERIES[index], MARKERS[index]
        x, y = bins.confidence[full], bins.accuracy[full]
        above.plot(x, y, color=color, marker=marker, ms=5, label=name)
        shares = bins.count / max(1, bins.count.sum())
        below.stairs(shares, bins.edges, color=color, lw=1.6, ls=("-", "--")[index % 2])
    above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    below.set(xlabel="confidence of the prediction", ylabel="share of clips")
    below.set_ylim(bottom=0)
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    for axes in (above, below):
        _percents(axes)
        axes.grid()
    return figure


@styled
def risk_coverage_figure(series: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draw the error rate of the most confident clips against their fraction.

    `series` has coverage and risk by name, both (N,) in [0, 1], with rising coverage.
    """
    figure = make_figure(WIDTH_IN, 3.2)
    axes = figure.subplots()
    for index, (name, (coverage, risk)) in enumerate(series.items()):
        color, style = SERIES[index % len(SERIES)], ("-", "--", ":")[index % 3]
        axes.plot(coverage, risk, color=color, ls=style, lw=1.8, label=name)
    axes.set(xlabel="share of clips, most confident first", ylabel="error rate")
    axes.set(xlim=(0, 1), ylim=(0, None))
    _percents(axes)
    axes.grid()
    axes.legend(loc="best")
    return figure


def _percents(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def embed_in_plane(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the positions (N, 2) of features (N, E) by t-SNE, initialised by PCA.

    Raises:
        DataError: There are fewer than `LEAST_CLIPS` clips.
    """
    if len(features) < LEAST_CLIPS:
        raise DataError(f"{len(features)} clips are too few for t-SNE, which needs {LEAST_CLIPS}")
    tsne = TSNE(
        perplexity=min(PERPLEXITY, (len(features) - 1) / 3),
        init="pca",
        learning_rate="auto",
        random_state=seed,
        method="exact" if len(features) < MANY_CLIPS else "barnes_hut",
    )
    return np.asarray(tsne.fit_transform(np.asarray(features, dtype=np.float64)))


@styled
def tsne_figure(
    features: Mapping[str, np.ndarray], labels: np.ndarray, class_names: Sequence[str], seed: int
) -> Figure:
    """Draw each model's clips in the plane, side by side; each class has a colour and a marker.

    `features` are (N, E) of the same clips, by the model's name; `labels` are (N,) true classes.

    Raises:
        DataError: There are fewer than `LEAST_CLIPS` clips.
    """
    columns = 4 if len(features) > 1 else 3
    num_rows = -(-len(class_names) // columns)
    width_in = max(WIDTH_IN, PANEL_IN * len(features))
    figure = make_figure(width_in, width_in / len(features) + 0.25 + 0.19 * num_rows)
    panels = figure.subplots(1, len(features), squeeze=False)[0]
    size = float(np.clip(6000 / max(1, len(labels)), 9, 36))
    for axes, (name, values) in zip(panels, features.items(), strict=True):
        positions = embed_in_plane(values, seed)
        for index in range(len(class_names)):
            color, marker = _class_style(index)
            area = size * (1.8 if marker == "*" else 1.0)  # a star covers little of its box
            chosen = positions[np.asarray(labels) == index]
            axes.scatter(*chosen.T, s=area, color=color, marker=marker, ec="white", lw=0.3)
        axes.set(xticks=[], yticks=[], title=name)
        axes.spines[["top", "right"]].set_visible(True)
    handles = []
    for index, name in enumerate(class_names):
        color, marker = _class_style(index)
        line = Line2D([], [], ls="", marker=marker, color=color, ms=6, label=figure_name(name))
        handles.append(line)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handletextpad=0.2)
    return figure


def _class_style(index: int) -> tuple[str, str]:
    """Return colour and marker of a class; their pairs repeat only after 121 classes."""
    shift = index // len(CLASS_COLORS)
    return CLASS_COLORS[index % len(CLASS_COLORS)], MARKERS[(index + shift) % len(MARKERS)]


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
    """A clip, (T, H, W, 3) uint8 RGB, and what each model makes of it, by the model's name.

    Predictions are classes and probabilities; `maps` (T, h, w) shares of the patches; `interaction`
    the share that comes through InterFIT's tokens, mean over frames; `similarities` (K,) cosines.
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
