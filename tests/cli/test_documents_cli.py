"""Output of `dfer eval` and `dfer ablate`: formats, runs side by side, comparisons."""

import io
import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

RECIPE = "--backbone demo-ViT-tiny --weights random --epochs 1 --warmup-epochs 0 --workers 0"
OFF = "--no-interfit --no-msta --no-biehpro"


@pytest.fixture
def runs(write_tiny, dfer):
    """Finished runs of the full model and the baseline on two folds."""
    write_tiny()
    assert dfer(f"train {RECIPE}").code == 0
    assert dfer(f"train {RECIPE} {OFF}").code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("runs")
def test_every_format_has_the_same_figures(dfer):
    report = json.loads(dfer("eval full --format json").out)
    mean = report["data"]["protocols"]["last"]["mean_war"]
    assert f"{100 * mean:.2f}" in dfer("eval full").out
    text = dfer("eval full --format csv").out
    table = pd.read_csv(io.StringIO(text.partition("\n\n")[0]), comment="#")
    assert table.set_index("fold").loc["mean", "last_epoch_war"] == mean
    markdown = dfer("eval full --format markdown").out
    assert f"{100 * mean:.2f}" in markdown
    assert r"\begin{tabular}" in dfer("eval full --format latex").out
    for printed in (text, markdown):
        assert "assigned by dfer, clip by clip" in printed
        assert report["provenance"]["dataset"] in printed


@pytest.mark.slow
@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("line", ["eval", "eval full", "eval full --dataset tiny --folds 1"])
def test_each_record_is_read_once(line, dfer, monkeypatch):
    reads, read_text = Counter(), Path.read_text

    def count(path, *args, **kwargs):
        reads[str(path)] += path.name == "run.json"
        return read_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", count)
    assert dfer(line).code == 0
    records = {
        f"runs/tiny/{name}/fold{k}/run.json" for name in ("full", "baseline") for k in (1, 2)
    }
    assert {path: number for path, number in reads.items() if number} == dict.fromkeys(records, 1)


