"""Learning curves: of a run as a picture beside it, and of several folds for the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dfercli.files import replacing
from dfercli.media.figure_style import SERIES, WIDTH_IN, make_figure, styled, to_png
from dfercli.runs.record import EpochMetrics

CURVES = {"loss": "loss of training clips", "war": "WAR", "uar": "UAR"}
"""Metrics that are drawn, and their labels."""

Metrics = Sequence[EpochMetrics]


def draw_curves(metrics: Metrics, title: str, best_epoch: int | None, path: Path) -> None:
    """Draw loss, learning rate, WAR and UAR of a run into a PNG file, written atomically.

    `best_epoch` is marked; it is None if no clips were tested.
    """
    with replacing(path) as partial:
        partial.write_bytes(to_png(_run_figure(metrics, title, best_epoch)))


@styled
def _run_figure(metrics: Metrics, title: str, best_epoch: int | None) -> Figure:
    figure = curves_figure({0: metrics})
    figure.suptitle(title, fontsize=9)
    loss, *scores = figure.axes
    rate = loss.twinx()
    epochs = [line["epoch"] for line in metrics]
    rate.plot(epochs, [line["lr"] for line in metrics], color="#999999", lw=1, ls="--")
    rate.set_ylabel("learning rate", color="#777777")
    for axes in scores:
        assert best_epoch is not None  # there are scores
        axes.axvline(best_epoch, color="#999999", lw=1, ls=":", label="best epoch")
        axes.legend(loc="lower right")
    return figure


@styled
def curves_figure(metrics: Mapping[int, Metrics]) -> Figure:
    """Draw loss, WAR and UAR by epoch: one thin line per fold, and a thick one for their mean.

    Metrics of held-out clips are dashed. Metrics that no fold has are left out.
    """
    keys = [
        key for key in CURVES if any(key in line for lines in metrics.values() for line in lines)
    ]
    figure = make_figure(WIDTH_IN, 0.5 + 1.9 * len(keys))
    panels = figure.subplots(len(keys), 1, sharex=True, squeeze=False)[:, 0]
    for axes, key, color in zip(panels, keys, SERIES, strict=False):
        _draw_metric(axes, metrics, key, {"color": color, "lw": 2.4, "label": "test fold"})
        held_out = {"color": SERIES[-1], "ls": "--", "lw": 1.8, "label": "held-out clips"}
        _draw_metric(axes, metrics, f"val_{key}", held_out)
        axes.set_ylabel(CURVES[key])
        axes.grid()
        if key != "loss":
            axes.legend(loc="lower right")  # the emptiest corner, since curves rise
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            axes.set_ylim(0, max(0.1, 1.05 * axes.dataLim.ymax))
    panels[-1].set_xlabel("epoch")
    panels[-1].margins(x=0.03)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _draw_metric(
    axes: Axes,
    metrics: Mapping[int, Sequence[Mapping[str, Any]]],
    key: str,
    style: Mapping[str, Any],
) -> None:
    """Draw a metric of each fold that has it, and their mean."""
    folds = [
        {line["epoch"]: np.nan if line[key] is None else line[key] for line in lines if key in line}
        for lines in metrics.values()
    ]
    epochs = sorted({epoch for values in folds for epoch in values})
    if not epochs:
        return
    points: dict[str, Any] = {"marker": "o" if len(epochs) == 1 else None, "ms": 4}
    if len(folds) > 1:
        thin = {**style, **points, "lw": 0.9, "alpha": 0.45, "label": None}
        for values in folds:
            axes.plot(list(values), list(values.values()), **thin)
    means = [float(np.mean([v[epoch] for v in folds if epoch in v])) for epoch in epochs]
    axes.plot(epochs, means, **style, **points)
