"""`dfer train --repeat`: a run is trained again from its own record."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dfercli.data.manifest import read_manifest, write_manifest
from dfercli.models.base import read_settings
from dfercli.models.settings import seal
from dfercli.runs.run_folder import RunFolder

RECIPE = (
    "--backbone demo-ViT-tiny --weights random --epochs 2 --warmup-epochs 0 --workers 0 --lr 1e-3 "
    "--num-blocks 1 --seed 3 --save-every 1"
)
WHERE = Path("tiny", "full-m1-seed3", "fold2")
MANIFEST = Path("data_manifests", "tiny.csv")


@pytest.fixture
def run(write_tiny, dfer):
    """A finished run on fold 2 with settings of its own."""
    write_tiny()
    done = dfer(f"train --folds 2 {RECIPE}")
    assert done.code == 0, done.err
    return RunFolder("runs" / WHERE)


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"runs/{WHERE}", str(WHERE), "full-m1-seed3"])
def test_a_repeated_run_is_the_same(name, run, dfer):
    done = dfer(f"train --repeat {name} --runs again")
    assert done.code == 0, done.err
    again = RunFolder("again" / WHERE)
    assert again.read().config == run.read().config
    for file in ("predictions_best.csv", "predictions_last.csv", "last/model.safetensors"):
        assert (again.path / file).read_bytes() == (run.path / file).read_bytes()
    notes = done.err.splitlines()
    assert any(note.startswith(f"repeats: runs/{WHERE} (dfer train --folds 2 ") for note in notes)
    assert not [note for note in notes if note.startswith("changed ")]


@pytest.mark.slow
def test_options_that_are_typed_override_the_record(run, dfer):
    done = dfer(f"train --repeat {WHERE} --epochs 1 --seed 4 --runs again")
    assert done.code == 0, done.err
    config, recorded = (
        RunFolder(Path("again/tiny/full-m1-seed4/fold2")).read().config,
        run.read().config,
    )
    assert config == replace(recorded, seed=4, train=replace(recorded.train, epochs=1))
    assert "changed settings: seed 3 -> 4; train.epochs 2 -> 1" in done.err.splitlines()


@pytest.mark.slow
def test_changed_data_and_code_are_named(run, dfer):
    manifest = read_manifest(MANIFEST)
    rows = manifest.rows.assign(n_frames=1)
    write_manifest(replace(manifest, rows=rows), MANIFEST)
    entries = json.loads(run.run_file.read_text())
    entries["versions"]["torch"] = "1.0"
    run.run_file.write_text(json.dumps(entries))
    notes = dfer(f"train --repeat {WHERE} --runs again").err.splitlines()
    before, after = manifest.fingerprint, read_manifest(MANIFEST).fingerprint
    assert f"changed data: data {before} -> {after}" in notes
    (code,) = (note for note in notes if note.startswith("changed code: "))
    assert code.startswith("changed code: torch 1.0 -> 2")


@pytest.mark.slow
def test_an_interrupted_run_is_finished_from_its_record(run, dfer):
    entries = json.loads(run.run_file.read_text())
    run.run_file.write_text(json.dumps({**entries, "finished": False}))
    done = dfer(f"train --repeat {WHERE}")
    assert done.code == 0, done.err
    assert run.read().finished


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny/full-m1-seed3", "full-m1-seed3"])
def test_a_repetition_that_was_interrupted_still_repeats_all_folds(name, run, dfer):
    assert dfer(f"train --folds 1 {RECIPE}").code == 0
    assert dfer(f"train --repeat {name} --folds 1 --runs again").code == 0
    done = dfer(f"train --repeat {name} --runs again")
    assert done.code == 0, done.err
    assert RunFolder(Path("again/tiny/full-m1-seed3/fold2")).read().finished
    listed = ", ".join(f"runs/tiny/full-m1-seed3/fold{fold}" for fold in (1, 2))
    assert f"repeats: {listed} (dfer train --folds 1 " in done.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"--repeat {WHERE}", f"runs/{WHERE} is the run to repeat, and it is finished; choose"),
        ("--repeat nothing", "no run 'nothing': there is no such folder, and no such run in runs"),
        (f"--repeat {WHERE} --preset small", "--repeat uses the recipe of the repeated run;"),
        (f"--repeat {WHERE} --manifests elsewhere", "no manifest in elsewhere; `dfer preprocess`"),
    ],
)
def test_a_run_that_cannot_be_repeated_says_why(line, said, run, dfer):
    done = dfer(f"train {line}")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith(f"error: {said}")


@pytest.mark.slow
def test_a_run_whose_data_is_gone_says_so(run, dfer):
    MANIFEST.rename("moved.csv")
    done = dfer(f"train --repeat {WHERE} --runs again")
    assert done.err.splitlines()[-1] == (
        f"error: cannot repeat {WHERE}: its manifest {MANIFEST} does not exist; start in the "
        "folder that it is relative to, or use --manifests FOLDER"
    )
    Path("moved.csv").rename(MANIFEST)
    Path("data").rename("moved")
    done = dfer(f"train --repeat {WHERE} --runs again")
    assert (done.code, done.out) == (1, "")
    assert "data folder data/tiny does not exist; set --root" in done.err
    assert dfer(f"train --repeat {WHERE} --runs again --root moved/tiny").code == 0


@pytest.mark.slow
def test_a_run_on_all_clips_is_repeated_for_as_many_epochs(run, dfer):
    assert dfer(f"train --all-data {RECIPE}").code == 0
    final = RunFolder("runs" / WHERE.with_name("all"))
    assert dfer(f"train --repeat {final.path} --runs again").code == 0
    again = RunFolder("again" / WHERE.with_name("all"))
    assert again.read().config == final.read().config
    name = "last/model.safetensors"
    assert (again.path / name).read_bytes() == (final.path / name).read_bytes()


@pytest.mark.slow
def test_a_repetition_elsewhere_takes_calibration_and_epochs_of_the_repeated_runs(run, dfer):
    """The folder of the repetition has no folds that could give them."""
    assert dfer(f"train --all-data {RECIPE}").code == 0
    final = RunFolder("runs" / WHERE.with_name("all"))
    settings = json.loads((final.model / "config.json").read_text())
    settings["calibration"] = {"clips": 120, "temperature": 1.5}
    (final.model / "config.json").write_text(json.dumps(settings))
    seal(final.model / "config.json", final.model / "model.safetensors")
    assert dfer(f"train --repeat {final.path} --runs again").code == 0
    again = RunFolder("again" / WHERE.with_name("all"))
    assert read_settings(str(again.model))["calibration"] == settings["calibration"]
    done = dfer(f"train --repeat {WHERE} --all-data --runs third")
    assert done.code == 0, done.err
    assert "the median of the epochs chosen in folds 2" in done.err
    done = dfer(f"train --repeat {final.path} --folds 1 --runs again")
    assert done.err.splitlines()[-1] == (
        f"error: {final.path} was trained on all clips and has no folds; remove --folds"
    )
    done = dfer(f"eval {final.path}")
    assert done.err.splitlines()[-1] == (
        f"error: {final.path} was trained on all clips, so none can test it; use "
        f"{final.path.parent} for the results of its folds"
    )


@pytest.mark.slow
def test_a_run_is_repeated_from_another_folder(run, dfer, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = dfer(f"train --repeat ../runs/{WHERE}")
    assert done.code == 0, done.err
    again = RunFolder(tmp_path / "elsewhere" / "runs" / WHERE)
    name = "last/model.safetensors"
    assert (again.path / name).read_bytes() == (tmp_path / run.path / name).read_bytes()


def test_the_recipe_of_a_fold_is_repeated_on_all_clips(run, dfer):
    done = dfer(f"train --repeat {WHERE} --all-data")
    assert done.code == 0, done.err
    assert "the median of the epochs chosen in folds 2" in done.err
    config = RunFolder("runs" / WHERE.with_name("all")).read().config
    recorded = run.read().config
    assert replace(config.train, stop_epoch=None) == recorded.train
    assert (config.seed, config.model) == (recorded.seed, recorded.model)
