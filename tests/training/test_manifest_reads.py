"""`dfer train` and `dfer ablate` read the manifest once, however many folds and rows they train."""

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
