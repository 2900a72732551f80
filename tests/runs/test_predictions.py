"""Tables of predictions: written and read back unchanged, refused where damaged, and summarised."""

import json

import pandas as pd
import pytest

from dfercli.errors import DataError
from dfercli.evaluation.results import Results, read_results
from dfercli.runs.predictions import (
    confusion_of,
    read_predictions,
    read_tested,
    write_predictions,
)
from dfercli.training.loop import train_fold

CLASSES = ["happiness", "sadness", "anger"]


def _table(labels, predicted):
    """Return predictions with probability 0.8 for one class each."""
    table = pd.DataFrame({"clip_id": [f"c{i}" for i in range(len(labels))], "label": labels})
    probs = [[0.8 if name == top else 0.1 for name in CLASSES] for top in predicted]
    return table.join(pd.DataFrame(probs, columns=CLASSES))


def test_a_confusion_matrix_by_hand():
    labels = ["happiness", "happiness", "happiness", "sadness", "anger", "anger"]
    predicted = ["happiness", "sadness", "happiness", "sadness", "happiness", "anger"]
    matrix = confusion_of(_table(labels, predicted))
    assert matrix.tolist() == [[2, 1, 0], [0, 1, 0], [1, 0, 1]]


def test_predictions_come_back_as_they_were_written(tmp_path):
    table = _table(["anger", "sadness"], ["anger", "anger"])
    table["clip_id"] = ["007", "NA"]  # neither a number nor a gap
    write_predictions(table, tmp_path / "p.csv")
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "p.csv"), table)
    assert (tmp_path / "p.csv").read_text().startswith("clip_id,label,happiness,sadness,anger\n")


@pytest.mark.parametrize("content", [None, "", "\0", "a\nb,c\nd,e,f,g\n"])
def test_missing_or_broken_predictions_are_named(content, tmp_path):
    path = tmp_path / "predictions_last.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_predictions(path)
    assert ("no predictions" in str(caught.value)) == (content is None)
    assert str(caught.value) in (
        f"no predictions in {path}; train the fold again",
        f"{path} is not a CSV table; train the fold again",
        f"{path} does not begin with the columns clip_id,label",
    )


def test_another_csv_is_not_taken_for_predictions(tmp_path):
    (tmp_path / "p.csv").write_text("label,clip_id,anger\nanger,a,1\n")
    with pytest.raises(DataError, match=r"p\.csv does not begin with the columns clip_id,label"):
        read_predictions(tmp_path / "p.csv")


HEAD = "clip_id,label,happiness,sadness\n"
NO_PROBS = "line 3 has an unknown label, or probabilities that do not sum to 1"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("a,sadness,0.5,0.5\nb,sadness,0.5\n", NO_PROBS),  # cut off
        ("a,sadness,0.5,0.5\nb,sadness,0.5,0\n", NO_PROBS),  # cut off in a number
        ("a,sadness,0.5,0.5\nb,bliss,0.5,0.5\n", NO_PROBS),
        ("a,sadness,0.5,0.5\nb,sadness,1.5,-0.5\n", NO_PROBS),
        ("a,sadness,0.5,0.5\nb,sadness,nan,0.5\n", NO_PROBS),
        ("a,sadness,0.5,0.5\nb,sadness,half,0.5\n", NO_PROBS),
        ("a,sadness,0.5,0.5\na,sadness,0.5,0.5\n", "clip 'a' appears twice"),
    ],
)
def test_damaged_predictions_are_named(lines, said, tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(HEAD + lines)
    with pytest.raises(DataError) as caught:
        read_predictions(path)
    assert str(caught.value) == f"{path} is damaged: {said}; train the fold again"


def _copy(run, other):
    """Replace a run's predictions by those of another fold."""
    write_predictions(read_predictions(other), run.predictions_file("last"))


def _cut(run, other):
    path = run.predictions_file("last")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def _swap(run, other):
    path = run.predictions_file("last")
    table = read_predictions(path)
    table[["sadness", "anger"]] = table[["anger", "sadness"]]
    write_predictions(table.rename(columns={"sadness": "anger", "anger": "sadness"}), path)


def _take_the_best(run, other):
    """Replace the last epoch's predictions by those of the best epoch."""
    table = read_predictions(run.predictions_file("best"))
    probs = table[CLASSES].to_numpy()
    table[CLASSES] = (probs + 0.01) / 1.03  # as another variant would have it
    write_predictions(table, run.predictions_file("last"))


def _relabel(run, other):
    path = run.predictions_file("last")
    table = read_predictions(path)
    write_predictions(table.assign(label=table["label"].to_list()[::-1]), path)


def _forget(run, other):
    entries = json.loads(run.run_file.read_text())
    del entries["tested"]
    run.run_file.write_text(json.dumps(entries))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_copy, "belongs to another run: its clips or labels differ; restore the original file"),
        (_cut, "has 5 clips, but the run tested 6: it is truncated or belongs to another run"),
        (_swap, "belongs to another run: its classes are not happiness, sadness, anger"),
        (_relabel, "belongs to another run: its clips or labels differ"),
        (
            _take_the_best,
            "is not the file that the run wrote: it was changed, or belongs to another",
        ),
        (_forget, "was written by an older version of dfer and does not record which clips"),
    ],
)
def test_foreign_and_truncated_predictions_give_no_table(harm, said, own_run, make_run, tmp_path):
    other = train_fold(make_run(fold=2, epochs=1, warmup_epochs=0), tmp_path / "other")
    assert len(read_tested(own_run, "last")) == 6
    harm(own_run, other.predictions_file("last"))
    with pytest.raises(DataError) as caught:
        read_results(own_run.path.parents[2])
    (line,) = str(caught.value).splitlines()
    assert str(own_run.path) in line
    assert said in line


def test_means_over_folds_follow_from_the_files():
    # Fold 1: 3 of 4 right, recalls 2/3 and 1 (nobody is angry): WAR 0.75, UAR 5/6.
    # Fold 2: 1 of 2 right, recalls 0 and 1: WAR 0.5, UAR 0.5.
    tables = {
        1: _table(
            ["happiness", "happiness", "happiness", "sadness"],
            ["happiness", "happiness", "anger", "sadness"],
        ),
        2: _table(["happiness", "anger"], ["sadness", "anger"]),
    }
    results = Results("full", "own", {"last": tables}, {}, {}, [])
    summary = results.summaries["last"]
    assert summary.folds == (1, 2)
    assert summary.war.tolist() == [0.75, 0.5]
    assert summary.uar == pytest.approx([5 / 6, 0.5])
    assert (summary.mean_war, summary.mean_uar) == pytest.approx((0.625, 2 / 3))
    assert summary.sd_war == pytest.approx(0.25 / 2**0.5)
    assert summary.mean_recalls == pytest.approx([1 / 3, 1.0, 1.0])
    assert summary.matrix.tolist() == [[2, 1, 1], [0, 1, 0], [0, 0, 1]]
    pooled = results.pool("last")
    assert pooled["fold"].tolist() == [1] * 4 + [2] * 2
    assert results.class_names == CLASSES
