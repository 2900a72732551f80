"""What a trained model looks at: attention maps, similarities and features of clips."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dfercli.data.loaders import ClipDataset
from dfercli.data.transforms import normalise
from dfercli.models.base import ExpressionModel
from dfercli.models.layers import keep_attention
from dfercli.progress import show_progress


@dataclass(frozen=True)
class AttentionMaps:
    """How much each part of a frame contributes to the evidence for one class.

    The shares of a frame's patches, (B, T, h, w), and of its interaction tokens, (B, T), sum to 1.
    Interaction tokens carry information from the other frames; without InterFIT their share is 0.
    """

    patches: np.ndarray
    interaction: np.ndarray


def attention_maps(
    model: ExpressionModel, clips: Tensor, targets: Tensor | Sequence[int]
) -> AttentionMaps:
    """Return the patches that support a class, by attention rollout weighted with gradients.

    Clips are (B, T, 3, H, W), normalised; `targets` are (B,) classes whose logit is explained. A
    frame without any evidence for the class has equal shares everywhere.

    Source: Chefer et al., ICCV 2021, Eq. (5) and (6): in each block the mean over heads of
    relu(gradient * attention), plus the identity, multiplied through the blocks; the class token's
    row is the map. We depart from it in two points. The row, without the class token itself, is
    divided by its sum, because the gradients of two models differ in scale. And relevance that
    reaches an interaction token stays there: the token comes from the class tokens of all frames
    through a Bi-LSTM, which has no attention to follow. It takes one more column in each block, and
    these columns add up to `interaction`.

    A network without a class token has `position_layers`. The evidence in each position of their
    result, gradient times activation summed over channels, takes the place of the class token's
    row (HiResCAM: Draelos and Carin, 2020).
    """
    if model.position_layers is not None:
        return _position_maps(model, model.position_layers, clips, targets)
    clips = clips.detach().requires_grad_()  # builds a graph even if all weights are frozen
    chosen = torch.as_tensor(targets, device=clips.device).unsqueeze(1)
    with torch.enable_grad(), keep_attention() as attentions:
        score = model(clips).gather(1, chosen).sum()  # clips are independent of each other
    weights = attentions[: model.backbone.num_layers]  # (B * T, heads, P, P or P + 1) each
    gradients = torch.autograd.grad(score, weights)
    relevances = [
        (gradient * attention).detach().float().relu().mean(dim=1)
        for gradient, attention in zip(gradients, weights, strict=True)
    ]
    shares = roll_out(relevances).unflatten(0, clips.shape[:2]).cpu().numpy()  # (B, T, P)
    side = math.isqrt(shares.shape[-1] - 1)
    return AttentionMaps(shares[..., :-1].reshape(*shares.shape[:2], side, side), shares[..., -1])


def _position_maps(
    model: ExpressionModel, layers: nn.Module, clips: Tensor, targets: Tensor | Sequence[int]
) -> AttentionMaps:
    """Return the maps of a network whose transformer layers over positions are `layers`."""
    clips = clips.detach().requires_grad_()
    chosen = torch.as_tensor(targets, device=clips.device).unsqueeze(1)
    tokens: list[Tensor] = []
    handle = layers.register_forward_hook(lambda *arguments: tokens.append(arguments[-1]))
    try:
        with torch.enable_grad(), keep_attention() as attentions:
            score = model(clips).gather(1, chosen).sum()
    finally:
        handle.remove()
    weights = attentions[: len(list(layers.children()))]  # (B * T, heads, P, P) each
    (result,) = tokens  # (B * T, P, C)
    gradient, *gradients = torch.autograd.grad(score, [result, *weights])
    shares = (gradient * result).detach().float().sum(dim=2, keepdim=True).relu().transpose(1, 2)
    for weight, towards in zip(reversed(weights), reversed(gradients), strict=True):
        shares = shares + shares @ (towards * weight).detach().float().relu().mean(dim=1)
    patches = _normalise_shares(shares[:, 0]).unflatten(0, clips.shape[:2]).cpu().numpy()
    side = math.isqrt(patches.shape[-1])
    patches = patches.reshape(*patches.shape[:2], side, side)
    return AttentionMaps(patches, np.zeros(patches.shape[:2], dtype=patches.dtype))


def _normalise_shares(shares: Tensor) -> Tensor:
    """Return rows (N, P) that sum to 1; a row of zeros becomes equal shares."""
    sums = shares.sum(dim=-1, keepdim=True)
    equal = torch.full_like(shares, 1 / shares.shape[-1])
    return torch.where(sums > 0, shares / sums.clamp(min=torch.finfo(sums.dtype).tiny), equal)


def roll_out(relevances: Sequence[Tensor]) -> Tensor:
    """Multiply the relevances of all blocks, and return the shares of the class token's row.

    Args:
        relevances: One non-negative (N, P, P) per block, or (N, P, P + 1) if an interaction token
            is the last key. The first token is the class token.

    Returns:
        (N, P), summing to 1: the P - 1 patches, then the interaction tokens of all blocks.
    """
    num_tokens = relevances[0].shape[1]
    rolled = torch.eye(num_tokens, num_tokens + 1, device=relevances[0].device)
    for relevance in relevances:
        arriving = relevance[..., :num_tokens] @ rolled
        arriving[..., num_tokens:] += relevance[..., num_tokens:].sum(dim=-1, keepdim=True)
        rolled = rolled + arriving
    shares = rolled[:, 0, 1:]
    sums = shares.sum(dim=-1, keepdim=True)
    equal = torch.full_like(shares, 1 / (num_tokens - 1))
    equal[:, -1] = 0
    return torch.where(sums > 0, shares / sums.clamp(min=torch.finfo(sums.dtype).tiny), equal)


@dataclass(frozen=True)
class Explanation:
    """The outputs of a model for N clips, in the order of the clips.

    `labels` are (N,) true classes, `probs` (N, K); `similarities` (N, K) are the cosines to each
    class's text before scaling, None for a model without text; `features` (N, E) embed the videos.
    """

    class_names: tuple[str, ...]
    clip_ids: tuple[str, ...]
    labels: np.ndarray
    probs: np.ndarray
    similarities: np.ndarray | None
    features: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """(N,) int, the most probable class of each clip."""
        return self.probs.argmax(axis=1)


@torch.inference_mode()
def collect(model: ExpressionModel, loader: DataLoader) -> Explanation:
    """Run a model over the test clips of a loader, and return what explains its predictions."""
    dataset = loader.dataset
    assert isinstance(dataset, ClipDataset)  # nothing else is loaded here
    device = next(model.parameters()).device
    logits, features = [], []
    for clips, _, _ in show_progress(loader, desc="explaining", unit="batch", leave=False):
        batch = normalise(clips.to(device), model.config.pixels)
        videos = model.encode_video(batch)  # the backbone runs once, for both
        features.append(videos.float().cpu())
        logits.append(model.classify(videos).float().cpu())
    scores = torch.cat(logits)
    scaled = model.logit_scale is not None
    cosines = scores / model.logit_scale.detach().exp().cpu() if scaled else None
    return Explanation(
        class_names=tuple(model.class_names),
        clip_ids=tuple(dataset.clip_ids),
        labels=np.array(dataset.labels, dtype=np.int64),
        probs=scores.softmax(dim=-1).numpy(),
        similarities=None if cosines is None else cosines.numpy(),
        features=torch.cat(features).numpy(),
    )
