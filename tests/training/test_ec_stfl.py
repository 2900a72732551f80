"""The EC-STFL loss of a batch by hand, and on any model."""

import math

import pytest
import torch

from dfercli.models.base import Outputs
from dfercli.training.ec_stfl import ec_stfl_loss


def _outputs(videos):
    return Outputs(torch.zeros(len(videos), 2), {"videos": torch.tensor(videos)})


def test_a_batch_by_hand():
    # Classes 0 (three clips) and 1 (two clips).
    videos, labels = [[0.0], [1.0], [3.0], [5.0], [9.0]], torch.tensor([0, 0, 0, 1, 1])
    within = 2 * (1 + 3 + 2) / 3 + 2 * 4 / 2
    to_first, to_second = (5 + 4 + 2 + 9 + 8 + 6) / 3, (5 + 4 + 2 + 9 + 8 + 6) / 2
    losses = ec_stfl_loss(_outputs(videos), labels)
    assert losses.tolist() == pytest.approx([within / (to_first + to_second)] * 5)


def test_distances_are_euclidean():
    losses = ec_stfl_loss(_outputs([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]), torch.tensor([0, 0, 1]))
    within, between = 2 * 5 / 2, (1 + math.hypot(3, 3)) / 2 + (1 + math.hypot(3, 3))
    assert losses[0].item() == pytest.approx(within / between)


def test_a_batch_of_one_class_has_no_loss():
    videos = torch.randn(3, 4, requires_grad=True)
    loss = ec_stfl_loss(Outputs(torch.zeros(3, 2), {"videos": videos}), torch.tensor([1, 1, 1]))
    loss.mean().backward()
    assert loss.tolist() == [0, 0, 0]
    assert not videos.grad.any()


def test_equal_embeddings_have_a_finite_gradient():
    videos = torch.zeros(4, 3, requires_grad=True)
    loss = ec_stfl_loss(Outputs(torch.zeros(4, 2), {"videos": videos}), torch.tensor([0, 0, 1, 1]))
    loss.mean().backward()
    assert loss.isfinite().all()
    assert videos.grad.isfinite().all()


def test_the_gradient_pulls_a_class_together():
    videos = torch.tensor([[0.0], [1.0], [5.0]], requires_grad=True)
    outputs = Outputs(torch.zeros(3, 2), {"videos": videos})
    ec_stfl_loss(outputs, torch.tensor([0, 0, 1])).mean().backward()
    assert videos.grad[0] < 0 < videos.grad[1]
