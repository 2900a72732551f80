"""LoRA: the visual tower stays as it is, and low-rank updates of its projections are trained.

Source: Hu et al., 2021, LoRA: low-rank adaptation of large language models, with alpha equal to the
rank, so that the product is not scaled.
"""

import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.errors import ConfigError
from dfercli.models.base import ExpressionModel

TARGETS = {
    "q": "attn.in_proj_weight",
    "k": "attn.in_proj_weight",
    "v": "attn.in_proj_weight",
    "out": "attn.out_proj.weight",
    "fc": "mlp.c_fc.weight",
    "proj": "mlp.c_proj.weight",
}
"""Parameter of a block that each change belongs to; q, k and v are the thirds of one matrix."""

STACKED = ("q", "k", "v")

NAME = re.compile(r"backbone\.lora\.(\d+)\.(\w+)\.(down|up)")


class LowRank(nn.Module):
    """A linear map of low rank; zero at first, because `up` is.

    Args:
        in_width: Width of its input.
        out_width: Width of its output.
        rank: Rank of the product.
    """

    def __init__(self, in_width: int, out_width: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, in_width))
        self.up = nn.Parameter(torch.zeros(out_width, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., in_width) to (..., out_width)."""
        return F.linear(F.linear(inputs, self.down), self.up)


def add_lora(model: ExpressionModel, rank: int, projections: Sequence[str]) -> None:
    """Freeze what is CLIP's in a model, and add changes to projections of all of its blocks.

    Layers that are not part of CLIP are trained as before. `projections` are among `q`, `k`, `v`,
    `out` and `mlp`, which stands for both layers of the MLP.

    Raises:
        ConfigError: The rank exceeds the width of the projections.
    """
    backbone = model.backbone
    if rank > backbone.width:
        raise ConfigError(
            f"lora_rank is {rank}; it must be at most {backbone.width}, the width of the backbone"
        )
    backbone.requires_grad_(False)
    if model.logit_scale is not None:
        model.logit_scale.requires_grad_(False)
    names = [name for name in TARGETS if name in projections]
    if "mlp" in projections:
        names += ["fc", "proj"]
    width, hidden = backbone.width, backbone.visual.transformer.resblocks[0].mlp.c_fc.out_features
    widths = {"fc": (width, hidden), "proj": (hidden, width)}
    backbone.lora = nn.ModuleList(
        nn.ModuleDict({name: LowRank(*widths.get(name, (width, width)), rank) for name in names})
        for _ in range(backbone.num_layers)
    )


def merge_lora(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a model's state dict with its low-rank updates added to the weights they belong to."""
    merged = {name: tensor for name, tensor in weights.items() if not NAME.fullmatch(name)}
    for name in weights:
        match = NAME.fullmatch(name)
        if match is None or match[3] == "down":
            continue
        target = f"backbone.visual.transformer.resblocks.{match[1]}.{TARGETS[match[2]]}"
        change = weights[name] @ weights[name.removesuffix("up") + "down"]
        if match[2] in STACKED:
            parts = list(merged[target].chunk(len(STACKED)))
            parts[STACKED.index(match[2])] = parts[STACKED.index(match[2])] + change
            merged[target] = torch.cat(parts)
        else:
            merged[target] = merged[target] + change
    return merged