@pytest.mark.slow
@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("suffix", [".csv", ".md", ".tex", ".json"])
def test_a_file_gets_the_format_of_its_suffix(suffix, dfer):
    formats = {".csv": "csv", ".md": "markdown", ".tex": "latex", ".json": "json"}
    done = dfer(f"eval full --out table{suffix}")
    assert done.code == 0
    files = [Path(line.removeprefix("written: ")) for line in done.out.splitlines()]
    assert files[0] == Path(f"table{suffix}")
    assert len(files) == (2 if suffix == ".csv" else 1)
    text = dfer(f"eval full --format {formats[suffix]}").out
    assert files[0].read_text() == (text.partition("\n\n")[0] + "\n" if files[1:] else text)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("eval --format pdf", "no format 'pdf'; known: screen, csv, markdown, latex, json"),
        ("ablate --out table.xls", "unknown suffix of --out table.xls; use .csv, .md, "),
        ("eval a b --against c", "--against compares two runs; name a single run before"),
        ("ablate --table 2 --grid msta", "--table and --grid both choose the rows; remove one"),
        ("ablate --grid lstm", "no module 'lstm'; known: interfit, msta, biehpro"),
        ("ablate --models c3d", "--models chooses rows of Table 1; add --table 1, or remove it"),
        ("ablate --table 1 --models c4d", "no model 'c4d'; known: c3d, p3d, i3d, r3d-hara, "),
        ("ablate --table 1 --models mscm", "no model mscm: the sizes of its correlation module "),
        ("ablate --table 2 --width 0.5", "--width has no effect on any row of this table; remov"),
        (
            "ablate --table 1 --weights kinetics400 --models c3d,mc3-18",
            "1 of 2 rows cannot be trained with these settings: c3d (takes --weights random, not ",
        ),
        ("ablate --seeds 0", "seeds is 0; it must be at least 1"),
        ("train --model coop --no-msta", "msta has no effect with --model coop"),
        ("train --min-lr 1e-4", "min_lr is 0.0001; it must be between 0 and lr (2e-05)"),
        ("train --model zero-shot --lr 1", "zero-shot trains nothing: --lr has no effect; remove"),
        (
            "train --model still-image --backbone a",
            "still-image does not use CLIP: --backbone has no e",
        ),
        ("train --model c3d --layer-decay 0.9", "c3d does not use CLIP: --layer-decay has no e"),
        ("train --model c3d --spatial-layers 3", "spatial_layers has no effect with --model c3d"),
        ("train --model est --stage-blocks 1,1,1,1", "stage_blocks has no effect with --model est"),
        ("train --model c3d --image-size 8", "image_size is 8; it must be at least 16"),
        ("train --model cliper --width 0.5", "width has no effect with --model cliper; remove it"),
        ("train --model c3d --min-lr 0", "--min-lr has no effect with --schedule step; remove it"),
        ("train --step-epochs 9", "--step-epochs has no effect with --schedule cosine; remove it"),
        ("train --schedule restarts --step-factor 0.1", "--step-factor has no effect with --sched"),
        ("train --model ial --adam-eps 1e-5", "--adam-eps has no effect with --optimizer sgd; re"),
        ("train --stage1-lr 0.1", "--stage1-lr has no effect with --stage1-epochs 0; remove it"),
        (
            "train --model aen --balance prior",
            "aen has a loss of its own; use another --balance",
        ),
        (
            "train --model cliper --label-smoothing 0.1",
            "cliper has a loss of its own; use --label-smoothing 0",
        ),
        (
            "train --model cliper --prompt-template {}.",
            "--prompt-template has no effect with the prompts of cliper; remove it",
        ),
        (
            "train --model aen --preset small --epochs 6 --stage1-epochs 4",
            "stage1_epochs 4 and warmup_epochs 2 leave none of 6 epochs; use more epochs",
        ),
        (
            "eval built-in",
            "built-in is no run; test it with `dfer test built-in`, or make it a run",
        ),
        ("ablate --grid ,", "the grid has no modules; choose from interfit, msta, biehpro"),
        ("eval runs/tiny/full/fold1", "runs/tiny/full/fold1 is a single fold; use runs/tiny/full"),
        ("eval a b --confusion", "--confusion is for a single run; name one run, and remove --aga"),
        ("train --model clip", "no model 'clip'; known: dfer, zero-shot, coop, cocoop, dfer-clip"),
        ("train --folds-by person", "no folds_by 'person'; known: official, group"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_done(line, said, write_tiny, dfer):
    write_tiny()
    done = dfer(line)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith(f"error: {said}")


@pytest.mark.slow
@pytest.mark.usefixtures("runs")
def test_runs_are_named_by_folder_or_name_and_stand_side_by_side(dfer):
    report = json.loads(dfer("eval full runs/tiny/baseline --format json").out)
    assert [run["name"] for run in report["data"]["runs"]] == ["full", "baseline"]
    printed = dfer("eval full baseline").out
    assert "tiny/full" in printed
    assert "tiny/baseline" in printed
    alone = json.loads(dfer("eval runs/tiny/baseline/ --format json").out)
    assert alone["data"]["name"] == "baseline"
    assert alone["data"]["protocols"] == report["data"]["runs"][1]["protocols"]


@pytest.mark.slow
@pytest.mark.usefixtures("runs")
def test_two_runs_are_compared_on_the_same_clips(dfer):
    done = dfer("eval full --against baseline --format json")
    found = json.loads(done.out)["data"]["against"]
    assert set(found) == {"best", "last"}
    reports = [
        json.loads(dfer(f"eval {n} --format json").out)["data"] for n in ("full", "baseline")
    ]
    for protocol, each in found.items():
        means = [report["protocols"][protocol]["mean_war"] for report in reports]
        assert each["war"] == pytest.approx(means[0] - means[1])
        assert each["war_interval"][0] <= each["war"] <= each["war_interval"][1]
        assert 0 <= each["mcnemar_p"] <= 1
    same = json.loads(dfer("eval full --against full --format json").out)["data"]["against"]["last"]
    assert (same["war"], same["war_p"], same["mcnemar_p"]) == (0, 1, 1)
    refused = dfer("eval full --folds 1 --against runs/tiny/nothing")
    assert refused.err.splitlines()[-1].startswith("error: no finished run in runs/tiny/nothing; ")


@pytest.mark.slow
@pytest.mark.usefixtures("runs")
def test_runs_of_other_clips_are_not_compared(dfer, write_tiny):
    assert dfer(f"train {RECIPE} --folds 1 --seed 1").code == 0
    done = dfer("eval full --against full-seed1")
    assert (done.code, done.out) == (1, "")
    said = "error: full and full-seed1 were tested on different clips: 2 only in the first, 0 only"
    assert done.err.splitlines()[-1].startswith(said)


@pytest.mark.slow
@pytest.mark.usefixtures("runs")
def test_a_table_with_a_damaged_file_is_not_printed(dfer):
    path = Path("runs/tiny/full/fold2/predictions_best.csv")
    path.write_text(path.read_text()[:-30])
    for line in ("eval full", "eval full baseline", f"ablate --table 2 {RECIPE}"):
        done = dfer(line)
        assert (done.code, done.out) == (1, "")
        last = done.err.splitlines()[-1]
        assert last.startswith("error: ")
        assert str(path) in last


@pytest.mark.slow
@pytest.mark.usefixtures("runs")
def test_a_grid_and_a_table_show_the_paper_and_what_is_gained(dfer):
    done = dfer(f"ablate --grid msta --format json --seeds 2 {RECIPE}")
    rows = json.loads(done.out)["data"]["rows"]
    assert [row["row"] for row in rows] == ["InterFIT + BiEhPro", "InterFIT + MSTA + BiEhPro"]
    assert [len(row["last"]["seeds"]) for row in rows] == [2, 2]
    assert rows[1]["paper"] == {"dfew": {"war": 0.7258, "uar": 0.6085}}
    printed = dfer(f"ablate --table 2 {RECIPE}").out
    assert "72.58 / 60.85" in printed
    assert "points above baseline" in printed
    assert "+2.62 / +2.57" in printed  # the paper's gain
    assert "other data than the paper's: not comparable" in " ".join(printed.split())
