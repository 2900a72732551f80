"""Overhead of a step: launches, waiting, transfers, leaked memory."""

import gc
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from dfercli.config import AugmentConfig
from dfercli.data.augment import Augmenter, change_batch, draw_changes, plan_changes
from dfercli.data.loaders import MAX_PENDING_STEPS, DelayedReader, prefetch
from dfercli.data.transforms import pixel_statistics
from dfercli.models.base import WEIGHTS_FILE, write_weights
from dfercli.training.loop import train_epoch, train_fold

pytestmark = pytest.mark.gpu

DEVICE = torch.device("cuda")
STRONG = {
    "augment": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.02},
    "mixup": 0.8,
    "drop_path": 0.5,
    "label_smoothing": 0.1,
}
"""A recipe that uses everything that can run in a step."""

STEADY = (2, 4)
"""First and last of the profiled steps; an epoch has six, in batches of two."""

LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx")

MOST_LAUNCHES = {"captured": 60, "compiled": 40}
"""Kernels per step outside the graph. Counted as operations on a CPU they are 45: 22 of the
augmentation (a few where it is compiled), 7 of mixup, 7 that add up the loss, 6 of AdamW (111
tensors in two groups, 36 per kernel), 2 that seed the graph, 1 that clamps the temperature. A third
more is allowed; the passes in the graph would launch hundreds."""


@pytest.fixture
def watch_epoch(prepare):
    """Train an epoch of six steps; call one function before the steady steps, another after."""

    def watch(way, begin, end):
        prepared = prepare(way, batch_size=2, **STRONG)
        assert prepared.execution.way == way
        reader, seen = DelayedReader(), []

        def report(clips, loss):
            seen.append(reader.read(loss))
            if len(seen) == STEADY[0]:
                begin()
            if len(seen) == STEADY[1] + 1:
                end()

        loss = train_epoch(
            prepared.execution.step, prepared.loader, prepared.batches, prepared.augment, report
        )
        assert np.isfinite(loss)
        assert len(seen) == 6

    return watch


@pytest.mark.parametrize("way", MOST_LAUNCHES)
def test_a_step_launches_one_graph_and_few_kernels(way, watch_epoch):
    watched = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
    watch_epoch(way, watched.start, watched.stop)
    calls = Counter(event.name for event in watched.events())
    steps = STEADY[1] - STEADY[0] + 1
    assert calls["cudaGraphLaunch"] == steps
    launched = sum(calls[name] for name in LAUNCHES)
    assert steps <= launched <= steps * MOST_LAUNCHES[way], calls


@pytest.mark.parametrize("way", ["eager", "captured"])
def test_no_step_waits_for_the_gpu(way, watch_epoch):
    """Each read of a value, and each copy from memory that is not pinned, would be an error."""

    def forbid():
        torch.cuda.set_sync_debug_mode("error")

    def allow():
        torch.cuda.set_sync_debug_mode("default")

    try:
        watch_epoch(way, forbid, allow)
    finally:
        allow()


def test_waiting_would_be_noticed():
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="synchronizing CUDA operation"):
            torch.ones((), device=DEVICE).item()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("way", ["captured", "compiled"])
def test_runs_one_after_another_leave_no_memory(way, make_gpu_run, tmp_path):
    """As in `dfer train`: the model, its graphs and their memory are freed after each fold."""
    allocated, reserved = [], []
    small = {"model": {"backbone": "demo-ViT-tiny"}, "epochs": 1, "warmup_epochs": 0}
    for number in range(3):
        config = make_gpu_run(way, fold=number + 1, **small)
        train_fold(config, tmp_path / str(number))
        gc.collect()
        torch.cuda.empty_cache()
        allocated.append(torch.cuda.memory_allocated())
        reserved.append(torch.cuda.memory_reserved())
    # The model alone has 5 MB, and the memory of a graph grows by 20 MB at a time.
    assert allocated[-1] - allocated[0] < 2**20, allocated
    assert reserved[-1] - reserved[0] < 20 * 2**20, reserved


