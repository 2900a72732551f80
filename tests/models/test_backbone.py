"""The visual tower against open_clip on the same weights, and every source of weights."""

import pickle
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from dfercli import downloads
from dfercli.errors import UnknownNameError, WeightsError
from dfercli.models.backbone import CLIPBackbone
from dfercli.models.pretrained import (
    build_untrained,
    encode_prompts,
    known_backbones,
    load_pretrained,
)


@torch.no_grad()
def _features(clip, clips):
    return CLIPBackbone(clip.visual)(clips)


@torch.no_grad()
def test_features_equal_open_clip(tiny_clip, make_clips):
    clips = make_clips(batch=2, frames=3)
    theirs = tiny_clip.encode_image(clips.flatten(0, 1))
    assert torch.allclose(_features(tiny_clip, clips), theirs.view(2, 3, 32), atol=1e-5)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("name", ["ViT-B-32-quickgelu", "ViT-M-16-alt", "ViT-S-32"])
def test_features_of_real_backbones_equal_open_clip(name):
    torch.manual_seed(0)
    clip = open_clip.create_model(name).eval()
    for parameter in clip.visual.parameters():  # biases start at 0 and scales at 1: they would hide
        parameter.add_(0.01 * torch.randn_like(parameter))
    with torch.device("meta"):
        visual = build_untrained(name).visual.eval()
    visual.load_state_dict(clip.visual.state_dict(), assign=True)
    clips = torch.randn(1, 2, 3, 224, 224)
    ours, theirs = CLIPBackbone(visual)(clips)[0], clip.encode_image(clips[0])
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("name", ["ViT-L-14-336", "ViT-H-14-quickgelu", "ViT-B-32-256"])
def test_large_backbones_give_the_shapes_they_state(name):
    config = open_clip.get_model_config(name)
    with torch.device("meta"):
        backbone = CLIPBackbone(build_untrained(name).visual)
        clips = torch.zeros(1, 2, 3, backbone.image_size, backbone.image_size)
    assert backbone.image_size == config["vision_cfg"]["image_size"]
    assert backbone.width == config["vision_cfg"]["width"]
    assert backbone.num_layers == config["vision_cfg"]["layers"]
    assert backbone.embed_width == config["embed_dim"]
    assert backbone(clips).shape == (1, 2, config["embed_dim"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("RN50", "ModifiedResNet"),
        ("ViT-B-16-SigLIP", "TimmModel"),
        ("ViT-L-14-CLIPA", "VisionTransformer"),  # mean of the patches
        ("coca_ViT-B-32", "VisionTransformer"),  # attention pool
    ],
)
def test_a_tower_that_is_no_plain_vit_is_refused(name, kind):
    with pytest.raises(UnknownNameError, match=f"no backbone '{name}'; known: "):
        build_untrained(name)
    visual = open_clip.create_model(name, device="meta").visual
    with pytest.raises(WeightsError, match=f"a backbone of type {kind} is not a plain ViT"):
        CLIPBackbone(visual)


class _FixedTokens:
    """Stands for InterFIT: records its input and returns given tokens."""

    def __init__(self, tokens):
        self.tokens = tokens
        self.seen = []

    def __iter__(self):
        return iter([self._answer] * len(self.tokens))

    def _answer(self, class_tokens):
        self.seen.append(class_tokens)
        return self.tokens[len(self.seen) - 1]


def _reference_frame(visual, frame, extra_tokens):
    """Run one frame through the tower, Eq. (1) and (3), by plain matrices, and its class tokens."""
    patches = [
        (visual.conv1.weight * frame[:, y : y + 16, x : x + 16]).sum((1, 2, 3))
        for y in (0, 16)
        for x in (0, 16)
    ]
    tokens = torch.stack([visual.class_embedding, *patches]) + visual.positional_embedding
    tokens = visual.ln_pre(tokens)
    class_tokens = []
    for block, extra in zip(visual.transformer.resblocks, extra_tokens, strict=True):
        class_tokens.append(tokens[0])
        normed = block.ln_1(torch.cat([tokens, extra[None]]))
        projected = normed @ block.attn.in_proj_weight.T + block.attn.in_proj_bias
        heads = []
        for head in range(2):
            query, key, value = projected.view(len(normed), 3, 2, 32)[:, :, head].unbind(1)
            heads.append((query @ key.T / 32**0.5).softmax(dim=1) @ value)
        attended = block.attn.out_proj(torch.cat(heads, dim=1))
        tokens = tokens + attended[:-1]  # the interaction token leaves before the MLP
        tokens = tokens + block.mlp(block.ln_2(tokens))
    return visual.ln_post(tokens[0]) @ visual.proj, torch.stack(class_tokens)


@torch.no_grad()
def test_an_interaction_token_joins_attention_and_leaves_before_the_mlp(tiny_clip, make_clips):
    clips = make_clips(batch=2, frames=3)
    interfit = _FixedTokens(torch.randn(2, 2, 3, 64))  # L, B, T, D
    features = CLIPBackbone(tiny_clip.visual)(clips, interfit)
    assert len(interfit.seen) == 2
    for b in range(2):
        for t in range(3):
            expected, class_tokens = _reference_frame(
                tiny_clip.visual, clips[b, t], interfit.tokens[:, b, t]
            )
            assert torch.allclose(features[b, t], expected, atol=1e-5)
            seen = torch.stack([layer[b, t] for layer in interfit.seen])
            assert torch.allclose(seen, class_tokens, atol=1e-5)
    assert not torch.allclose(features, _features(tiny_clip, clips), atol=1e-3)


