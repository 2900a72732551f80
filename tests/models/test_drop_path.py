"""Stochastic depth: per clip, preserving the expectation, in training only."""

import pytest
import torch

from dfercli.models import backbone as module
from dfercli.models.backbone import CLIPBackbone, draw_factors, scale_clips
from dfercli.models.pretrained import build_untrained


def test_a_clip_skips_with_all_its_frames_and_the_others_are_scaled_up():
    torch.manual_seed(0)
    branch = torch.rand(4000 * 3, 2, 5) + 1  # B * T, P, D
    out = scale_clips(branch, draw_factors(4000, 0.25, branch.device), num_frames=3)
    factors = (out / branch).view(4000, -1)
    assert torch.allclose(factors, factors[:, :1].expand_as(factors))
    remaining = factors[:, 0] > 0
    assert torch.allclose(factors[remaining], torch.tensor(4 / 3))
    assert (factors[~remaining] == 0).all()
    assert remaining.float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert factors[:, 0].mean().item() == pytest.approx(1.0, abs=0.03)


def test_a_rate_of_zero_touches_and_draws_nothing():
    branch, state = torch.rand(6, 2, 5), torch.random.get_rng_state()
    assert torch.equal(scale_clips(branch, draw_factors(2, 0.0, branch.device), 3), branch)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_type_stays():
    branch = torch.ones(4, 1, 2, dtype=torch.bfloat16)
    assert scale_clips(branch, draw_factors(2, 0.5, branch.device), 2).dtype == torch.bfloat16


def test_the_rate_rises_in_a_line_from_block_to_block(monkeypatch):
    rates = []

    def note(num_clips, rate, device):
        rates.append((num_clips, rate))
        return torch.ones(num_clips, device=device)

    monkeypatch.setattr(module, "draw_factors", note)
    backbone = CLIPBackbone(build_untrained("demo-ViT-tiny").visual).train()
    backbone.drop_path = 0.3
    size, layers = backbone.image_size, backbone.num_layers
    backbone(torch.zeros(2, 3, 3, size, size))
    assert [num_clips for num_clips, _ in rates] == [2] * 2 * layers
    expected = [0.3 * block / (layers - 1) for block in range(layers) for _ in range(2)]
    assert [rate for _, rate in rates] == pytest.approx(expected)
    assert (rates[0][1], rates[-1][1]) == (0.0, pytest.approx(0.3))


def test_it_is_off_in_evaluation_and_at_rate_zero(make_model, make_clips):
    model, clips = make_model(), make_clips()
    plain = model.eval()(clips)
    assert torch.equal(model.train()(clips), plain)
    model.backbone.drop_path = 0.9
    assert torch.equal(model.eval()(clips), plain)
    assert not torch.equal(model.train()(clips), plain)


def test_frames_of_a_clip_stay_alike_and_clips_do_not(make_model, make_clips):
    model = make_model(interfit=False)
    model.backbone.drop_path = 0.5
    clips = make_clips(1, 1).expand(32, 3, 3, 32, 32)
    torch.manual_seed(0)
    embeds = model.backbone.train()(clips)
    assert torch.allclose(embeds, embeds[:, :1].expand_as(embeds), atol=1e-6)
    kinds = {tuple(round(value, 3) for value in clip[0].tolist()) for clip in embeds}
    assert len(kinds) == 4  # the last block's two branches, remaining or not


def test_a_checkpoint_knows_nothing_of_it(make_model):
    plain, dropping = make_model(), make_model()
    dropping.backbone.drop_path = 0.5
    assert dropping.state_dict().keys() == plain.state_dict().keys()
    assert dropping.settings == plain.settings
