"""The written-out Bi-LSTM against PyTorch's own."""

import pytest
import torch
from torch import nn

from dfercli.models import functional
from dfercli.models.recurrent import BiLSTM

WIDTH = 48


@pytest.fixture
def pair():
    """Our LSTM and PyTorch's, with the same weights, each started from the same seed."""
    torch.manual_seed(3)
    ours = BiLSTM(WIDTH)
    torch.manual_seed(3)
    theirs = nn.LSTM(WIDTH, WIDTH, batch_first=True, bidirectional=True)
    return ours, theirs


def _gradients(module, outputs):
    grads = torch.autograd.grad(outputs.square().sum(), list(module.parameters()))
    return dict(zip([name for name, _ in module.named_parameters()], grads, strict=True))


def test_parameters_names_and_start_are_those_of_pytorch(pair):
    ours, theirs = (module.state_dict() for module in pair)
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("num_frames", [1, 2, 8, 16])
def test_on_a_cpu_it_is_pytorch_s_own_bit_for_bit(pair, num_frames):
    ours, theirs = pair
    inputs = torch.randn(3, num_frames, WIDTH)
    outputs, expected = ours(inputs), theirs(inputs)[0]
    assert torch.equal(outputs, expected)
    grads, wanted = _gradients(ours, outputs), _gradients(theirs, expected)
    assert all(torch.equal(grads[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("num_frames", [1, 2, 8, 16])
def test_step_by_step_it_equals_pytorch_s_own(pair, num_frames):
    ours, theirs = pair
    inputs = torch.randn(3, num_frames, WIDTH, requires_grad=True)
    outputs, expected = ours.run_steps(inputs), theirs(inputs)[0]
    torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=0)
    grads, wanted = _gradients(ours, ours.run_steps(inputs)), _gradients(theirs, expected)
    for name in wanted:
        torch.testing.assert_close(grads[name], wanted[name], atol=1e-4, rtol=1e-4)


def test_step_by_step_in_bf16_it_stays_near_single_precision(pair):
    ours, _ = pair
    inputs = torch.randn(4, 8, WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = ours.run_steps(inputs)
    assert outputs.dtype == torch.bfloat16
    # Two products per step, rounded to 8 bits: their error stays of the order of 2^-8.
    torch.testing.assert_close(outputs.float(), ours(inputs), atol=0.02, rtol=0)


def test_the_device_decides_which_way_is_taken(pair, monkeypatch):
    ours, _ = pair
    inputs = torch.randn(2, 5, WIDTH)
    monkeypatch.setattr(functional, "prefers_few_kernels", lambda tensor: True)
    assert torch.equal(ours(inputs), ours.run_steps(inputs))
