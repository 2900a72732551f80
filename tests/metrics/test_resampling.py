"""Intervals of one model: by hand, by brute force, and on simulated models."""

from math import isnan

import numpy as np
import pytest
from simulated import bootstrap_folds, measure, paired_bootstrap, simulate, width

from dfercli.errors import ConfigError, DataError
from dfercli.metrics import intervals as machinery
from dfercli.metrics.intervals import Interval


def test_two_clips_by_hand():
    # One right, one wrong, one class: both right in 1/4 of the draws, both wrong in 1/4, so the
    # middle 40 % of the draws are all 1/2, and the middle 60 % reach from 0 to 1.
    clips = np.array([0, 0]), np.array([0, 1]), np.array([1, 1])
    intervals = bootstrap_folds(*clips, num_classes=2, level=0.4)
    assert intervals.war == Interval(0.5, 0.5, 0.4)
    assert intervals.uar == intervals.war
    assert bootstrap_folds(*clips, num_classes=2, level=0.6).war == Interval(0, 1, 0.6)


def test_a_fold_or_a_class_that_a_draw_leaves_out_does_not_count():
    # Fold 1 has one clip, right; fold 2 one clip, wrong. Half of the draws have both: 1/2. The
    # others have one fold only, and are its figure: 1 or 0, never half of it.
    clips = np.array([0, 1]), np.array([0, 0]), np.array([1, 2])
    one = machinery.Cells(*clips, num_classes=2)
    figures = machinery.resample([one], None, 4000, 0)
    values, counts = np.unique(figures[:, 0], return_counts=True)
    assert values.tolist() == [0, 0.5, 1]
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)  # 4 standard errors
    assert np.array_equal(figures[:, 0], figures[:, 1])
    # The same in one fold: a class that is not drawn leaves UAR to the other.
    one = machinery.Cells(*clips[:2], np.array([1, 1]), num_classes=2)
    assert np.array_equal(machinery.resample([one], None, 4000, 0), figures)


def test_draws_are_those_of_a_plain_loop_over_clips():
    labels, predicted, folds = simulate(60, seed=2)
    ours = bootstrap_folds(labels, predicted, folds, 3, draws=20_000)
    rng = np.random.default_rng(5)
    drawn = [rng.integers(0, 60, 60) for _ in range(4000)]
    figures = np.array([measure(labels[d], predicted[d], folds[d]) for d in drawn])
    for interval, column in zip((ours.war, ours.uar), figures.T, strict=True):
        low, high = np.quantile(column, [0.025, 0.975])
        # The deviation of a 2.5 % quantile of 4,000 draws is 0.04 of the figure's; taken 5 times.
        assert interval.low == pytest.approx(low, abs=0.2 * column.std())
        assert interval.high == pytest.approx(high, abs=0.2 * column.std())


def test_draws_of_groups_are_those_of_a_plain_loop_over_groups():
    labels, predicted, folds = simulate(60, seed=2)
    groups = np.arange(60) % 17  # of 3 or 4 clips, across folds
    ours = bootstrap_folds(labels, predicted, folds, 3, groups, draws=20_000)
    rng = np.random.default_rng(5)
    figures = []
    for _ in range(4000):
        drawn = np.concatenate([np.flatnonzero(groups == g) for g in rng.integers(0, 17, 17)])
        figures.append(measure(labels[drawn], predicted[drawn], folds[drawn]))
    for interval, column in zip((ours.war, ours.uar), np.array(figures).T, strict=True):
        low, high = np.quantile(column, [0.025, 0.975])
        assert interval.low == pytest.approx(low, abs=0.2 * column.std())
        assert interval.high == pytest.approx(high, abs=0.2 * column.std())


def test_a_seed_gives_the_same_and_another_one_does_not(monkeypatch):
    clips = simulate(300)
    first = bootstrap_folds(*clips, 3, seed=4)
    assert bootstrap_folds(*clips, 3, seed=4) == first
    assert bootstrap_folds(*clips, 3, seed=5) != first
    monkeypatch.setattr(machinery, "CHUNK_NUMBERS", 1000)  # 33 draws at a time
    assert bootstrap_folds(*clips, 3, seed=4) == first


@pytest.mark.parametrize("grouped", [False, True])
def test_the_order_of_clips_and_the_names_of_groups_change_nothing(grouped):
    clips = simulate(300)
    groups = np.arange(300) // 4 if grouped else None
    order = np.random.default_rng(1).permutation(300)
    renamed = np.array([f"film {97 * g % 75}" for g in groups])[order] if grouped else None
    moved = [column[order] for column in clips]
    assert bootstrap_folds(*moved, 3, renamed) == bootstrap_folds(*clips, 3, groups)
    labels, predicted, folds = clips
    other = np.roll(predicted, 1)
    before = paired_bootstrap(labels, predicted, other, folds, folds, 3, groups)
    after = paired_bootstrap(moved[0], moved[1], other[order], moved[2], moved[2], 3, renamed)
    assert after == before


