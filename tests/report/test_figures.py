"""Pictures of figures show the figures, with all their words whole and apart."""

import numpy as np
import pytest

from dfercli.media.figure_style import to_png
from dfercli.metrics.calibration import reliability_bins
from dfercli.report.figures import (
    confusion_matrix_figure,
    per_class_bars,
    reliability_figure,
    risk_coverage_figure,
)

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
ELEVEN = (*SEVEN, "contempt", "anxiety", "helplessness", "disappointment")
SIZES = [("a", "b"), SEVEN, ELEVEN, ("$x", "a_b^{", "<b>", "a name of very many letters indeed")]


@pytest.mark.parametrize("class_names", SIZES)
def test_a_confusion_matrix_tells_percent_and_clips(class_names, words_inside):
    number = len(class_names)
    matrix = np.full((number, number), 3) + np.diag([1234] * number)
    matrix[0] = 0
    figure = confusion_matrix_figure(matrix, class_names)
    words = words_inside(figure)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "predicted class"
    assert axes.get_ylabel() == "true class"
    percent = f"{100 * 1237 / (1237 + 3 * (number - 1)):.0f}"
    assert words.count("(1237)") == number - 1
    assert words.count(percent) == number - 1
    assert words.count("–") == number  # a class without clips has no percents
    shares = np.asarray(axes.images[0].get_array())
    assert shares.sum(axis=1) == pytest.approx([0] + [1] * (number - 1))
    assert [text.get_text()[:7] for text in axes.get_yticklabels()] == [n[:7] for n in class_names]


def test_slanted_names_of_eleven_classes_do_not_touch():
    figure = confusion_matrix_figure(np.eye(11, dtype=int), ELEVEN)
    figure.canvas.draw()
    labels = figure.axes[0].get_xticklabels()
    step = np.diff([figure.axes[0].transData.transform((x, 0))[0] for x in (0, 1)])[0]
    assert labels[0].get_rotation() == 45
    height = labels[0].get_fontsize() * figure.dpi / 72
    assert step * np.sin(np.pi / 4) > 1.2 * height


@pytest.mark.parametrize("class_names", SIZES)
def test_bars_are_as_long_as_the_values(class_names, words_inside):
    recalls = np.linspace(0, 1, len(class_names))
    f1 = np.full(len(class_names), np.nan)
    figure = per_class_bars({"recall": recalls, "F1": f1}, class_names)
    words = words_inside(figure)
    one, other = figure.axes[0].containers
    assert [bar.get_width() for bar in one] == pytest.approx(recalls)
    assert [bar.get_width() for bar in other] == [0] * len(class_names)
    assert words.count("no clips") == len(class_names)
    assert {"recall", "F1", "0", "100"} <= set(words)
    tops = [bar.get_y() for bar in one]
    assert tops == sorted(tops)
    assert figure.axes[0].yaxis_inverted()  # the first class stands above


def test_reliability_shows_the_bins(words_inside):
    probs = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7]])
    bins = reliability_bins(probs, np.array([0, 1, 1]), 10)
    figure = reliability_figure({"before": bins, "after": bins})
    words = words_inside(figure)
    above, below = figure.axes
    _, line, _ = above.get_lines()
    assert line.get_xydata().tolist() == pytest.approx(np.array([[0.7, 1.0], [0.9, 0.5]]))
    steps = below.patches[0].get_data().values
    assert steps.sum() == pytest.approx(1)
    assert steps.max() == pytest.approx(2 / 3)
    assert below.get_xlabel() == "confidence of the prediction"
    assert {"before", "after", "perfectly calibrated"} <= set(words)


def test_risk_is_drawn_over_coverage(words_inside):
    curve = np.array([0.5, 1.0]), np.array([0.0, 0.25])
    figure = risk_coverage_figure({"as trained": curve})
    assert "as trained" in words_inside(figure)
    (line,) = figure.axes[0].get_lines()
    assert line.get_xydata().tolist() == [[0.5, 0.0], [1.0, 0.25]]


def test_the_same_figure_is_the_same_bytes():
    first, again = (to_png(per_class_bars({"r": [0.5, 1]}, ("a", "b"))) for _ in range(2))
    assert first == again
    assert first.startswith(b"\x89PNG")


def test_the_users_settings_of_matplotlib_change_nothing():
    from matplotlib import rc_context

    plain = to_png(confusion_matrix_figure(np.eye(2, dtype=int), ("a", "b")))
    with rc_context({"font.size": 30, "figure.facecolor": "red", "savefig.facecolor": "red"}):
        assert to_png(confusion_matrix_figure(np.eye(2, dtype=int), ("a", "b"))) == plain
