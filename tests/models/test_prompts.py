"""Learnt prompts: the text tower with embeddings as its input, CoOp and CoCoOp."""

import open_clip
import pytest
import torch
from torch.nn import functional as F

from dfercli.errors import ConfigError, WeightsError
from dfercli.models.base import build_model
from dfercli.models.pretrained import load_pretrained, tokenize
from dfercli.models.text import PromptEncoder, tokenize_words

TEXTS = ["a photo of fear", "a photo of joy and pain", "a photo of disappointment", "a photo of a"]
WORDS = ["fear", "joy and pain", "disappointment", "a"]


def _encoder(clip, name, num_contexts=3, words=WORDS):
    tokens, fitting = tokenize_words(clip, name, words, num_contexts)
    assert fitting == num_contexts
    return PromptEncoder(clip, tokens, num_contexts)


@torch.no_grad()
def _embed(clip, text, name):
    """Return the embeddings of a text's words, without start and end."""
    (tokens,) = tokenize(name, [text])
    return clip.token_embedding(tokens[1 : tokens.argmax()])


@torch.no_grad()
def test_words_as_contexts_give_open_clips_text_features(tiny_clip, tiny_name):
    theirs = F.normalize(tiny_clip.encode_text(open_clip.get_tokenizer(tiny_name)(TEXTS)), dim=-1)
    encoder = _encoder(tiny_clip, tiny_name)
    shared = _embed(tiny_clip, "a photo of", tiny_name)
    assert torch.allclose(encoder(shared), theirs, atol=1e-6)
    assert torch.allclose(encoder(shared.expand(4, -1, -1)), theirs, atol=1e-6)
    by_clip = torch.stack([shared, torch.randn_like(shared)])[:, None]
    assert encoder(by_clip).shape == (2, 4, 32)
    assert torch.allclose(encoder(by_clip)[0], theirs, atol=1e-6)
    assert not torch.allclose(encoder(by_clip)[1], theirs, atol=1e-2)


@torch.no_grad()
def test_each_class_reads_its_own_contexts(tiny_clip, tiny_name):
    texts = [
        "a photo of fear",
        "one sad face joy and pain",
        "what is this disappointment",
        "a a a a",
    ]
    theirs = F.normalize(tiny_clip.encode_text(open_clip.get_tokenizer(tiny_name)(texts)), dim=-1)
    heads = [text.removesuffix(f" {words}") for text, words in zip(texts, WORDS, strict=True)]
    contexts = torch.stack([_embed(tiny_clip, head, tiny_name) for head in heads])
    assert torch.allclose(_encoder(tiny_clip, tiny_name)(contexts), theirs, atol=1e-6)


def test_the_text_tower_neither_learns_nor_trains(tiny_clip, tiny_name):
    encoder = _encoder(tiny_clip.train(), tiny_name)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    contexts = torch.zeros(3, 32, requires_grad=True)
    encoder(contexts).square().mean().backward()
    assert contexts.grad.isfinite().all()


def test_prompts_are_cut_behind_the_longest(tiny_clip, tiny_name):
    encoder = _encoder(tiny_clip, tiny_name)
    assert encoder.words.shape == (4, 4, 32)  # "joy and pain" and its end
    assert encoder.ends.tolist() == [5, 7, 5, 5]  # behind a start and 3 contexts


@pytest.mark.parametrize(
    ("wanted", "cut", "words", "fitting"),
    [
        (4, False, WORDS, 4),
        (16, False, WORDS, 7),  # 12 - 2 - 3
        (16, False, ["fear"], 9),
        (8, True, WORDS, 8),  # leaves 2 words
        (16, True, WORDS, 9),
        (1, False, ["one two three four five six seven eight nine"], 1),
    ],
)
def test_a_small_tower_has_fewer_contexts(wanted, cut, words, fitting, tiny_clip, tiny_name):
    tokens, num_contexts = tokenize_words(tiny_clip, tiny_name, words, wanted, cut)
    assert num_contexts == fitting
    assert tokens.shape == (len(words), 12 - fitting)
    assert (tokens == 49407).any(dim=1).all()  # each has its end
    if not cut:
        whole = tokenize(tiny_name, words)
        assert torch.equal(tokens, whole[:, : tokens.shape[1]])


@pytest.mark.parametrize("method", ["coop", "cocoop"])
def test_a_name_that_leaves_no_room_is_one_line(method, make_config, tiny_name):
    names = ["fear", "joy that is mixed with pain and also with some disgust"]
    with pytest.raises(ConfigError) as caught:
        build_model(make_config(method=method), names)
    assert str(caught.value) == (
        f"the text tower of {tiny_name} reads 12 tokens, but the longest class name needs "
        "12, which leaves no room for prompts; shorten it"
    )


def test_a_tower_with_other_tokens_is_refused(tiny_clip, tiny_name):
    tiny_clip.text_pool_type = "eos"  # of the worldwide models, whose tokenizers are others
    with pytest.raises(WeightsError, match=f"prompts cannot be learnt with {tiny_name}, whose"):
        _encoder(tiny_clip, tiny_name)


def test_coop_starts_from_noise_and_shares_its_contexts(make_model, make_clips):
    model = make_model(method="coop")
    assert model.contexts.shape == (9, 32)  # 12 tokens less two ends and a name of one
    assert model.settings["num_contexts"] == 9
    assert 0.015 < model.contexts.std() < 0.025
    assert abs(model.contexts.mean()) < 0.005
    learnt = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learnt == ["contexts"]


@torch.no_grad()
@pytest.mark.parametrize("template", ["{}", "{}.", "the {} of a child"])
def test_coop_with_words_for_contexts_is_zero_shot_clip(
    template, make_model, make_clips, tiny_name
):
    model = make_model(method="coop", prompt_template=template).eval()
    torch.manual_seed(7)  # the seed of make_model
    model.contexts[:] = _embed(load_pretrained(tiny_name, "random"), "photo", tiny_name)
    text = "photo " * len(model.contexts) + template
    zero_shot = make_model(method="zero-shot", prompt_template=text).eval()
    assert torch.allclose(model(make_clips()), zero_shot(make_clips()), atol=1e-5)


@torch.no_grad()
def test_cocoop_starts_as_a_photo_of_a_shifted_by_the_clip(make_model, make_clips):
    model, clips = make_model(method="cocoop").eval(), make_clips()
    assert model.contexts.shape == (4, 32)
    zero_shot = make_model(method="zero-shot", prompt_template="a photo of a {}").eval()
    shifted = model(clips)
    assert not torch.allclose(shifted, zero_shot(clips), atol=1e-3)
    videos = F.normalize(model.encode_video(clips), dim=-1)
    for clip, video in enumerate(videos):  # by hand: one prompt set a clip
        first, _, second = model.meta_net
        shift = second.weight @ (first.weight @ video + first.bias).relu() + second.bias
        texts = model.prompts(model.contexts + shift)
        assert torch.allclose(shifted[clip], model.logit_scale.exp() * texts @ video, atol=1e-5)
    model.meta_net[2].weight.zero_()
    model.meta_net[2].bias.zero_()
    assert torch.allclose(model(clips), zero_shot(clips), atol=1e-5)
