"""The description of a dataset in words."""

import pytest

from dfercli.data.sources.base import describe_clips


@pytest.mark.parametrize(
    ("labels", "folds", "said"),
    [
        ([], [], "0 (joy 0, woe 0); by test fold "),
        (["woe"], [0], "1 (joy 0, woe 1); by test fold 0: 1"),
        (["woe", "joy", "woe"], [10, 2, 2], "3 (joy 1, woe 2); by test fold 2: 2, 10: 1"),
        (["joy"] * 1234, [1] * 1234, "1,234 (joy 1,234, woe 0); by test fold 1: 1,234"),
    ],
)
def test_clips_are_counted_by_class_and_by_fold(labels, folds, said):
    assert describe_clips(("joy", "woe"), labels, folds) == said
