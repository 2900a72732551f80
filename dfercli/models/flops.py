"""What a model costs: parameters, and multiply-accumulates counted in two ways.

The *paper convention* is the rule that reproduces the "FLOPs(G)" column of Tables 2 to 4 to both
decimals: multiply-accumulates of one clip, of convolutions, of linear layers called as modules, and
of the LSTM's gates. Nothing inside an attention module is counted, nor the text tower. The *true*
count is of all that a forward pass of one clip runs: it adds the attention and, where prompts are
learnt, the text tower, which reads them once a clip in CoCoOp, and once a batch elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dfercli.config import ModelConfig
from dfercli.models.backbone import CLIPBackbone
from dfercli.models.base import ExpressionModel, assemble
from dfercli.models.biehpro import CrossAttention, PairedCrossAttention
from dfercli.models.dfer_clip import TemporalAttention
from dfercli.models.pretrained import build_untrained
from dfercli.models.recurrent import BiLSTM
from dfercli.models.text import PromptEncoder

LEFT_OUT = (
    nn.MultiheadAttention,
    PairedCrossAttention,
    CrossAttention,
    TemporalAttention,
    PromptEncoder,
)
"""Modules that the paper's convention leaves out with all that is in them."""


@dataclass(frozen=True)
class Cost:
    """Cost of one model on one clip.

    Attributes:
        trainable: Parameters that training changes.
        total: All parameters, also those of the text tower that ran once to embed the texts.
        paper_macs: Multiply-accumulates by the paper's convention.
        true_macs: All multiply-accumulates of matrix products and convolutions.
    """

    trainable: int
    total: int
    paper_macs: int
    true_macs: int


def measure_cost(config: ModelConfig, class_names: Sequence[str]) -> Cost:
    """Count a model that is never built in memory: shapes alone, no weights, no training.

    Raises:
        UnknownNameError: open_clip has no such backbone.
    """
    with torch.device("meta"):
        clip = build_untrained(config.backbone)
        model = assemble(config, class_names, clip)
        size = model.backbone.image_size
        clips = torch.zeros(1, config.num_frames, 3, size, size)
    paper, true = count_macs(model, clips)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    texts = [p for name, p in clip.named_parameters() if name != "logit_scale"] * config.text
    total = sum(p.numel() for p in {*model.parameters(), *texts})  # many are in both
    return Cost(trainable, total, paper, true)


def count_macs(model: ExpressionModel, clips: torch.Tensor) -> tuple[int, int]:
    """Count the multiply-accumulates of a forward pass by the paper's convention, and all.

    Args:
        model: On the `meta` device, where an LSTM falls apart into the products it is made of.
        clips: (B, T, 3, H, W) on the same device.
    """
    paper_macs = 0

    def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        nonlocal paper_macs
        paper_macs += _layer_macs(module, inputs[0], output)

    handles = [module.register_forward_hook(add) for module in _find_counted(model)]
    # The plain attention kernel is the one whose products the counter sees.
    with FlopCounterMode(display=False) as products, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(clips)
    for handle in handles:
        handle.remove()
    return paper_macs, products.get_total_flops() // 2


def _layer_macs(module: nn.Module, inputs: torch.Tensor, output: Any) -> int:
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features
    if isinstance(module, nn.Conv2d):
        return output.numel() * module.weight[0].numel()
    if isinstance(module, BiLSTM):
        gates = sum(w.numel() for name, w in module.named_parameters() if "weight" in name)
        return inputs[..., 0].numel() * gates
    if isinstance(module, CLIPBackbone):  # its projection is a matrix of CLIP's, not a layer
        return output.numel() * module.width
    return 0


def _find_counted(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, LEFT_OUT):
        return []
    return [module, *(m for child in module.children() for m in _find_counted(child))]
