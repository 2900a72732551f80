"""The cache: the same views as without it, shared, and never used when it is stale."""

import os
import pickle
import threading
import time
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from dfercli.config import DataConfig, ModelConfig, RunConfig
from dfercli.data import frames as module
from dfercli.data.frames import fingerprint_frames, open_cache
from dfercli.data.loaders import EpochBatches, build_dataset, build_train_loader
from dfercli.data.manifest import Manifest
from dfercli.errors import DataError, VideoError
from dfercli.media.images import write_image

LENGTHS = (3, 8, 21, 9)
SIZE = 20


@pytest.fixture
def root(tmp_path):
    """Four clips of noise, JPEG and PNG, as large as the model's frames or not."""
    rng = np.random.default_rng(0)
    for clip, (length, side) in enumerate(zip(LENGTHS, (20, 33, 12, 20), strict=True)):
        folder = tmp_path / "data" / f"clip {clip}"
        folder.mkdir(parents=True)
        for frame in range(length):
            image_rgb = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            write_image(folder / f"{frame + 1}.{('jpg', 'png')[clip % 2]}", image_rgb)
    return tmp_path / "data"


@pytest.fixture
def manifest(root):
    """The clips, not in the order of their paths."""
    rows = pd.DataFrame(
        {
            "clip_id": ["d", "a", "c", "b"],
            "path": ["clip 3", "clip 0", "clip 2", "clip 1"],
            "n_frames": [LENGTHS[3], LENGTHS[0], LENGTHS[2], LENGTHS[1]],
            "label": ["joy", "fear", "joy", "fear"],
            "test_fold": [1, 1, 2, 2],
        }
    )
    return Manifest("mine", rows, ("fear", "joy"), None, str(root))


@pytest.fixture
def make_dataset(manifest, root, tmp_path):
    """One side of a fold, with the cache or without."""

    def make(cached, split="train", fold=1):
        folder = str(tmp_path / "cache") if cached else None
        data = DataConfig(dataset="mine", manifest="mine.csv", root=str(root), cache=folder)
        return build_dataset(
            manifest, split, RunConfig(data=data, fold=fold, model=ModelConfig(num_frames=4)), SIZE
        )

    return make


def _open(manifest, root, folder, size=SIZE):
    return open_cache(manifest, root, size, folder / "cache")


def _caches(folder):
    return sorted(path.name for path in (folder / "cache").glob("*.frames"))


@pytest.mark.parametrize(("split", "fold"), [("train", 1), ("test", 1), ("train", 2), ("test", 2)])
def test_every_view_is_the_same_with_and_without_it(make_dataset, split, fold):
    plain, cached = make_dataset(False, split, fold), make_dataset(True, split, fold)
    keys = [*range(2), *((epoch, index) for epoch in range(5) for index in range(2))]
    for key in keys:
        (ours, *rest), (expected, *others) = cached[key], plain[key]
        assert torch.equal(ours, expected)
        assert rest == others


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_with_and_without_it(make_dataset, workers):
    batches = EpochBatches(2, 2, seed=0)
    loaders = [
        build_train_loader(make_dataset(cached), batches, workers) for cached in (True, False)
    ]
    for ours, expected in zip(*loaders, strict=True):
        assert torch.equal(ours[0], expected[0])
        assert str(ours[1:]) == str(expected[1:])  # labels and keys


def test_images_are_not_read_again(make_dataset, monkeypatch):
    make_dataset(True)

    def read(path):
        raise AssertionError(path)

    monkeypatch.setattr("dfercli.data.frames.read_image", read)
    for split, fold in (("train", 1), ("test", 1), ("train", 2)):
        assert make_dataset(True, split, fold)[0, 1][0].shape == (4, 3, SIZE, SIZE)


def test_other_labels_and_folds_share_it(manifest, root, tmp_path):
    first = _open(manifest, root, tmp_path)
    rows = manifest.rows.assign(label="joy", test_fold=3).iloc[::-1]
    assert _open(replace(manifest, rows=rows), root, tmp_path).file == first.file
    assert len(_caches(tmp_path)) == 1
    assert first.file.stat().st_size == sum(LENGTHS) * 3 * SIZE**2


def _crop_anew(root):
    """Replace the folder by another with as many frames, as cropping does."""
    (root / "clip 1").rename(root.parent / "old")
    (root / "clip 1").mkdir()
    for path in (root.parent / "old").iterdir():
        write_image(root / "clip 1" / path.name, np.zeros((20, 20, 3), np.uint8))


def _rename_a_frame(root):
    (root / "clip 1" / "8.png").rename(root / "clip 1" / "0.png")


def _replace_a_frame(root):
    write_image(root / "clip 1" / "new.png", np.zeros((33, 33, 3), np.uint8))
    (root / "clip 1" / "new.png").replace(root / "clip 1" / "8.png")


