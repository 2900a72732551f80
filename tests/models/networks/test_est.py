"""EST and T-ESFL: sizes, what snippets and frames contribute, and the order that is predicted."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from dfercli.config.presets import default_model
from dfercli.errors import ConfigError
from dfercli.models.base import assemble
from dfercli.models.flops import measure_cost
from dfercli.models.networks.est import (
    BatchNorm,
    list_orders,
    make_positions,
    order_loss,
    weigh_frames,
)

SEVEN = tuple("abcdefg")


@pytest.fixture
def build():
    """Build a small model that reads frames of 32 pixels."""

    def make(method="est", **changes):
        torch.manual_seed(0)
        return assemble(default_model(method, image_size=32, width=0.125, **changes), SEVEN, None)

    return make


@pytest.mark.parametrize("method", ["est", "t-esfl"])
def test_parameters_are_those_of_the_released_code(method):
    cost = measure_cost(default_model(method), SEVEN)
    assert cost.total == 42_779_345
    # Queries and keys of one token, and the positions, are not trained.
    assert cost.total - cost.trainable == 3 * 2 * (512 * 512 + 512) + 7 * 512
    assert cost.paper_macs == 63_597_928_896
    assert cost.true_macs == 63_598_280_128
    assert cost.paper_macs == pytest.approx(63.5e9, rel=0.005)


def test_the_order_head_has_the_published_size(build):
    with torch.device("meta"):
        model = assemble(default_model("est"), SEVEN, None)
    assert sum(p.numel() for p in model.order_head.parameters()) == 8_401_418


def test_ten_orders_of_seven_agree_in_at_most_one_place():
    orders = list_orders(7)
    assert len(set(orders)) == 10
    assert orders[0] == (0, 1, 2, 3, 4, 5, 6)
    for one, other in itertools.combinations(orders, 2):
        assert sorted(one) == list(range(7))
        assert sum(a == b for a, b in zip(one, other, strict=True)) <= 1


@pytest.mark.parametrize(("snippets", "count"), [(1, 1), (2, 2), (3, 6), (4, 8), (5, 10), (9, 10)])
def test_few_snippets_have_few_orders(snippets, count):
    orders = list_orders(snippets)
    assert len(orders) == len(set(orders)) == count


def test_frames_are_weighed_by_their_similarity_with_the_maximum():
    frames = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [3.0, 3.0], [-1.0, -1.0], [3.0, 3.0]]])
    # The maximum is (3, 3); the similarities are 1/sqrt(2) twice, 1, -1 (clamped to 0), 1.
    half = 1 / math.sqrt(2)
    expected = (6 + half) / (2 + 2 * half)
    assert torch.allclose(weigh_frames(frames), torch.full((1, 2), expected), atol=1e-6)


def test_frames_without_similarity_have_equal_weights():
    assert torch.equal(weigh_frames(torch.zeros(1, 5, 2)), torch.zeros(1, 2))
    opposite = torch.tensor([[[-1.0, 0.0], [0.0, -1.0]]])  # the maximum is (0, 0)
    assert torch.allclose(weigh_frames(opposite), torch.tensor([[-0.5, -0.5]]))


def test_positions_are_sines_and_cosines():
    expected = torch.tensor([[0.0, 1.0, 0.0, 1.0], [*_wave(1.0), *_wave(0.01)]])
    assert torch.allclose(make_positions(2, 4), expected)


def _wave(angle):
    return math.sin(angle), math.cos(angle)


def test_frames_of_a_snippet_have_no_order_but_snippets_have(build):
    model, clips = build().eval(), torch.randn(1, 35, 3, 32, 32)
    snippets = clips.unflatten(1, (7, 5))
    with torch.no_grad():
        logits = model(clips)
        assert torch.allclose(model(snippets.flip(2).flatten(1, 2)), logits, atol=1e-5)
        assert not torch.allclose(model(snippets.flip(1).flatten(1, 2)), logits, atol=1e-4)


def test_the_transformer_does_not_notice_snippets_shuffled_with_their_positions(build):
    temporal = build().eval().backbone.temporal
    snippets = torch.randn(2, 7, temporal.features)
    with torch.no_grad():
        videos = temporal.embed_video(snippets)
        order = list(list_orders(7)[8])
        temporal.positions.copy_(temporal.positions[order])
        assert torch.allclose(temporal.embed_video(snippets[:, order]), videos, atol=1e-5)


def test_the_order_head_reads_shuffled_snippets_without_gradient(build, monkeypatch):
    model = build().train()
    read = []
    model.order_head.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    temporal = model.backbone.temporal
    snippets = torch.randn(3, 7, temporal.features, requires_grad=True)
    videos = torch.randn(3, temporal.features, requires_grad=True)
    monkeypatch.setattr(temporal, "embed_snippets", lambda frames: snippets)
    monkeypatch.setattr(temporal, "embed_video", lambda snippets: videos)
    outputs = model.run(torch.randn(3, 35, 3, 32, 32))
    for row, drawn in enumerate(outputs.extras["orders"]):
        expected = snippets[row, model.orders[drawn]] + videos[row]
        assert torch.allclose(read[0][row], expected.flatten())
    order_loss(outputs, torch.zeros(3, dtype=torch.long)).sum().backward()
    assert snippets.grad is None
    assert videos.grad.any()


def test_the_order_is_drawn_from_the_global_generator_and_weighs_a_seventh(build):
    model, clips = build().train(), torch.randn(16, 35, 3, 32, 32)
    torch.manual_seed(5)
    first = model.run(clips).extras
    torch.manual_seed(5)
    assert torch.equal(model.run(clips).extras["orders"], first["orders"])
    assert len(first["orders"].unique()) > 3
    ((loss, weight),) = model.auxiliary_losses()
    assert (loss, weight) == (order_loss, 1 / 7)


def test_evaluation_does_not_predict_the_order(build):
    model = build().eval()
    model.returns_extras = True
    model.order_head.register_forward_hook(lambda *_: pytest.fail("the order head ran"))
    assert model(torch.zeros(1, 35, 3, 32, 32)).shape == (1, 7)


def test_batch_norm_of_one_row_uses_the_running_statistics():
    norm = BatchNorm(4).train()
    norm.running_mean.fill_(1.0)
    norm.running_var.fill_(4.0)
    row = torch.randn(1, 4)
    assert torch.allclose(norm(row), (row - 1) / 2, atol=1e-5)
    assert norm.running_mean.eq(1.0).all()
    rows = torch.randn(8, 4)
    expected = F.batch_norm(rows, None, None, norm.weight, norm.bias, training=True)
    assert torch.allclose(norm(rows), expected)


def test_clips_consist_of_whole_snippets(build):
    assert build(num_frames=15).eval()(torch.zeros(1, 15, 3, 32, 32)).isfinite().all()
    with pytest.raises(ConfigError, match="num_frames is 16; for --model est it must be a mult"):
        build(num_frames=16)
