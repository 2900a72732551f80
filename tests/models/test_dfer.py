"""The whole model: contract over its variants, meaning, and checkpoints."""

import json
from itertools import product

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from dfercli.errors import CheckpointError, ConfigError
from dfercli.models.base import MAX_LOGIT_SCALE
from dfercli.models.biehpro import CrossAttention
from dfercli.models.dfer import DFERModel, contrastive_loss

MODULES = ("interfit", "msta", "biehpro")
BASELINE = dict.fromkeys(MODULES, False)
TOGGLES = [dict(zip(MODULES, on, strict=True)) for on in product((False, True), repeat=3)]
VARIANTS = [
    *TOGGLES,
    {**BASELINE, "text": False},
    {"biehpro": False, "text": False},
    {"visual_prompt": False},
    {"text_prompt": False},
    {"cross_attention": "all"},
    {"cross_attention": "all", "visual_prompt": False, "num_blocks": 1},
    {"num_blocks": 3},
    {"near_clip_init": False},
    {"msta_pools": ((3, 3), (5, 3), (7, 1))},
    {"msta_fc": "channels"},
    {"num_frames": 4},
    {"num_frames": 5},
    {"num_frames": 16},
]


def _name(settings):
    if not isinstance(settings, dict):
        return None
    return ",".join(f"{name}={value}" for name, value in settings.items())


