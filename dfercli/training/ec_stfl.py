"""The EC-STFL loss, which any model can be trained with.

Source: Jiang et al., 2020, DFEW: a large-scale database for recognizing dynamic facial expressions
in the wild, Eq. (9). Eqs. (7) and (8), which define its parts, are swapped in print. The code that
was released in 2024 computes something else.
"""

import torch
from torch import Tensor

from dfercli.models.base import Outputs


def ec_stfl_loss(outputs: Outputs, labels: Tensor) -> Tensor:
    """Return the ratio of distances within classes to those between classes, for each clip.

    Distances are Euclidean, of the embeddings `videos`; each is divided by the number of clips of a
    class in the batch: of the pair's class, and of the second one's. The loss is one number for the
    whole batch, returned (B,) times; it is 0 if the batch has a single class.
    """
    videos = outputs.extras["videos"].float()
    same = labels[:, None] == labels
    counts = same.sum(dim=0)  # (B,), clips of the class of each clip
    distances = pairwise_distances(videos) / counts
    within = (distances * same).sum()
    between = (distances * ~same).sum()
    loss = torch.where(same.all(), 0.0, within / between.clamp(min=1e-12))
    return loss.expand(len(labels))


def pairwise_distances(vectors: Tensor) -> Tensor:
    """Return the Euclidean distances (B, B) of vectors (B, F), with a gradient of 0 where equal."""
    squares = (vectors[:, None] - vectors).square().sum(dim=-1)
    equal = squares == 0
    return torch.where(equal, 0.0, torch.where(equal, 1.0, squares).sqrt())
