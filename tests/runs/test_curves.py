"""Learning curves of folds, and of a run as a picture."""

import pytest

from dfercli.runs.curves import _run_figure, curves_figure, draw_curves


def _lines(wars):
    return [{"epoch": e, "loss": 1 / e, "war": w, "uar": w / 2} for e, w in enumerate(wars, 1)]


def test_curves_have_a_line_a_fold_and_one_for_their_mean(words_inside):
    figure = curves_figure({1: _lines([0.2, 0.4]), 3: _lines([0.4, 0.8])})
    words_inside(figure)
    loss, war, uar = figure.axes
    assert [axes.get_ylabel()[:3] for axes in (loss, war, uar)] == ["los", "WAR", "UAR"]
    assert [text.get_text() for text in war.get_legend().get_texts()] == ["test fold"]
    *folds, mean = war.get_lines()
    assert [line.get_ydata().tolist() for line in folds] == [[0.2, 0.4], [0.4, 0.8]]
    assert mean.get_ydata() == pytest.approx([0.3, 0.6])
    assert mean.get_linewidth() > 2 * folds[0].get_linewidth()
    assert uar.get_xlabel() == "epoch"


def test_curves_of_held_out_clips_are_dashed_beside_the_test_folds(words_inside):
    lines = [line | {"val_war": 0.9, "val_uar": line["uar"] / 2} for line in _lines([0.2, 0.4])]
    figure = curves_figure({1: lines, 2: lines})
    words_inside(figure)
    loss, war, uar = figure.axes
    assert [line.get_linestyle() for line in loss.get_lines()] == ["-"] * 3
    for axes, held_out in ((war, [0.9, 0.9]), (uar, [0.05, 0.1])):
        drawn = axes.get_lines()
        assert [line.get_linestyle() for line in drawn] == ["-"] * 3 + ["--"] * 3
        assert [line.get_ydata() for line in drawn[3:]] == [pytest.approx(held_out)] * 3
        named = [text.get_text() for text in axes.get_legend().get_texts()]
        assert named == ["test fold", "held-out clips"]
    assert war.get_ylim()[1] > 0.9


@pytest.mark.parametrize("folds", [1, 2])
def test_one_epoch_is_a_point(folds, words_inside):
    figure = curves_figure(dict.fromkeys(range(folds), _lines([0.5])))
    words_inside(figure)
    assert {line.get_marker() for line in figure.axes[1].get_lines()} == {"o"}


def test_a_single_fold_is_drawn_once():
    figure = curves_figure({3: _lines([0.2, 0.4])})
    (line,) = figure.axes[1].get_lines()
    assert line.get_ydata() == pytest.approx([0.2, 0.4])


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 5])
def test_a_runs_picture_has_its_learning_rate_and_best_epoch(epochs, words_inside, tmp_path):
    lines = [line | {"lr": 0.1 / line["epoch"]} for line in _lines([0.2] * epochs)]
    words = words_inside(_run_figure(lines, "a run $x", epochs))
    assert {"a run $x", "learning rate", "best epoch", "test fold"} <= set(words)
    draw_curves(lines, "a run", epochs, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_without_test_clips_or_training_has_the_curves_that_it_can_have():
    lines = [{"epoch": 1, "loss": 0.5, "lr": 0.1}, {"epoch": 2, "loss": 0.3, "lr": 0.1}]
    assert len(_run_figure(lines, "final", None).axes) == 2  # loss and learning rate
    lines = [{"epoch": 0, "loss": None, "lr": 0.0, "war": 0.3, "uar": 0.3}]
    assert len(_run_figure(lines, "zero-shot", 0).axes) == 4
