"""The clips that are shown are those that a person would pick by the numbers."""

import numpy as np
import pandas as pd

from dfercli.evaluation.explain import Explanation
from dfercli.report.gallery import choose_clips, worst_errors


def test_the_surest_errors_come_first_and_equal_ones_by_name():
    rows = [
        ("a", "x", 0.9, 0.1),  # right
        ("d", "x", 0.2, 0.8),
        ("b", "y", 0.8, 0.2),
        ("c", "y", 0.6, 0.4),
        ("e", "y", 0.05, 0.95),  # right
    ]
    table = pd.DataFrame(rows, columns=["clip_id", "label", "x", "y"])
    found = worst_errors(table, 2)
    assert found.to_dict("records") == [
        {"clip_id": "b", "label": "y", "predicted": "x", "confidence": 0.8},
        {"clip_id": "d", "label": "x", "predicted": "y", "confidence": 0.8},
    ]
    assert len(worst_errors(table, 10)) == 3
    assert worst_errors(table.iloc[[0, 4]], 3).empty


def _explain(of_true):
    probs = np.array([[p, 1 - p] for p in of_true])
    nothing = np.zeros(len(probs), dtype=int)
    return Explanation(("x", "y"), tuple("abcdef"[: len(probs)]), nothing, probs, None, probs)


def test_of_two_models_the_largest_gains_and_the_largest_loss():
    first = _explain([0.5, 0.1, 0.9, 0.4, 0.5])
    second = _explain([0.6, 0.9, 0.2, 0.9, 0.5])
    assert choose_clips([first, second], 3) == [1, 3, 2]
    assert choose_clips([first, second], 9) == [1, 3, 0, 4, 2]


def test_of_one_model_from_the_likeliest_to_the_least():
    alone = _explain([0.5, 0.1, 0.9, 0.4, 0.6])
    assert choose_clips([alone], 3) == [2, 0, 1]
    assert choose_clips([_explain([0.5])], 3) == [0]