def _step(model, clips, optimizer):
    """Take one training step, and return the loss before it."""
    labels = torch.arange(len(clips))
    loss = contrastive_loss(model(clips), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@pytest.mark.parametrize("settings", VARIANTS, ids=_name)
def test_contract(settings, make_model, make_clips, class_names):
    model = make_model(**settings).train()
    clips = make_clips(3, settings.get("num_frames", 8))
    logits = model(clips)
    assert logits.shape == (3, len(class_names))
    assert logits.isfinite().all()

    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = [_step(model, clips, optimizer) for _ in range(2)]
    assert losses[1] < losses[0]

    # The second step: at the first, InterFIT's output projection may still be 0 and hide the rest.
    # Up to 5 frames all scales of MSTA see the same, so their weights cannot matter.
    same_scales = ("msta.fc_scale.",) if len(clips[0]) <= 5 else ()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad, name
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if not name.startswith(same_scales):
            assert parameter.grad.any(), name
            assert not torch.equal(parameter, before[name]), name
    for name, buffer in model.named_buffers():
        assert not buffer.requires_grad, name
        assert torch.equal(buffer, before[name]), name

    prefixes = {name.split(".")[0] for name in before}
    text_entries = {"text_features", "logit_scale"} if model.config.text else {"head"}
    modules = {name for name in MODULES if getattr(model.config, name)}
    assert prefixes == {"backbone", *modules, *text_entries}


@pytest.mark.parametrize("near_clip", [True, False])
def test_at_the_first_step_only_a_zero_start_leaves_gradients_at_zero(
    near_clip, make_model, make_clips
):
    model = make_model(near_clip_init=near_clip)
    contrastive_loss(model(make_clips()), torch.arange(3)).backward()
    still = {name for name, parameter in model.named_parameters() if not parameter.grad.any()}
    hidden = ("lstm.", "reduce.", "norm.", "attention.in_proj")  # behind the zero projection
    expected = {
        name
        for name, _ in model.named_parameters()
        if near_clip and name.startswith("interfit.") and name.split(".", 3)[3].startswith(hidden)
    }
    assert still == expected


@torch.no_grad()
def test_all_off_equals_plain_open_clip(make_model, make_clips, tiny_clip, class_names, tiny_name):
    import open_clip

    model, clips = make_model(**BASELINE).eval(), make_clips()
    tiny_clip.visual.load_state_dict(model.backbone.visual.state_dict())
    texts = open_clip.get_tokenizer(tiny_name)(list(class_names))
    texts = F.normalize(tiny_clip.encode_text(texts), dim=-1)
    frames = F.normalize(tiny_clip.encode_image(clips.flatten(0, 1)), dim=-1).view(3, 8, -1)
    videos = F.normalize(frames.mean(dim=1), dim=-1)
    expected = tiny_clip.logit_scale.exp() * videos @ texts.T
    assert torch.allclose(model(clips), expected, atol=1e-4)  # 1e-5 of a scale of 14


@torch.no_grad()
def test_prompt_template_and_class_names_reach_the_text_tower(make_model, tiny_clip, tiny_name):
    import open_clip

    model = make_model(prompt_template="a {strange} face of {}")
    torch.manual_seed(7)  # the seed of make_model
    clip = open_clip.create_model(tiny_name)
    prompts = open_clip.get_tokenizer(tiny_name)(["a {strange} face of sadness"])
    expected = F.normalize(clip.encode_text(prompts), dim=-1)[0]
    assert torch.allclose(model.text_features[1], expected, atol=1e-6)
    assert torch.allclose(model.text_features.norm(dim=-1), torch.ones(5), atol=1e-6)


def test_settings_reach_their_modules(make_model):
    pools = ((3, 3), (5, 3), (7, 1))
    model = make_model(
        num_frames=16, num_blocks=3, prompt_scale=0.25, cross_attention="all", msta_pools=pools
    )
    assert model.biehpro.alpha.item() == model.biehpro.beta.item() == 0.25
    assert len(model.biehpro.text_blocks) == len(model.biehpro.visual_blocks) == 3
    assert isinstance(model.biehpro.text_blocks[0].attention, CrossAttention)
    assert (model.msta.pools, model.msta.length) == (list(pools), 5)
    assert len(model.interfit.layers) == model.backbone.num_layers == 2


@torch.no_grad()
@pytest.mark.parametrize(
    ("settings", "moves"),
    [
        (BASELINE, False),
        ({**BASELINE, "biehpro": True}, False),
        ({**BASELINE, "interfit": True, "near_clip_init": False}, True),
        ({**BASELINE, "msta": True}, True),
        ({}, True),
    ],
    ids=_name,
)
def test_only_the_temporal_modules_feel_the_order_of_the_frames(
    settings, moves, make_model, make_clips
):
    model, clips = make_model(**settings).eval(), make_clips()
    shuffled = clips[:, [3, 7, 0, 5, 1, 6, 2, 4]]
    difference = (model(clips) - model(shuffled)).abs().max()
    assert difference > 1e-4 if moves else difference < 1e-5  # of logits of about 14


@torch.no_grad()
def test_near_clip_interfit_is_one_more_copy_of_the_class_token(make_model, make_clips):
    model, clips = make_model(msta=False, biehpro=False).eval(), make_clips()
    copies = model.backbone(clips, [torch.nn.Identity()] * model.backbone.num_layers)
    features = model.backbone(clips, model.interfit)
    assert torch.allclose(features, copies, atol=1e-6)
    alone = model.backbone(clips[:, :1], model.interfit)  # nothing of the other frames
    assert torch.allclose(features[:, :1], alone, atol=1e-5)
    assert F.cosine_similarity(features, model.backbone(clips), dim=-1).min() > 0.9


@torch.no_grad()
@pytest.mark.parametrize("settings", [BASELINE, {}, {"cross_attention": "all"}], ids=_name)
def test_classes_in_another_order_give_their_logits_in_that_order(settings, make_model, make_clips):
    model, clips = make_model(**settings).eval(), make_clips()
    logits, order = model(clips), [3, 1, 4, 0, 2]
    model.text_features = model.text_features[order]
    assert torch.allclose(model(clips), logits[:, order], atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("settings", VARIANTS[:10], ids=_name)
def test_a_batch_of_two_equals_two_batches_of_one(settings, make_model, make_clips):
    model, clips = make_model(**settings, near_clip_init=False).eval(), make_clips(2)
    assert torch.allclose(model(clips), torch.cat([model(clips[:1]), model(clips[1:])]), atol=1e-4)


def test_temperature_is_clips_and_stays_in_its_bounds(make_model):
    model = make_model()
    assert model.logit_scale.exp().item() == pytest.approx(1 / 0.07, rel=1e-5)
    model.logit_scale.data.fill_(6.0)
    model.clamp_logit_scale()
    assert model.logit_scale.item() == pytest.approx(MAX_LOGIT_SCALE)
    assert pytest.approx(4.60517) == MAX_LOGIT_SCALE
    make_model(biehpro=False, text=False).clamp_logit_scale()  # has none


@pytest.fixture
def checkpoint(make_model, tmp_path):
    """A folder with a trained model, and the model."""
    model = make_model()
    model.settings["crop"] = {"detector": "mtcnn", "size": 224}
    for parameter in model.parameters():
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path / "best")
    return tmp_path / "best", model.eval()


def test_a_checkpoint_is_three_files_and_gives_the_model_back(checkpoint, make_clips, make_config):
    folder, model = checkpoint
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",  # the model card
    }
    torch.manual_seed(123)
    loaded = DFERModel.from_pretrained(folder)
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(make_clips()), model(make_clips()))
    assert loaded.config == model.config == make_config()
    assert loaded.class_names == ["happiness", "sadness", "anger", "surprise", "fear"]
    assert loaded.settings["crop"] == {"detector": "mtcnn", "size": 224}
    assert set(load_file(folder / "model.safetensors")) == set(model.state_dict())
    assert not any("text_tower" in name or "token_embedding" in name for name in model.state_dict())


