"""The curves of a run, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dfercli.files import replacing


def draw_curves(
    metrics: Sequence[Mapping[str, Any]], title: str, best_epoch: int | None, path: Path
) -> None:
    """Draw loss, rate, WAR and UAR by epoch into a PNG.

    Args:
        metrics: One line per epoch.
        title: Of the picture.
        best_epoch: The epoch to mark, counted from 1; None where no clips were tested.
        path: Of the picture; replaced once it is whole.
    """
    figure = Figure(figsize=(9, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)
    if best_epoch is None:
        _draw_training(figure.subplots(), metrics)
    else:
        left, right = figure.subplots(1, 2)
        _draw_training(left, metrics)
        _draw_scores(right, metrics, best_epoch)
    for axes in figure.axes:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    with replacing(path) as partial:
        figure.savefig(partial, format="png")


def _draw_training(axes: Axes, metrics: Sequence[Mapping[str, Any]]) -> None:
    epochs = [line["epoch"] for line in metrics]
    losses = [float("nan") if line["loss"] is None else line["loss"] for line in metrics]
    axes.plot(epochs, losses, color="tab:blue", marker=_mark(metrics))
    axes.set_ylabel("loss of the training clips", color="tab:blue")
    axes.grid(alpha=0.3)
    rate = axes.twinx()
    rate.plot(epochs, [line["lr"] for line in metrics], color="tab:gray", lw=1, ls="--")
    rate.set_ylabel("learning rate", color="tab:gray")


def _draw_scores(axes: Axes, metrics: Sequence[Mapping[str, Any]], best_epoch: int) -> None:
    epochs = [line["epoch"] for line in metrics]
    curves = [("war", "WAR", "tab:green", "-"), ("uar", "UAR", "tab:orange", "--")]
    if "val_war" in metrics[0]:
        curves.append(("val_war", "WAR, held out", "tab:purple", ":"))
    for name, label, color, style in curves:  # WAR and UAR are one where classes are equally large
        values = [line[name] for line in metrics]
        axes.plot(epochs, values, label=label, color=color, ls=style, marker=_mark(metrics))
    axes.axvline(best_epoch, color="tab:green", lw=1, ls=":", label="best epoch")
    axes.set_ylabel("on the test fold")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)


def _mark(metrics: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the marker of a curve: a single epoch is a point, which no line shows."""
    return "o" if len(metrics) == 1 else None
