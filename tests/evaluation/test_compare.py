"""Comparisons of two variants and calibration, on hand-made tables."""

import numpy as np
import pandas as pd
import pytest

from dfercli.errors import DataError
from dfercli.evaluation.compare import calibrate, compare, measure_confidence
from dfercli.evaluation.results import Results
from dfercli.metrics.calibration import PRIOR_SD, apply_temperature, fit_temperature

CLASSES = ["happiness", "sadness", "anger"]


def _table(labels, predicted, sure=0.8, prefix="c", groups=None):
    """Return predictions with the same probability for one class each."""
    rest = (1 - sure) / 2
    probs = [[sure if name == top else rest for name in CLASSES] for top in predicted]
    table = pd.DataFrame({"clip_id": [f"{prefix}{i}" for i in range(len(labels))], "label": labels})
    if groups is not None:
        table["group"] = groups
    return table.join(pd.DataFrame(probs, columns=CLASSES))


def _results(tables, held_out=None, name="full"):
    return Results(name, "own", {"last": tables}, {"last": held_out} if held_out else {}, {}, [])


H, S, A = CLASSES


def test_a_comparison_by_hand():
    # Fold 1 has six clips, fold 2 four. A names 5 and 2 rightly, B 3 and 2; only A: 3, only B: 1.
    labels = {1: [H, H, S, S, A, A], 2: [H, S, A, A]}
    ours = {1: [H, H, S, S, A, H], 2: [H, S, H, H]}
    theirs = {1: [H, S, S, H, A, H], 2: [S, S, A, H]}
    a, b = (
        _results({f: _table(labels[f], named[f], prefix=f"{f}-") for f in labels})
        for named in (ours, theirs)
    )
    found = compare(a, b, "last")
    assert found["war"] == pytest.approx((5 / 6 - 3 / 6) / 2 + (2 / 4 - 2 / 4) / 2)
    assert (found["only_a"], found["only_b"]) == (3, 1)
    assert found["mcnemar_p"] == pytest.approx(10 / 16)  # 2 * P(at least 3 of 4)
    low, high = found["war_interval"]
    assert low < found["war"] < high
    back = compare(b, a, "last")
    assert back["war"] == pytest.approx(-found["war"])
    assert back["uar"] == pytest.approx(-found["uar"])


def test_folds_may_be_others_and_the_order_does_not_matter():
    labels, named = [H, H, S, S, A, A], [H, S, S, S, A, H]
    whole = _table(labels, named)
    one = _results({1: whole.iloc[:3], 2: whole.iloc[3:]})
    other = _results({1: whole.iloc[[5, 1]], 2: whole.iloc[[0, 4, 3, 2]]}, name="by group")
    found = compare(one, other, "last")
    assert (found["only_a"], found["only_b"]) == (0, 0)
    # Means over folds: (2/3 + 2/3) / 2 there, (0 + 1) / 2 here.
    assert found["war"] == pytest.approx(2 / 3 - 1 / 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.iloc[1:], "were tested on different clips: 1 only in the first, 0 only"),
        (
            lambda t: t.assign(label=t["label"].iloc[::-1].to_list()),
            "have different labels for some clips",
        ),
        (
            lambda t: t.rename(columns={A: "fear"}).replace(A, "fear"),
            "have different classes and cannot",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(change, said):
    table = _table([H, S, A], [H, S, S])
    with pytest.raises(DataError, match=said):
        compare(_results({1: table}), _results({1: change(table)}, name="other"), "last")


def _often(table, times=40):
    """Repeat clips, each copy with its own name."""
    parts = [
        table.assign(clip_id=[f"{name}-{n}" for name in table["clip_id"]]) for n in range(times)
    ]
    return pd.concat(parts, ignore_index=True)


def test_each_fold_gets_the_temperature_of_its_own_held_out_clips():
    tests = {
        f: _table([H, S, A, A], [H, S, A, H], sure, f"{f}") for f, sure in ((1, 0.9), (2, 0.6))
    }
    held = {
        1: _often(_table([H, S, A, A], [H, S, H, H], 0.9, "v1")),  # too sure
        2: _often(_table([H, S, A, A], [H, S, A, H], 0.6, "v2")),  # not sure enough
    }
    found = calibrate(_results(tests, held), "last")
    probs = {fold: table[CLASSES].to_numpy() for fold, table in held.items()}
    labels = np.tile([0, 1, 2, 2], 40)
    expected = {fold: fit_temperature(each, labels, PRIOR_SD) for fold, each in probs.items()}
    assert found.remarks == []
    assert found.temperatures == pytest.approx(expected)
    assert found.temperatures[1] > 1 > found.temperatures[2]
    assert found.mean_temperature == pytest.approx(sum(expected.values()) / 2)
    own = tests[2][CLASSES].to_numpy()
    assert found.before.probs[4:] == pytest.approx(own)
    assert found.after.probs[4:] == pytest.approx(apply_temperature(own, expected[2]))


def test_where_one_fold_has_too_few_held_out_clips_nothing_is_calibrated():
    tests = {fold: _table([H, S, A], [H, S, S], prefix=f"{fold}") for fold in (1, 2)}
    enough = _often(_table([H, S, A, A], [H, S, A, H], 0.6, "v1"))
    held = {1: enough, 2: _table([H, S, A] * 2, [H, S, H, H, S, A], prefix="v2")}
    found = calibrate(_results(tests, held), "last")
    assert (found.after, found.mean_temperature, list(found.temperatures)) == (None, None, [1])
    assert found.remarks == [
        "not calibrated: 6 held-out clips, 1 of them wrong; a temperature needs 100, 20 of them "
        "wrong: raise --val-fraction or add clips"
    ]


def test_without_held_out_clips_there_is_no_calibration():
    results = _results({1: _table([H], [H])})
    with pytest.raises(
        DataError, match="full has no held-out clips to calibrate on; train it with"
    ):
        calibrate(results, "last")
    assert measure_confidence(results, "last").ece == pytest.approx(0.2)


def test_errors_among_the_surest_clips_by_hand():
    # Sure of 0.9, 0.8, 0.7, 0.6: right, right, wrong, wrong.
    tables = [
        _table([H], [named], sure, f"{sure}")
        for sure, named in ((0.9, H), (0.8, H), (0.7, S), (0.6, S))
    ]
    confidence = measure_confidence(_results(dict(enumerate(tables, start=1))), "last")
    shares = {0.25: 0, 0.5: 0, 0.6: 1 / 3, 0.75: 1 / 3, 0.8: 1 / 2, 1.0: 1 / 2}
    assert {at: confidence.risk_at(at) for at in shares} == pytest.approx(shares)
    assert confidence.area == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
