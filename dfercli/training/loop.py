"""Training runs: each one model on one fold, kept epoch by epoch."""

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader

from dfercli.config import ALL_DATA, UNTRAINED, RunConfig
from dfercli.config.presets import describe_recipe
from dfercli.data.augment import Augmenter
from dfercli.data.dataset import build_dataset
from dfercli.data.folds import Part, open_manifest, select_rows
from dfercli.data.loaders import EpochBatches, balance_weights, build_train_loader
from dfercli.data.manifest import Manifest
from dfercli.device import resolve_compute
from dfercli.errors import ConfigError
from dfercli.models.base import ExpressionModel, build_model
from dfercli.runs.predictions import find_missed, read_predictions
from dfercli.runs.run_folder import RunFolder, run_folder
from dfercli.training.chosen_epochs import publish_epochs
from dfercli.training.device import describe_device, make_accelerator, tracking
from dfercli.training.eval_loaders import HeldClips, describe_data, load_held, score
from dfercli.training.execution import Steps, choose_way, fit_steps
from dfercli.training.final import carry_calibration
from dfercli.training.loss import Mixup, build_loss
from dfercli.training.optimizer import build_optimizer, build_scheduler
from dfercli.training.progress import Progress
from dfercli.training.selection import EpochKeeper, fit_held_out
from dfercli.training.state import (
    count_epochs,
    drop_state,
    find_state,
    load_state,
    reporting_failed_save,
    save_state,
    seed_epoch,
    training_alone,
)
from dfercli.training.trainer import Trainer

LOGGED = ("loss", "lr", "war", "uar", "val_war", "val_uar", "val_loss")
"""Metrics of an epoch that trackers are told."""

FILM_FPS = 25.0
"""Frames a second of the films that the official datasets were cut out of (our choice: between the
24 of cinema and the 30 of some television)."""


