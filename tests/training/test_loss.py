"""The loss and mixup against numbers computed by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from dfercli.config import TrainConfig
from dfercli.models.dfer import contrastive_loss
from dfercli.training.recipe import Mixup, build_loss, log_prior

CPU = torch.device("cpu")
COUNTS = (6, 3, 1)


def _loss(counts=COUNTS, **settings):
    return build_loss(TrainConfig(**settings), counts, CPU)


def test_the_papers_loss_is_eq_12():
    assert _loss() is contrastive_loss
    assert _loss(mixup=0.8, layer_decay=0.75, drop_path=0.1, balance="oversample") is (
        contrastive_loss
    )


def test_label_smoothing_spreads_a_share_of_the_label():
    # 0.3 over three classes: the label keeps 0.8, each other class has 0.1.
    logits, labels = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    expected = math.log(math.exp(2) + 2) - 0.8 * 2
    assert _loss(label_smoothing=0.3)(logits, labels).item() == pytest.approx(expected)


def test_the_prior_makes_equal_logits_as_likely_as_their_classes():
    loss = _loss(balance="prior")
    logits = torch.zeros(1, 3)
    for label, share in enumerate((0.6, 0.3, 0.1)):
        expected = -math.log(share)
        assert loss(logits, torch.tensor([label])).item() == pytest.approx(expected)
    # log 6 - log 1 = log 6 is what a rare class must be ahead by to be as likely.
    ahead = torch.tensor([[0.0, -math.inf, math.log(6)]])
    assert loss(ahead, torch.tensor([2])).item() == pytest.approx(math.log(2))


def test_a_class_without_training_clips_has_a_finite_prior():
    assert log_prior((3, 0, 1)).exp().tolist() == pytest.approx([0.6, 0.2, 0.2])


def test_prior_and_smoothing_work_together():
    # Shares 0.6, 0.3, 0.1 as probabilities; the label keeps 0.8 of its weight.
    expected = -(0.1 * math.log(0.6) + 0.1 * math.log(0.3) + 0.8 * math.log(0.1))
    loss = _loss(balance="prior", label_smoothing=0.3)
    assert loss(torch.zeros(1, 3), torch.tensor([2])).item() == pytest.approx(expected)


@pytest.fixture
def mixed():
    """Four mixed clips, their label shares, lam, and the partner of each clip."""
    clips = torch.arange(4.0).view(4, 1, 1, 1, 1).expand(4, 2, 3, 5, 5) * 10
    new, shares = Mixup(0.8, 4, seed=3)(clips, torch.arange(4), epoch=1, step=2)
    order = [
        next((k for k in range(4) if k != row and shares[row, k] > 0), row) for row in range(4)
    ]
    moved = next(row for row in range(4) if order[row] != row)
    return new, shares, shares[moved, moved].item(), order


def test_mixup_mixes_pixels_and_labels_alike(mixed):
    clips, shares, own, order = mixed
    assert 0 < own < 1
    assert sorted(order) == [0, 1, 2, 3] != order
    assert clips.shape == (4, 2, 3, 5, 5)
    assert shares.sum(dim=1).tolist() == pytest.approx([1] * 4)
    for row, other in enumerate(order):
        expected = own * 10 * row + (1 - own) * 10 * other
        assert clips[row].flatten().tolist() == pytest.approx([expected] * 150)
        assert shares[row, row].item() == pytest.approx(1 if other == row else own)


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.1}, {"balance": "prior"}], ids=str)
def test_mixups_loss_is_the_mean_of_both_labels_weighted_as_they_were_mixed(settings, mixed):
    _, shares, own, order = mixed
    loss = _loss((5, 3, 1, 1), **settings)
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    by_hand = own * loss(logits, torch.arange(4)) + (1 - own) * loss(logits, torch.tensor(order))
    assert loss(logits, shares).item() == pytest.approx(by_hand.item())


def test_mixup_draws_by_seed_epoch_step_and_process_alone():
    clips, labels = torch.rand(6, 1, 3, 2, 2), torch.arange(6)

    def mix(seed=0, epoch=0, step=0, rank=0):
        return Mixup(0.8, 6, seed, rank)(clips, labels, epoch, step)[0]

    first = mix()
    torch.manual_seed(5)
    assert torch.equal(mix(), first)
    changed = [mix(seed=1), mix(epoch=1), mix(step=1), mix(rank=1)]
    assert not any(torch.equal(clips, first) for clips in changed)


def test_mixups_share_is_drawn_from_its_beta():
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)).
    labels, clips = torch.tensor([0, 1]), torch.zeros(2, 1, 3, 1, 1)
    for strength in (0.2, 0.8, 4.0):
        mixup = Mixup(strength, 2, seed=0)
        draws = [mixup(clips, labels, 0, step)[1] for step in range(4000)]
        own = torch.stack([shares[0, 0] for shares in draws if shares[0, 0] < 1])
        assert own.mean().item() == pytest.approx(0.5, abs=0.03)
        assert own.var().item() == pytest.approx(1 / (4 * (2 * strength + 1)), rel=0.08)


def test_the_loss_takes_labels_and_shares_alike():
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    for settings in ({}, {"label_smoothing": 0.2, "balance": "prior"}):
        loss = _loss(**settings)
        shares = F.one_hot(labels, 3).float()
        assert loss(logits, shares).item() == pytest.approx(loss(logits, labels).item())


def test_the_loss_of_votes_is_the_cross_entropy_with_their_shares():
    # Softmax of 2, 0, 0 is e^2 and 1 and 1 over e^2 + 2; of the votes, 3 of 4 are for the second.
    logits, shares = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[0.25, 0.75, 0.0]])
    expected = math.log(math.exp(2) + 2) - 0.25 * 2
    assert _loss()(logits, shares).item() == pytest.approx(expected)
    # Smoothing by 0.3 leaves 0.7 of each share and adds 0.1: 0.275, 0.625, 0.1.
    smooth = math.log(math.exp(2) + 2) - 0.275 * 2
    assert _loss(label_smoothing=0.3)(logits, shares).item() == pytest.approx(smooth)


def test_mixup_mixes_shares_as_it_mixes_labels():
    clips, labels = torch.rand(4, 1, 3, 2, 2), torch.tensor([2, 0, 1, 1])
    mixup = Mixup(0.8, 3, seed=3)
    from_labels = mixup(clips, labels, 1, 2)
    from_shares = mixup(clips, F.one_hot(labels, 3).float(), 1, 2)
    assert all(map(torch.equal, from_labels, from_shares))
    # Pixels tell how much of each clip is in a mixture, and its votes must be mixed likewise.
    clips = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1, 1)
    votes = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]])
    amounts = set()
    for step in range(8):
        mixed, shares = mixup(clips, votes, 0, step)
        for amount, share in zip(mixed.flatten(), shares, strict=True):
            torch.testing.assert_close(share, (1 - amount) * votes[0] + amount * votes[1])
            amounts.add(amount.item())
    assert len(amounts) > 4
