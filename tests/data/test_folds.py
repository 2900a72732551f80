"""Own videos are assigned to folds: evenly, by groups, and always the same way."""

from collections import Counter

import numpy as np
import pytest

from dfercli.data.folds import assign_folds
from dfercli.data.sources.base import BASIC_EXPRESSIONS


def _counts(labels, groups, folds, num_folds):
    """Videos by fold and class."""
    counts = {fold: Counter() for fold in range(1, num_folds + 1)}
    for label, group in zip(labels, groups, strict=True):
        counts[folds[group]][label] += 1
    return counts


def test_single_videos_are_assigned_evenly_by_class_and_in_all():
    labels = ["anger"] * 10 + ["fear"] * 20 + ["neutral"] * 33 + ["disgust"] * 4
    groups = [str(i) for i in range(len(labels))]
    counts = _counts(labels, groups, assign_folds(labels, groups, 5), 5)
    for name, fewest in (("anger", 2), ("fear", 4), ("neutral", 6), ("disgust", 0)):
        assert {counts[fold][name] for fold in counts} <= {fewest, fewest + 1}
    assert [counts[fold]["anger"] for fold in counts] == [2] * 5
    assert [counts[fold]["fear"] for fold in counts] == [4] * 5


def test_groups_are_never_split_and_folds_are_about_equal():
    rng = np.random.default_rng(1)
    groups = [f"p{i}" for i in range(20) for _ in range(rng.integers(1, 8))]
    labels = [BASIC_EXPRESSIONS[rng.integers(7)] for _ in groups]
    folds = assign_folds(labels, groups, 5)
    assert set(folds) == set(groups)
    assert set(folds.values()) == {1, 2, 3, 4, 5}
    sizes = [sum(count.values()) for count in _counts(labels, groups, folds, 5).values()]
    assert max(sizes) - min(sizes) <= 7  # the largest group


@pytest.mark.parametrize("num_folds", [2, 3, 5, 10, 20])
def test_no_fold_stays_empty_however_rare_the_classes(num_folds):
    labels, groups = [BASIC_EXPRESSIONS[i % 7] for i in range(20)], [str(i) for i in range(20)]
    counts = _counts(labels, groups, assign_folds(labels, groups, num_folds), num_folds)
    sizes = [sum(count.values()) for count in counts.values()]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 2


def test_every_fold_gets_a_group_when_there_are_just_enough():
    labels, groups = ["anger"] * 9 + ["fear"] * 2, ["large"] * 9 + ["small", "tiny"]
    assert sorted(assign_folds(labels, groups, 3).values()) == [1, 2, 3]


def test_folds_follow_from_the_seed_and_not_from_the_order_of_the_list(monkeypatch):
    labels = [BASIC_EXPRESSIONS[i % 7] for i in range(70)]
    groups = [f"p{i // 3}" for i in range(70)]
    folds = assign_folds(labels, groups, 5)
    assert assign_folds(labels, groups, 5) == folds
    assert assign_folds(labels[::-1], groups[::-1], 5) == folds
    monkeypatch.setattr("dfercli.data.folds.FOLD_SEED", 1)
    assert assign_folds(labels, groups, 5) != folds


def test_added_videos_go_where_their_class_is_rare():
    labels, groups = ["anger"] * 6 + ["fear"] * 4, list("abcdefwxyz")
    fixed = {"a": 1, "b": 1, "c": 1, "d": 2, "w": 2, "x": 2}
    folds = assign_folds(labels, groups, 2, fixed=fixed)
    assert {group: folds[group] for group in fixed} == fixed
    assert (folds["e"], folds["f"]) == (2, 2)  # fold 1 holds three of anger, fold 2 one
    assert (folds["y"], folds["z"]) == (1, 1)