def train_fold(
    config: RunConfig,
    runs: Path,
    command: str = "",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RunFolder:
    """Train a model on all folds but one, and test it on that one after every epoch.

    A run that was interrupted goes on after its last finished epoch, and ends as if it had not
    been. Leaves the checkpoint and the predictions of each protocol's epoch; the best is the one of
    the highest WAR on the test fold, as the field reports it.

    Args:
        config: The run.
        runs: Folder of all runs.
        command: What was typed, for the record.
        overwrite: Train anew although there is a run already.
        progress: Shows how far it is; by default a bar of its own.

    Raises:
        ConfigError: The loss is not finite any more; another process trains the run; or there is
            a run of other settings.
        CheckpointError: A checkpoint cannot be written, or not be read to go on from.
    """
    config = replace(config, compute=resolve_compute(config.compute))
    run = run_folder(runs, config)
    accelerator = make_accelerator(config.compute, run.logs_folder)
    with training_alone(run) if accelerator.is_main_process else nullcontext():
        if overwrite or not run.finished:
            run.check_own()
            _train(config, run, accelerator, command, overwrite, progress)
        elif accelerator.is_main_process:
            drop_state(run)  # a process was killed as it was about to do so
        accelerator.wait_for_everyone()
    return run


def _train(
    config: RunConfig,
    run: RunFolder,
    accelerator: Accelerator,
    command: str,
    overwrite: bool,
    progress: Progress | None,
) -> None:
    """Train the epochs of a run that are missing."""
    manifest = open_manifest(config.data)
    if not overwrite:
        run.check_same(config, describe_data(config, manifest))
    elif accelerator.is_main_process:
        run.discard()  # so that whatever happens next, the old run does not pass for the new one
    accelerator.wait_for_everyone()
    set_seed(config.seed)
    model = _build_model(config, manifest, run)
    if config.model.method in UNTRAINED:
        _test_untrained(config, run, manifest, model, accelerator, command)
        return
    prepared = _prepare(config, manifest, model, accelerator)
    trainer = prepared.trainer
    metrics = load_state(run, trainer)
    accelerator.wait_for_everyone()  # all have read the folder before it changes
    if accelerator.is_main_process:
        device = describe_device(accelerator.device)
        if metrics:
            with reporting_failed_save(run, len(metrics)):
                publish_epochs(run, len(metrics))
            run.resume(len(metrics), command, device)
        else:
            data, processes = describe_data(config, manifest), accelerator.num_processes
            run.start(config, data, command, device, processes, prepared.steps.way)
    clips, epochs = prepared.batches.length, config.train.last_epoch
    save, every = partial(save_state, run, trainer), config.compute.save_every
    keeper = EpochKeeper(run, model, save, every, len(metrics), config.train.balance)
    shown = accelerator.is_local_main_process
    own = nullcontext(progress) if progress else Progress(clips * epochs, shown)
    with own as bar, tracking(accelerator, config):
        bar.begin_run(config.title, epochs, len(metrics) * clips)
        if prepared.steps.remark:
            bar.note(f"{config.title}: {prepared.steps.remark}")
        for epoch in range(len(metrics), epochs):
            line, predictions = _run_epoch(prepared, epoch, config, run, bar)
            metrics.append(line)
            bar.end_epoch(line)
            accelerator.log({name: line[name] for name in LOGGED if name in line}, step=epoch + 1)
            if accelerator.is_main_process:
                keeper.keep(metrics, predictions, last=epoch + 1 == epochs)
        if accelerator.is_main_process:
            _note_remarks(bar, run, config)
            keeper.finish(metrics)


def _note_remarks(bar: Progress, run: RunFolder, config: RunConfig) -> None:
    """Note what is odd about the last epoch's predictions: classes never predicted, calibration."""
    if config.fold == ALL_DATA:
        return
    if missed := find_missed(read_predictions(run.predictions_file("last"))):
        bar.note(f"{config.title}: never predicted: {', '.join(missed)}")
    if config.train.val_fraction > 0:
        held_out = read_predictions(run.validation_file("last"))
        if remark := fit_held_out(held_out, config.train.balance).remark:
            bar.note(f"{config.title}: {remark}")


def _run_epoch(
    prepared: "_Prepared", epoch: int, config: RunConfig, run: RunFolder, bar: Progress
) -> tuple[dict[str, Any], dict[Part, pd.DataFrame]]:
    """Train and test one epoch, and return its line of the metrics and its predictions.

    Raises:
        ConfigError: The loss is not finite any more.
    """
    trainer, batches = prepared.trainer, prepared.batches
    started_s = time.perf_counter()
    bar.begin_epoch(epoch)
    seed_epoch(config.seed, epoch, trainer.accelerator.process_index)
    batches.epoch = epoch
    loss = trainer.train_epoch(prepared.loader, prepared.augmenter, bar.step)
    trained_s = time.perf_counter()
    if not math.isfinite(loss):
        raise ConfigError(_describe_divergence(loss, epoch, config, run))
    class_names = trainer.model.class_names
    predictions = prepared.held.predict(prepared.steps.tester, trainer.accelerator, class_names)
    line = {
        "epoch": epoch + 1,
        "loss": loss,
        "lr": trainer.scheduler.get_last_lr()[0],
        **score(predictions),
        "seconds": round(time.perf_counter() - started_s, 2),
        "clips_per_s": round(batches.length / (trained_s - started_s), 1),
    }
    return line, predictions


def _test_untrained(
    config: RunConfig,
    run: RunFolder,
    manifest: Manifest,
    model: ExpressionModel,
    accelerator: Accelerator,
    command: str,
) -> None:
    """Test a model that has nothing to train, such as zero-shot CLIP: a run of no epoch."""
    started = time.perf_counter()
    held = load_held(config, manifest, model, accelerator, config.train.batch_size)
    prepared = accelerator.prepare_model(model, evaluation_mode=True)
    predictions = held.predict(prepared, accelerator, manifest.class_names)
    if accelerator.is_main_process:
        device = describe_device(accelerator.device)
        run.start(config, describe_data(config, manifest), command, device)
        seconds = round(time.perf_counter() - started, 2)
        line = {"epoch": 0, "loss": None, "lr": 0.0, **score(predictions), "seconds": seconds}
        keeper = EpochKeeper(run, model, lambda _: None, balance=config.train.balance)
        keeper.keep([line], predictions, last=True)
        keeper.finish([line])


def _build_model(config: RunConfig, manifest: Manifest, run: RunFolder) -> ExpressionModel:
    model = build_model(config.model, manifest.class_names, manifest.crop)
    if config.model.method in UNTRAINED:
        return model
    model.settings["trained"] = {
        "dataset": config.data.dataset,
        "fold": config.fold,
        "folds_by": config.data.folds_by,
        "seed": config.seed,
        "data_fingerprint": manifest.fingerprint,
        "deviations": list(manifest.deviations),
        "drawn": manifest.drawn,
        "clips": len(select_rows(manifest, "train", config)),
        "recipe": describe_recipe(config),
        "clip_s": measure_clips(manifest),
    }
    if config.fold == ALL_DATA:
        model.settings |= carry_calibration(run)
    model.backbone.drop_path = config.train.drop_path
    return model


def measure_clips(manifest: Manifest) -> float | None:
    """Give the median length of the clips in seconds; None for one's own, of whatever rate."""
    if manifest.kind == "folder":
        return None
    return round(float(manifest.rows["n_frames"].median()) / FILM_FPS, 2)


@dataclass(frozen=True)
class _Prepared:
    """What the epochs of a run need.

    Attributes:
        trainer: Takes the steps.
        steps: How it takes them.
        batches: Which clips make up the batches.
        loader: Of the training clips.
        augmenter: Changes them.
        held: Those that are not learnt from.
    """

    trainer: Trainer
    steps: Steps
    batches: EpochBatches
    loader: DataLoader
    augmenter: Augmenter
    held: HeldClips


def _prepare(
    config: RunConfig, manifest: Manifest, model: ExpressionModel, accelerator: Accelerator
) -> _Prepared:
    train_set = build_dataset(manifest, "train", config, model.backbone.image_size)
    rank, processes = accelerator.process_index, accelerator.num_processes
    chances = balance_weights(train_set.labels) if config.train.balance == "oversample" else None
    batches = EpochBatches(
        len(train_set), config.train.batch_size, config.seed, rank, processes, chances
    )
    prepared, optimizer = accelerator.prepare(model, build_optimizer(model, config.train))
    scheduler = build_scheduler(optimizer, config.train, len(batches))
    share = math.ceil(config.train.batch_size / processes)
    micro_batch = math.ceil(share / config.compute.accumulate)
    num_classes = len(manifest.class_names)
    counts = [train_set.labels.count(label) for label in range(num_classes)]
    loss = build_loss(config.train, counts, accelerator.device)
    mixup = None
    if config.train.mixup > 0:
        mixup = Mixup(config.train.mixup, num_classes, config.seed, rank)
    trainer = Trainer(model, prepared, optimizer, scheduler, accelerator, micro_batch, loss, mixup)
    if config.compute.batch == "auto":
        trainer.micro_batch = trainer.find_micro_batch()
    way = choose_way(config.compute, accelerator, len(batches) * config.train.last_epoch)
    steps = fit_steps(trainer, way, share, config.compute)
    return _Prepared(
        trainer,
        steps,
        batches,
        build_train_loader(train_set, batches, config.data.workers),
        Augmenter(config.augment, config.seed, steps.change),
        load_held(config, manifest, model, accelerator, trainer.micro_batch),
    )


def _describe_divergence(loss: float, epoch: int, config: RunConfig, run: RunFolder) -> str:
    state = find_state(run)
    kept = f"; the weights of epoch {count_epochs(state)} are in {state}" if state else ""
    text = f"{config.title}: the loss is {loss} in epoch {epoch + 1}; lower --lr, and give "
    return text + f"--overwrite{kept}"
