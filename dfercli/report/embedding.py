"""The paper's figure 5: where a model puts the clips of each class."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.manifold import TSNE

from dfercli.errors import DataError
from dfercli.predict.signs import CLASS_COLORS
from dfercli.report.style import MARKERS, WIDTH_IN, make_figure, shorten, styled

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
