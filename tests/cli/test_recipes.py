"""Presets on the command line: typed options win, and every table names its recipe."""

import json
from pathlib import Path

import pytest

from dfercli.cli import options
from dfercli.config import ModelConfig, TrainConfig

TINY = "--backbone demo-ViT-tiny --weights random --epochs 1 --warmup-epochs 0 --workers 0"
SAID = "changed: backbone demo-ViT-tiny, weights random, "


@pytest.fixture(params=["folder"])
def project(request, write_tiny):
    """Return a function that writes two folds of two clips each, of a kind of dataset."""
    write_tiny(kind=request.param)


class _ArrivedError(Exception):
    """Carries the configuration of the run of a command."""


@pytest.fixture
def arrive(dfer, monkeypatch):
    """Return a function that returns the configuration of the run that a command trains."""
    find_run = options.find_run

    def stop(*given):
        raise _ArrivedError(find_run(*given)[0])

    def run(line):
        with monkeypatch.context() as patched:
            patched.setattr("dfercli.cli.options.find_run", stop)
            with pytest.raises(_ArrivedError) as arrived:
                dfer(line)
        return arrived.value.args[0]

    return run


STRONG = {"layer_decay": 0.75, "label_smoothing": 0.1, "mixup": 0.8, "drop_path": 0.1}
OFF = {"label_smoothing": 0.0, "mixup": 0.0, "drop_path": 0.0}


@pytest.mark.usefixtures("project")
def test_what_is_typed_is_checked_beside_the_presets_own_values(arrive, dfer):
    run = arrive("train --preset small --epochs 4")  # fewer than the paper's warm-up
    assert (run.train.epochs, run.train.warmup_epochs) == (4, 2)
    refused = dfer("train --preset small --epochs 2")
    assert "warmup_epochs is 2 and epochs is 2" in refused.err


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("command", ["train", "ablate"])
@pytest.mark.parametrize(
    ("typed", "model", "train"),
    [
        ("", {}, {}),
        ("--preset paper --mixup 0.2", {}, {"mixup": 0.2}),
        (
            "--preset strong",
            {"backbone": "ViT-B-16-quickgelu", "num_frames": 16},
            {**STRONG, "balance": "prior"},
        ),
        (
            "--num-frames 8 --balance none --preset strong --mixup 0 --lr 1e-4",
            {"backbone": "ViT-B-16-quickgelu"},
            {**STRONG, "mixup": 0.0, "lr": 1e-4},
        ),
    ],
)
def test_what_is_typed_wins_then_the_preset_then_the_defaults(command, typed, model, train, arrive):
    run = arrive(f"{command} {typed}")
    assert run.model == ModelConfig(**model)
    assert run.train == TrainConfig(**train)
    assert run.preset == ("strong" if "strong" in typed else "paper")


@pytest.mark.parametrize("project", ["ferv39k"], indirect=True)
def test_strong_spares_ferv39k_whatever_its_manifest_is_called(project, arrive):
    run = arrive("train --preset strong")
    assert (run.data.dataset, run.data.kind) == ("tiny", "ferv39k")
    assert run.train == TrainConfig(**STRONG | OFF, balance="prior")
    assert arrive("train --preset strong --mixup 0.4").train.mixup == 0.4


@pytest.mark.usefixtures("project")
def test_an_unknown_preset_is_one_line(dfer):
    done = dfer("train --preset weak")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == "error: no preset 'weak'; known: paper, small, strong"


@pytest.mark.slow
@pytest.mark.usefixtures("project")
def test_every_table_says_its_recipe(dfer):
    line = f"--preset strong --mixup 0 --folds 1 {TINY}"
    recipe = f"strong, {SAID}epochs 1, warmup_epochs 0, mixup 0.0"
    trained = dfer(f"train {line}")
    assert f"  recipe: {recipe}" in trained.out.splitlines()
    assert f"recipe: {recipe}\n" in trained.err
    entries = json.loads(Path("runs/tiny/full/fold1/run.json").read_text())
    assert entries["config"]["preset"] == "strong"
    assert entries["config"]["train"]["mixup"] == 0
    assert entries["config"]["model"]["num_frames"] == 16

    of_checkpoint = "test runs/tiny/full/fold1 --folds 1 --workers 0"
    for command in ("eval", of_checkpoint, f"ablate --table 3 {line}"):
        assert f"recipe: {recipe}" in " ".join(dfer(command).out.split())
        report = json.loads(dfer(f"{command} --format json").out)
        assert report["provenance"]["recipe"] == recipe
        assert report["provenance"]["backbone"] == "demo-ViT-tiny (random), 16 frames"


@pytest.mark.slow
@pytest.mark.usefixtures("project")
def test_the_same_values_are_the_same_run_whatever_they_are_called(dfer):
    assert dfer(f"train --folds 1 {TINY}").code == 0
    again = dfer(f"train --folds 1 {TINY} --preset strong")
    assert (again.code, again.out) == (1, "")
    changed = "train.balance none -> prior; train.drop_path 0.0 -> 0.1; "
    assert f"(model.num_frames 8 -> 16; {changed}" in again.err
    plain = "--num-frames 8 --layer-decay 1 --label-smoothing 0 --mixup 0 --drop-path 0"
    same = dfer(f"train --folds 1 {TINY} --preset strong {plain} --balance none")
    assert same.code == 0
    assert "recipe: strong, changed: " in same.err


@pytest.mark.slow
def test_costs_follow_the_preset_and_are_the_papers_without_one(dfer):
    done = json.loads(dfer("ablate --table 2 --dry-run --format json").out)
    assert done["title"] == "Table 2"
    assert done["provenance"] == {"of": "one clip of 8 frames, ViT-B-32-quickgelu, 7 classes"}
    assert [f"{row['paper_convention_gmacs']:.2f}" for row in done["data"]["rows"]] == [
        "23.58",
        "24.65",
        "24.65",
        "24.71",
    ]
    line = "ablate --table 2 --dry-run --format json --preset strong --mixup 0"
    strong = json.loads(dfer(line).out)
    assert strong["provenance"] == {"of": "one clip of 16 frames, ViT-B-16-quickgelu, 7 classes"}
    assert {row["paper_gflops"] for row in strong["data"]["rows"]} == {None}
