"""The command line for a user without an account, from a source tree that is not installed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dfercli

ROOT = Path(__file__).parents[2]

BARE = """
import sys
from importlib import metadata
try:
    import pwd
except ImportError:
    pass
else:
    def lose(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")
    pwd.getpwuid = lose
real = metadata.version
def version(name):
    if name in ("dfer", "opencv-python", "accelerate"):
        raise metadata.PackageNotFoundError(name)
    return real(name)
metadata.version = version
from dfercli.cli import main
sys.argv[0] = "dfer"
main()
"""
"""Runs the command line without the list of users and without some distributions' metadata."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows needs some of its environment")
def test_the_commands_run_without_home_user_git_and_metadata(colours, tmp_path):
    """As in a container with an arbitrary user id: no HOME, no entry in the list of users."""

    def run(*typed):
        command = [sys.executable, "-c", BARE, *typed]
        variables = {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "Usage: dfer" in run("--help")
    assert "this machine is fine; no dataset was found" in run("doctor")
    shutil.copytree(colours.parent, tmp_path / "data_manifests")
    typed = "--dataset colours --folds 1 --epochs 2 --warmup-epochs 1 --workers 0 --device cpu"
    model = "--backbone demo-ViT-tiny --weights random --num-frames 2 --precision fp32"
    run("train", *typed.split(), *model.split(), "--root", "data_manifests")
    (path,) = tmp_path.glob("runs/colours/*/fold1/run.json")
    entries = json.loads(path.read_text(encoding="utf-8"))
    assert entries["finished"]
    assert entries["commit"] is None
    assert entries["versions"]["dfer"] == dfercli.__version__
    assert entries["versions"]["accelerate"] is None
    assert [folder.name for folder in tmp_path.iterdir() if "~" in folder.name] == []
