"""Damage that no file format detects: flipped bits, zeroed parts, missing lines, swapped names."""

import json
import time

import numpy as np
import pytest

from dfercli.data.frames import _checksum_file, open_cache
from dfercli.data.manifest import read_manifest
from dfercli.errors import CheckpointError, DataError
from dfercli.files import write_json
from dfercli.models.settings import make_seal
from dfercli.runs.checkpoint import load_checkpoint, save_checkpoint
from dfercli.runs.run_folder import RunFolder
from dfercli.training import loop
from dfercli.training.loop import train_fold
from dfercli.training.state import find_state


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    path.write_bytes(content)


def zero_quarter(path):
    content = bytearray(path.read_bytes())
    quarter = len(content) // 4
    content[-quarter:] = bytes(quarter)
    path.write_bytes(content)


@pytest.fixture
def checkpoint(make_model, tmp_path):
    save_checkpoint(make_model(), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("damage", [flip_bit, zero_quarter])
def test_damaged_weights_are_not_believed(checkpoint, damage):
    load_checkpoint(str(checkpoint))
    damage(checkpoint / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"is damaged: config\.json or model\.safet"):
        load_checkpoint(str(checkpoint))


def test_swapped_class_names_are_not_believed(checkpoint):
    path = checkpoint / "config.json"
    settings = json.loads(path.read_text())
    settings["class_names"] = settings["class_names"][::-1]
    write_json(path, settings)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(str(checkpoint))


def test_a_checkpoint_of_an_earlier_version_is_loaded(checkpoint):
    path = checkpoint / "config.json"
    settings = json.loads(path.read_text())
    assert settings.pop("seal")
    write_json(path, settings)
    assert "seal" not in load_checkpoint(str(checkpoint)).settings


def test_a_seal_costs_little(checkpoint, tmp_path):
    weights = tmp_path / "weights"
    weights.write_bytes(bytes(100_000_000))
    began_s = time.perf_counter()
    make_seal({}, weights)
    assert time.perf_counter() - began_s < 3  # 0.1 s on an idle core


class _StoppedError(Exception):
    pass


@pytest.fixture
def stopped(make_run, tmp_path, monkeypatch):
    """A run that was interrupted after an epoch, and its configuration."""
    config, seed_epoch = make_run(epochs=2), loop.seed_epoch

    def stop(seed, epoch, rank):
        if epoch == 1:
            raise _StoppedError
        seed_epoch(seed, epoch, rank)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "seed_epoch", stop)
        with pytest.raises(_StoppedError):
            train_fold(config, tmp_path)
    return RunFolder(tmp_path / "colours" / "full" / "fold1"), config


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "metrics.json"])
def test_a_damaged_state_is_one_line(stopped, tmp_path, name):
    run, config = stopped
    flip_bit(find_state(run) / name)
    with pytest.raises(CheckpointError) as caught:
        train_fold(config, tmp_path)
    assert f"({name} is damaged)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_metrics_short_of_a_line_are_not_believed(stopped, tmp_path):
    run, config = stopped
    train_fold(config, tmp_path)
    assert len(run.read_metrics()) == 2
    lines = run.metrics_file.read_text().splitlines(keepends=True)
    run.metrics_file.write_text(lines[0])
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl has changed since the run"):
        run.read_metrics()


def test_a_cache_of_zeros_is_not_believed(colours, tmp_path):
    manifest = read_manifest(colours)
    cache = open_cache(manifest, colours.parent, 32, tmp_path)
    path = manifest.rows["path"].iloc[0]
    frames = cache.read_frames(path, np.arange)
    cache.file.write_bytes(bytes(cache.file.stat().st_size))
    again = open_cache(manifest, colours.parent, 32, tmp_path)
    with pytest.raises(DataError, match=f"wrong checksum of the frames of {path}"):
        again.read_frames(path, np.arange)
    _checksum_file(cache.file).unlink()  # as an earlier version left it
    assert not open_cache(manifest, colours.parent, 32, tmp_path).read_frames(path, np.arange).any()
    assert frames.any()
