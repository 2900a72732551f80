"""Runs of colours on a GPU, and their steps before the first one is taken.

`pytest -m gpu` needs a CUDA device and nothing else: no weights, no footage, no installed package.
"""

import gc
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

DEVICE = "cuda"


@pytest.fixture(autouse=True)
def _free_memory() -> Iterator[None]:
    """Free the models and graphs of each test, which are in reference cycles."""
    yield
    import torch

    gc.collect()
    torch.cuda.empty_cache()


@pytest.fixture
def make_gpu_run(make_run: Callable[..., Any]) -> Callable[..., Any]:
    """Make a RunConfig for the GPU with a way of executing steps."""

    def make(way: str = "captured", precision: str = "fp32", **settings: Any) -> Any:
        compute = {"device": DEVICE, "precision": precision, "steps": way}
        return make_run(**settings | {"compute": compute | settings.get("compute", {})})

    return make


@pytest.fixture
def prepare(make_gpu_run: Callable[..., Any]) -> Callable[..., Any]:
    """Prepare a run as `train_fold` does before its first epoch."""
    from dataclasses import replace

    import torch
    from accelerate.utils import set_seed

    from dfercli.data.augment import Augmenter
    from dfercli.data.folds import open_manifest
    from dfercli.data.loaders import build_dataset, build_train_loader
    from dfercli.device import resolve_training
    from dfercli.training import loop
    from dfercli.training.device import make_accelerator
    from dfercli.training.execution import plan_execution

    def prepare(way: str = "captured", precision: str = "fp32", **settings: Any) -> Any:
        config = make_gpu_run(way, precision, **settings)
        config = replace(config, compute=resolve_training(config))
        accelerator = make_accelerator(config.compute)
        if accelerator.scaler is not None:  # small enough that no gradient overflows in fp16
            state = accelerator.scaler.state_dict()
            accelerator.scaler.load_state_dict(state | {"scale": 256.0})
        set_seed(config.seed)
        manifest = open_manifest(config.data)
        model = loop._build_model(config, manifest)
        generator = torch.Generator().manual_seed(5)
        for layer in model.interfit or ():  # which starts at 0, so that no LSTM would learn
            weight = layer.attention.out_proj.weight.data
            weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
        train_set = build_dataset(manifest, "train", config, model.image_size)
        batches = loop._build_batches(config, train_set, accelerator)
        setup = loop._build_setup(config, train_set, len(batches), model, accelerator)
        num_steps = len(batches) * config.train.last_epoch
        execution = plan_execution(setup, config.compute, config.train.batch_size, num_steps)
        return SimpleNamespace(
            setup=setup,
            execution=execution,
            batches=batches,
            loader=build_train_loader(train_set, batches, config.data.workers),
            augment=Augmenter(config.augment, config.seed, execution.change),
        )

    return prepare
