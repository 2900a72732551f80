"""The command that trains what is missing makes what the page looks for."""

import json
import shlex
import shutil
from dataclasses import replace

import pytest

from dfercli.ablation.paper_tables import table_rows
from dfercli.config import ModelConfig, RunConfig, TrainConfig
from dfercli.report.variants import (
    find_for_features,
    find_for_prompts,
    find_for_text,
    find_runs,
    train_command,
)
from dfercli.runs.lookup import find_variant_folds
from dfercli.runs.run_folder import RunFolder, run_folder


def _set(run, command, **changes):
    """Write another command, and other settings by part, into a run's record."""
    entries = json.loads(run.run_file.read_text())
    for part, values in changes.items():
        entries["config"][part] |= values
    entries["command"] = command
    run.run_file.write_text(json.dumps(entries))


@pytest.fixture
def one_run(full_runs, tmp_path, monkeypatch):
    """A run of fold 1 in the folder `runs`, of the full model."""
    monkeypatch.chdir(tmp_path)
    run = RunFolder(tmp_path / "runs" / "small" / "full" / "fold1")
    shutil.copytree(full_runs / "small" / "full" / "fold1", run.path)
    return run


def _parse(command):
    """Read a command as the command line does; none of its options is unknown to it."""
    import typer

    from dfercli.cli import app

    _, name, *words = shlex.split(command)
    return typer.main.get_command(app).commands[name].make_context(name, words).params


def test_the_recipe_is_repeated_and_nothing_else_of_what_was_typed(one_run, tmp_path):
    typed = (
        "dfer train --folds 1-5 --no-msta --dataset 'a b' --jobs 2 --lr=3e-4 --overwrite "
        "--visual-prompt --num-blocks=3 --cache --model dfer --runs elsewhere --seed=4 "
        "--folds-by group --val-fraction 0.2 --root 'my data'"
    )
    _set(one_run, typed)
    expected = "dfer ablate --table 3 --folds 1 --dataset small --lr=3e-4 --cache --root 'my data'"
    assert train_command(find_runs(tmp_path / "runs"), 3, 1) == expected.replace(
        "small", f"small --runs {tmp_path / 'runs'}"
    )
    assert train_command(find_runs(one_run.path.parents[2].relative_to(tmp_path)), 3, 1) == expected


def test_what_was_not_typed_is_told_by_the_runs(make_runs, tmp_path):
    make_runs(tmp_path, {}, folds=(1,), train=TrainConfig(val_fraction=0.4), seed=2)
    _set(find_variant_folds(tmp_path)[0][1], "dfer train", data={"folds_by": "group"})
    command = train_command(find_runs(tmp_path), 2, 1)
    assert command == (
        f"dfer ablate --table 2 --folds 1 --dataset small --runs {tmp_path} --seed 2 "
        "--folds-by group --val-fraction 0.4"
    )
    assert _parse(command)["val_fraction"] == 0.4


def test_the_command_of_a_repeated_run_gives_its_recipe(one_run, tmp_path):
    _set(one_run, "dfer train --repeat full --runs again", train={"lr": 0.5, "mixup": 0.8})
    command = train_command(find_runs(tmp_path / "runs"), 2, 1)
    assert "--repeat" not in command
    asked = _parse(command)
    assert (asked["lr"], asked["mixup"], asked["preset"]) == (0.5, 0.8, "paper")


@pytest.mark.parametrize("method", ["coop", "zero-shot"])
@pytest.mark.parametrize("option", ["--model {}", "--model={}"])
def test_the_command_of_another_methods_run_names_no_model(method, option, one_run, tmp_path):
    typed = f"dfer train --lr 1e-3 {option.format(method)} --num-frames 4"
    _set(one_run, typed, model={"method": method})
    command = train_command(find_runs(tmp_path / "runs"), 2, 1)
    assert "--model" not in command
    assert command.endswith("--lr 1e-3 --num-frames 4")
    assert _parse(command)["num_frames"] == 4


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_blocks": 3},
        {"cross_attention": "all"},
        {"visual_prompt": False},
        {"text_prompt": False},
        {"msta": False},
        {"biehpro": False},
        {"biehpro": False, "text": False},
        {"interfit": False, "msta": False, "biehpro": False, "num_blocks": 3},
        {"method": "coop"},
    ],
)
@pytest.mark.parametrize(
    ("find", "table"), [(find_for_features, 2), (find_for_text, 3), (find_for_prompts, 5)]
)
def test_the_command_makes_what_is_missing(find, table, changes, one_run, tmp_path):
    _set(one_run, "dfer train --num-frames 4", model=changes)
    config = one_run.read().config
    one_run.path.parent.rename(one_run.path.parents[1] / config.variant)
    runs = find_runs(tmp_path / "runs")
    missing = find(runs, 1).missing
    asked = _parse(missing.command)
    assert asked["table"] == table
    model = ModelConfig(cross_attention=asked["cross_attention"], num_frames=asked["num_frames"])
    base = RunConfig(data=config.data, fold=1, model=model)
    for row in table_rows(table):
        made = run_folder(tmp_path / "runs", replace(base, model=row.apply(base.model)))
        if not made.path.exists():
            shutil.copytree(runs.by_fold[1].path, made.path)
    found = find(find_runs(tmp_path / "runs", "small", config.variant), 1)
    assert found.missing is None
    assert len(found.runs) == 2
