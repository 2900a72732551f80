"""Results by a property of the people: scores and gaps by hand, from made-up predictions."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dfercli.data.manifest import Manifest, read_manifest, write_manifest
from dfercli.errors import DataError
from dfercli.evaluation.by_trait import trait_document
from dfercli.evaluation.results import Results

CLASSES = ("happiness", "sadness")


def _table(rows):
    """Return predictions of (clip, person, true, predicted) rows."""
    probs = [[0.9, 0.1] if predicted == "happiness" else [0.1, 0.9] for *_, predicted in rows]
    table = pd.DataFrame([row[:3] for row in rows], columns=["clip_id", "group", "label"])
    table = table[["clip_id", "label", "group"]]
    return table.assign(**dict(zip(CLASSES, np.array(probs).T, strict=True)))


ROWS = [  # women: 3 of 4 right; men: 1 of 3 right; one person unknown
    ("a", "ann", "happiness", "happiness"),
    ("b", "ann", "sadness", "sadness"),
    ("c", "eve", "happiness", "happiness"),
    ("d", "eve", "sadness", "happiness"),
    ("e", "bob", "happiness", "happiness"),
    ("f", "bob", "sadness", "happiness"),
    ("g", "tom", "sadness", "happiness"),
    ("h", "kim", "sadness", "sadness"),
]
SEX = {"ann": "female", "eve": "female", "bob": "male", "tom": "male", "kim": ""}
AGE = {"ann": "23", "eve": "29", "bob": "30", "tom": "41", "kim": ""}


@pytest.fixture
def manifest(tmp_path):
    rows = pd.DataFrame(
        {
            "clip_id": [row[0] for row in ROWS],
            "path": [f"faces/{row[0]}" for row in ROWS],
            "n_frames": 8,
            "label": [row[2] for row in ROWS],
            "test_fold": [1, 1, 1, 1, 2, 2, 2, 2],
            "group": [row[1] for row in ROWS],
            "sex": [SEX[row[1]] for row in ROWS],
            "age": [AGE[row[1]] for row in ROWS],
        }
    )
    path = tmp_path / "people.csv"
    write_manifest(Manifest("people", rows, CLASSES, None, str(tmp_path)), path)
    return path


@pytest.fixture
def results():
    folds = {1: _table(ROWS[:4]), 2: _table(ROWS[4:])}
    return Results("full", "people", {"best": folds}, {}, {}, [])


def test_scores_and_gap_by_sex(manifest, results):
    scores, recalls = trait_document(results, "sex", manifest).tables
    names = [row[0] for row in scores.rows]
    assert names == ["female", "male", "unknown", "gap"]
    assert [row[1:3] for row in scores.rows[:3]] == [[4, 2], [3, 2], [1, 1]]
    wars = [row[3] for row in scores.rows]
    assert wars == pytest.approx([3 / 4, 1 / 3, 1.0, 3 / 4 - 1 / 3])
    uars = [row[6] for row in scores.rows]
    assert uars[:2] == pytest.approx([3 / 4, 1 / 2])
    for row in scores.rows[:2]:
        assert row[4] <= row[3] <= row[5]
    female, male, *_ = scores.rows
    below = np.hypot(female[3] - female[4], male[5] - male[3])
    assert scores.rows[-1][4] == pytest.approx(wars[-1] - below)
    assert [column.name for column in recalls.columns] == [
        "recall",
        "female",
        "male",
        "unknown",
        "gap",
    ]
    assert recalls.rows[0][1:3] == [1.0, 1.0]
    assert recalls.rows[1][1:] == pytest.approx([0.5, 0.0, 1.0, 0.5])


def test_ages_are_grouped_by_ten(manifest, results):
    document = trait_document(results, "age", manifest)
    assert [row[0] for row in document.tables[0].rows] == [
        "20–29",
        "30–39",
        "40–49",
        "unknown",
        "gap",
    ]
    assert document.data["protocols"]["best"]["20–29"]["people"] == 2


def test_a_method_without_training_is_reported_once(manifest, results):
    config = SimpleNamespace(model=SimpleNamespace(method="still-image"))
    run = SimpleNamespace(record=SimpleNamespace(config=config))
    folds = results.predictions["best"]
    still = replace(results, predictions={"best": folds, "last": folds}, runs={1: run})
    document = trait_document(still, "sex", manifest)
    assert [table.title for table in document.tables] == [
        "people/full by sex, last epoch",
        "recalls by sex, last epoch",
    ]
    assert "nothing was trained: all epochs are the same model" in document.tables[0].notes


def test_an_unknown_column_is_answered_with_the_known_ones(manifest, results):
    with pytest.raises(DataError, match=r"no column 'race' to group by; .* this: sex, age"):
        trait_document(results, "race", manifest)
    with pytest.raises(DataError, match="no column 'label'"):
        trait_document(results, "label", manifest)


def test_another_manifest_is_refused(manifest, results):
    folds = {1: _table([("z", "ann", "happiness", "happiness")])}
    other = Results("full", "people", {"best": folds}, {}, {}, [])
    with pytest.raises(DataError, match="has no clip 'z', which was tested"):
        trait_document(other, "sex", manifest)


def test_tables_on_crema_d_say_what_people_reach(results, manifest):
    plain = trait_document(results, "sex", manifest)
    noted = trait_document(replace(results, kind="crema-d"), "sex", manifest)
    assert "58.2 %" not in str(plain.tables)
    assert "58.2 %" in str(noted.tables[0].notes)
    with pytest.raises(DataError, match=r"its columns for this: sex, age\."):
        votes = read_manifest(manifest)
        rows = votes.rows.assign(**{"votes:happiness": 1})
        write_manifest(replace(votes, rows=rows), manifest)
        trait_document(results, "votes:happiness", manifest)
