"""`dfer train --init` as typed."""

from pathlib import Path

import pytest

from dfercli.runs.run_folder import RunFolder


@pytest.mark.slow
def test_the_command_takes_the_model_from_the_checkpoint(trained, other_data, colours, dfer):
    options = f"--manifests {other_data.parent} --root {colours.parent} --folds 1 --workers 0"
    done = dfer(f"train --init {trained.path} {options} --epochs 1 --warmup-epochs 0 --runs new")
    assert done.code == 0, done.err
    config = RunFolder(Path("new/other/full-init/fold1")).read().config
    assert config.model == trained.read().config.model
    assert "  happiness, anger; new: contempt" in done.err.splitlines()
    refused = dfer(f"train --init {trained.path} {options} --num-blocks 1 --runs other")
    assert refused.code == 1
    assert "another model than the one to train (num_blocks 2 -> 1)" in refused.err
    both = dfer(f"train --init {trained.path} --repeat {trained.path}")
    assert (both.code, both.err) == (
        1,
        "error: --repeat and --init both choose the model; remove one of them\n",
    )
    untrained = dfer(f"train --init {trained.path} --model still-image {options}")
    assert (untrained.code, untrained.err) == (
        1,
        "error: still-image trains nothing: --init has no effect; remove it\n",
    )
