"""Errors report the system's cause, and guess no other."""

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
from huggingface_hub import constants
from PIL import Image

from dfercli import downloads
from dfercli.data import frames as frame_cache
from dfercli.data.frames import open_cache
from dfercli.data.manifest import Manifest, read_manifest, write_manifest
from dfercli.errors import CheckpointError, DataError, VideoError, WeightsError
from dfercli.media.images import find_fault, image_size, write_image
from dfercli.media.video import read_frames
from dfercli.media.video_writer import write_video
from dfercli.models.pretrained import load_pretrained
from dfercli.predict import Predictor
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.runs.predictions import read_predictions
from dfercli.runs.run_folder import RunFolder

SAID = "Permission denied; check the permissions"
NOISE = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture
def refuse(monkeypatch):
    """Let a function fail with an error of the system; root may do anything, so none is real."""

    def refuse(target, name, number=errno.EACCES, path=None):
        def fail(*arguments, **options):
            raise OSError(number, os.strerror(number), path and str(path))

        monkeypatch.setattr(target, name, fail)

    return refuse


@pytest.fixture
def manifest(tmp_path):
    """A clip of two frames, and its manifest."""
    folder = tmp_path / "data" / "clip"
    folder.mkdir(parents=True)
    for number in (1, 2):
        write_image(folder / f"{number}.jpg", NOISE)
    columns = {"clip_id": ["clip"], "path": ["clip"], "n_frames": 2, "label": ["a"]}
    rows = pd.DataFrame(columns | {"test_fold": 1})
    write_manifest(Manifest("mine", rows, ("a", "b"), None, "data"), tmp_path / "mine.csv")
    return read_manifest(tmp_path / "mine.csv")


def test_a_run_that_may_not_be_read_is_not_called_missing(tmp_path, refuse):
    run = RunFolder(tmp_path)
    refuse(Path, "read_text")
    with pytest.raises(CheckpointError) as caught:
        run.read()
    assert str(caught.value) == f"cannot read {run.run_file}: {SAID}"


def test_predictions_that_may_not_be_read_are_not_trained_again(tmp_path, refuse):
    refuse(pd, "read_csv")
    with pytest.raises(DataError) as caught:
        read_predictions(tmp_path / "p.csv")
    assert str(caught.value) == f"cannot read {tmp_path / 'p.csv'}: {SAID}"


@pytest.mark.usefixtures("manifest")
def test_a_manifest_that_may_not_be_read_is_not_to_be_removed(tmp_path, refuse):
    refuse(Path, "read_text")
    with pytest.raises(DataError, match=rf"^cannot read .*mine.*: {SAID}$"):
        read_manifest(tmp_path / "mine.csv")


def test_images_that_may_not_be_read_are_not_called_missing_or_broken(tmp_path, refuse):
    write_image(tmp_path / "a.jpg", NOISE)
    refuse(Image, "open", errno.EIO)
    with pytest.raises(VideoError, match=r"a\.jpg: Input/output error; check the disk"):
        image_size(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(b"ends oddly")
    assert find_fault(tmp_path / "a.jpg") == "unreadable (Input/output error)"
    refuse(Path, "open")
    assert find_fault(tmp_path / "a.jpg") == "unreadable (Permission denied)"


def test_data_that_may_not_be_read_is_not_blamed_on_the_cache(manifest, tmp_path, refuse):
    root, cache = tmp_path / "data", tmp_path / "cache"
    refuse(frame_cache, "list_clip", path=root / "clip")
    with pytest.raises(DataError) as caught:
        open_cache(manifest, root, 8, cache)
    assert str(caught.value) == f"cannot read {root / 'clip'}: {SAID}"
    refuse(frame_cache, "list_clip", errno.ENOSPC)
    with pytest.raises(DataError, match=r"^cannot write .*mine.* \(No space left on device\);"):
        open_cache(manifest, root, 8, cache)
    refuse(Path, "stat")
    with pytest.raises(DataError, match=rf"^cannot read .*clip: {SAID}$"):
        open_cache(manifest, root, 8, cache)


def test_a_cache_that_cannot_be_mapped_was_not_removed(manifest, tmp_path, refuse):
    cache = open_cache(manifest, tmp_path / "data", 8, tmp_path / "cache")
    refuse(np, "memmap", errno.EMFILE)
    with pytest.raises(DataError) as caught:
        cache.read_frames("clip", lambda count: np.arange(count))
    said = f"{os.strerror(errno.EMFILE)}; raise the limit on open files"
    assert str(caught.value) == f"cannot read {cache.file}: {said}"


def test_a_video_that_may_not_be_read_is_not_called_broken(tmp_path, refuse):
    write_video(tmp_path / "v.mp4", [NOISE] * 4, 4)
    refuse(Path, "open")
    with pytest.raises(VideoError) as caught:
        list(read_frames(tmp_path / "v.mp4"))
    assert str(caught.value) == f"cannot read {tmp_path / 'v.mp4'}: {SAID}"


def test_a_folder_that_is_not_writable_is_no_lack_of_an_encoder(tmp_path, refuse):
    refuse(tempfile, "mkdtemp")
    with pytest.raises(PermissionError):
        write_video(tmp_path / "v.mp4", [NOISE] * 4, 4)


@pytest.mark.parametrize(
    "load", [lambda: load_pretrained("ViT-B-32-quickgelu", "openai"), Predictor.zero_shot]
)
def test_weights_that_the_disk_cannot_hold_are_not_blamed_on_the_network(load, refuse, monkeypatch):
    monkeypatch.setattr(downloads, "answers", lambda url: True)
    refuse(open_clip, "download_pretrained", errno.ENOSPC)
    with pytest.raises(WeightsError) as caught:
        load()
    assert str(caught.value) == (
        "cannot fetch weights 'openai' of ViT-B-32-quickgelu: No space left on device; "
        "free some space"
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; free some s"),
        (RuntimeError("Could not determine home directory."), "Could not determine home directory"),
    ],
)
def test_a_model_of_the_hub_that_cannot_be_kept_is_not_called_missing(error, said, monkeypatch):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("dfercli.models.base.hf_hub_download", fail)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint("org/name")
    assert str(caught.value).startswith(f"cannot fetch config.json of 'org/name': {said}")
