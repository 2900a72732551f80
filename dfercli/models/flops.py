"""The cost of a model: parameters, and multiply-accumulates counted in two ways.

The *paper convention* reproduces the "FLOPs(G)" column of Tables 2 to 4 to both decimals. It counts
the multiply-accumulates of one clip in convolutions, in linear layers called as modules and in the
LSTM's gates, but nothing inside attention modules or the text tower. The *true* count is of all
that a forward pass of one clip runs: it adds the attention and, where prompts are learnt, the text
tower, which runs once per clip in CoCoOp and once per batch in other methods.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dfercli.config import ModelConfig, TrainConfig
from dfercli.models.backbone import CLIPBackbone
from dfercli.models.base import ExpressionModel, assemble, make_towers
from dfercli.models.biehpro import CrossAttention, PairedCrossAttention
from dfercli.models.dfer_clip import TemporalAttention
from dfercli.models.layers import BiLSTM
from dfercli.models.lora import add_lora
from dfercli.models.text import PromptEncoder

LEFT_OUT = (
    nn.MultiheadAttention,
    PairedCrossAttention,
    CrossAttention,
    TemporalAttention,
    PromptEncoder,
)
"""Modules that the paper's convention leaves out, with everything inside them."""


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Matched with their subclasses, such as those of torchvision's video networks."""

EXACT_TYPES = (*CONVOLUTIONS, nn.Linear, nn.LSTM)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Cost:
    """Cost of a model on one clip.

    The total counts all parameters, including the text tower that embeds the class names once;
    multiply-accumulates are by the paper's convention, and of all matrix products and convolutions.
    """

    trainable: int
    total: int
    paper_macs: int
    true_macs: int


def measure_cost(
    config: ModelConfig, class_names: Sequence[str], train: TrainConfig | None = None
) -> Cost:
    """Count the cost of a model from shapes alone, without allocating its weights.

    The trainable parameters are those of a recipe, which may use LoRA. LoRA is merged into the
    weights in the end, so it changes neither the total nor the multiply-accumulates.

    Raises:
        UnknownNameError: open_clip has no such backbone.
    """
    towers, model, clips = _build(config, class_names)
    paper, true = count_macs(model, clips)
    original = list(model.parameters())
    if train is not None and train.lora_rank > 0:
        with torch.device("meta"):
            add_lora(model, train.lora_rank, train.lora_projections)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parameters = {*original}
    if towers is not None and config.text:  # the towers share many parameters with the model
        parameters |= {p for name, p in towers.named_parameters() if name != "logit_scale"}
    total = sum(p.numel() for p in parameters)
    return Cost(trainable, total, paper, true)


def _build(
    config: ModelConfig, class_names: Sequence[str]
) -> tuple[Any, ExpressionModel, torch.Tensor]:
    """Return the towers of a model, the model and one clip, all on the `meta` device."""
    with torch.device("meta"):
        towers = make_towers(config)
        model = assemble(config, class_names, towers)
        clips = torch.zeros(1, config.num_frames, 3, model.image_size, model.image_size)
    return towers, model, clips


def measure_by_exact_type(config: ModelConfig, class_names: Sequence[str]) -> int:
    """Count the cost of a model by the rule of `count_by_exact_type`."""
    _, model, clips = _build(config, class_names)
    return count_by_exact_type(model, clips)


def count_macs(model: nn.Module, clips: torch.Tensor) -> tuple[int, int]:
    """Count the multiply-accumulates of a forward pass, by the paper's convention and in truth.

    The model and the clips (B, T, 3, H, W) are on the `meta` device, where an LSTM runs as separate
    products.
    """
    paper_macs = 0

    def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        nonlocal paper_macs
        paper_macs += _layer_macs(module, inputs[0], output)

    handles = [module.register_forward_hook(add) for module in _find_counted(model)]
    # The counter sees the products of the plain attention kernel only.
    with FlopCounterMode(display=False) as products, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model.eval()(clips)
    for handle in handles:
        handle.remove()
    return paper_macs, products.get_total_flops() // 2


def count_by_exact_type(model: nn.Module, clips: torch.Tensor) -> int:
    """Count as the profiler thop does, which skips subclasses of the layers that it knows.

    It explains a published number and is never the cost of a model: the convolutions of
    torchvision's video networks are such subclasses, so 1.66 G remain of M3DFEL's 43.19 G, and its
    paper has 1.65 G. Each value of a batch normalisation counts four times. The model and the clips
    are on the `meta` device.
    """
    count = 0

    def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        nonlocal count
        if type(module) in EXACT_TYPES:
            count += _layer_macs(module, inputs[0], output)
        elif type(module) in BATCH_NORMS:
            count += 4 * output.numel()

    handles = [module.register_forward_hook(add) for module in model.modules()]
    with torch.no_grad():
        model.eval()(clips)
    for handle in handles:
        handle.remove()
    return count


def _layer_macs(module: nn.Module, inputs: torch.Tensor, output: Any) -> int:
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features
    if isinstance(module, CONVOLUTIONS):
        return output.numel() * module.weight[0].numel()
    if isinstance(module, nn.RNNBase):
        gates = sum(w.numel() for name, w in module.named_parameters() if "weight" in name)
        return inputs[..., 0].numel() * gates
    if isinstance(module, BiLSTM):
        gates = sum(w.numel() for name, w in module.named_parameters() if "weight" in name)
        return inputs[..., 0].numel() * gates
    if isinstance(module, CLIPBackbone):  # its projection is a parameter, not a layer
        return output.numel() * module.width
    return 0


def _find_counted(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, LEFT_OUT):
        return []
    return [module, *(m for child in module.children() for m in _find_counted(child))]
