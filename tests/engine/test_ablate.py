"""The paper's tables of ablations: their figures, what their rows cost, and a run of one."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from dfercli.config import ModelConfig
from dfercli.data.manifest import read_manifest, write_manifest
from dfercli.data.spec import BASIC_EXPRESSIONS
from dfercli.engine.ablate import TABLES, cost_table, run_table, table_rows
from dfercli.engine.evaluate import confusion_of, read_predictions
from dfercli.engine.runlog import find_runs
from dfercli.engine.train import train_fold
from dfercli.errors import ConfigError, UnknownNameError
from dfercli.metrics import uar, war

PARTS = ("interfit", "msta", "biehpro", "text", "text_prompt", "visual_prompt")
ALL = "interfit msta biehpro text text_prompt visual_prompt"
# What is on, M, and the paper's FLOPs(G), UAR and WAR on DFEW, as printed.
PAPER = {
    2: [
        ("text", 0, "23.58", 58.28, 69.96),
        ("interfit text", 0, "24.65", 59.05, 71.54),
        ("interfit msta text", 0, "24.65", 59.77, 71.88),
        (ALL, 2, "24.71", 60.85, 72.58),
    ],
    3: [
        ("interfit msta", 0, "24.65", 60.41, 72.05),
        (ALL, 2, "24.71", 60.85, 72.58),
    ],
    4: [
        (ALL, 1, "24.68", 60.22, 72.45),
        (ALL, 2, "24.71", 60.85, 72.58),
        (ALL, 3, "24.74", 59.44, 72.38),
        (ALL, 4, "24.77", 59.92, 72.28),
        (ALL, 5, "24.80", 59.59, 72.21),
    ],
    5: [
        ("biehpro text text_prompt", 2, None, 58.90, 71.12),
        ("biehpro text text_prompt visual_prompt", 2, None, 59.31, 71.64),
        (ALL, 2, None, 60.85, 72.58),
    ],
}
TRUNCATED = [(2, "+ MSTA"), (3, "no text")]
"""Both cost 24.6552, which the paper prints as 24.65 and which rounds to 24.66."""

RECIPE = {"epochs": 1, "warmup_epochs": 0}


def test_there_are_the_papers_tables():
    assert set(TABLES) == set(PAPER)
    with pytest.raises(UnknownNameError) as caught:
        table_rows(1)
    assert str(caught.value) == "no table '1'; known: 2, 3, 4, 5"


@pytest.mark.parametrize("table", PAPER)
def test_rows_are_the_papers_in_parts_and_figures(table, tiny_name):
    base = ModelConfig(backbone=tiny_name)
    entries = cost_table(table, base, BASIC_EXPRESSIONS)
    for entry, row, paper in zip(entries, table_rows(table), PAPER[table], strict=True):
        parts, num_blocks, gflops, paper_uar, paper_war = paper
        assert {part for part in PARTS if entry[part]} == set(parts.split()), row.name
        assert entry["num_blocks"] == num_blocks
        assert (row.paper_uar, row.paper_war) == (paper_uar, paper_war)
        assert row.paper_gflops == (gflops if gflops is None else float(gflops))
        assert entry["paper_gflops"] is None  # the paper's costs are not of this backbone
        assert entry["row"] == row.name
    json.dumps(entries, allow_nan=False)


@pytest.mark.parametrize("table", PAPER)
def test_rows_of_a_table_have_run_folders_of_their_own(table):
    variants = [replace(ModelConfig(), **row.changes).variant for row in table_rows(table)]
    assert len(set(variants)) == len(variants) == len(PAPER[table])


@pytest.mark.parametrize("table", [2, 3, 4])
def test_costs_are_the_papers_at_both_decimals(table):
    costs = cost_table(table, ModelConfig(), BASIC_EXPRESSIONS)
    assert [entry["paper_gflops"] for entry in costs] == [r.paper_gflops for r in table_rows(table)]
    for entry in costs:
        printed = Decimal(str(entry["paper_gflops"]))
        measured = Decimal(f"{entry['paper_convention_gmacs']:.2f}")
        allowed = Decimal("0.01") if (table, entry["row"]) in TRUNCATED else Decimal(0)
        assert measured - printed == allowed, entry["row"]
        assert entry["true_gmacs"] > entry["paper_convention_gmacs"]
        assert entry["total_parameters"] >= entry["trainable_parameters"]


def test_a_table_is_run_row_by_row_and_takes_finished_runs_as_they_are(make_run, tmp_path):
    base = make_run(**RECIPE)
    done = train_fold(replace(base, fold=2), tmp_path)  # the full model: the table's last row
    before = {p: p.stat().st_mtime_ns for p in done.path.rglob("*")}
    entries, deviations, _ = run_table(2, base, [1, 2], tmp_path, "dfer ablate")
    assert deviations == []
    assert [entry["row"] for entry in entries] == ["baseline", "+ InterFIT", "+ MSTA", "+ BiEhPro"]
    assert [entry["variant"] for entry in entries] == [
        "baseline",
        "interfit",
        "interfit-msta",
        "full",
    ]
    assert len(find_runs(tmp_path)) == 8
    assert {p: p.stat().st_mtime_ns for p in done.path.rglob("*")} == before
    for entry, (*_, paper_uar, paper_war) in zip(entries, PAPER[2], strict=True):
        assert (entry["paper_uar"], entry["paper_war"]) == (paper_uar, paper_war)
        for protocol in ("best", "last"):
            folder = tmp_path / "colours" / entry["variant"]
            paths = [folder / f"fold{fold}" / f"predictions_{protocol}.csv" for fold in (1, 2)]
            matrices = [confusion_of(read_predictions(path)) for path in paths]
            assert entry[f"{protocol}_war"] == pytest.approx(sum(map(war, matrices)) / 2)
            assert entry[f"{protocol}_uar"] == pytest.approx(sum(map(uar, matrices)) / 2)
    files = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert run_table(2, base, [1, 2], tmp_path)[:2] == (entries, [])
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == files


def test_a_table_says_once_what_its_data_lacks(make_run, colours, tmp_path):
    said = ("fold 1 test has 6 clips, officially 7", "fold 2 has other lists")
    manifest = replace(read_manifest(colours), deviations=said)
    write_manifest(manifest, tmp_path / "colours.csv")
    base = make_run(**RECIPE, manifest=tmp_path / "colours.csv")
    base = replace(base, data=replace(base.data, root=str(colours.parent)))
    assert run_table(3, base, [1, 2], tmp_path)[1] == list(said)


def test_a_table_is_not_mixed_with_runs_of_other_settings(make_run, tmp_path):
    run_table(3, make_run(**RECIPE), [1], tmp_path)
    other = make_run(**RECIPE, seed=1)
    with pytest.raises(ConfigError, match=r"holds a run with other settings \(seed 0 -> 1\)"):
        run_table(3, other, [1], tmp_path)
    run_table(3, other, [1], tmp_path, overwrite=True)
    assert {run.read_config().seed for run in find_runs(tmp_path)} == {1}
