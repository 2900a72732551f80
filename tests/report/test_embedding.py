"""t-SNE keeps what belongs together, the same each time, and tells classes apart by two things."""

import numpy as np
import pytest

from dfercli.errors import DataError
from dfercli.media.figure_style import MARKERS
from dfercli.report.figures import embed_in_plane, tsne_figure
from dfercli.visualize.class_colors import CLASS_COLORS


def _clusters(num_classes, per_class=6):
    labels = np.repeat(np.arange(num_classes), per_class)
    noise = np.random.default_rng(0).normal(size=(len(labels), 16))
    return 20 * np.eye(num_classes, 16)[labels] + noise, labels


def test_clusters_stay_clusters_and_each_time_the_same():
    features, labels = _clusters(3, 10)
    places = embed_in_plane(features, seed=3)
    assert places.shape == (30, 2)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(axis=1)] == labels).all()
    assert (embed_in_plane(features, seed=3) == places).all()


@pytest.mark.parametrize("number", [5, 6, 40])
def test_few_clips_are_enough(number):
    features = np.random.default_rng(0).normal(size=(number, 8))
    assert np.isfinite(embed_in_plane(features)).all()


def test_too_few_clips_are_refused():
    with pytest.raises(DataError) as caught:
        embed_in_plane(np.zeros((4, 8)))
    assert str(caught.value) == "4 clips are too few for t-SNE, which needs 5"


@pytest.mark.parametrize("number", [7, 11, 14])
def test_models_stand_side_by_side_with_a_look_a_class(number, names, words_inside):
    class_names = [*names.eleven, "x", "y", "z"][:number]
    features, labels = _clusters(number)
    figure = tsne_figure(
        {"baseline": features, "full": features[:, ::-1]}, labels, class_names, seed=0
    )
    words = words_inside(figure)
    assert words[:2] == ["baseline", "full"]
    assert sorted(words[2:]) == sorted(class_names)
    left, right = figure.axes
    assert left.get_position().x1 <= right.get_position().x0
    assert [len(each.get_offsets()) for each in left.collections] == [6] * number
    handles = figure.legends[0].legend_handles
    looks = {(mark.get_color(), mark.get_marker()) for mark in handles}
    assert len(looks) == number
    assert len({color for color, _ in looks}) == min(number, len(CLASS_COLORS))


def test_there_are_as_many_forms_as_colours():
    assert len(set(MARKERS)) == len(set(CLASS_COLORS)) == 11
