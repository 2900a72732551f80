"""Which clips are shown: the worst errors, and the clips that two models see differently."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dfercli.evaluation.explain import Explanation
from dfercli.runs.predictions import classes_of, probs_of


def worst_errors(predictions: pd.DataFrame, number: int) -> pd.DataFrame:
    """Give the clips that were named wrongly with the highest confidence, the worst first.

    Args:
        predictions: Of one fold.
        number: How many; fewer where there are fewer errors.

    Returns:
        Columns `clip_id`, `label`, `predicted` (a class's name) and `confidence`, in [0, 1].
    """
    class_names, probs = np.array(classes_of(predictions)), probs_of(predictions)
    table = predictions[["clip_id", "label"]].copy()
    table["predicted"] = class_names[probs.argmax(axis=1)]
    table["confidence"] = probs.max(axis=1)
    wrong = table[table["predicted"] != table["label"]]
    order = ["confidence", "clip_id"]
    return wrong.sort_values(order, ascending=[False, True]).head(number).reset_index(drop=True)


def choose_clips(explanations: Sequence[Explanation], number: int) -> list[int]:
    """Choose clips by what two models, or one, give their true class.

    Args:
        explanations: One or two, of the same clips.
        number: How many clips.

    Returns:
        Of two models: the clips whose true class gains most from the first to the second, and last
        the one where it loses most. Of one: evenly from the likeliest true class to the least.
    """
    rows = np.arange(len(explanations[0].labels))
    given = [each.probs[rows, each.labels] for each in explanations]
    number = min(number, len(rows))
    if len(given) == 1:
        places = np.linspace(0, len(rows) - 1, number).round().astype(int)
        return [int(index) for index in np.argsort(-given[0], kind="stable")[places]]
    order = np.argsort(given[0] - given[1], kind="stable")
    return [int(index) for index in [*order[: number - 1], order[-1]]]
