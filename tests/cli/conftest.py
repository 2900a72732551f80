"""Fixtures: the command line, called in an empty folder."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def dfer(tmp_path, monkeypatch):
    """Return a function that calls a command in an empty folder."""
    from dfercli.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DFER_DATA", raising=False)

    def run(line):
        monkeypatch.setattr(sys, "argv", ["dfer", *line.split()])
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
        return SimpleNamespace(code=ended.value.code or 0, out=out.getvalue(), err=err.getvalue())

    return run


@pytest.fixture
def write_tiny(dfer):
    """Return a function that writes a manifest `tiny`: two folds with one clip of each class."""
    from dfercli.data.manifest import Manifest, write_manifest
    from dfercli.media.images import write_image

    def write(crop=None, kind="folder"):
        classes, rows = ("happiness", "sadness"), []
        for fold in (1, 2):
            for name in classes:
                folder = Path("data", "tiny", f"{name}{fold}")
                folder.mkdir(parents=True)
                for index in range(2):
                    write_image(folder / f"{index}.png", np.full((32, 32, 3), 90, np.uint8))
                rows.append((folder.name, folder.name, 2, name, fold))
        table = pd.DataFrame(rows, columns=["clip_id", "path", "n_frames", "label", "test_fold"])
        manifest = Manifest("tiny", table, classes, crop, "data/tiny", kind=kind)
        write_manifest(manifest, Path("data_manifests", "tiny.csv"))
        return table

    return write
