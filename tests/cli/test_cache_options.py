"""Options of the cache of decoded frames."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfercli.cli.options import find_cache
from dfercli.data.manifest import Manifest, write_manifest
from dfercli.errors import ConfigError
from dfercli.faces.align import CropRecipe
from dfercli.media.images import write_image

CLASSES = ("happiness", "sadness")
RECIPE = "--backbone demo-ViT-tiny --weights random --epochs 1 --warmup-epochs 0 --workers 0"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("DFER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "named", "expected"),
    [
        ({}, None, "home/.cache/dfer"),
        ({"XDG_CACHE_HOME": "caches"}, None, "caches/dfer"),
        ({"XDG_CACHE_HOME": ""}, None, "home/.cache/dfer"),
        ({"XDG_CACHE_HOME": "caches", "DFER_CACHE": "fast"}, None, "fast"),
        ({"DFER_CACHE": "fast"}, Path("mine"), "mine"),
    ],
)
def test_the_folder_is_as_named_or_the_usual_one(environment, named, expected, monkeypatch, capsys):
    monkeypatch.setenv("HOME", "home")
    monkeypatch.setenv("USERPROFILE", "home")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert find_cache(True, named) == str(Path(expected))
    assert capsys.readouterr().err == f"frame cache: {Path(expected)}\n"
    assert find_cache(False, None) is None


def test_a_folder_without_a_cache_is_an_error():
    with pytest.raises(ConfigError) as caught:
        find_cache(False, Path("mine"))
    assert str(caught.value) == "--cache-dir mine has no effect without --cache; add --cache"


def test_without_a_home_folder_the_caches_have_to_be_named(monkeypatch):
    def fail():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", fail)
    assert find_cache(True, Path("mine")) == "mine"
    with pytest.raises(ConfigError) as caught:
        find_cache(True, None)
    assert str(caught.value) == (
        "no home folder for the frame cache; choose a folder with --cache-dir or $DFER_CACHE"
    )


def _make_project():
    """Two folds of two clips each."""
    rows = []
    for fold in (1, 2):
        for shade, name in enumerate(CLASSES):
            folder = Path("data", f"{name}{fold}")
            folder.mkdir(parents=True)
            for index in range(3):
                image_rgb = np.full((32, 32, 3), 90 + 60 * shade + index, np.uint8)
                write_image(folder / f"{index}.png", image_rgb)
            rows.append((folder.name, folder.name, 3, name, fold))
    table = pd.DataFrame(rows, columns=["clip_id", "path", "n_frames", "label", "test_fold"])
    manifest = Manifest("tiny", table, CLASSES, asdict(CropRecipe("mtcnn", 32)), "data")
    write_manifest(manifest, Path("data_manifests", "tiny.csv"))


def _caches():
    return [path.name for path in Path("kept").glob("*.frames")]


@pytest.mark.slow
def test_all_commands_share_one_cache_and_find_the_same(dfer, monkeypatch):
    monkeypatch.setenv("DFER_CACHE", "kept")
    _make_project()
    assert dfer(f"train {RECIPE} --runs plain").code == 0
    assert _caches() == []
    trained = dfer(f"train {RECIPE} --cache")
    assert trained.code == 0
    assert "frame cache: kept\n" in trained.err
    for fold in (1, 2):
        for name in ("predictions_best.csv", "predictions_last.csv"):
            plain, cached = (Path(r, f"tiny/full/fold{fold}", name) for r in ("plain", "runs"))
            assert cached.read_text() == plain.read_text()
    (name,) = _caches()
    assert dfer(f"ablate --table 3 --folds 1 {RECIPE} --cache --runs other").code == 0
    line = "test runs/tiny/full/fold1 --workers 0 --format json"
    results = [json.loads(dfer(f"{line} {more}").out) for more in ("", "--cache")]
    assert results[0] == results[1]
    assert _caches() == [name]
    again = dfer(f"train {RECIPE} --no-cache")  # the same run: it has no effect on the result
    assert (again.code, again.out) == (0, trained.out)
    assert dfer(f"train {RECIPE} --cache-dir kept").code == 1
