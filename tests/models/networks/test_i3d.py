"""I3D: its counts at two sizes, and its padding."""

import pytest
import torch

from dfercli.config.presets import default_model
from dfercli.models.flops import measure_cost
from dfercli.models.networks.i3d import I3d, Pooling, pad_same

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")


@pytest.mark.parametrize(
    ("image_size", "macs", "rounded"), [(112, 6_982_557_696, 6.98), (224, 27_787_576_320, 27.79)]
)
def test_counts_are_those_published(image_size, macs, rounded):
    cost = measure_cost(default_model("i3d", image_size=image_size), SEVEN)
    assert cost.total == cost.trainable == 12_294_439
    assert cost.paper_macs == cost.true_macs == macs
    assert round(macs / 1e9, 2) == rounded


def test_the_paper_has_the_cost_of_small_frames():
    cost = measure_cost(default_model("i3d"), SEVEN)
    assert cost.paper_macs == pytest.approx(6.99e9, rel=0.002)


@pytest.mark.parametrize(
    ("size", "side", "stride", "before", "after"),
    [
        (4, 3, 1, 1, 1),
        (4, 3, 2, 0, 1),  # two outputs: 4 + 1 = 3 + 2
        (5, 3, 2, 1, 1),  # three outputs: 5 + 2 = 3 + 2 * 2
        (8, 7, 2, 2, 3),
        (7, 2, 2, 0, 1),
        (8, 2, 2, 0, 0),
        (1, 2, 2, 0, 1),
    ],
)
def test_padding_by_hand(size, side, stride, before, after):
    padded = pad_same(torch.ones(1, 1, size, 1, 1), (side, 1, 1), (stride, 1, 1))
    assert padded.flatten().tolist() == [0] * before + [1] * size + [0] * after


def test_each_axis_has_its_own_padding():
    maps = torch.arange(1.0, 7).reshape(1, 1, 1, 2, 3)
    padded = pad_same(maps, (1, 2, 3), (1, 2, 2))
    assert padded[0, 0, 0].tolist() == [[0, 1, 2, 3, 0], [0, 4, 5, 6, 0]]
    assert Pooling((1, 2, 3), (1, 2, 2))(maps).flatten().tolist() == [5, 6]


def test_the_order_of_frames_matters():
    torch.manual_seed(0)
    network = I3d(width=0.125).eval()
    clips = torch.randn(2, 8, 3, 48, 48)
    with torch.no_grad():
        assert not torch.allclose(network(clips), network(clips.flip(1)), rtol=1e-3)
