"""Clips: exact test views, and training views that depend only on the key."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from dfercli.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from dfercli.data.frames import FrameFolders
from dfercli.data.loaders import (
    ClipDataset,
    EpochBatches,
    build_dataset,
    build_test_loader,
    build_train_loader,
    check_frames,
)
from dfercli.data.manifest import Manifest
from dfercli.data.transforms import fit_frame
from dfercli.errors import DataError, VideoError
from dfercli.media.images import write_image

CLASS_NAMES = ("fear", "anger", "joy")
LENGTHS = (3, 8, 20, 9, 30)
"""Frames of the five clips."""
SIZE = 16


def _color(clip, frame):
    """A colour that says which clip and which frame it is."""
    return 10 * clip, 5 * frame, 200


@pytest.fixture
def manifest(tmp_path):
    """Five clips of plain PNG frames, tested in folds 1, 1, 2, 2 and never."""
    for clip, length in enumerate(LENGTHS):
        (tmp_path / f"clip {clip}").mkdir()
        for frame in range(length):
            image_rgb = np.full((24, 24, 3), _color(clip, frame), dtype=np.uint8)
            write_image(tmp_path / f"clip {clip}" / f"{frame + 1}.png", image_rgb)
    rows = pd.DataFrame(
        {
            "clip_id": [f"id {clip}" for clip in range(5)],
            "path": [f"clip {clip}" for clip in range(5)],
            "n_frames": LENGTHS,
            "label": ["anger", "fear", "joy", "joy", "anger"],
            "test_fold": [1, 1, 2, 2, 0],
        }
    )
    return Manifest("mine", rows, CLASS_NAMES, None, str(tmp_path))


@pytest.fixture
def make_dataset(manifest, tmp_path):
    """All five clips."""

    def make(seed=0):
        return ClipDataset(
            manifest.rows, CLASS_NAMES, FrameFolders(tmp_path, SIZE), ModelConfig(), seed
        )

    return make


def _frames(clip):
    """Return the frames that a clip of plain frames shows."""
    assert (clip == clip[..., :1, :1]).all()
    return (clip[:, 1, 0, 0] // 5).tolist()


def test_a_test_view_shows_exactly_the_expected_frames(make_dataset):
    dataset = make_dataset()
    expected = [
        [0, 1, 2, 2, 2, 2, 2, 2],
        [0, 1, 2, 3, 4, 5, 6, 7],
        [1, 3, 6, 8, 11, 13, 16, 18],  # (i + 0.5) * 2.5
        [0, 1, 2, 3, 5, 6, 7, 8],
        [1, 5, 9, 13, 16, 20, 24, 28],  # (i + 0.5) * 3.75
    ]
    for index, frames in enumerate(expected):
        clip, label, given = dataset[index]
        assert (clip.shape, clip.dtype) == ((8, 3, SIZE, SIZE), torch.uint8)
        assert _frames(clip) == frames
        assert (clip[:, 0] == 10 * index).all()  # red is the first channel
        assert (clip[:, 2] == 200).all()
        assert given == index
        assert CLASS_NAMES[label] == ["anger", "fear", "joy", "joy", "anger"][index]


def test_frames_of_a_view_are_fitted_each_by_itself(make_dataset, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 24, 24, 3), dtype=np.uint8)
    for number, image_rgb in enumerate(images, start=1):
        write_image(tmp_path / "clip 1" / f"{number}.png", image_rgb)
    expected = np.stack([fit_frame(image_rgb, SIZE) for image_rgb in images])
    assert (make_dataset()[1][0].numpy() == expected).all()


def test_a_training_view_draws_from_each_segment_and_anew_every_epoch(make_dataset):
    dataset = make_dataset()
    draws = np.array([_frames(dataset[epoch, 4][0]) for epoch in range(60)])
    assert (draws >= np.floor(np.arange(8) * 3.75)).all()
    assert (draws <= np.ceil(np.arange(1, 9) * 3.75) - 1).all()
    assert set(draws.ravel().tolist()) == set(range(30))
    assert dataset[3, 4][1:] == (1, (3, 4))


def test_a_training_view_follows_from_seed_epoch_and_index_alone(make_dataset):
    def view(seed, epoch, index):
        return make_dataset(seed)[epoch, index][0]

    first = view(0, 0, 2)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 - what must not matter
    assert torch.equal(view(0, 0, 2), first)
    assert not torch.equal(view(0, 1, 2), first)
    assert not torch.equal(view(1, 0, 2), first)
    assert not torch.equal(view(0, 2, 0), first)


def test_reading_leaves_torch_s_own_randomness_as_it_is(make_dataset):
    dataset = make_dataset()
    before = torch.get_rng_state()
    dataset[0, 1], dataset[1]
    assert torch.equal(torch.get_rng_state(), before)


def test_test_views_do_not_depend_on_the_seed(make_dataset):
    plain, other = make_dataset(), make_dataset(seed=5)
    assert all(torch.equal(plain[index][0], other[index][0]) for index in range(5))


@pytest.mark.parametrize("workers", [0, 2])
def test_test_batches_give_every_clip_once_and_in_order(make_dataset, workers):
    dataset = make_dataset()
    batches = list(build_test_loader(dataset, batch_size=2, workers=workers))
    assert [len(batch[0]) for batch in batches] == [2, 2, 1]
    assert torch.cat([batch[2] for batch in batches]).tolist() == list(range(5))
    assert torch.cat([batch[1] for batch in batches]).tolist() == dataset.labels
    clips = torch.cat([batch[0] for batch in batches])
    assert all(torch.equal(clips[index], dataset[index][0]) for index in range(5))


def test_training_batches_are_the_same_with_any_number_of_workers(make_dataset):
    dataset = make_dataset()
    passes = {}
    for workers in (0, 2):
        batches = EpochBatches(len(dataset), 2, seed=0)
        loader = build_train_loader(dataset, batches, workers)
        for epoch in (0, 1):  # the workers live on and must hear of the new epoch
            batches.epoch = epoch
            passes[workers, epoch] = list(loader)
    for epoch in (0, 1):
        indices = torch.cat([batch[2][1] for batch in passes[0, epoch]]).tolist()
        assert sorted(indices) == list(range(5))
        for alone, together in zip(passes[0, epoch], passes[2, epoch], strict=True):
            assert torch.equal(alone[0], together[0])
            assert str(alone[1:]) == str(together[1:])  # labels and keys
        clips = torch.cat([batch[0] for batch in passes[2, epoch]])
        for clip, index in zip(clips, indices, strict=True):
            assert torch.equal(clip, dataset[epoch, index][0])


@pytest.mark.parametrize(("split", "clip_ids"), [("test", [2, 3]), ("train", [0, 1, 4])])
def test_a_run_gets_its_side_of_its_fold(manifest, tmp_path, split, clip_ids):
    model, data = (
        ModelConfig(num_frames=4),
        DataConfig(dataset="mine", manifest="mine.csv", root=str(tmp_path)),
    )
    dataset = build_dataset(manifest, split, RunConfig(data=data, fold=2, model=model), size=12)
    assert dataset.clip_ids == [f"id {clip}" for clip in clip_ids]
    assert len(dataset) == len(clip_ids)
    assert dataset[0][0].shape == (4, 3, 12, 12)
    assert (dataset[0][0][:, 0] == 10 * clip_ids[0]).all()


def test_a_run_s_seed_reaches_its_clips(manifest, tmp_path, make_dataset):
    run = RunConfig(
        data=DataConfig(dataset="mine", manifest="mine.csv", root=str(tmp_path)), fold=2, seed=3
    )
    training = build_dataset(manifest, "train", run, SIZE)
    views = [training[epoch, 2][0] for epoch in range(5)]
    # Its third clip is the manifest's fifth: the same frames, drawn for another place.
    assert len({tuple(_frames(view)) for view in views}) > 1
    again = build_dataset(manifest, "train", run, SIZE)
    assert all(torch.equal(again[epoch, 2][0], view) for epoch, view in enumerate(views))
    other = build_dataset(manifest, "train", replace(run, seed=4), SIZE)
    assert any(not torch.equal(other[epoch, 2][0], view) for epoch, view in enumerate(views))


def test_votes_label_what_is_trained_on_and_nothing_that_is_tested(manifest, tmp_path):
    votes = {"votes:anger": [0, 0, 3, 1, 4], "votes:joy": [0, 0, 1, 1, 0]}
    manifest = replace(manifest, rows=manifest.rows.assign(**votes))
    data = DataConfig(dataset="mine", manifest="mine.csv", root=str(tmp_path))
    run = RunConfig(data=data, fold=1, train=TrainConfig(labels="votes"))
    training = build_dataset(manifest, "train", run, SIZE)  # two clips of joy, one of anger
    shares = [training[0, index][1].tolist() for index in range(3)]
    assert shares == [[0, 0.75, 0.25], [0, 0.5, 0.5], [0, 1, 0]]  # fear, anger, joy
    assert training.class_sizes == [0, 2.25, 0.75]
    assert [CLASS_NAMES[training[i][1]] for i in range(3)] == ["joy", "joy", "anger"]
    batches = EpochBatches(3, 2, seed=0)
    (_, labels, _), (_, rest, _) = build_train_loader(training, batches, workers=0)
    assert (labels.shape, rest.shape) == ((2, 3), (1, 3))
    for part in ("test", "val"):
        held = replace(run, train=replace(run.train, val_fraction=0.5)) if part == "val" else run
        dataset = build_dataset(manifest, part, held, SIZE)
        assert isinstance(dataset[0][1], int)
    hard = build_dataset(manifest, "train", replace(run, train=TrainConfig()), SIZE)
    assert hard[0, 0][1] == CLASS_NAMES.index("joy")
    assert hard.class_sizes == [0, 1, 2]


def _cut(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_without_its_second_half_is_named(make_dataset, tmp_path, workers):
    path = tmp_path / "clip 3" / "3.png"
    _cut(path)
    with pytest.raises(VideoError) as caught:
        list(build_test_loader(make_dataset(), batch_size=2, workers=workers))
    # From a worker it comes after the worker's own trace; users see its line alone.
    assert (len(str(caught.value).splitlines()) > 1) == bool(workers)
    assert caught.value.line == f"cannot read {path}: cut off"


@pytest.mark.slow
def test_a_jpeg_without_its_second_half_is_not_taken_for_a_grey_one(make_dataset, tmp_path):
    path = tmp_path / "clip 1" / "1.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    write_image(path, noise)
    (tmp_path / "clip 1" / "1.png").unlink()
    _cut(path)
    with pytest.raises(VideoError, match=r"clip 1/1\.jpg: cut off"):
        make_dataset()[1]


def test_frames_of_several_sizes_are_an_error(make_dataset, tmp_path):
    write_image(tmp_path / "clip 1" / "4.png", np.zeros((24, 32, 3), dtype=np.uint8))
    with pytest.raises(DataError) as caught:
        make_dataset()[1]
    expected = f"frames in {tmp_path / 'clip 1'} have different sizes; resize them"
    assert str(caught.value) == expected


def test_frames_that_agree_with_the_manifest_are_accepted(manifest, tmp_path):
    assert check_frames(manifest, tmp_path) is None


@pytest.mark.parametrize("found", [19, 21])
def test_more_or_fewer_frames_than_the_manifest_says_are_an_error(manifest, tmp_path, found):
    folder = tmp_path / "clip 2"
    (folder / "20.png").unlink()
    for number in range(20, found + 1):
        (folder / f"{number}.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        check_frames(manifest, tmp_path)
    expected = f"{folder} has {found} frames, but the manifest says 20; run `dfer preprocess` again"
    assert str(caught.value) == expected


def test_a_folder_that_is_gone_is_an_error(manifest, tmp_path):
    (tmp_path / "clip 3").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError) as caught:
        check_frames(manifest, tmp_path)
    assert str(caught.value) == (
        f"folder {tmp_path / 'clip 3'} does not exist; check that {tmp_path} is the data root, or "
        f"run `dfer preprocess` again"
    )


def test_a_root_that_is_gone_is_an_error(manifest, tmp_path):
    gone = tmp_path / "unplugged"
    with pytest.raises(DataError) as caught:
        check_frames(manifest, gone)
    assert str(caught.value) == (f"data folder {gone} does not exist; set --root or $DFER_DATA")
