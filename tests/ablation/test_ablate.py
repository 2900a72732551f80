"""The paper's ablation tables: their figures, the costs of their rows, and one run."""

import json
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from dfercli.ablation.paper_tables import STILL_IMAGE, TABLES, grid_rows, table_rows
from dfercli.ablation.run import ablation_document, cost_document, cost_table, run_table
from dfercli.config import DataConfig, ModelConfig, RunConfig
from dfercli.config.presets import apply_method
from dfercli.data.manifest import read_manifest, write_manifest
from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.errors import ConfigError, UnknownNameError
from dfercli.metrics.scores import uar, war
from dfercli.runs.lookup import find_runs
from dfercli.runs.predictions import confusion_of, read_predictions
from dfercli.training.loop import train_fold

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
        ("zero-shot", 0, None, 23.34, 20.07),
        ("coop", 0, None, 44.98, 56.68),
        ("cocoop", 0, None, 46.80, 57.52),
        ("dfer-clip-no-tm", 0, None, 57.39, 69.00),
        ("dfer-clip", 0, None, 59.61, 71.25),
        ("biehpro text text_prompt", 2, None, 58.90, 71.12),
        ("biehpro text text_prompt visual_prompt", 2, None, 59.31, 71.64),
        (ALL, 2, None, 60.85, 72.58),
    ],
}
RECIPE = {"epochs": 1, "warmup_epochs": 0}
DATA = DataConfig(dataset="dfew", manifest="", root="")


def _base(**changes):
    """Return a run of the full model with some settings changed."""
    return RunConfig(data=DATA, fold=1, model=ModelConfig(**changes))


def test_there_are_the_papers_tables():
    assert set(TABLES) == {1, *PAPER}
    with pytest.raises(UnknownNameError) as caught:
        table_rows(6)
    assert str(caught.value) == "no table '6'; known: 1, 2, 3, 4, 5"


@pytest.mark.parametrize("table", PAPER)
def test_rows_are_the_papers_in_parts_and_figures(table, tiny_name):
    base = _base(backbone=tiny_name, weights="random")
    entries = cost_table(table_rows(table), base, BASIC_EXPRESSIONS)
    for entry, row, paper in zip(entries, table_rows(table), PAPER[table], strict=True):
        parts, num_blocks, gflops, paper_uar, paper_war = paper
        if entry["method"] == "dfer":
            assert {part for part in PARTS if entry[part]} == set(parts.split()), row.name
        else:
            assert entry["method"] == parts
        assert entry["num_blocks"] == num_blocks
        assert row.paper["dfew"] == (paper_uar, paper_war)
        assert row.paper_gflops == (gflops if gflops is None else float(gflops))
        assert entry["paper_gflops"] is None  # the paper's costs are not of this backbone
        assert entry["row"] == row.name
    json.dumps(entries, allow_nan=False)


@pytest.mark.parametrize("table", PAPER)
def test_rows_of_a_table_have_run_folders_of_their_own(table):
    variants = [row.apply(ModelConfig()).variant for row in table_rows(table)]
    assert len(set(variants)) == len(variants) == len(PAPER[table])


@pytest.mark.slow
@pytest.mark.parametrize("table", [2, 3, 4])
def test_costs_are_the_papers_at_both_decimals(table):
    costs = cost_table(table_rows(table), _base(), BASIC_EXPRESSIONS)
    assert [entry["paper_gflops"] for entry in costs] == [r.paper_gflops for r in table_rows(table)]
    for entry in costs:
        printed = Decimal(str(entry["paper_gflops"]))
        measured = Decimal(f"{entry['paper_convention_gmacs']:.2f}")
        assert measured == printed, entry["row"]
        assert entry["true_gmacs"] > entry["paper_convention_gmacs"]
        assert entry["total_parameters"] >= entry["trainable_parameters"]


def test_another_method_keeps_the_backbone_and_none_of_our_settings():
    base = ModelConfig(backbone="ViT-B-16-quickgelu", num_frames=16, cross_attention="all")
    (coop,) = [row for row in table_rows(5) if row.name == "CoOp"]
    model = coop.apply(base)
    assert (model.method, model.backbone, model.num_frames) == ("coop", "ViT-B-16-quickgelu", 16)
    assert model.cross_attention == "paired"


def test_what_mstas_fc_mix_is_no_setting_of_a_row_without_it():
    base = ModelConfig(msta_fc="channels")
    models = {row.name: row.apply(base) for row in table_rows(2)}
    assert {name: model.msta_fc for name, model in models.items()} == {
        "baseline": "positions",
        "+ InterFIT": "positions",
        "+ MSTA": "channels",
        "+ BiEhPro": "channels",
    }
    assert models["baseline"] == table_rows(2)[0].apply(ModelConfig())


def test_a_grid_has_all_combinations_and_the_papers_figures_where_it_has_them():
    rows = grid_rows(["interfit", "msta", "biehpro"])
    assert [row.name for row in rows] == [
        "baseline",
        "BiEhPro",
        "MSTA",
        "MSTA + BiEhPro",
        "InterFIT",
        "InterFIT + BiEhPro",
        "InterFIT + MSTA",
        "InterFIT + MSTA + BiEhPro",
    ]
    quoted = {row.name: row.paper["dfew"] for row in rows if row.paper}
    assert quoted == {
        "baseline": (58.28, 69.96),
        "InterFIT": (59.05, 71.54),
        "InterFIT + MSTA": (59.77, 71.88),
        "InterFIT + MSTA + BiEhPro": (60.85, 72.58),
    }
    assert len({row.apply(ModelConfig()).variant for row in rows}) == 8
    assert [row.name for row in grid_rows(["msta"])] == ["InterFIT + BiEhPro", rows[-1].name]
    with pytest.raises(ConfigError, match="no module 'lstm'; known: interfit, msta, biehpro"):
        grid_rows(["lstm"])


