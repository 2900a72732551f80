"""MSTA against Eq. (4) to (8) written out in loops."""

import math

import pytest
import torch

from dfercli.models.msta import MSTA

WIDTH = 6
PAPER_POOLS = ((5, 3), (5, 3), (7, 1))


def _reference(msta, frames, fc):
    """The paper's equations for the frames (8, E) of one clip, no window beyond the clip."""
    num_scales, length = 3, 2
    pooled = torch.zeros(num_scales, length, WIDTH)
    for i, (kernel, stride) in enumerate(PAPER_POOLS):
        for position in range(length):
            for channel in range(WIDTH):
                first = position * stride
                pooled[i, position, channel] = max(frames[first : first + kernel, channel])  # (4)
    fused = pooled.sum(dim=0)  # (2, E)
    if fc == "positions":  # (5), each channel by itself
        scores = [layer.weight @ fused + layer.bias[:, None] for layer in msta.fc_scale]
    else:  # each position by itself
        scores = [fused @ layer.weight.T + layer.bias for layer in msta.fc_scale]
    weighted = torch.zeros(length, WIDTH)
    for position in range(length):
        for channel in range(WIDTH):
            total = sum(math.exp(score[position, channel]) for score in scores)
            for i in range(num_scales):
                weight = math.exp(scores[i][position, channel]) / total  # (6)
                weighted[position, channel] += weight * pooled[i, position, channel]  # (7)
    return msta.fc_video.weight @ torch.cat(list(weighted)) + msta.fc_video.bias  # (8)


@torch.no_grad()
@pytest.mark.parametrize(("fc", "mixed"), [("positions", 2), ("channels", WIDTH)])
def test_equations_4_to_8_at_the_papers_8_frames(fc, mixed):
    torch.manual_seed(0)
    msta = MSTA(WIDTH, num_frames=8, near_clip=False, fc=fc)
    assert all(layer.weight.shape == (mixed, mixed) for layer in msta.fc_scale)
    clips = torch.randn(4, 8, WIDTH)
    for ours, frames in zip(msta(clips), clips, strict=True):
        assert torch.allclose(ours, _reference(msta, frames, fc), atol=1e-6)


@torch.no_grad()
def test_near_clip_start_is_the_mean_over_positions():
    torch.manual_seed(0)
    msta = MSTA(WIDTH, num_frames=8)
    frames = torch.arange(8.0).view(1, 8, 1).expand(1, 8, WIDTH)
    for fc in msta.fc_scale:  # equal scores: each scale weighs a third
        fc.weight.zero_()
        fc.bias.zero_()
    # Rising frames: the windows' maxima are 4 and 7, 4 and 7, 6 and 7.
    expected = ((4 + 4 + 6) / 3 + (7 + 7 + 7) / 3) / 2
    assert torch.allclose(msta(frames), torch.full((1, WIDTH), expected), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("num_frames", range(3, 33))
def test_each_scale_has_a_third_of_the_frames_and_misses_none(num_frames):
    msta = MSTA(WIDTH, num_frames)
    assert msta.length == num_frames // 3
    for kernel, stride in PAPER_POOLS:
        # Row t of this batch has its one bright frame at t.
        pooled = msta.pool(torch.eye(num_frames).unsqueeze(1), kernel, stride)
        assert pooled.shape == (num_frames, 1, num_frames // 3)
        assert (pooled.amax(dim=-1) == 1).all()
        seen = pooled[:, 0].bool()  # (T, positions)
        for position in range(num_frames // 3):
            first, *_, last = seen[:, position].nonzero().flatten().tolist()
            assert seen[first : last + 1, position].all()  # a window has no holes


@torch.no_grad()
def test_positions_follow_time():
    # A bright frame at the end must not be seen by the first position, nor the reverse.
    msta = MSTA(WIDTH, num_frames=16)
    pooled = msta.pool(torch.eye(16).unsqueeze(1), kernel=5, stride=3)[:, 0]
    assert pooled[0].tolist() == [1, 0, 0, 0, 0]
    assert pooled[15].tolist() == [0, 0, 0, 0, 1]


@torch.no_grad()
@pytest.mark.parametrize("fc", ["positions", "channels"])
@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 8, 13, 32])
def test_any_number_of_frames(num_frames, fc):
    torch.manual_seed(0)
    embeds = MSTA(WIDTH, num_frames, fc=fc)(torch.randn(2, num_frames, WIDTH))
    assert embeds.shape == (2, WIDTH)
    assert embeds.isfinite().all()


@torch.no_grad()
def test_one_frame_is_its_own_summary():
    frame = torch.randn(2, 1, WIDTH)
    assert torch.allclose(MSTA(WIDTH, num_frames=1)(frame), frame[:, 0], atol=1e-6)


@torch.no_grad()
def test_two_frames_give_their_maximum():
    frames = torch.randn(2, 2, WIDTH)
    assert torch.allclose(MSTA(WIDTH, num_frames=2)(frames), frames.amax(dim=1), atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(
    "pools", [((3, 3), (5, 3), (7, 1)), ((2, 4),), ((8, 1), (4, 4), (1, 7), (3, 2))]
)
def test_other_scales(pools):
    torch.manual_seed(0)
    msta = MSTA(WIDTH, 8, pools)
    assert len(msta.fc_scale) == len(pools)
    clips = torch.randn(3, 8, WIDTH)
    for kernel, stride in pools:
        assert msta.pool(clips.transpose(1, 2), kernel, stride).shape == (3, WIDTH, 2)
    assert msta(clips).shape == (3, WIDTH)