@pytest.mark.parametrize("change", [_crop_anew, _rename_a_frame, _replace_a_frame])
def test_other_frames_get_another(manifest, root, tmp_path, make_dataset, change):
    before = _open(manifest, root, tmp_path)
    time.sleep(0.02)  # file systems do not tell time apart for ever
    change(root)
    assert _open(manifest, root, tmp_path).file != before.file
    for fold in (1, 2):
        plain, cached = (make_dataset(cached, "test", fold) for cached in (False, True))
        assert all(torch.equal(plain[index][0], cached[index][0]) for index in range(2))


def test_another_size_root_or_set_of_clips_gets_another(manifest, root, tmp_path):
    files = {_open(manifest, root, tmp_path).file, _open(manifest, root, tmp_path, 24).file}
    fewer = replace(manifest, rows=manifest.rows.iloc[:3])
    files.add(_open(fewer, root, tmp_path).file)
    (tmp_path / "elsewhere").mkdir()
    root.rename(tmp_path / "elsewhere" / "data")
    files.add(_open(manifest, tmp_path / "elsewhere" / "data", tmp_path).file)
    assert len(files) == len(_caches(tmp_path)) == 4


@pytest.mark.parametrize("length", [0, 1000, sum(LENGTHS) * 3 * SIZE**2 + 1])
def test_a_damaged_one_is_built_again(manifest, root, tmp_path, length):
    cache = _open(manifest, root, tmp_path)
    whole = cache.file.read_bytes()
    os.truncate(cache.file, length)
    assert _open(manifest, root, tmp_path).file == cache.file
    assert cache.file.read_bytes() == whole


def test_one_that_goes_while_it_is_read_is_named(make_dataset, tmp_path):
    dataset = make_dataset(True)
    (name,) = _caches(tmp_path)
    os.truncate(tmp_path / "cache" / name, 100)
    with pytest.raises(DataError) as caught:
        dataset[1]
    said = f"{tmp_path / 'cache' / name} was removed or truncated; start the run again"
    assert str(caught.value) == said
    (tmp_path / "cache" / name).unlink()
    with pytest.raises(DataError, match="was removed or truncated"):
        dataset[1]


def test_an_interrupted_build_leaves_nothing_to_be_read(manifest, root, tmp_path, monkeypatch):
    write_clip = module._write_clip

    def stop(file, source, path, place):
        if path == "clip 2":
            raise KeyboardInterrupt
        write_clip(file, source, path, place)

    monkeypatch.setattr(module, "_write_clip", stop)
    with pytest.raises(KeyboardInterrupt):
        _open(manifest, root, tmp_path)
    assert _caches(tmp_path) == []
    monkeypatch.undo()
    assert _open(manifest, root, tmp_path).file.is_file()


def test_two_that_want_it_at_once_build_it_once(manifest, root, tmp_path, monkeypatch):
    build, built = module._build, []

    def count(*arguments):
        built.append(arguments)
        time.sleep(0.2)
        build(*arguments)

    monkeypatch.setattr(module, "_build", count)
    threads = [threading.Thread(target=_open, args=(manifest, root, tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == len(_caches(tmp_path)) == 1


def test_a_full_disk_is_noticed_before_anything_is_written(manifest, root, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(10**12, 10**12, 10**9))
    with pytest.raises(DataError) as caught:
        _open(manifest, root, tmp_path)
    assert str(caught.value) == (
        f"the cache needs 0.0 GB, but only 0.0 GB are free in {tmp_path / 'cache'}; use another "
        f"--cache-dir, or --no-cache"
    )
    assert _caches(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(manifest, root, tmp_path):
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot write .*cache/mine-20-\w{12}\.frames \(File exis"):
        _open(manifest, root, tmp_path)


def test_frames_that_do_not_hold_together_are_named(manifest, root, tmp_path):
    path = root / "clip 2" / "5.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match=r"cannot read .*clip 2/5\.jpg: cut off"):
        _open(manifest, root, tmp_path)
    path.unlink()
    with pytest.raises(
        DataError, match=r"clip 2 has 20 frames, but the manifest says 21; run `dfer p"
    ):
        _open(manifest, root, tmp_path)
    write_image(path, np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(DataError, match=r"frames in .*clip 2 have different sizes; resize them"):
        _open(manifest, root, tmp_path)
    (root / "clip 2").rename(root / "gone")
    with pytest.raises(
        DataError, match=r"folder .*clip 2 does not exist; check that .* is the data root"
    ):
        _open(manifest, root, tmp_path)
    assert _caches(tmp_path) == []


def test_the_fingerprint_is_twelve_digits_and_stays(manifest, root):
    first = fingerprint_frames(manifest, root)
    assert len(first) == 12
    assert int(first, 16) >= 0
    assert fingerprint_frames(manifest, root) == first


def test_it_is_sent_to_a_process_without_its_frames(manifest, root, tmp_path):
    assert len(pickle.dumps(_open(manifest, root, tmp_path))) < 1000
