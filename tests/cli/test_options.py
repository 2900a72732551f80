"""Options: one per setting, with the default and the text of its configuration."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pandas as pd
import pytest
import typer

from dfercli import __version__, cli, errors
from dfercli.cli import app
from dfercli.cli.options import RunOptions, find_data, find_root, parse_folds, usual_root
from dfercli.cli.training import ABLATED
from dfercli.config import METHODS, AugmentConfig, ComputeConfig, ModelConfig, TrainConfig
from dfercli.data.manifest import Manifest, read_manifest, write_manifest
from dfercli.errors import ConfigError, DataError, DferError
from dfercli.faces.align import CROP_VERSION

ROOT = Path(__file__).parents[2]
GROUP = typer.main.get_command(app)
COMMANDS = (
    *("demo", "preprocess", "doctor", "train", "eval", "test", "ablate", "report"),
    *("predict", "embed", "app", "import", "export", "push"),
)
CONFIGS = (ModelConfig, TrainConfig, AugmentConfig, ComputeConfig, RunOptions)
NOT_TYPED = {"msta_pools", "stop_epoch"}
"""Settings that are no options: a table of numbers, and what `--all-data` determines."""


def test_these_are_the_commands():
    assert tuple(GROUP.commands) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name):
    command = GROUP.commands[name]
    assert command.help
    for parameter in command.params:
        assert parameter.help, parameter.name
        assert parameter.help[-1] in ".)", parameter.name


@pytest.mark.parametrize(("name", "left_out"), [("train", ()), ("ablate", ABLATED)])
@pytest.mark.parametrize("config", CONFIGS)
def test_every_setting_is_an_option_with_its_default(name, left_out, config):
    options = {parameter.name: parameter for parameter in GROUP.commands[name].params}
    for field in fields(config):
        if field.name in NOT_TYPED or field.name in left_out:
            assert field.name not in options
            continue
        assert field.default is not MISSING
        assert options[field.name].default == field.default, field.name
        first_words = options[field.name].help[:20]
        assert first_words in re.sub(r"\s+", " ", config.__doc__), field.name


def test_the_help_of_the_model_names_all_methods():
    options = {parameter.name: parameter for parameter in GROUP.commands["train"].params}
    names = re.findall(r"`([^`]+)`", options["method"].help)
    assert sorted(names) == sorted(METHODS)


class _ArrivedError(Exception):
    """Carries the configurations of a command."""


def test_settings_that_are_typed_arrive(monkeypatch):
    def find_run(*given):
        raise _ArrivedError(*given)

    monkeypatch.setattr("dfercli.cli.options.find_run", find_run)
    typed = "--seed 3 --folds 2 --runs r --no-msta --num-blocks 4 --lr 0.5 --hue 0.3 --batch auto"
    with pytest.raises(_ArrivedError) as arrived:
        GROUP.main(["train", *typed.split()])
    options, model, recipe, augment, compute, typed, init = arrived.value.args
    assert init is None
    assert typed == {"seed", "folds", "runs", "msta", "num_blocks", "lr", "hue", "batch"}
    assert options == RunOptions(folds="2", seed=3, runs=Path("r"))
    assert model == ModelConfig(msta=False, num_blocks=4)
    assert recipe == TrainConfig(lr=0.5)
    assert augment == AugmentConfig(hue=0.3)
    assert compute == ComputeConfig(batch="auto")


@pytest.mark.parametrize(
    ("typed", "overwrite"), [("", False), ("--resume", False), ("--overwrite", True)]
)
def test_a_run_goes_on_unless_it_is_told_to_begin_anew(typed, overwrite, monkeypatch):
    def find_run(*given):
        raise _ArrivedError(*given)

    monkeypatch.setattr("dfercli.cli.options.find_run", find_run)
    with pytest.raises(_ArrivedError) as arrived:
        GROUP.main(["train", *typed.split()])
    assert arrived.value.args[0].overwrite is overwrite


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_that_parses(name):
    command = GROUP.commands[name]
    example = cli.COMMANDS[name].example
    program, typed, *arguments = shlex.split(example)
    assert (program, typed) == ("dfer", name)
    assert command.epilog == f"Example: {example}"
    command.make_context(name, arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_an_option_means_before_it_cites_the_paper(name):
    for parameter in GROUP.commands[name].params:
        assert not re.match(r"(Eq|Section|Source)\b", parameter.help)
        assert not re.match(r"`\w+` \(Eq", parameter.help), parameter.name


def test_the_page_of_commands_is_the_live_help():
    made = runpy.run_path(str(ROOT / "docs" / "write_commands.py"))
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == made["commands_page"](), "run `make docs`"


def test_help_waits_for_nothing_heavy():
    code = (
        "import sys\n"
        "from dfercli.cli import main\n"
        "sys.argv = ['dfer', '--help']\n"
        "try: main()\n"
        "except SystemExit as done: assert done.code == 0\n"
        "heavy = {'torch', 'open_clip', 'pandas', 'numpy', 'cv2', 'matplotlib', 'gradio'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "dynamic facial expression recognition" in done.stdout.lower()
    for name in COMMANDS:
        assert f" {name} " in done.stdout


def test_the_module_runs_as_the_command_does():
    command = [sys.executable, "-m", "dfercli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    ("text", "folds"),
    [
        ("2", [2]),
        ("1-5", [1, 2, 3, 4, 5]),
        ("1,3", [1, 3]),
        ("3,1", [1, 3]),
        ("1-2,2-4,3", [1, 2, 3, 4]),
        (" 1 - 2 , 5 ", [1, 2, 5]),
        ("3-3", [3]),
        ("10-11", [10, 11]),
    ],
)
def test_folds_are_read(text, folds):
    assert parse_folds(text) == folds


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "1,,2", "1;2", "1.5", "1-2-3", "all"])
def test_folds_that_cannot_be_read_say_how_to_write_them(text):
    with pytest.raises(ConfigError) as caught:
        parse_folds(text)
    assert str(caught.value) == f"invalid folds {text!r}; use a form such as 1-5, 1,3 or 2"


@pytest.mark.parametrize("text", ["5-1", "1,5-1"])
def test_folds_the_wrong_way_round_are_named(text):
    with pytest.raises(ConfigError) as caught:
        parse_folds(text)
    assert str(caught.value) == "invalid folds '5-1'; put the lower number first, as in 1-5"


@pytest.fixture
def manifests(tmp_path, monkeypatch):
    """Two manifests, `new` written after `old`; both have their data in /data."""
    monkeypatch.delenv("DFER_DATA", raising=False)
    for age, name in enumerate(("new", "old")):
        rows = [("a", "a", 1, "anger", 1), ("b", "b", 1, "fear", 2)]
        table = pd.DataFrame(rows, columns=["clip_id", "path", "n_frames", "label", "test_fold"])
        path = tmp_path / "manifests" / f"{name}.csv"
        write_manifest(Manifest(name, table, ("anger", "fear"), None, "/data"), path)
        os.utime(path, (10**9 - age, 10**9 - age))
    return tmp_path / "manifests"


def test_data_is_where_it_was_preprocessed(manifests, capsys):
    data, manifest = find_data("old", None, manifests, workers=3)
    assert (data.dataset, data.root, data.workers) == ("old", "/data", 3)
    assert manifest.dataset == "old"
    assert Path(data.manifest) == manifests / "old.csv"
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"dataset: old ({manifests / 'old.csv'}), data in /data\n"


def test_without_a_name_the_manifest_written_last_is_taken(manifests):
    assert find_data(None, None, manifests, workers=0)[0].dataset == "new"


def test_a_folder_of_data_sets_comes_before_the_manifest_and_a_root_before_both(
    manifests, tmp_path, monkeypatch
):
    monkeypatch.setenv("DFER_DATA", str(tmp_path / "sets"))
    assert find_data("old", None, manifests, 0)[0].root == "/data"  # not there yet
    (tmp_path / "sets" / "old").mkdir(parents=True)
    assert find_data("old", None, manifests, 0)[0].root == str(tmp_path / "sets" / "old")
    assert find_data("old", Path("mine"), manifests, 0)[0].root == "mine"
    (tmp_path / "sets" / "old").rename(tmp_path / "sets" / "Old")
    assert find_data("old", None, manifests, 0)[0].root == str(tmp_path / "sets" / "Old")
    assert find_root(Path("any", "old.csv")) == tmp_path / "sets" / "Old"
    assert find_root(Path("any", "other.csv")) is None


def test_a_manifest_s_data_is_not_looked_for_below_the_working_folder(
    manifests, tmp_path, monkeypatch
):
    (tmp_path / "data" / "old").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for folder in ("", "sets"):
        monkeypatch.setenv("DFER_DATA", folder)
        assert find_data("old", None, manifests, 0)[0].root == "/data"


@pytest.mark.parametrize(
    ("there", "disk", "expected"),
    [
        ([], None, "data/mafw"),
        ([], "", "data/mafw"),
        ([], "disk", "disk/mafw"),
        (["data/mafw"], None, "data/mafw"),
        (["data/MAFW"], None, "data/MAFW"),
        (["data/MAFW"], "disk", "data/MAFW"),
        (["data/mafw", "disk/Mafw"], "disk", "disk/Mafw"),
        (["data/MAFW", "data/mafw"], None, "data/mafw"),
        (["data/mafw2", "data/deep/mafw"], None, "data/mafw"),
    ],
)
def test_the_usual_root_is_the_first_that_is_there(there, disk, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DFER_DATA", raising=False)
    if disk is not None:
        monkeypatch.setenv("DFER_DATA", disk)
    for name in there:
        Path(name).mkdir(parents=True)
    assert usual_root("mafw") == Path(expected)


def test_a_file_is_no_usual_root(tmp_path, monkeypatch):
    monkeypatch.setenv("DFER_DATA", str(tmp_path))
    (tmp_path / "MAFW").touch()
    assert usual_root("mafw") == tmp_path / "mafw"


def test_old_crops_are_used_and_it_is_said_how_to_replace_them(manifests, capsys):
    path = manifests / "old.csv"
    manifest = read_manifest(path)
    answer = (
        f"crops: version 2; this dfer uses crop version {CROP_VERSION}; delete the folder of crops "
        f"and run `dfer preprocess` again"
    )
    for version, notes in ((2, [answer]), (CROP_VERSION, [])):
        write_manifest(replace(manifest, crop={"detector": "mtcnn", "version": version}), path)
        assert find_data("old", None, manifests, 0)[0].dataset == "old"
        assert capsys.readouterr().err.splitlines()[1:] == notes


def test_an_unknown_dataset_is_answered_with_the_known_ones(manifests):
    with pytest.raises(DataError) as caught:
        find_data("dfw", None, manifests, 0)
    assert str(caught.value) == f"no manifest of 'dfw' in {manifests}; known: new, old"


def test_exit_codes_tell_no_face_from_every_other_error():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    ours = {kind.__name__: kind.exit_code for kind in kinds if issubclass(kind, DferError)}
    assert ours.pop("NoFaceError") == 3
    assert len(ours) == 10
    assert set(ours.values()) == {1}
    assert errors.EXIT_SKIPPED == 4


WRONG = {
    "predict a.mp4 --faces biggest": "no choice of faces 'biggest'; known: all, largest",
    "predict a.mp4 --detector dlib": "no detector 'dlib'; known: face-alignment, mtcnn",
    "predict a.mp4 --device gpu": "no device 'gpu'; known: auto, cpu, cuda, mps, or a GPU",
    "predict a.mp4 --precision fp8": "no precision 'fp8'; known: auto, fp32, bf16, fp16",
    "predict a.mp4 --window-s 0": "invalid window of 0.0 s; it must be at least 0.125 s",
    "predict a.mp4 --stride-s nan": "invalid stride of nan s; it must be at least 0.125 s",
    "app --device gpu": "no device 'gpu'",
    "app --precision fp8": "no precision 'fp8'",
    "test x --device gpu": "no device 'gpu'",
    "train --device gpu": "no device 'gpu'",
    "train --precision fp8": "no precision 'fp8'",
}


def test_values_that_nothing_has_are_refused_before_torch_is_loaded(tmp_path):
    """Loading takes seconds, and minutes for a model on the Hub."""
    code = (
        "import sys\n"
        "from dfercli.cli import main\n"
        "for line in sys.argv[1:]:\n"
        "    sys.argv = ['dfer', *line.split()]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 1, line\n"
        "    assert 'torch' not in sys.modules, line\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    call = [sys.executable, "-c", code, *WRONG]
    done = subprocess.run(call, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for line, said in zip(done.stderr.splitlines(), WRONG.values(), strict=True):
        assert line.startswith(f"error: {said}")
