"""InterFIT against Eq. (2) written out in loops."""

import pytest
import torch

from dfercli.models.interfit import InteractionLayer, InterFIT

WIDTH = 128  # two heads of CLIP's width


def _lstm_direction(lstm, suffix, tokens):
    """Run one direction of an LSTM over the rows of (T, D), gate by gate; returns (T, D)."""
    weights = {
        name: getattr(lstm, f"{name}_l0{suffix}")
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    hidden = cell = torch.zeros(WIDTH)
    states = []
    for token in tokens:
        gates = weights["weight_ih"] @ token + weights["bias_ih"]
        gates = gates + weights["weight_hh"] @ hidden + weights["bias_hh"]
        enter, forget, candidate, leave = gates.chunk(4)
        cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
        hidden = leave.sigmoid() * cell.tanh()
        states.append(hidden)
    return torch.stack(states)


def _self_attention(attention, rows):
    """Multi-head self-attention over the rows of (T, D) with heads of 64 channels."""
    projected = rows @ attention.in_proj_weight.T + attention.in_proj_bias
    queries, keys, values = projected.chunk(3, dim=1)
    mixed = torch.zeros_like(rows)
    for head in range(WIDTH // 64):
        part = slice(64 * head, 64 * (head + 1))
        for i in range(len(rows)):
            scores = torch.stack([queries[i, part] @ key[part] / 8 for key in keys])
            shares = scores.exp() / scores.exp().sum()
            mixed[i, part] = sum(s * v[part] for s, v in zip(shares, values, strict=True))
    return mixed @ attention.out_proj.weight.T + attention.out_proj.bias


def _reference(layer, class_tokens):
    """Eq. (2) for the class tokens (T, D) of one clip."""
    tokens = class_tokens @ layer.to_interaction.weight.T + layer.to_interaction.bias
    forward = _lstm_direction(layer.lstm, "", tokens)
    backward = _lstm_direction(layer.lstm, "_reverse", tokens.flip(0)).flip(0)
    reduced = torch.cat([forward, backward], dim=1) @ layer.reduce.weight.T + layer.reduce.bias
    centred = reduced - reduced.mean(dim=1, keepdim=True)
    normed = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    normed = normed * layer.norm.weight + layer.norm.bias
    return tokens + _self_attention(layer.attention, normed)


def _layer(near_clip=False):
    torch.manual_seed(0)
    layer = InteractionLayer(WIDTH, near_clip)
    if not near_clip:  # no bias stays 0 and no scale 1, which would hide
        for parameter in layer.parameters():
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    return layer


@torch.no_grad()
def test_equation_2():
    layer = _layer()
    class_tokens = torch.randn(3, 5, WIDTH)
    ours = layer(class_tokens)
    for clip, tokens in enumerate(class_tokens):
        assert torch.allclose(ours[clip], _reference(layer, tokens), atol=1e-5)


@torch.no_grad()
def test_near_clip_start_hands_each_frame_its_own_class_token():
    class_tokens = torch.randn(2, 8, WIDTH)
    assert torch.equal(_layer(near_clip=True)(class_tokens), class_tokens)


@torch.no_grad()
def test_a_plain_start_does_not():
    class_tokens = torch.randn(2, 8, WIDTH)
    assert (InteractionLayer(WIDTH, near_clip=False)(class_tokens) - class_tokens).norm() > 1


@pytest.mark.parametrize("frame", [0, 2, 4])
def test_each_frame_hears_of_all_others(frame):
    class_tokens = torch.randn(1, 5, WIDTH, requires_grad=True)
    _layer()(class_tokens)[0, frame].square().sum().backward()
    assert (class_tokens.grad[0].abs().sum(dim=1) > 0).all()


@torch.no_grad()
def test_clips_of_a_batch_do_not_mix():
    layer = _layer()
    class_tokens = torch.randn(2, 5, WIDTH)
    changed = class_tokens.clone()
    changed[1] += 1
    assert torch.allclose(layer(changed)[0], layer(class_tokens)[0], atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("num_frames", [1, 2, 16])
def test_any_number_of_frames(num_frames):
    output = _layer()(torch.randn(2, num_frames, WIDTH))
    assert output.shape == (2, num_frames, WIDTH)
    assert output.isfinite().all()


@torch.no_grad()
def test_each_block_of_the_backbone_has_a_layer_of_its_own():
    interfit = InterFIT(WIDTH, num_layers=3, near_clip=False)
    assert len(interfit.layers) == 3
    class_tokens = torch.randn(1, 4, WIDTH)
    outputs = [layer(class_tokens) for layer in interfit.layers]
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-2)


@pytest.mark.parametrize(("width", "num_heads"), [(32, 1), (64, 1), (128, 2), (768, 12)])
def test_heads_are_as_wide_as_clips(width, num_heads):
    with torch.device("meta"):
        assert InteractionLayer(width, near_clip=False).attention.num_heads == num_heads
