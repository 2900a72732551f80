"""BiEhPro against Eq. (10) and (11), with real attention and in loops."""

import pytest
import torch
from torch import nn

from dfercli.models.biehpro import BiEhPro, CrossAttention, PairedCrossAttention

WIDTH, NUM_CLASSES, BATCH = 128, 4, 3


def _inputs():
    generator = torch.Generator().manual_seed(3)
    texts = torch.randn(NUM_CLASSES, WIDTH, generator=generator)
    return texts, torch.randn(BATCH, WIDTH, generator=generator)


def _module(**settings):
    """BiEhPro with alpha and beta so different that they cannot be confused."""
    torch.manual_seed(0)
    module = BiEhPro(WIDTH, **settings)
    for scale, value in ((module.alpha, 0.3), (module.beta, 0.7)):
        if scale is not None:
            scale.data.fill_(value)
    return module


def _real_attention(paired):
    """torch's attention with the same value and output weights; its queries and keys are noise."""
    attention = nn.MultiheadAttention(WIDTH, num_heads=2)
    attention.in_proj_weight.data[2 * WIDTH :] = paired.value.weight
    attention.in_proj_bias.data[2 * WIDTH :] = paired.value.bias
    attention.out_proj.load_state_dict(paired.output.state_dict())
    return attention


def _step(block, prompt, other):
    """Eq. (10), two lines of it: attention and feed-forward network, both with residuals."""
    attention = _real_attention(block.attention)
    prompt = prompt + attention(prompt[None], other[None], other[None])[0][0]  # CroAtt, one key
    first, activation, second = block.ffn
    return prompt + second(activation(first(prompt)))


@torch.no_grad()
@pytest.mark.parametrize("num_blocks", [1, 2, 3])
def test_equations_10_and_11_with_real_attention(num_blocks):
    module = _module(num_blocks=num_blocks)
    texts, videos = _inputs()
    enhanced_texts, enhanced_videos = module(texts, videos)
    assert enhanced_texts.shape == enhanced_videos.shape == (BATCH, NUM_CLASSES, WIDTH)
    for b in range(BATCH):
        for j in range(NUM_CLASSES):
            text, video = texts[j], videos[b]
            for text_block, visual_block in zip(
                module.text_blocks, module.visual_blocks, strict=True
            ):  # both sides read the previous block's prompts
                text, video = _step(text_block, text, video), _step(visual_block, video, text)
            assert torch.allclose(enhanced_texts[b, j], texts[j] + 0.3 * text, atol=1e-5)
            assert torch.allclose(enhanced_videos[b, j], videos[b] + 0.7 * video, atol=1e-5)


@torch.no_grad()
def test_all_attends_to_the_rows_of_all_classes():
    torch.manual_seed(0)
    module = CrossAttention(WIDTH)
    nn.init.normal_(module.attention.in_proj_bias, std=0.1)
    queries, others = torch.randn(2, BATCH, NUM_CLASSES, WIDTH)
    ours = module(queries, others)
    weights = module.attention.in_proj_weight.chunk(3)
    biases = module.attention.in_proj_bias.chunk(3)
    for b in range(BATCH):
        query, key, value = (
            rows @ weight.T + bias
            for rows, weight, bias in zip(
                (queries[b], others[b], others[b]), weights, biases, strict=True
            )
        )
        heads = []
        for part in (slice(0, 64), slice(64, 128)):
            scores = query[:, part] @ key[:, part].T / 8
            heads.append(scores.softmax(dim=1) @ value[:, part])
        expected = module.attention.out_proj(torch.cat(heads, dim=1))
        assert torch.allclose(ours[b], expected, atol=1e-5)


@torch.no_grad()
def test_all_lets_one_class_hear_of_another_and_paired_does_not():
    texts, videos = _inputs()
    changed = texts.clone()
    changed[0] += 1
    for cross_attention, moves in (("paired", False), ("all", True)):
        module = _module(cross_attention=cross_attention)
        before, after = module(texts, videos)[1], module(changed, videos)[1]
        assert torch.allclose(before[:, 1:], after[:, 1:], atol=1e-6) is not moves
        assert not torch.allclose(before[:, 0], after[:, 0], atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("cross_attention", ["paired", "all"])
def test_scales_of_zero_change_nothing(cross_attention):
    texts, videos = _inputs()
    module = BiEhPro(WIDTH, cross_attention=cross_attention, prompt_scale=0.0)
    enhanced_texts, enhanced_videos = module(texts, videos)
    assert torch.equal(enhanced_texts, texts.expand(BATCH, -1, -1))
    assert torch.equal(enhanced_videos, videos[:, None].expand(-1, NUM_CLASSES, -1))


@torch.no_grad()
@pytest.mark.parametrize("cross_attention", ["paired", "all"])
def test_one_sided_prompts_leave_the_other_side_as_it_is(cross_attention):
    texts, videos = _inputs()
    text_only = _module(visual_prompt=False, cross_attention=cross_attention)
    assert text_only.visual_blocks is None
    assert text_only.beta is None
    enhanced_texts, enhanced_videos = text_only(texts, videos)
    assert torch.equal(enhanced_videos, videos[:, None].expand(-1, NUM_CLASSES, -1))
    assert not torch.allclose(enhanced_texts, texts.expand(BATCH, -1, -1), atol=1e-2)
    visual_only = _module(text_prompt=False, cross_attention=cross_attention)
    assert visual_only.text_blocks is None
    assert visual_only.alpha is None
    enhanced_texts, enhanced_videos = visual_only(texts, videos)
    assert torch.equal(enhanced_texts, texts.expand(BATCH, -1, -1))
    assert not torch.allclose(enhanced_videos, videos[:, None].expand_as(enhanced_videos), 1e-2)


@torch.no_grad()
def test_text_prompts_alone_read_the_video_itself_at_each_block():
    module = _module(visual_prompt=False)
    texts, videos = _inputs()
    text = texts[1]
    for block in module.text_blocks:
        text = _step(block, text, videos[2])
    assert torch.allclose(module(texts, videos)[0][2, 1], texts[1] + 0.3 * text, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("cross_attention", ["paired", "all"])
def test_classes_in_another_order_give_the_same_prompts_in_that_order(cross_attention):
    module = _module(cross_attention=cross_attention)
    texts, videos = _inputs()
    order = torch.tensor([2, 0, 3, 1])
    for plain, permuted in zip(module(texts, videos), module(texts[order], videos), strict=True):
        assert torch.allclose(plain[:, order], permuted, atol=1e-5)


def test_the_paired_form_has_no_weights_that_cannot_learn():
    paired = sum(p.numel() for p in PairedCrossAttention(WIDTH).parameters())
    full = sum(p.numel() for p in CrossAttention(WIDTH).parameters())
    assert paired == full // 2 == 2 * (WIDTH**2 + WIDTH)
