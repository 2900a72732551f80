"""Training: one readable loop on accelerate, one fold a run."""

import math
import time
from pathlib import Path

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from dfercli.config import RunConfig, TrainConfig
from dfercli.data.batches import EpochSampler, build_loader
from dfercli.data.clips import build_dataset
from dfercli.data.manifest import read_manifest
from dfercli.data.transforms import normalise
from dfercli.engine.checkpoint import save_checkpoint
from dfercli.engine.evaluate import confusion_of, predict_clips, write_predictions
from dfercli.engine.runlog import RunFolder, describe_device, run_folder
from dfercli.errors import ConfigError
from dfercli.metrics import uar, war
from dfercli.models.dfer import DFERModel, build_model, contrastive_loss


def train_fold(
    config: RunConfig, runs: Path, command: str = "", overwrite: bool = False
) -> RunFolder:
    """Train a model on all folds but one, and test it on that one after every epoch.

    Leaves the best and the last epoch's checkpoint and predictions. The best epoch is the one of
    the highest WAR on the test fold, the first among equals, as the field reports it.

    Args:
        config: The run.
        runs: Folder of all runs.
        command: What was typed, for the record.
        overwrite: Train anew although the fold is finished.

    Raises:
        ConfigError: The loss is not finite any more, or the batch cannot be split over devices.
    """
    run = run_folder(runs, config)
    if run.finished and not overwrite:
        return run
    accelerator = Accelerator(
        mixed_precision=config.train.precision,
        gradient_accumulation_steps=config.train.accumulate,
    )
    set_seed(config.seed)
    manifest = read_manifest(Path(config.data.manifest))
    model = build_model(config.model, manifest.class_names, manifest.crop)
    model.settings["trained"] = {
        "dataset": config.data.dataset,
        "fold": config.fold,
        "data_fingerprint": manifest.fingerprint,
        "deviations": list(manifest.deviations),
    }
    size = model.backbone.image_size
    batch_size = batch_per_process(config.train, accelerator.num_processes)
    train_set = build_dataset(manifest, "train", config, size)
    test_set = build_dataset(manifest, "test", config, size)
    sampler = EpochSampler(len(train_set), config.seed)
    optimizer = build_optimizer(model, config.train)
    prepared, optimizer, train_loader, test_loader = accelerator.prepare(
        model,
        optimizer,
        build_loader(train_set, batch_size, config.data.workers, sampler),
        build_loader(test_set, batch_size, config.data.workers),
    )
    steps = math.ceil(len(train_loader) / config.train.accumulate)
    scheduler = build_scheduler(optimizer, config.train, steps)
    if accelerator.is_main_process:
        device = describe_device(accelerator.device)
        run.start(config, manifest.fingerprint, command, device, manifest.deviations)
    best_war = -1.0
    title = f"{config.data.dataset} {config.model.variant} fold {config.fold}"
    main_process = accelerator.is_local_main_process
    epochs = tqdm(
        range(config.train.epochs), title, unit="epoch", disable=None if main_process else True
    )
    for epoch in epochs:
        started, sampler.epoch = time.perf_counter(), epoch
        loss = train_epoch(prepared, model, train_loader, optimizer, scheduler, accelerator)
        if not math.isfinite(loss):
            raise ConfigError(f"{title}: the loss is {loss} in epoch {epoch + 1}; lower --lr")
        predictions = predict_clips(prepared, test_loader, accelerator, manifest.class_names)
        matrix = confusion_of(predictions)
        epochs.set_postfix(loss=f"{loss:.3f}", war=f"{war(matrix):.1%}", uar=f"{uar(matrix):.1%}")
        if not accelerator.is_main_process:
            continue
        run.append_metrics(
            {
                "epoch": epoch + 1,
                "loss": loss,
                "lr": scheduler.get_last_lr()[0],
                "war": war(matrix),
                "uar": uar(matrix),
                "seconds": round(time.perf_counter() - started, 2),
            }
        )
        if war(matrix) > best_war:
            best_war = war(matrix)
            keep_epoch(run, "best", model, predictions)
        if epoch + 1 == config.train.epochs:
            keep_epoch(run, "last", model, predictions)
            run.finish()
    accelerator.wait_for_everyone()
    return run


def train_epoch(
    prepared: nn.Module,
    model: DFERModel,
    loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    accelerator: Accelerator,
) -> float:
    """Take one pass over the training clips.

    Args:
        prepared: The model as the accelerator runs it.
        model: The same model, unwrapped.
        loader: Training views.
        optimizer: Prepared by the accelerator.
        scheduler: Steps with the optimizer.
        accelerator: Runs the steps.

    Returns:
        The mean loss over clips.
    """
    prepared.train()
    total, count = torch.zeros((), device=accelerator.device), 0
    for clips, labels, _ in loader:
        with accelerator.accumulate(prepared):
            loss = contrastive_loss(prepared(normalise(clips)), labels)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        if accelerator.sync_gradients and not accelerator.optimizer_step_was_skipped:
            scheduler.step()
            model.clamp_logit_scale()
        total += loss.detach() * len(labels)
        count += len(labels)
    sums = accelerator.reduce(torch.stack([total, torch.tensor(float(count)).to(total)]))
    return float(sums[0] / sums[1])


def keep_epoch(run: RunFolder, which: str, model: DFERModel, predictions: pd.DataFrame) -> None:
    """Write an epoch's checkpoint and predictions under the name `best` or `last`."""
    save_checkpoint(model, run.checkpoint(which))
    write_predictions(predictions, run.predictions_file(which))


def batch_per_process(config: TrainConfig, num_processes: int) -> int:
    """Give the clips a device takes at once.

    Raises:
        ConfigError: The batch cannot be split evenly.
    """
    parts = num_processes * config.accumulate
    if config.batch_size % parts:
        raise ConfigError(
            f"batch_size {config.batch_size} cannot be split over {num_processes} processes and "
            f"{config.accumulate} accumulation steps; choose a multiple of {parts}"
        )
    return config.batch_size // parts


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Give AdamW with weight decay on matrices, and none on norms, biases and scales."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr)


def build_scheduler(
    optimizer: torch.optim.Optimizer, config: TrainConfig, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Give a linear warm-up and then a cosine from the peak to the minimum, step by step."""
    warmup = config.warmup_epochs * steps_per_epoch
    total = config.epochs * steps_per_epoch
    floor = config.min_lr / config.lr

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, total - 1 - warmup))
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