def test_the_interval_holds_the_figure_and_narrows_with_more_clips():
    few, many = simulate(200), simulate(3200)
    for clips in (few, many):
        intervals, (war, uar) = bootstrap_folds(*clips, 3), measure(*clips)
        assert intervals.war.low < war < intervals.war.high
        assert intervals.uar.low < uar < intervals.uar.high
    # 16 times the clips: a quarter of the width.
    ratio = width(bootstrap_folds(*few, 3).war) / width(bootstrap_folds(*many, 3).war)
    assert ratio == pytest.approx(4, rel=0.15)


def test_a_higher_level_is_wider():
    clips = simulate(200)
    widths = [width(bootstrap_folds(*clips, 3, level=level).war) for level in (0.5, 0.9, 0.99)]
    assert widths == sorted(widths)
    assert widths[0] > 0


def test_groups_that_are_right_or_wrong_as_one_widen_the_interval():
    # 100 groups of 9 clips in one fold, each all right or all wrong: as much as 100 clips tell, so
    # the interval is sqrt(9) = 3 times as wide as that of 900 clips.
    right = np.repeat(np.random.default_rng(0).random(100) < 0.6, 9)
    clips = np.zeros(900, dtype=int), (~right).astype(int), np.ones(900, dtype=int)
    alone = width(bootstrap_folds(*clips, 2).war)
    together = width(bootstrap_folds(*clips, 2, np.arange(900) // 9).war)
    assert together / alone == pytest.approx(3, rel=0.1)


def test_groups_of_one_clip_are_clips():
    labels, predicted, folds = simulate(300)
    alone = np.arange(300)
    assert bootstrap_folds(labels, predicted, folds, 3, alone) == bootstrap_folds(
        labels, predicted, folds, 3
    )
    pair = labels, predicted, np.roll(predicted, 1), folds, np.roll(folds, 1), 3
    assert paired_bootstrap(*pair, alone) == paired_bootstrap(*pair)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    # 400 simulated models of true accuracy 0.6; the 90 % interval misses some 10 % of the time.
    # 360 of 400 is expected, with a deviation of 6; a percentile interval is a little too narrow.
    hits = 0
    for seed in range(400):
        interval = bootstrap_folds(*simulate(250, seed=seed), 3, draws=400, level=0.9).war
        hits += interval.low <= 0.6 <= interval.high
    assert 336 <= hits <= 384


def test_what_is_all_right_has_nowidth():
    labels = np.array([0, 1, 2, 0])
    intervals = bootstrap_folds(labels, labels, np.array([1, 1, 2, 2]), 3)
    assert intervals.war == intervals.uar == Interval(1.0, 1.0, 0.95)


@pytest.mark.parametrize(
    ("num_clips", "groups"), [(1, None), (1, ["a"]), (4, ["a", "a", "a", "a"])]
)
def test_a_single_unit_says_nothing_of_how_far_it_can_be_trusted(num_clips, groups):
    labels = np.zeros(num_clips, dtype=int)
    intervals = bootstrap_folds(labels, labels, labels, 3, groups)
    assert isnan(intervals.war.low)
    assert isnan(intervals.uar.high)


@pytest.mark.parametrize(
    ("columns", "settings", "said"),
    [
        (([], [], []), {}, "there are no clips"),
        (([0, 1], [0], [1, 1]), {}, "the columns differ in length: 2 labels, 1 predicted"),
        (([0, 3], [0, 1], [1, 1]), {}, "class 3 is not one of 0 to 2"),
        (([0, -1], [0, 1], [1, 1]), {}, "class -1 is not one of 0 to 2"),
        (([0, 1], [0, 1], [1, 1]), {"groups": ["a"]}, "1 groups for 2 clips"),
        (([0, 1], [0, 1], [1, 1]), {"groups": ["a", None]}, "1 of 2 clips have no group"),
        (([0, 1], [0, 1], [1, 1]), {"groups": [np.nan, 2.0]}, "1 of 2 clips have no group"),
    ],
)
def test_clips_that_do_not_hold_together_are_refused(columns, settings, said):
    with pytest.raises(DataError, match=said):
        bootstrap_folds(*map(np.array, columns), 3, **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"draws": 0}, "draws is 0; it must be at least 1"),
        ({"level": 1.0}, "confidence level is 1.0"),
        ({"level": 95}, "confidence level is 95"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings, said):
    clips = np.array([0, 1]), np.array([0, 1]), np.array([1, 1])
    with pytest.raises(ConfigError, match=said):
        bootstrap_folds(*clips, 3, **settings)
