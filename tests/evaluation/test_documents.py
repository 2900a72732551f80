"""The tables of results: figures of hand-made predictions, beside the paper's."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfercli.ablation.paper_tables import table_rows
from dfercli.ablation.run import Ablation, RowResult, ablation_document
from dfercli.ablation.table1 import choose_rows
from dfercli.config import DataConfig, RunConfig, TrainConfig, to_dict
from dfercli.errors import DataError
from dfercli.evaluation.results import Results
from dfercli.evaluation.tables import comparison_document, results_document, side_by_side_document
from dfercli.metrics.scores import summarise_folds
from dfercli.runs.record import DataRecord, RunRecord
from dfercli.runs.run_folder import FinishedRun
from dfercli.tables import FORMATS, render

CLASSES = ["happiness", "sadness"]


def _table(prefix, rights, wrongs):
    """Return clips of alternating classes: first the correctly classified ones, then the errors."""
    labels = [CLASSES[i % 2] for i in range(rights + wrongs)]
    right = np.arange(rights + wrongs) < rights
    happy = (np.array(labels) == "happiness") == right
    probs = np.where(happy[:, None], [0.9, 0.1], [0.1, 0.9])
    table = pd.DataFrame({"clip_id": [f"{prefix}{i}" for i in range(len(labels))], "label": labels})
    return table.join(pd.DataFrame(probs, columns=CLASSES))


def _results(name="full", wrongs=(2, 4), held_out=False, count=8):
    tables = {fold: _table(f"{fold}-", count - n, n) for fold, n in enumerate(wrongs, start=1)}
    held = {fold: _table(f"v{fold}-", 3, 1) for fold in tables}
    provenance = {"dataset": "own", "seeds": "0"}
    names = ("best", "val", "last") if held_out else ("best", "last")
    return Results(
        name,
        "own",
        dict.fromkeys(names, tables),
        dict.fromkeys(names, held) if held_out else {},
        provenance,
        [],
    )


def _cells(table, row, group):
    """Return the cells of the columns of a group, by the name of the column."""
    (found,) = [each for each in table.rows if each[0] == row]
    pairs = zip(table.columns, found, strict=True)
    return {column.name: cell for column, cell in pairs if column.group == group}


def test_folds_their_mean_and_how_far_it_can_be_trusted():
    table = results_document(_results()).tables[0]
    names = ["1", "2", "mean", "sd", "95 % from", "to", "all clips"]
    assert [row[0] for row in table.rows] == names
    pooled = {"WAR": 10 / 16, "UAR": 10 / 16}
    assert _cells(table, "all clips", "last epoch") == pytest.approx(pooled)
    assert table.bold_rows == (2,)
    wars = [_cells(table, row, "last epoch")["WAR"] for row in ("1", "2", "mean", "sd")]
    assert wars == pytest.approx([6 / 8, 4 / 8, 5 / 8, 0.25 / 2**0.5])
    low, high = (_cells(table, row, "last epoch")["WAR"] for row in ("95 % from", "to"))
    assert 0.3 < low < 5 / 8 < high < 0.95
    assert any(note.startswith("best epoch: ") and "(optimistic)" in note for note in table.notes)
    few = "Student's t over 16 clips (a fold has fewer than 20 clips to draw from)"
    assert any(f"95 %: {few}, of the mean over folds" in note for note in table.notes)


def test_the_note_says_how_many_groups_there_were():
    few, many = (_results(wrongs=(count // 4, count // 2), count=count) for count in (8, 40))
    for results in (few, many):
        for protocol, tables in results.predictions.items():
            results.predictions[protocol] = {
                fold: table.assign(group=[f"p{fold}-{i // 2}" for i in range(len(table))])
                for fold, table in tables.items()
            }
    said = "Student's t over 8 groups of clips (a fold has fewer than 20 groups to draw from)"
    assert any(f"95 %: {said}" in note for note in results_document(few).tables[0].notes)
    said = "95 %: bootstrap over 40 groups of clips, of the mean over folds"
    assert any(said in note for note in results_document(many).tables[0].notes)
    notes = comparison_document(many, many).tables[0].notes
    assert "95 % and p: paired, bootstrap over 40 groups of clips, of the mean over folds" in notes


def test_a_fold_without_a_class_is_named_and_the_uar_of_all_clips_stands_beside_the_mean():
    # Fold 1 has both classes, 3 of 4 and 0 of 2 right; fold 2 the first alone, 4 of 4.
    labels = {1: [0, 0, 0, 0, 1, 1], 2: [0, 0, 0, 0]}
    rights = {1: [1, 1, 1, 0, 0, 0], 2: [1, 1, 1, 1]}
    tables = {}
    for fold in labels:
        happy = np.equal(labels[fold], 0) == np.array(rights[fold], bool)
        probs = pd.DataFrame(np.where(happy[:, None], [0.9, 0.1], [0.1, 0.9]), columns=CLASSES)
        probs.insert(0, "label", [CLASSES[i] for i in labels[fold]])
        probs.insert(0, "clip_id", [f"{fold}-{i}" for i in range(len(happy))])
        tables[fold] = probs
    results = Results("full", "own", {"last": tables}, {}, {}, [])
    document = results_document(results)
    table = document.tables[0]
    assert _cells(table, "mean", "last epoch")["UAR"] == pytest.approx((3 / 8 + 1) / 2)
    assert _cells(table, "all clips", "last epoch")["UAR"] == pytest.approx((7 / 8 + 0) / 2)
    assert document.data["protocols"]["last"]["pooled_uar"] == pytest.approx(7 / 16)
    (note,) = [note for note in table.notes if note.startswith("folds without clips of a class")]
    assert "fold 2 sadness. Their UAR is over the other classes" in note
    whole = results_document(_results()).tables[0].notes
    assert not any("without clips of a class" in each for each in whole)


def test_each_class_has_its_clips_recall_and_f1():
    table = results_document(_results()).tables[1]
    assert [row[:2] for row in table.rows] == [["happiness", 8], ["sadness", 8]]
    # Fold 1: one of four of each class is wrong, fold 2: two of four.
    assert _cells(table, "sadness", "best epoch") == pytest.approx({"recall": 5 / 8, "F1": 5 / 8})


def test_held_out_clips_add_a_protocol_and_a_table():
    document = results_document(_results(held_out=True), confusion=True)
    titles = [table.title for table in document.tables]
    assert titles[:3] == [
        "full on own, each fold",
        "each class, mean over the folds",
        "calibration",
    ]
    assert titles[3:] == [
        f"confusion matrix over all folds, {name} epoch" for name in ("best", "val", "last")
    ]
    assert [row[0] for row in document.tables[2].rows] == ["best epoch", "val epoch", "last epoch"]
    errors = _cells(document.tables[2], "val epoch", "error")
    assert errors["of 100%"] == pytest.approx(6 / 16)
    assert document.tables[3].rows == [["happiness", 5, 3], ["sadness", 3, 5]]


def test_runs_stand_side_by_side_with_dashes_for_what_one_lacks():
    document = side_by_side_document([_results(held_out=True), _results("baseline", (4, 4))])
    (table,) = document.tables
    assert [row[0] for row in table.rows] == ["full on own", "baseline on own"]
    assert _cells(table, "baseline on own", "val epoch") == dict.fromkeys(
        ("WAR", "± WAR", "UAR", "± UAR")
    )
    assert _cells(table, "baseline on own", "last epoch")["WAR"] == 0.5
    other = _results("odd")
    renamed = {
        f: t.rename(columns={"sadness": "fear"}) for f, t in other.predictions["last"].items()
    }
    odd = Results("odd", "own", {"last": renamed}, {}, {}, [])
    with pytest.raises(DataError, match="full and odd have different classes; compare runs of one"):
        side_by_side_document([_results(), odd])


def test_a_comparison_gives_both_figures_their_difference_and_two_tests():
    table, mcnemar = comparison_document(_results(), _results("baseline", (4, 4))).tables
    assert table.title == "A: full on own, B: baseline on own"
    row = next(row for row in table.rows if row[:2] == ["last epoch", "WAR"])
    assert row[2:5] == pytest.approx([5 / 8, 4 / 8, 1 / 8])
    assert row[5] <= 1 / 8 <= row[6]
    assert mcnemar.rows[0][:3] == ["best epoch", 2, 0]
    assert mcnemar.rows[0][3] == pytest.approx(0.5)


def _finished_run(epochs):
    recipe = TrainConfig(epochs=epochs, warmup_epochs=0)
    data = DataConfig(dataset="own", manifest="own.csv", root="data")
    config = RunConfig(data=data, fold=1, train=recipe)
    return FinishedRun(Path("fold1"), RunRecord(to_dict(config), DataRecord()))


def test_the_best_of_more_epochs_is_not_tested_against_the_best_of_fewer():
    ours, theirs, equal = (
        replace(_results(name, wrongs), runs={fold: _finished_run(epochs) for fold in (1, 2)})
        for name, wrongs, epochs in (
            ("full", (2, 4), 20),
            ("zero-shot", (4, 4), 1),
            ("baseline", (4, 4), 20),
        )
    )
    document = comparison_document(ours, theirs)
    table, mcnemar = document.tables
    for row, (_, figure) in zip(table.rows[:2], (("best", "WAR"), ("best", "UAR")), strict=True):
        assert row[:2] == ["best epoch", figure]
        assert row[4] == pytest.approx(1 / 8)
        assert row[5:] == [None, None, None]
    assert mcnemar.rows[0] == ["best epoch", 2, 0, None]
    assert document.data["against"]["best"]["war_p"] is None
    said = "because the best of more epochs is higher by chance; these runs had 20 and 1"
    assert any(said in note for note in table.notes)
    last = next(row for row in table.rows if row[:2] == ["last epoch", "WAR"])
    assert None not in last
    table, mcnemar = comparison_document(ours, equal).tables
    assert not any(None in row for row in (*table.rows, *mcnemar.rows))
    assert any("it was chosen on these clips" in note for note in table.notes)


@pytest.fixture
def ablation():
    """Table 3 on DFEW, two folds: without text 5 of 10 clips are right, with text 6 and 8."""
    matrices = ([[[5, 0], [5, 0]]] * 2, [[[6, 0], [4, 0]], [[8, 0], [2, 0]]])
    rows = [
        RowResult(row, row.name, {"last": [summarise_folds([1, 2], [np.array(m) for m in each])]})
        for row, each in zip(table_rows(3), matrices, strict=True)
    ]
    return Ablation(rows, (1, 2), (0,), "dfew", {"dataset": "dfew"}, [], None)


def test_a_table_has_the_papers_figures_the_gain_and_the_difference(ablation):
    measured, gains, differences = ablation_document("Table 3", ablation).tables
    assert _cells(measured, "text", "last epoch")["WAR"] == pytest.approx(0.7)
    assert _cells(measured, "text", "last epoch")["± WAR"] == pytest.approx(0.2 / 2**0.5)
    paper = _cells(measured, "text", "the paper, DFEW")
    assert paper == pytest.approx({"WAR": 0.7258, "UAR": 0.6085})
    assert [row[0] for row in gains.rows] == ["text"]
    assert _cells(gains, "text", "last epoch")["WAR"] == pytest.approx(0.2)
    assert _cells(gains, "text", "the paper, DFEW")["WAR"] == pytest.approx(0.0053)
    assert _cells(differences, "text", "last epoch")["WAR"] == pytest.approx(0.7 - 0.7258)


@pytest.mark.parametrize(
    ("kind", "group", "war"), [("ferv39k", "FERV39k", 0.5183), ("mafw", "MAFW", 0.5438)]
)
def test_table_1_quotes_the_figures_of_its_own_dataset(kind, group, war, ablation):
    pairs = zip(choose_rows("baseline,ours"), ablation.rows, strict=True)
    rows = [RowResult(row, row.name, each.summaries) for row, each in pairs]
    document = ablation_document("Table 1", Ablation(rows, (1, 2), (0,), kind, {}, [], None))
    assert _cells(document.tables[0], "Ours", f"the paper, {group}")["WAR"] == pytest.approx(war)
    assert document.tables[2].title == f"measured, minus the paper, {group}: points"
    assert document.tables[2].notes == []


def test_on_other_data_the_differences_say_that_it_is_other_data(ablation):
    own = Ablation(ablation.rows, (1, 2), (0,), "folder", {}, [], None)
    document = ablation_document("Table 3", own)
    titles = ["Table 3", "points above no text", "measured, minus the paper, DFEW: points"]
    assert [table.title for table in document.tables] == titles
    assert document.tables[2].notes == ["measured on other data than the paper's: not comparable"]
    assert _cells(document.tables[0], "text", "the paper, DFEW")["WAR"] == 0.7258


def test_a_row_that_failed_has_dashes(ablation):
    broken = [ablation.rows[0], RowResult(ablation.rows[1].row, "full", {"last": []})]
    document = ablation_document("Table 3", Ablation(broken, (1,), (0,), "dfew", {}, [], None))
    for table in document.tables:
        assert set(_cells(table, "text", "last epoch").values()) == {None}


def test_every_document_can_be_written_in_every_format(ablation):
    documents = [
        results_document(_results(held_out=True), confusion=True),
        side_by_side_document([_results(), _results("baseline", (4, 4))]),
        comparison_document(_results(), _results("baseline", (4, 4))),
        ablation_document("Table 3", ablation),
    ]
    for document in documents:
        for name in FORMATS[1:]:
            assert render(document, name)
        json.loads(render(document, "json"))


def test_every_table_of_scores_on_crema_d_says_what_people_reach():
    crema_d = [replace(_results(), kind="crema-d"), replace(_results("baseline"), kind="crema-d")]
    documents = [results_document(crema_d[0]), side_by_side_document(crema_d)]
    for document in documents:
        notes = [note for note in document.tables[0].notes if "58.2 %" in note]
        assert len(notes) == 1
    assert "58.2 %" not in str(side_by_side_document([_results(), _results("baseline")]).tables[0])


def test_networks_with_and_without_clip_are_on_one_line():
    clip, other = _results("full"), _results("former-dfer")
    clip = replace(clip, provenance={"dataset": "own", "backbone": "ViT-B-32"})
    other = replace(other, provenance={"dataset": "own", "network": "ResNet18"})
    provenance = side_by_side_document([clip, other]).provenance
    assert provenance["network"] == f"{clip.title}: ViT-B-32 | {other.title}: ResNet18"
    assert "backbone" not in provenance
    assert side_by_side_document([clip, clip]).provenance["backbone"] == "ViT-B-32"
