"""Figures: confusion, classes, calibration, training, and features in a plane."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn.manifold import TSNE

from dfercli.errors import DataError
from dfercli.metrics import ReliabilityBins
from dfercli.visualize.class_colors import CLASS_COLORS
from dfercli.visualize.style import MARKERS, SERIES, WIDTH_IN, make_figure, shorten, styled

CELL_IN = (0.45, 0.53)
"""Side of a cell of many and of few classes: room for four digits (our choice)."""

CURVES = {"loss": "loss of training clips", "war": "WAR", "uar": "UAR"}
"""What is drawn of an epoch's line, and what it is called."""

DARK = 0.55
"""Share from which a cell is so dark that its letters are white (our choice)."""


@styled
def confusion_matrix_figure(matrix: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Draw a confusion matrix: in each cell the percent of its row, and the clips.

    Args:
        matrix: (K, K), counts by true class (row) and predicted class (column).
        class_names: K classes.
    """
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    least_in, most_in = CELL_IN
    side_in = min(most_in, max(least_in, 3.7 / len(class_names))) * len(class_names)
    width_in = max(WIDTH_IN, side_in + 1.55) if len(class_names) > 7 else WIDTH_IN
    figure = make_figure(width_in, side_in + 1.2)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        color = "white" if shares[row, column] > DARK else "#222222"
        percent = f"{100 * shares[row, column]:.0f}" if totals[row, 0] else "–"
        place: dict[str, Any] = {"ha": "center", "color": color}
        axes.text(column, row - 0.02, percent, va="bottom", fontsize=9, **place)
        axes.text(column, row + 0.06, f"({count})", va="top", fontsize=7, **place)
    places, names = range(len(class_names)), [shorten(name) for name in class_names]
    axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted class", ylabel="true class")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


@styled
def per_class_bars(
    series: Mapping[str, Sequence[float] | np.ndarray], class_names: Sequence[str]
) -> Figure:
    """Draw bars of each class, such as recall and F1.

    Args:
        series: By name, a value in [0, 1] a class; nan where no clip was tested.
        class_names: K classes.
    """
    height = 0.8 / len(series)
    figure = make_figure(WIDTH_IN, 0.75 + len(class_names) * (0.16 + 0.17 * len(series)))
    axes = figure.subplots()
    places = np.arange(len(class_names))
    for index, (name, values) in enumerate(series.items()):
        shares = np.asarray(values, dtype=float)
        offset = (index - (len(series) - 1) / 2) * height
        drawn = np.nan_to_num(shares)
        axes.barh(places + offset, drawn, 0.92 * height, color=SERIES[index], label=name)
        for place, share in zip(places + offset, shares, strict=True):
            text = "no clips" if np.isnan(share) else f"{100 * share:.0f}"
            axes.text(np.nan_to_num(share) + 0.01, place, text, va="center", fontsize=7.5)
    axes.set_yticks(places, [shorten(name) for name in class_names])
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
    """Draw how often a model is right when it is so sure, and how sure it is.

    Args:
        series: Bins by name, such as before and after the temperature was set.
    """
    figure = make_figure(WIDTH_IN, 4.9)
    above, below = figure.subplots(2, 1, height_ratios=[3, 1.2], sharex=True)
    above.plot([0, 1], [0, 1], color="#666666", ls="--", lw=1, label="as sure as right")
    for index, (name, bins) in enumerate(series.items()):
        full = bins.count > 0
        color, form = SERIES[index], "os^D"[index % 4]
        above.plot(
            bins.confidence[full], bins.accuracy[full], color=color, marker=form, ms=5, label=name
        )
        shares = bins.count / max(1, bins.count.sum())
        below.stairs(shares, bins.edges, color=color, lw=1.6, ls=("-", "--")[index % 2])
    above.set(ylabel="share named rightly", xlim=(0, 1), ylim=(0, 1.02))
    below.set(xlabel="confidence of the prediction", ylabel="share of clips")
    below.set_ylim(bottom=0)
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    for axes in (above, below):
        _percents(axes)
        axes.grid()
    return figure


@styled
def risk_coverage_figure(series: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draw the error among the clips that are named when the least sure ones are left unnamed.

    Args:
        series: Coverage and risk by name, both (N,) in [0, 1], coverage rising.
    """
    figure = make_figure(WIDTH_IN, 3.2)
    axes = figure.subplots()
    for index, (name, (coverage, risk)) in enumerate(series.items()):
        color, style = SERIES[index % len(SERIES)], ("-", "--", ":")[index % 3]
        axes.plot(coverage, risk, color=color, ls=style, lw=1.8, label=name)
    axes.set(xlabel="share of clips that are named, surest first", ylabel="share named wrongly")
    axes.set(xlim=(0, 1), ylim=(0, None))
    _percents(axes)
    axes.grid()
    axes.legend(loc="best")
    return figure


@styled
def curves_figure(metrics: Mapping[int, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw loss, WAR and UAR by epoch: a thin line a fold, a thick one for their mean.

    Where clips were held out, their WAR and UAR are dashed beside those of the test fold.

    Args:
        metrics: By fold, a line an epoch.
    """
    figure = make_figure(WIDTH_IN, 6.2)
    panels = figure.subplots(3, 1, sharex=True)
    for axes, (key, label), color in zip(panels, CURVES.items(), SERIES, strict=False):
        _draw_curves(axes, metrics, key, {"color": color, "lw": 2.4, "label": "test fold"})
        look = {"color": SERIES[-1], "ls": "--", "lw": 1.8, "label": "held-out clips"}
        _draw_curves(axes, metrics, f"val_{key}", look)
        axes.set_ylabel(label)
        axes.grid()
        if key != "loss":
            axes.legend(loc="lower right")  # curves rise: it is the emptiest corner
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            axes.set_ylim(0, max(0.1, 1.05 * axes.dataLim.ymax))
    panels[-1].set_xlabel("epoch")
    panels[-1].margins(x=0.03)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _draw_curves(
    axes: Axes,
    metrics: Mapping[int, Sequence[Mapping[str, Any]]],
    key: str,
    look: Mapping[str, Any],
) -> None:
    """Draw a metric of each fold and their mean; of a single fold just that, if it has it."""
    folds = [
        {line["epoch"]: line[key] for line in lines if key in line} for lines in metrics.values()
    ]
    epochs = sorted({epoch for values in folds for epoch in values})
    if not epochs:
        return
    form: dict[str, Any] = {"marker": "o" if len(epochs) == 1 else None, "ms": 4}
    if len(folds) > 1:
        thin = {**look, **form, "lw": 0.9, "alpha": 0.45, "label": None}
        for values in folds:
            axes.plot(list(values), list(values.values()), **thin)
    means = [float(np.mean([v[epoch] for v in folds if epoch in v])) for epoch in epochs]
    axes.plot(epochs, means, **look, **form)


def _percents(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


PANEL_IN = 2.4
"""Side of a model's panel: two of them fit a phone (our choice)."""

LEAST_CLIPS = 5
"""Fewer have no neighbourhoods to keep (our choice)."""

MANY_CLIPS = 200
"""From so many on an approximation is quicker (our choice); for few its threads are the cost."""

PERPLEXITY = 30.0
"""Neighbours of a clip, where there are enough clips. Source: scikit-learn's default."""


def embed_in_plane(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Give t-SNE's places (N, 2) of features (N, E), begun by their principal components.

    Raises:
        DataError: There are too few clips.
    """
    if len(features) < LEAST_CLIPS:
        raise DataError(f"{len(features)} clips are too few for t-SNE; it takes {LEAST_CLIPS}")
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    tsne = TSNE(
        n_components=2,
        perplexity=perplexity,
        init="pca",
        learning_rate="auto",
        random_state=seed,
        method="exact" if len(features) < MANY_CLIPS else "barnes_hut",
    )
    places: np.ndarray = tsne.fit_transform(np.asarray(features, dtype=np.float64))
    return places


@styled
def tsne_figure(
    features: Mapping[str, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    seed: int = 0,
) -> Figure:
    """Draw the clips of each model side by side, a colour and a form a class.

    Args:
        features: (N, E) by model's name, of the same clips.
        labels: (N,) int, true classes.
        class_names: K classes.
        seed: Of t-SNE.

    Raises:
        DataError: There are too few clips.
    """
    columns = 4 if len(features) > 1 else 3
    num_rows = -(-len(class_names) // columns)
    width_in = max(WIDTH_IN, PANEL_IN * len(features))
    side_in = width_in / len(features)
    figure = make_figure(width_in, side_in + 0.25 + 0.19 * num_rows)
    panels = figure.subplots(1, len(features), squeeze=False)[0]
    size = float(np.clip(6000 / max(1, len(labels)), 9, 36))
    for axes, (name, values) in zip(panels, features.items(), strict=True):
        places = embed_in_plane(values, seed)
        for index in range(len(class_names)):
            chosen = places[np.asarray(labels) == index]
            color, marker = _look(index)
            area = size * (1.8 if marker == "*" else 1.0)  # its form leaves much of it empty
            axes.scatter(*chosen.T, s=area, color=color, marker=marker, ec="white", lw=0.3)
        axes.set(xticks=[], yticks=[], title=name)
        axes.spines[["top", "right"]].set_visible(True)
    marks = [_legend_mark(index, name) for index, name in enumerate(class_names)]
    figure.legend(handles=marks, loc="outside lower center", ncols=columns, handletextpad=0.2)
    return figure


def _look(index: int) -> tuple[str, str]:
    """Give colour and form of a class; both of them repeat only after 121 classes."""
    shift = index // len(CLASS_COLORS)
    return CLASS_COLORS[index % len(CLASS_COLORS)], MARKERS[(index + shift) % len(MARKERS)]


def _legend_mark(index: int, name: str) -> Line2D:
    color, marker = _look(index)
    return Line2D([], [], ls="", marker=marker, color=color, ms=6, label=shorten(name))
