"""Figures of results: confusion matrix, classes, calibration, and t-SNE of features."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from sklearn.manifold import TSNE

from dfercli.errors import DataError
from dfercli.media.figure_style import (
    MARKERS,
    SERIES,
    WIDTH_IN,
    figure_name,
    make_figure,
    styled,
)
from dfercli.metrics import ReliabilityBins
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
