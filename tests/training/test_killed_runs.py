"""Processes killed while they train: the same command resumes, with the same results."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from run_outcomes import STRONG, check_readable, outcome_of

from dfercli.config import to_dict
from dfercli.jobs.run import train_folds
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.runs.run_folder import RunFolder

NUM_KILLS = int(os.environ.get("DFER_TEST_KILLS", "2"))

TRAIN = """
import json, sys
from pathlib import Path
import open_clip
from dfercli.config import RunConfig, from_dict
from dfercli.jobs.run import train_folds
open_clip.add_model_config(sys.argv[1])
train_folds(from_dict(RunConfig, json.loads(sys.argv[2])), [1, 2], Path(sys.argv[3]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_process_leaves_what_the_next_goes_on_from(make_run, tiny_name, tmp_path):
    config = make_run(epochs=2 + 2 * NUM_KILLS, workers=2, balance="prior", **STRONG)
    expected = train_folds(config, [1, 2], tmp_path / "undisturbed")
    command = _make_command(config, tiny_name, tmp_path)
    folders = [tmp_path / "killed" / "colours" / "full" / f"fold{fold}" for fold in (1, 2)]
    rng = random.Random(0)
    for _ in range(NUM_KILLS):
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        _wait_for_work(process, tmp_path / "killed")
        time.sleep(rng.uniform(0.0, 0.6))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for folder in folders:
            if folder.exists():
                check_readable(folder)
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    for folder, run in zip(folders, expected.values(), strict=True):
        assert outcome_of(folder) == outcome_of(run.path)
        weights = load_checkpoint(str(folder / "last")).state_dict()
        for name, tensor in load_checkpoint(str(run.path / "last")).state_dict().items():
            assert torch.equal(tensor, weights[name]), name


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_strong_recipe_that_is_killed_between_epochs_ends_the_same(make_run, tiny_name, tmp_path):
    config = make_run(epochs=6, workers=2, balance="prior", **STRONG)
    (expected, _) = train_folds(config, [1, 2], tmp_path / "undisturbed").values()
    command = _make_command(config, tiny_name, tmp_path)
    run = RunFolder(tmp_path / "killed" / "colours" / "full" / "fold1")
    for finished in (1, 3):
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        while process.poll() is None and _count_epochs(run) < finished:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not run.finished
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    first, second = (call.after_epoch for call in run.read().resumed)
    assert 1 <= first < second < 6
    assert outcome_of(run.path) == outcome_of(expected.path)


def _count_epochs(run):
    """Count the finished epochs of a run that another process may be writing."""
    return len(run.read_metrics()) if run.metrics_file.exists() else 0


def _make_command(config, tiny_name, folder):
    """Return a command that trains folds 1 and 2 in `folder`/killed, in a process of its own."""
    import open_clip

    backbone = folder / f"{tiny_name}.json"
    backbone.write_text(json.dumps(open_clip.get_model_config(tiny_name)))
    arguments = [str(backbone), json.dumps(to_dict(config)), str(folder / "killed")]
    return [sys.executable, "-c", TRAIN, *arguments]


def _wait_for_work(process, runs):
    """Wait until a new process changes something in the folder of runs."""

    def newest():
        try:
            return max((path.stat().st_mtime_ns for path in runs.rglob("*.json*")), default=0)
        except OSError:  # it changed while we looked
            return None

    before = newest()
    while newest() == before and process.poll() is None:
        time.sleep(0.01)
