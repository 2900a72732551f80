"""Commands that train several runs, when one of them fails."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfercli.data.manifest import Manifest, write_manifest
from dfercli.media.images import write_image

CLASSES = ("happiness", "sadness")
RECIPE = "--backbone demo-ViT-tiny --weights random --epochs 1 --warmup-epochs 0 --workers 0"


@pytest.fixture
def _data(dfer):
    """Two folds of two clips each; the full model's second fold cannot be written."""
    rows = []
    for fold in (1, 2):
        for name in CLASSES:
            clip_id = f"{name}{fold}"
            Path("data", clip_id).mkdir(parents=True)
            write_image(Path("data", clip_id, "1.png"), np.full((32, 32, 3), 90, np.uint8))
            rows.append((clip_id, clip_id, 1, name, fold))
    table = pd.DataFrame(rows, columns=["clip_id", "path", "n_frames", "label", "test_fold"])
    write_manifest(Manifest("tiny", table, CLASSES, None, "data"), Path("data_manifests/tiny.csv"))
    Path("runs/tiny/full").mkdir(parents=True)
    Path("runs/tiny/full/fold2").touch()


@pytest.mark.slow
@pytest.mark.usefixtures("_data")
def test_train_prints_no_mean_of_some_folds(dfer):
    done = dfer(f"train {RECIPE}")
    assert (done.code, done.out) == (1, "")
    *_, failed, error = done.err.splitlines()
    assert failed == (
        "failed: tiny full fold 2: runs/tiny/full/fold2 is a file, but dfer writes a run there; "
        "move it "
        "elsewhere, and run the same command again"
    )
    assert error == (
        "error: 1 of 2 runs failed (tiny full fold 2), 1 finished; run the same command "
        "again to train the failed ones"
    )
    assert "folds: PARTIAL: 1 of 1, 2 (assigned by dfer, clip by clip)\n" in dfer("eval").out
    Path("runs/tiny/full/fold2").unlink()
    done = dfer(f"train {RECIPE}")
    assert done.code == 0
    assert done.out.startswith("tiny full, mean over folds 1, 2:\n")


@pytest.mark.slow
@pytest.mark.usefixtures("_data")
def test_ablate_prints_the_rows_that_are_whole(dfer):
    done = dfer(f"ablate --table 3 {RECIPE}")
    assert done.code == 1
    figures = [line for line in done.out.splitlines() if line.startswith((" no text", " text"))]
    assert [line.count("- / -") for line in figures] == [
        0,
        2,
        2,
        0,
        2,
    ]  # whole and some; its gain; both less the paper
    assert "rows: PARTIAL: failed runs of text\n" in done.out
    assert done.err.splitlines()[-1].startswith("error: 1 of 4 runs failed (tiny full fold 2), ")
    told = dfer(f"ablate --table 3 --format json {RECIPE}")
    assert told.code == 1
    rows = json.loads(told.out)["data"]["rows"]
    assert [row["best"]["mean_war"] is None for row in rows] == [False, True]


@pytest.mark.parametrize(
    ("command", "together", "said"),
    [
        ("train --jobs 0", None, "jobs is 0; it must be at least 1"),
        ("train --jobs 2 --cluster auto", None, "--jobs is for this machine, --cluster for othe"),
        ("train --jobs 2", "2", "processes started by a launcher train one run at a time; "),
        ("ablate --cluster auto", "2", "processes started by a launcher train one run at"),
        (
            "train --device cuda:1",
            "2",
            "--device cuda:1 is a single GPU, but a launcher assigns a GPU to each process; remove",
        ),
        (
            "ablate --device cuda:0 --cluster auto",
            None,
            "--device cuda:0 is a single GPU, but a cluster assigns a GPU to each process; remove",
        ),
        ("train --device cuda:1 --jobs 2", None, "no manifest in data_manifests; `dfer prep"),
        ("train --device cuda:x", None, "no device 'cuda:x'; known: auto, cpu, cuda, mps, or a"),
        ("train --jobs 2", "1", "no manifest in data_manifests; `dfer preprocess` writes one"),
        ("train", "2", "no manifest in data_manifests; `dfer preprocess` writes one"),
    ],
)
def test_what_does_not_go_together_is_refused(command, together, said, dfer, monkeypatch):
    if together:
        monkeypatch.setenv("WORLD_SIZE", together)
    done = dfer(command)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {said}")
