"""Runs of methods that have nothing to train, such as zero-shot CLIP."""

import time

from accelerate import Accelerator

from dfercli.config import RunConfig
from dfercli.data.manifest import Manifest
from dfercli.models.base import ExpressionModel
from dfercli.runs.record import EpochMetrics
from dfercli.runs.run_folder import RunFolder
from dfercli.training.device import describe_device
from dfercli.training.eval_loaders import build_eval_loaders, describe_data, predict_parts, score
from dfercli.training.selection import EpochKeeper


def evaluate_untrained(
    config: RunConfig,
    run: RunFolder,
    manifest: Manifest,
    model: ExpressionModel,
    accelerator: Accelerator,
    command: str,
) -> None:
    """Evaluate a model as it is, and record that as epoch 0 of a run without training epochs."""
    started_s = time.perf_counter()
    size = model.backbone.image_size
    loaders = build_eval_loaders(config, manifest, accelerator, size, config.train.batch_size)
    prepared = accelerator.prepare_model(model, evaluation_mode=True)
    predictions = predict_parts(prepared, loaders, accelerator, manifest.class_names)
    if accelerator.is_main_process:
        device = describe_device(accelerator.device)
        run.start(config, describe_data(config, manifest), command, device)
        seconds = round(time.perf_counter() - started_s, 2)
        line: EpochMetrics = {
            "epoch": 0,
            "loss": None,
            "lr": 0.0,
            **score(predictions),
            "seconds": seconds,
        }
        keeper = EpochKeeper(run, model, lambda _: None, balance=config.train.balance)
        keeper.keep([line], predictions, last=True)
        keeper.finish([line])
