"""Stochastic depth."""

import torch
from torch import Tensor


def drop_clips(branch: Tensor, num_clips: int, rate: float) -> Tensor:
    """Skip a residual branch for some clips, with all their frames: stochastic depth.

    Source: Huang et al., 2016, with the branches that are kept scaled up, so that their
    expectation stays and evaluation needs no factor.

    Args:
        branch: (B * T, P, D), what the branch adds.
        num_clips: B.
        rate: Probability that a clip skips it.
    """
    if rate == 0:
        return branch
    kept = torch.rand(num_clips, device=branch.device) >= rate
    factors = (kept / (1 - rate)).to(branch.dtype)
    return branch * factors.repeat_interleave(len(branch) // num_clips)[:, None, None]