@pytest.mark.parametrize("settings", VARIANTS, ids=_name)
def test_every_variant_survives_its_checkpoint(settings, make_model, make_clips, tmp_path):
    model = make_model(**settings).eval()
    model.save_pretrained(tmp_path)
    loaded = DFERModel.from_pretrained(str(tmp_path))
    clips = make_clips(2, settings.get("num_frames", 8))
    with torch.no_grad():
        assert torch.equal(loaded(clips), model(clips))
    assert loaded.config == model.config


def _rewrite(folder, change):
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    change(settings)
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")


DAMAGES = {
    "no config": (
        lambda f: (f / "config.json").unlink(),
        "no config.json in .*; it is not a check",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors in .*best"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "cannot read config.json of .*best"),
    "a list": (lambda f: (f / "config.json").write_text("[1]"), "was not written by dfer"),
    "of another program": (
        lambda f: (f / "config.json").write_text('{"model_type": "bert"}'),
        "best was not written by dfer: no model in config.json",
    ),
    "no classes": (lambda f: _rewrite(f, lambda s: s.pop("class_names")), "not written by dfer"),
    "other modules": (
        lambda f: _rewrite(f, lambda s: s["model"].update(msta=False)),
        "model.safetensors does not match config.json; copy both again",
    ),
    "fewer classes": (lambda f: _rewrite(f, lambda s: s["class_names"].pop()), "does not match"),
    "fewer weights": (
        lambda f: save_file({"x": torch.zeros(1)}, f / "model.safetensors"),
        "does not match config.json",
    ),
    "a pickle": (
        lambda f: torch.save({}, f / "model.safetensors"),
        "cannot read model.safetensors of .*.*it may be incomplete",
    ),
    "cut off": (lambda f: (f / "model.safetensors").write_bytes(b"\0" * 9), "cannot read model"),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_one_line(damage, checkpoint):
    folder, _ = checkpoint
    harm, message = DAMAGES[damage]
    harm(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        DFERModel.from_pretrained(folder)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_a_newer_version_is_refused(checkpoint):
    _rewrite(checkpoint[0], lambda settings: settings["model"].update(memory=True))
    with pytest.raises(ConfigError, match="unknown ModelConfig setting 'memory'"):
        DFERModel.from_pretrained(checkpoint[0])


@pytest.mark.parametrize("name", ["runs/dfew/full/fold1/best", "best", "somebody/dfer", "/no/such"])
def test_a_checkpoint_that_is_nowhere_is_one_line(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError) as caught:
        DFERModel.from_pretrained(name, cache_dir=tmp_path / "cache")
    where = "in the cache (HF_HUB_OFFLINE is set)"
    expected = f"no checkpoint {name!r}: there is no such folder, and no such model {where}"
    assert str(caught.value) == expected
