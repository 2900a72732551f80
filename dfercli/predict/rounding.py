"""Weights in half precision: rounded once, where autocast would round them at each call."""

import torch
from torch import nn

from dfercli.models.recurrent import BiLSTM

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Type of autocast by the name of a precision; fp32 has none."""

_ROUNDED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.MultiheadAttention)
ROUNDED = {"cpu": (*_ROUNDED, BiLSTM), "cuda": _ROUNDED}
"""Modules whose own parameters autocast rounds at each call, by kind of device. On CUDA `BiLSTM`
is not among them: written out, it adds its two biases before they are rounded."""


def round_weights(model: nn.Module, kind: str, precision: str) -> None:
    """Round what autocast would round at each call: the same results, bit for bit, in less time.

    Args:
        model: Changed in place.
        kind: Kind of the device that it will run on, such as `cuda`.
        precision: `fp32`, which rounds nothing, `bf16` or `fp16`.
    """
    if precision not in AUTOCAST:
        return
    for module in model.modules():
        if isinstance(module, ROUNDED.get(kind, ())):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(AUTOCAST[precision])