def test_batches_arrive_whole_while_the_gpu_is_busy():
    """Each batch is read late, when later ones have already been sent."""
    generator = torch.Generator().manual_seed(0)
    sent = [
        (
            torch.randint(256, (4, 2**18), generator=generator, dtype=torch.uint8).pin_memory(),
            torch.full((4,), number).pin_memory(),
            ("keys", number),
        )
        for number in range(8 + MAX_PENDING_STEPS)
    ]
    for _ in range(2):  # a second epoch takes the memory of the first
        sums, labels, keys = [], [], []
        for clips, numbers, key in prefetch(sent, DEVICE):
            assert clips.is_cuda and numbers.is_cuda
            torch.cuda._sleep(10_000_000)
            sums.append(clips.sum(dtype=torch.int64))
            labels.append(numbers.sum())
            keys.append(key)
        assert keys == [key for *_, key in sent]
        assert [each.item() for each in sums] == [int(c.sum(dtype=torch.int64)) for c, *_ in sent]
        assert [each.item() for each in labels] == [4 * number for number in range(len(sent))]


def test_a_reader_tells_the_number_before_and_does_not_wait():
    reader, values = DelayedReader(), torch.tensor([1.5, 2.5, 3.5], device=DEVICE)
    torch.cuda.synchronize()
    torch.cuda._sleep(200_000_000)
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert reader.read(values[0]) is None
        assert reader.read(values[1]) is None  # the first is still on its way
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    assert reader.read(values[1]) == 1.5
    torch.cuda.synchronize()
    assert reader.read(values[2]) == 2.5


@pytest.fixture
def changes():
    """Eight clips and the random changes of each."""
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (8, 4, 3, 32, 32), dtype=np.uint8)
    config = AugmentConfig(crop_scale=0.5, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    return torch.from_numpy(clips), [draw_changes(config, rng) for _ in clips], config


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_clip_is_changed_alike_whatever_its_batch(compiled, changes):
    clips, draws, _ = changes
    torch.compiler.reset()  # what other tests have compiled counts towards the limit of sizes
    change = (
        torch.compile(change_batch, fullgraph=True, dynamic=False) if compiled else change_batch
    )

    def run(part):
        plan = plan_changes(draws[part], 32, 32, DEVICE)
        return change(clips[part].to(DEVICE), plan, pixel_statistics(DEVICE)).cpu()

    whole = run(slice(0, 8))
    assert torch.equal(run(slice(0, 3)), whole[:3])
    assert torch.equal(run(slice(3, 8)), whole[3:])


def test_clips_are_changed_as_on_a_cpu(changes):
    """To the rounding of fp32: a level of a pixel is 0.015 here."""
    clips, _, config = changes
    augment, views, indices = (
        Augmenter(config, 0),
        torch.zeros(8, dtype=torch.long),
        torch.arange(8),
    )
    ours, theirs = (augment(each, views, indices).cpu() for each in (clips.to(DEVICE), clips))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_an_lstm_that_cudnn_has_flattened_is_saved(tmp_path):
    """Its parameters are then views of one buffer."""
    from safetensors.torch import load_file

    lstm = nn.LSTM(8, 8, bidirectional=True).to(DEVICE)
    lstm(torch.zeros(3, 2, 8, device=DEVICE))
    storages = {p.untyped_storage().data_ptr() for p in lstm.parameters()}
    assert len(storages) == 1
    write_weights(lstm.state_dict(), {}, tmp_path)
    saved = load_file(tmp_path / WEIGHTS_FILE)
    assert {name: weight.shape for name, weight in saved.items()} == {
        name: weight.shape for name, weight in lstm.state_dict().items()
    }
    for name, weight in lstm.state_dict().items():
        assert torch.equal(saved[name], weight.cpu())
