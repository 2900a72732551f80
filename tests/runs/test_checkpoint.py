"""Checkpoints are written atomically, and are found through the folder of their run."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from dfercli.errors import CheckpointError
from dfercli.models.base import build_model
from dfercli.runs import checkpoint
from dfercli.runs.checkpoint import check_fits, load_checkpoint, save_checkpoint
from dfercli.training import loop
from dfercli.training.loop import train_fold

CLASSES = ("happiness", "sadness", "anger")
CROP = {"detector": "mtcnn", "size": 32, "template": "loose-five-points", "version": 1}


@pytest.fixture
def model(make_config):
    torch.manual_seed(3)
    return build_model(make_config(num_frames=4), CLASSES, CROP)


def _bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_checkpoint_knows_its_classes_crop_and_settings(model, make_clips, tmp_path):
    save_checkpoint(model, tmp_path / "made" / "best")
    assert set(_bytes(tmp_path / "made" / "best")) == {"config.json", "model.safetensors"}
    loaded = load_checkpoint(str(tmp_path / "made" / "best"))
    assert not loaded.training
    assert loaded.class_names == list(CLASSES)
    assert loaded.settings["crop"] == CROP
    assert loaded.config == model.config
    clips = make_clips(2, 4)
    with torch.no_grad():
        assert torch.equal(loaded(clips), model.eval()(clips))


def test_a_new_checkpoint_takes_the_place_of_the_old(model, tmp_path):
    save_checkpoint(model, tmp_path / "best")
    (tmp_path / "best" / "stray.txt").touch()
    model.logit_scale.data.fill_(1.5)
    save_checkpoint(model, tmp_path / "best")
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    kept = {"stray.txt"}  # somebody else's, so it stays
    assert set(_bytes(tmp_path / "best")) == {"config.json", "model.safetensors"} | kept
    assert load_file(tmp_path / "best" / "model.safetensors")["logit_scale"] == 1.5


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_the_old_checkpoint(error, model, tmp_path, monkeypatch):
    save_checkpoint(model, tmp_path / "best")
    before = _bytes(tmp_path / "best")

    def save_half(weights, settings, folder):
        (folder / "config.json").write_text("{")
        raise error

    monkeypatch.setattr(checkpoint, "write_weights", save_half)
    with pytest.raises(type(error)):
        save_checkpoint(model, tmp_path / "best")
    assert _bytes(tmp_path / "best") == before
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_the_folder_of_a_run_means_its_best_epoch(make_run, tmp_path, monkeypatch):
    wars = iter([0.9, 0.2])
    monkeypatch.setattr(loop, "score", lambda _: {"war": next(wars), "uar": 0.5})
    run = train_fold(make_run(epochs=2), tmp_path)
    assert load_checkpoint(str(run.path)).settings["trained"]["epoch"] == 1
    assert load_checkpoint(str(run.checkpoint("last"))).settings["trained"]["epoch"] == 2


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (
            "config.json",
            "no config.json in {folder}; it is not a checkpoint, or incomplete: copy it again",
        ),
        (
            "model.safetensors",
            "no model.safetensors in {folder}; it is not a checkpoint, or incomplete: copy it "
            "again",
        ),
    ],
)
def test_a_checkpoint_with_a_file_missing_says_which(lost, said, own_run):
    (own_run.checkpoint("best") / lost).unlink()
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(own_run.path))
    assert str(caught.value) == said.format(folder=own_run.checkpoint("best"))


def test_a_run_without_a_checkpoint_says_so(own_run):
    shutil.rmtree(own_run.checkpoint("best"))
    with pytest.raises(CheckpointError, match=rf"no config\.json in {own_run.path}; it is not"):
        load_checkpoint(str(own_run.path))


def test_another_models_folder_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match=r"was not written by dfer: no model in config\.json"):
        load_checkpoint(str(tmp_path))


def test_a_model_fits_the_data_that_it_was_made_for(model):
    check_fits(model, CLASSES, dict(CROP))
    check_fits(model, list(CLASSES), None, allow_other_crop=True)
    with pytest.raises(CheckpointError, match="the data has sadness, happiness, anger"):
        check_fits(model, ("sadness", "happiness", "anger"), CROP)
    with pytest.raises(
        CheckpointError, match=r"cropped with \{'detector'.* cropped with None; train"
    ):
        check_fits(model, CLASSES, None)
    with pytest.raises(CheckpointError, match=r"'size': 32.*cropped with .*'size': 64"):
        check_fits(model, CLASSES, CROP | {"size": 64})
