"""The curves of a run, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dfercli.files import replacing


def draw_curves(
    metrics: Sequence[Mapping[str, Any]], title: str, best_epoch: int, path: Path
) -> None:
    """Draw loss, rate, WAR and UAR by epoch into a PNG.

    Args:
        metrics: One line per epoch.
        title: Of the picture.
        best_epoch: The epoch to mark, counted from 1.
        path: Of the picture; replaced once it is whole.
    """
    epochs = [line["epoch"] for line in metrics]
    figure = Figure(figsize=(9, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)
    left, right = figure.subplots(1, 2)
    mark = "o" if len(epochs) == 1 else None
    losses = [float("nan") if line["loss"] is None else line["loss"] for line in metrics]
    left.plot(epochs, losses, color="tab:blue", marker=mark)
    left.set_ylabel("loss of the training clips", color="tab:blue")
    rate = left.twinx()
    rate.plot(epochs, [line["lr"] for line in metrics], color="tab:gray", lw=1, ls="--")
    rate.set_ylabel("learning rate", color="tab:gray")
    for name, color, style in (("war", "tab:green", "-"), ("uar", "tab:orange", "--")):
        values = [line[name] for line in metrics]  # the two are one where all classes are as large
        right.plot(epochs, values, label=name.upper(), color=color, ls=style, marker=mark)
    if "val_war" in metrics[0]:
        values = [line["val_war"] for line in metrics]
        right.plot(epochs, values, label="WAR, held out", color="tab:purple", ls=":", marker=mark)
    right.axvline(best_epoch, color="tab:green", lw=1, ls=":", label="best epoch")
    right.set_ylabel("on the test fold")
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.legend(loc="lower right")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    with replacing(path) as partial:
        figure.savefig(partial, format="png")
