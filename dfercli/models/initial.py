"""Initial weights from a trained model: its rows of the classes of both, and all other weights."""

from dataclasses import fields
from typing import Any

from torch import Tensor

from dfercli.config import ModelConfig
from dfercli.errors import ConfigError
from dfercli.models.base import ExpressionModel

FREE = ("weights", "prompt_template")
"""Settings that may differ from those of the trained model: they affect the texts only."""


def list_misfits(config: ModelConfig, trained: ModelConfig) -> list[str]:
    """Return the settings that keep a model from taking the weights of a trained one."""
    return [
        f"{name} {getattr(trained, name)} -> {getattr(config, name)}"
        for name in (setting.name for setting in fields(ModelConfig))
        if name not in FREE and getattr(trained, name) != getattr(config, name)
    ]


def take_weights(model: ExpressionModel, trained: ExpressionModel) -> list[str]:
    """Copy the weights of a trained model with the same settings; return the classes of both.

    A class with the same name keeps its rows of parameters and, if the prompt template is the same,
    its text, so that its logits are those of the trained model unless the method compares classes
    with each other. All other classes stay as they are.

    Raises:
        ConfigError: The prompts of the two models have different numbers of contexts.
    """
    names, trained_names = model.class_names, trained.class_names
    shared = [name for name in names if name in trained_names]
    rows = [names.index(name) for name in shared]
    trained_rows = [trained_names.index(name) for name in shared]
    same_texts = model.config.prompt_template == trained.config.prompt_template
    by_class = {*model.class_texts, *model.class_parameters}
    weights = model.state_dict()
    num_contexts, trained_contexts = _count_contexts(model), _count_contexts(trained)
    if num_contexts != trained_contexts:
        raise ConfigError(
            f"the checkpoint has {trained_contexts} context vectors per prompt, but the class "
            f"names leave room for {num_contexts}; use shorter class names"
        )
    for name, tensor in trained.state_dict().items():
        if name in model.class_texts and not same_texts:
            continue
        if name in by_class:
            weights[name] = _copy_rows(weights[name], rows, tensor[trained_rows])
        else:
            weights[name] = tensor
        if name == "prompts.words":
            model.settings["prompt_tokens"] = weights[name].shape[1]
    model.resize(model.settings)
    model.load_state_dict(weights)
    return shared


def _count_contexts(model: ExpressionModel) -> int | None:
    prompts: Any = getattr(model, "prompts", None)
    return None if prompts is None else int(prompts.num_contexts)


def _copy_rows(tensor: Tensor, rows: list[int], values: Tensor) -> Tensor:
    """Return a tensor (K, ...) with new values in some rows.

    Texts (K, R, D') get the length of the longer one; what follows the end of a text has no effect.
    """
    if tensor.ndim == 3 and tensor.shape[-2] != values.shape[-2]:
        shape = len(tensor), max(tensor.shape[1], values.shape[1]), tensor.shape[2]
        longer = tensor.new_zeros(shape)
        longer[:, : tensor.shape[1]] = tensor
        longer[rows, : values.shape[1]] = values
        return longer
    copied = tensor.clone()
    copied[rows] = values
    return copied