@pytest.mark.slow
def test_a_table_is_run_row_by_row_and_takes_finished_runs_as_they_are(make_run, tmp_path):
    base = make_run(**RECIPE)
    done = train_fold(replace(base, fold=2), tmp_path)  # the full model: the table's last row
    before = {p: p.stat().st_mtime_ns for p in done.path.rglob("*")}
    ablation = run_table(table_rows(2), base, [1, 2], tmp_path, command="dfer ablate")
    assert ablation.deviations == []
    assert [result.row for result in ablation.rows] == list(table_rows(2))
    assert [result.variant for result in ablation.rows] == [
        "baseline",
        "interfit",
        "interfit-msta",
        "full",
    ]
    assert len(find_runs(tmp_path)) == 8
    assert {p: p.stat().st_mtime_ns for p in done.path.rglob("*")} == before
    for result in ablation.rows:
        for protocol in ("best", "last"):
            folder = tmp_path / "colours" / result.variant
            paths = [folder / f"fold{fold}" / f"predictions_{protocol}.csv" for fold in (1, 2)]
            matrices = [confusion_of(read_predictions(path)) for path in paths]
            for name, metric in (("war", war), ("uar", uar)):
                values = [metric(matrix) for matrix in matrices]
                assert result.mean(protocol, name) == pytest.approx(np.mean(values))
                assert result.sd(protocol, name) == pytest.approx(np.std(values, ddof=1))
    files = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    again = run_table(table_rows(2), base, [1, 2], tmp_path)
    assert again.provenance == ablation.provenance
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == files


@pytest.mark.slow
def test_the_still_image_baseline_is_a_row_on_the_same_folds(make_run, tmp_path):
    rows = (*table_rows(3), STILL_IMAGE)
    alone = apply_method(replace(make_run(), model=ModelConfig(method="still-image", num_frames=4)))
    done = train_fold(replace(alone, fold=2), tmp_path)  # by `dfer train --model still-image`
    before = done.run_file.stat().st_mtime_ns
    ablation = run_table(rows, make_run(**RECIPE), [1, 2], tmp_path)
    assert done.run_file.stat().st_mtime_ns == before  # taken as it is
    *_, result = ablation.rows
    assert (result.row.name, result.variant) == ("still-image baseline", "still-image")
    for protocol in ("best", "last"):
        (summary,) = result.summaries[protocol]
        assert list(summary.folds) == [1, 2]
    main, *_ = ablation_document("Table 3", ablation).tables
    assert main.rows[-1][-2:] == [None, None]  # nothing of it is in the paper
    note = "still-image baseline: not in the paper; the built-in network, which reads single frames"
    assert note in main.notes
    plain = run_table(table_rows(3), make_run(**RECIPE), [1, 2], tmp_path)
    assert note not in ablation_document("Table 3", plain).tables[0].notes


@pytest.mark.slow
def test_seeds_have_folders_of_their_own_and_are_averaged(make_run, tmp_path):
    base = make_run(**RECIPE, seed=3)
    ablation = run_table(table_rows(3), base, [1, 2], tmp_path, seeds=2)
    assert ablation.seeds == (3, 4)
    assert ablation.provenance["seeds"] == "3, 4"
    names = {path.name for path in (tmp_path / "colours").iterdir()}
    assert names == {f"{v}-seed{s}" for v in ("full", "interfit-msta-notext") for s in (3, 4)}
    for result in ablation.rows:
        wars = []
        for seed in (3, 4):
            folder = tmp_path / "colours" / f"{result.variant}-seed{seed}"
            paths = [folder / f"fold{fold}" / "predictions_last.csv" for fold in (1, 2)]
            wars.append(np.mean([war(confusion_of(read_predictions(path))) for path in paths]))
        assert result.mean("last", "war") == pytest.approx(np.mean(wars))
        assert result.sd("last", "war") == pytest.approx(np.std(wars, ddof=1))


@pytest.mark.slow
def test_a_table_says_once_what_its_data_lacks(make_run, colours, tmp_path):
    said = ("fold 1 test has 6 clips, officially 7", "fold 2 has other lists")
    manifest = replace(read_manifest(colours), deviations=said)
    write_manifest(manifest, tmp_path / "colours.csv")
    base = make_run(**RECIPE, manifest=tmp_path / "colours.csv")
    base = replace(base, data=replace(base.data, root=str(colours.parent)))
    ablation = run_table(table_rows(3), base, [1, 2], tmp_path)
    assert ablation.deviations == list(said)
    assert ablation.provenance["data"] == f"PARTIAL: {'; '.join(said)}"


@pytest.mark.slow
def test_a_table_is_not_mixed_with_runs_of_other_settings(make_run, tmp_path):
    run_table(table_rows(3), make_run(**RECIPE), [1], tmp_path)
    other = make_run(**RECIPE, lr=2e-3)
    with pytest.raises(
        ConfigError, match=r"contains a run with other settings \(train.lr 0.001 -> "
    ):
        run_table(table_rows(3), other, [1], tmp_path)
    run_table(table_rows(3), other, [1], tmp_path, overwrite=True)
    assert {run.read().config.train.lr for run in find_runs(tmp_path)} == {2e-3}


def test_a_row_says_what_its_msta_mixes():
    entries = cost_table(table_rows(3), _base(msta_fc="channels"), BASIC_EXPRESSIONS)
    document = cost_document("Table 3", ModelConfig(), entries)
    assert [row[1] for row in document.tables[0].rows] == [
        "InterFIT, MSTA over channels, linear head",
        "InterFIT, MSTA over channels, BiEhPro (TP+VP, M=2), text",
    ]
