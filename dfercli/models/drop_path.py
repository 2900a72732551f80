"""Stochastic depth."""

import torch
from torch import Tensor


def draw_factors(num_clips: int, rate: float, device: torch.device) -> Tensor:
    """Draw the factor of a residual branch for each clip: stochastic depth.

    Source: Huang et al., 2016, with the branches that are kept scaled up, so that their
    expectation stays and evaluation needs no factor.

    Args:
        num_clips: B.
        rate: Probability that a clip skips the branch; at 0 nothing is drawn.
        device: Of the factors.

    Returns:
        (B,) float32: 0 where a clip skips the branch, 1 / (1 - rate) elsewhere.
    """
    if rate == 0:
        return torch.ones(num_clips, device=device)
    return (torch.rand(num_clips, device=device) >= rate) / (1 - rate)


def scale_clips(branch: Tensor, factors: Tensor, num_frames: int) -> Tensor:
    """Scale what a branch adds, (B * T, P, D), by the factor (B,) of each clip."""
    clips = branch.unflatten(0, (-1, num_frames))  # (B, T, P, D)
    return (clips * factors.to(branch.dtype)[:, None, None, None]).flatten(0, 1)
