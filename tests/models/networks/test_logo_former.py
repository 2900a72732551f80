"""LOGO-Former: its cost, windows and what attention reads in them, and the compact loss."""

import math

import pytest
import torch
from torch.nn import functional as F

from dfercli.config.presets import default_model
from dfercli.models.base import Outputs, assemble
from dfercli.models.flops import measure_cost
from dfercli.models.networks.logo_former import (
    GlobalAttention,
    LocalAttention,
    average_windows,
    compact_loss,
    cut_windows,
    join_windows,
)

SEVEN = tuple("abcdefg")
SIZES = [(4, 8, 4), (3, 7, 5), (1, 1, 1), (2, 4, 9)]


def test_cost_is_the_published_one():
    cost = measure_cost(default_model("logo-former"), SEVEN)
    assert cost.total == cost.trainable == 9_113_927
    assert cost.paper_macs == 10_150_938_368
    assert cost.true_macs == 10_269_492_992
    assert cost.true_macs == pytest.approx(10.27e9, rel=0.0005)


def test_a_window_is_two_frames_by_four_rows_and_columns():
    maps = torch.arange(2 * 4 * 8).view(1, 2, 4, 8, 1)
    windows = cut_windows(maps).squeeze(-1)
    assert windows.shape == (1, 2, 32)
    rows = maps[0, ..., 4:, 0].flatten()  # the right half
    assert torch.equal(windows[0, 1], rows)


@pytest.mark.parametrize(("sizes", "count"), list(zip(SIZES, (4, 8, 1, 3), strict=True)))
def test_windows_join_to_the_maps_that_were_cut(sizes, count):
    maps = torch.randn(2, *sizes, 3)
    windows = cut_windows(maps)
    assert windows.shape == (2, count, 32, 3)
    assert torch.equal(join_windows(windows, sizes), maps)


@pytest.mark.parametrize("sizes", SIZES)
def test_the_feature_of_a_window_is_the_mean_of_its_tokens(sizes):
    maps = torch.randn(1, *sizes, 3)
    expected = [
        maps[0, t : t + 2, row : row + 4, column : column + 4].flatten(0, 2).mean(dim=0)
        for t in range(0, sizes[0], 2)
        for row in range(0, sizes[1], 4)
        for column in range(0, sizes[2], 4)
    ]
    assert torch.allclose(average_windows(maps)[0], torch.stack(expected), atol=1e-6)


def test_local_attention_equals_attention_within_each_window():
    torch.manual_seed(0)
    attention, maps = LocalAttention(16), torch.randn(1, 3, 5, 4, 16)
    mixed = attention(maps)
    for t, row in ((0, 0), (0, 4), (2, 0), (2, 4)):
        part = (slice(0, 1), slice(t, t + 2), slice(row, row + 4))
        tokens = maps[part].flatten(1, 3)
        q, k, v = (
            x.unflatten(-1, (8, 2)).transpose(1, 2)
            for x in attention.query_key_value(tokens).chunk(3, dim=-1)
        )
        expected = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        assert torch.allclose(mixed[part].flatten(1, 3), attention.output(expected), atol=1e-6)


def test_global_attention_reads_only_the_means_of_windows():
    torch.manual_seed(0)
    attention, maps = GlobalAttention(16), torch.randn(1, 2, 4, 8, 16)
    tokens = torch.randn(1, 5, 16)
    mixed = attention(tokens, maps)
    assert mixed.shape == tokens.shape
    swapped = maps.clone()
    swapped[0, 0, 0, :2] = maps[0, 1, 3, :2]  # within the left window
    swapped[0, 1, 3, :2] = maps[0, 0, 0, :2]
    assert torch.allclose(attention(tokens, swapped), mixed, atol=1e-6)
    swapped[0, 0, 0, 0] += 32
    assert not torch.allclose(attention(tokens, swapped), mixed, atol=1e-3)


def test_frames_and_positions_have_an_order():
    torch.manual_seed(0)
    config = default_model("logo-former", image_size=48, width=0.125, num_frames=4, sampling="2x2")
    temporal = assemble(config, SEVEN, None).eval().backbone.temporal
    for positions in (temporal.frame_positions, temporal.map_positions):
        positions.data.normal_()
    maps = torch.randn(1, 4, temporal.features, 3, 3)
    with torch.no_grad():
        for axis in (1, 3, 4):
            assert not torch.allclose(temporal(maps.flip(axis)), temporal(maps), atol=1e-3)


def test_clips_of_a_class_are_drawn_together_and_others_apart():
    videos = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [-1.0, 0.0]])
    outputs = Outputs(torch.zeros(4, 2), {"videos": videos})
    losses = compact_loss(outputs, torch.tensor([0, 0, 1, 2]))
    half = 1 / math.sqrt(2)
    # Clip 0: distance 1 from clip 1; similarities with the others half and -1, which counts as 0.
    # Clip 1: the same, but the similarity with clip 3 is 0. Clip 2: half twice and -half.
    # Clip 3: -1, 0 and -half.
    expected = torch.tensor([1 + half / 2, 1 + half / 2, 2 * half / 3, 0.0])
    assert torch.allclose(losses, expected, atol=1e-6)


def test_a_clip_alone_has_no_compact_loss():
    outputs = Outputs(torch.zeros(1, 2), {"videos": torch.ones(1, 2)})
    assert torch.equal(compact_loss(outputs, torch.tensor([0])), torch.zeros(1))
    config = default_model("logo-former", image_size=32, width=0.125)
    assert assemble(config, SEVEN, None).auxiliary_losses() == [(compact_loss, 0.1)]
