"""`dfer train` and `dfer ablate` read the manifest once, however many folds and rows they train."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dfercli.cli import app
from dfercli.data import folds, manifest

DATA = "--dataset colours --root {data} --manifests {data} --runs {runs} --workers 0 --device cpu"
MODEL = "--backbone demo-ViT-tiny --weights random --num-frames 2 --precision fp32"


@pytest.fixture
def reads(monkeypatch):
    """The manifests that were read, in order."""
    paths, read_manifest = [], manifest.read_manifest

    def note(path, *options):
        paths.append(path.name)
        return read_manifest(path, *options)

    for module in (manifest, folds):
        monkeypatch.setattr(module, "read_manifest", note)
    return paths


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "runs"),
    [
        ("train --folds 1-3", 3),
        ("train --folds 1-2 --val-fraction 0.25", 2),
        ("train --all-data", 1),
        ("ablate --grid msta --folds 1,2", 4),
    ],
)
def test_the_manifest_is_read_once(command, runs, colours, tmp_path, reads):
    options = DATA.format(data=colours.parent, runs=tmp_path)
    recipe = "--epochs 1 --warmup-epochs 0"
    done = CliRunner().invoke(app, f"{command} {options} {MODEL} {recipe}".split())
    assert done.exit_code == 0, done.output
    assert len([*tmp_path.glob("colours/*/*/run.json")]) == runs
    assert reads == ["colours.csv"]


NOTE_READS = """
import os, sys

def note(event, arguments):
    if event == "open" and str(arguments[0]).endswith("colours.csv"):
        with open(os.environ["READS"], "a") as file:
            file.write(f"{os.getpid()}\\n")

sys.addaudithook(note)
"""


@pytest.mark.slow
def test_the_manifest_is_read_once_if_folds_are_trained_in_processes(colours, tmp_path):
    # Each process imports this module when it starts; forked workers inherit its hook.
    Path(tmp_path, "sitecustomize.py").write_text(NOTE_READS)
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "READS": str(tmp_path / "reads"), "PYTHONPATH": paths}
    options = DATA.format(data=colours.parent, runs=tmp_path / "runs")
    recipe = "--epochs 1 --warmup-epochs 0 --folds 1-2 --jobs 2"
    command = [sys.executable, "-m", "dfercli", *f"train {options} {MODEL} {recipe}".split()]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert len([*tmp_path.glob("runs/colours/*/*/run.json")]) == 2
    assert len(Path(tmp_path, "reads").read_text().splitlines()) == 1
