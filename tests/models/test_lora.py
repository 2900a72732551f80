"""LoRA: what is trained, counted by hand; and that merging changes no logits."""

import pytest
import torch

from dfercli.config import ModelConfig, TrainConfig
from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.errors import ConfigError
from dfercli.models.base import ExpressionModel, build_model
from dfercli.models.flops import measure_cost
from dfercli.models.lora import add_lora, merge_lora

ALL = ("q", "k", "v", "out", "mlp")
OFF = {"interfit": False, "msta": False, "biehpro": False}


def count_by_hand(width, layers, rank, projections):
    """Each q, k, v, out is rank x (D + D); the MLP's two layers are rank x (D + 4D) each."""
    square = sum(name != "mlp" for name in projections) * rank * 2 * width
    mlp = 2 * rank * 5 * width if "mlp" in projections else 0
    return layers * (square + mlp)


@pytest.mark.parametrize(
    ("backbone", "width", "layers", "visual"),
    [
        ("ViT-B-32-quickgelu", 768, 12, 87_849_216),
        ("ViT-L-14-quickgelu", 1024, 24, 303_966_208),
    ],
)
@pytest.mark.parametrize("projections", [("q", "v"), ALL])
def test_rank_8_trains_under_3_percent_of_the_tower(backbone, width, layers, visual, projections):
    config = ModelConfig(backbone=backbone, **OFF)
    train = TrainConfig(lora_rank=8, lora_on=",".join(projections))
    plain = measure_cost(config, BASIC_EXPRESSIONS)
    assert plain.trainable == visual + 1  # and the logit scale
    cost = measure_cost(config, BASIC_EXPRESSIONS, train)
    assert cost.trainable == count_by_hand(width, layers, 8, projections)
    assert cost.trainable < 0.03 * visual
    assert (cost.total, cost.true_macs) == (plain.total, plain.true_macs)


def draw_changes(model):
    """Give all changes values as large as those of the weights."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.backbone.lora.parameters():
            parameter.copy_(0.05 * torch.randn_like(parameter))


@pytest.mark.parametrize("projections", [ALL, *((name,) for name in ALL)])
def test_merged_and_unmerged_logits_are_equal(projections, make_model, make_clips, tmp_path):
    model, clips = make_model().eval(), make_clips()
    with torch.no_grad():
        before = model(clips)
        add_lora(model, 4, projections)
        assert torch.equal(model(clips), before), "nothing changes before training"
        draw_changes(model)
        changed = model(clips)
        assert not torch.allclose(changed, before, atol=1e-3)
        merged = make_model().eval()
        merged.load_state_dict(merge_lora(model.state_dict()))  # has the names of an ordinary model
        torch.testing.assert_close(merged(clips), changed, atol=1e-5, rtol=1e-5)
        merged.save_pretrained(tmp_path / "merged")
        loaded = ExpressionModel.from_pretrained(tmp_path / "merged")
        assert torch.equal(loaded(clips), merged(clips))


def test_a_rank_above_the_width_is_refused(make_model):
    model = make_model()
    width = model.backbone.width
    with pytest.raises(ConfigError, match=f"lora_rank is {width + 1}; it must be at most {width}"):
        add_lora(model, width + 1, ("q",))


def test_only_the_changes_and_new_layers_are_trained(make_model, make_clips):
    model = make_model()
    clip_names = {n for n, _ in model.named_parameters() if n.startswith("backbone.")}
    add_lora(model, 2, ("q", "mlp"))
    draw_changes(model)
    model(make_clips()).sum().backward()
    for name, parameter in model.named_parameters():
        frozen = name in clip_names or name == "logit_scale"
        assert parameter.requires_grad != frozen, name
        assert (parameter.grad is None) == frozen, name
    assert {name.split(".")[3] for name, _ in model.named_parameters() if ".lora." in name} == {
        *("q", "fc", "proj")
    }


def test_a_state_dict_without_changes_stays_as_it_is(make_model):
    weights = make_model().state_dict()
    merged = merge_lora(weights)
    assert merged.keys() == weights.keys()
    assert all(merged[name] is weights[name] for name in weights)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"lora_rank": 8, "lora_on": "q,w"}, "no lora_on 'w'; known: q, k, v, out, mlp"),
        ({"lora_rank": 8, "lora_on": ""}, "no lora_on ''; known: q, k, v, out, mlp"),
        ({"lora_on": "q"}, "lora_on has no effect without lora_rank; remove it"),
        ({"lora_rank": -1}, "lora_rank is -1; it must be at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, error):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**settings)
    assert str(caught.value) == error


def test_it_works_without_text(make_config, class_names, make_clips):
    model = build_model(make_config(biehpro=False, text=False), class_names)
    add_lora(model, 2, ("v",))
    assert model(make_clips()).shape == (3, len(class_names))