def test_texts_are_encoded_once_and_normalised(tiny_clip, tiny_name):
    prompts = ["happiness", "a face that shows fear"]
    embeds = encode_prompts(tiny_clip, tiny_name, prompts)
    with torch.no_grad():
        theirs = tiny_clip.encode_text(open_clip.tokenize(prompts, context_length=12))
    assert torch.allclose(embeds, F.normalize(theirs, dim=-1), atol=1e-6)
    assert not embeds.requires_grad


def test_an_unknown_backbone_is_answered_with_the_known_ones():
    with pytest.raises(UnknownNameError) as caught:
        load_pretrained("ViT-B-33", "random")
    assert str(caught.value) == f"no backbone 'ViT-B-33'; known: {', '.join(known_backbones())}"
    assert {"ViT-B-32-quickgelu", "ViT-L-14", "demo-ViT-tiny"} <= set(known_backbones())


def test_random_weights_load_nothing(tiny_name, make_clips, monkeypatch):
    monkeypatch.setattr(open_clip.factory, "load_checkpoint", _no_network)
    features = _features(load_pretrained(tiny_name, "random"), make_clips(1, 1))
    assert features.isfinite().all()


@pytest.mark.parametrize("kind", ["weights.pt", "weights.safetensors", "training checkpoint.pt"])
def test_a_file_of_weights_gives_the_same_features(
    kind, tiny_clip, tiny_name, tmp_path, make_clips
):
    state = tiny_clip.state_dict()
    if kind == "weights.safetensors":
        save_file(state, tmp_path / kind)
    elif kind == "weights.pt":
        torch.save(state, tmp_path / kind)
    else:
        wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
        torch.save({"epoch": 3, "state_dict": wrapped}, tmp_path / kind)
    torch.manual_seed(99)
    loaded = load_pretrained(tiny_name, str(tmp_path / kind))
    assert torch.equal(_features(loaded, make_clips()), _features(tiny_clip, make_clips()))
    prompts = ["anger"]
    texts = encode_prompts(loaded, tiny_name, prompts)
    assert torch.equal(texts, encode_prompts(tiny_clip, tiny_name, prompts))


@pytest.mark.parametrize("kind", ["text", "empty", "other shapes", "truncated"])
def test_a_file_that_does_not_fit_is_one_line(kind, tiny_clip, tiny_name, tmp_path):
    path = tmp_path / "weights.pt"
    state = tiny_clip.state_dict()
    if kind == "other shapes":
        state["visual.proj"] = torch.zeros(64, 16)
    torch.save({} if kind == "empty" else state, path)
    if kind == "text":
        path.write_text("no weights\n")
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError) as caught:
        load_pretrained(tiny_name, str(path))
    message = str(caught.value)
    assert message.startswith(f"cannot load {path} into {tiny_name}: ")
    assert message.splitlines() == [message]


class _Exploit:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["torch", "plain pickle"])
def test_weights_are_never_unpickled(kind, tiny_name, tmp_path):
    trap, path = tmp_path / "code was run", tmp_path / "weights.pt"
    state = {"visual.proj": _Exploit(trap)}
    if kind == "torch":
        torch.save(state, path)
    else:
        path.write_bytes(pickle.dumps(state, protocol=2))
    with pytest.raises(WeightsError, match="cannot load"):
        load_pretrained(tiny_name, str(path))
    assert not trap.exists()


def test_a_missing_file_is_answered_with_the_tags(tiny_name):
    with pytest.raises(WeightsError) as caught:
        load_pretrained(tiny_name, "no/such.pt")
    expected = f"no weights 'no/such.pt' for {tiny_name}: no such file; available tags: none"
    assert str(caught.value) == expected
    with pytest.raises(WeightsError, match=r"no weights 'opnai' for ViT-B-32: .*tags: .*laion"):
        load_pretrained("ViT-B-32", "opnai")


def _no_network(*args, **kwargs):
    raise OSError("no route to host\nsecond line")


@pytest.mark.parametrize(("network", "why"), [(False, "no network"), (True, "no route to host")])
def test_a_tag_that_cannot_be_fetched_is_one_line_that_names_the_ways_out(
    network, why, monkeypatch
):
    monkeypatch.setattr(downloads, "answers", lambda _: network)
    monkeypatch.setattr(open_clip, "download_pretrained", _no_network)
    with pytest.raises(WeightsError) as caught:
        load_pretrained("ViT-B-32-quickgelu", "openai")
    assert str(caught.value) == (
        f"weights 'openai' of ViT-B-32-quickgelu are not cached and cannot be fetched ({why})"
        f"; run once with a network, or use --weights FILE or --weights random"
    )


@pytest.mark.parametrize(
    ("name", "tag", "trained_with", "wanted"),
    [
        ("ViT-B-32", "openai", "QuickGELU", "ViT-B-32-quickgelu"),
        ("ViT-L-14", "openai", "QuickGELU", "ViT-L-14-quickgelu"),
        ("ViT-B-32", "laion400m_e32", "QuickGELU", "ViT-B-32-quickgelu"),
    ],
)
def test_weights_of_the_other_activation_are_refused(name, tag, trained_with, wanted, monkeypatch):
    monkeypatch.setattr(open_clip.factory, "download_pretrained", _no_network)
    with pytest.raises(WeightsError) as caught:
        load_pretrained(name, tag)
    assert str(caught.value) == (
        f"weights {tag!r} do not fit {name}: they were trained with {trained_with}; "
        f"use --backbone {wanted}"
    )


def test_a_file_from_openai_is_known_by_its_entries(tiny_clip, tiny_name, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({**tiny_clip.state_dict(), "input_resolution": torch.tensor(32)}, path)
    with pytest.raises(WeightsError, match=f"trained with QuickGELU; .*{tiny_name}-quickgelu"):
        load_pretrained(tiny_name, str(path))
