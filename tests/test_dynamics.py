"""The made datasets of benchmarks/dynamics.py hold what they claim: nothing but time differs."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dfercli.data.loaders import build_dataset
from dfercli.data.manifest import read_manifest, write_manifest
from dfercli.data.sampling import find_sampler
from dfercli.data.transforms import normalise
from dfercli.metrics.scores import confusion_matrix, war
from dfercli.models.base import assemble, build_model
from dfercli.models.msta import MSTA
from dfercli.training.recipe import check_recipe

ROOT = Path(__file__).parents[1]
TRAIN_PERSONS, TEST_PERSONS = 3, 2


@pytest.fixture
def dynamics(monkeypatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("dynamics")


@pytest.fixture
def make_data(dynamics, tmp_path):
    """Draw a dataset of few persons, and give its manifest as training reads it."""

    def make(name: str) -> Any:
        drawn = dynamics.make_dataset(name, tmp_path, 7, TRAIN_PERSONS, TEST_PERSONS)
        write_manifest(drawn, tmp_path / f"{name}.csv")
        return read_manifest(tmp_path / f"{name}.csv")

    return make


def read_pairs(manifest: Any, split: str) -> list[list[list[bytes]]]:
    """Give the files of both clips of each draw in one side of the split."""
    rows, root = manifest.select(1, split), Path(manifest.root)
    pairs = []
    for _, drawn in rows.groupby(rows["clip_id"].str.rpartition("-")[0]):
        assert sorted(drawn["label"]) == sorted(manifest.class_names)
        folders = [root / path for path in drawn.sort_values("label")["path"]]
        pairs.append([[f.read_bytes() for f in sorted(folder.iterdir())] for folder in folders])
    return pairs


@pytest.mark.parametrize("split", ["train", "test"])
def test_each_clip_of_the_order_has_its_reversed_twin_on_its_side(make_data, dynamics, split):
    pairs = read_pairs(make_data("order"), split)
    persons = {"train": TRAIN_PERSONS, "test": TEST_PERSONS}[split]
    assert len(pairs) == persons * dynamics.PROBES["order"].takes
    for appearing, fading in pairs:
        assert appearing == fading[::-1]
        assert len(set(appearing)) == dynamics.PROBES["order"].num_frames


@pytest.mark.parametrize("split", ["train", "test"])
def test_clips_of_a_draw_differ_in_the_two_frames_of_the_event(make_data, split):
    pairs = read_pairs(make_data("event"), split)
    assert pairs
    for first, second in pairs:
        differing = [
            k for k, frames in enumerate(zip(first, second, strict=True)) if len(set(frames)) > 1
        ]
        assert len(first) == 16
        assert np.diff(differing).tolist() == [1]


def test_events_begin_anywhere(dynamics):
    begins = set()
    for person in range(12):
        first, second = dynamics.draw_clips("event", 7, person, 0)
        begins.add(int(np.flatnonzero((first != second).any(axis=(1, 2, 3)))[0]))
    assert len(begins) > 4


@pytest.mark.parametrize("name", ["faces", "order", "event"])
def test_persons_of_the_test_are_in_no_training(make_data, name):
    manifest = make_data(name)
    groups = {split: set(manifest.select(1, split)["group"]) for split in ("train", "test")}
    assert len(groups["train"]) == TRAIN_PERSONS
    assert len(groups["test"]) == TEST_PERSONS
    assert not groups["train"] & groups["test"]


def test_the_same_seed_gives_the_same_pixels(dynamics):
    once, again, other = (dynamics.draw_clips("order", seed, 0, 0)[0] for seed in (7, 7, 8))
    assert once.shape == (8, 48, 48, 3)
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


@pytest.mark.parametrize("variant", ["frame mean", "InterFIT", "MSTA", "full"])
def test_without_training_the_frame_mean_alone_takes_twins_for_one(
    make_data, dynamics, tmp_path, variant
):
    manifest = make_data("order")
    run = dynamics.make_run("order", variant, tmp_path, "random", seed=0)
    torch.manual_seed(0)
    model = build_model(run.model, manifest.class_names).eval()
    if variant != "frame mean":
        _leave_the_start(model)
    dataset = build_dataset(manifest, "test", run, dynamics.SIZE)
    clips, labels, _ = zip(*(dataset[index] for index in range(len(dataset))), strict=True)
    with torch.inference_mode():
        logits = model(normalise(torch.stack(clips)))
    appearing, fading = (logits[torch.tensor(labels) == label] for label in (0, 1))
    same = torch.allclose(appearing, fading, atol=1e-4)
    assert same == (variant == "frame mean")
    if same:
        predicted = logits.argmax(dim=-1).numpy()
        assert war(confusion_matrix(np.array(labels), predicted, 2)) == 0.5


@pytest.mark.parametrize("name", ["order", "event"])
def test_networks_of_table_1_read_the_frames_of_a_clip_in_order(name, dynamics, tmp_path):
    probe = dynamics.PROBES[name]
    for network in dynamics.MODELS:
        run = dynamics.make_run(name, network, tmp_path, "random", seed=0)
        check_recipe(run)
        with torch.device("meta"):
            assert assemble(run.model, probe.class_names, None).image_size == dynamics.SIZE
        frames = find_sampler(run.model).test(probe.num_frames)
        assert len(frames) == run.model.num_frames
        if run.model.sampling != "snippets":
            assert frames.tolist() == list(range(probe.num_frames)), network


def _leave_the_start(model: Any) -> None:
    """Move what starts as CLIP, where order does not count yet, a little away from it."""
    with torch.no_grad():
        for layer in model.interfit.layers if model.interfit else ():
            layer.attention.out_proj.weight.normal_(std=0.1)
        if model.msta:
            model.msta.fc_video.weight.normal_(std=0.1)


@pytest.mark.parametrize(("num_frames", "length"), [(8, 2), (16, 5), (11, 3)])
def test_the_control_takes_means_of_the_windows_that_msta_takes_maxima_of(
    dynamics, num_frames, length
):
    msta = MSTA(4, num_frames)
    maxima = MSTA.pool
    bright = torch.eye(num_frames).unsqueeze(1)  # row t has its one bright frame at t
    for pools in msta.pools:
        with dynamics.pooling(True):
            means = msta.pool(bright, *pools)
        assert means.shape == (num_frames, 1, length)
        assert torch.allclose(means.sum(dim=0), torch.ones(1, length))
        assert torch.equal(means > 0, msta.pool(bright, *pools) > 0)
    assert MSTA.pool is maxima
