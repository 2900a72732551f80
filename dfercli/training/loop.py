"""The training loop: data, model, then epoch by epoch step, evaluate, keep."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dfercli.config import ALL_DATA, UNTRAINED, RunConfig
from dfercli.config.presets import describe_recipe
from dfercli.data.augment import Augmenter
from dfercli.data.folds import open_manifest, select_rows
from dfercli.data.loaders import (
    ClipDataset,
    EpochBatches,
    balance_weights,
    build_dataset,
    build_train_loader,
    prefetch,
)
from dfercli.data.manifest import Manifest
from dfercli.device import resolve_training
from dfercli.errors import ConfigError
from dfercli.models.base import ExpressionModel, build_model
from dfercli.models.lora import add_lora
from dfercli.runs.predictions import find_missed, fit_held_out, read_predictions
from dfercli.runs.record import EpochMetrics
from dfercli.runs.run_folder import RunFolder, run_folder
from dfercli.training.average import WeightAverage
from dfercli.training.device import describe_device, make_accelerator, tracking
from dfercli.training.evaluation import (
    build_eval_loaders,
    describe_data,
    evaluate_untrained,
    predict_parts,
    score,
)
from dfercli.training.execution import check_smallest_share, plan_execution
from dfercli.training.initial import load_initial
from dfercli.training.progress import Progress
from dfercli.training.recipe import (
    Mixup,
    add_auxiliary,
    build_loss,
    build_optimizer,
    build_scheduler,
    find_auxiliary,
)
from dfercli.training.selection import EpochKeeper, publish_epochs
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
from dfercli.training.step import OptimizerStep, TrainingSetup

LOGGED = ("loss", "lr", "war", "uar", "val_war", "val_uar", "val_loss")
"""Metrics of an epoch that are sent to trackers."""

FILM_FPS = 25.0
"""Frame rate of the films that the official datasets were cut from (our choice: between the 24 of
cinema and the 30 of some television)."""


def train_fold(
    config: RunConfig,
    runs: Path,
    command: str = "",
    overwrite: bool = False,
    progress: Progress | None = None,
    manifest: Manifest | None = None,
    calibration: Mapping[str, Any] | None = None,
) -> RunFolder:
    """Train a model on all folds but one, and test it on that fold after every epoch.

    An interrupted run resumes after its last finished epoch, and ends as if it had not been
    interrupted; a finished run is not trained again. The run keeps the checkpoint and the
    predictions of the epoch that each protocol chooses; see `PROTOCOLS`.

    Args:
        config: The run.
        runs: Folder of all runs.
        command: The command line, for the record.
        overwrite: Discard an existing run and train from scratch.
        progress: Shows the progress; by default a progress bar of this run alone.
        manifest: The data, opened; by default the manifest of `config.data` is opened.
        calibration: Entry `calibration` of the checkpoints, for a run on all clips.

    Raises:
        ConfigError: The loss is no longer finite; another process is training the run; or the
            folder holds a run with other settings.
        CheckpointError: A checkpoint cannot be written, or cannot be read to resume from.
    """
    config = replace(config, compute=resolve_training(config))
    run = run_folder(runs, config)
    accelerator = make_accelerator(
        config.compute, run.logs_folder, has_stages=config.train.stage1_epochs > 0
    )
    with training_alone(run) if accelerator.is_main_process else nullcontext():
        if overwrite or not run.finished:
            run.check_own()
            manifest = open_manifest(config.data) if manifest is None else manifest
            _train(config, run, manifest, accelerator, command, overwrite, progress, calibration)
        elif accelerator.is_main_process:
            drop_state(run)  # a process may have been killed just before it did so
        accelerator.wait_for_everyone()
    return run


def _train(
    config: RunConfig,
    run: RunFolder,
    manifest: Manifest,
    accelerator: Accelerator,
    command: str,
    overwrite: bool,
    progress: Progress | None,
    calibration: Mapping[str, Any] | None,
) -> None:
    """Train the missing epochs of a run.

    Raises:
        ConfigError: The loss is no longer finite, or the folder holds a run with other settings.
    """
    data = describe_data(config, manifest)
    if not overwrite:
        run.check_same(config, data)  # as before all jobs, but under the lock of this run
    elif accelerator.is_main_process:
        run.discard()  # now, so that the old run is not mistaken for the new one
    accelerator.wait_for_everyone()

    # Model
    set_seed(config.seed)
    model = _build_model(config, manifest, calibration)
    if config.model.method in UNTRAINED:
        evaluate_untrained(config, run, manifest, model, accelerator, command)
        return

    # Data and optimizer
    image_size, class_names = model.image_size, manifest.class_names
    train_set = build_dataset(manifest, "train", config, image_size)
    batches = _build_batches(config, train_set, accelerator)
    check_smallest_share(model, batches)
    setup = _build_setup(config, train_set, len(batches), model, accelerator)
    epochs, clips = config.train.last_epoch, len(train_set)
    share = math.ceil(config.train.batch_size / accelerator.num_processes)
    execution = plan_execution(setup, config.compute, share, len(batches) * epochs)
    train_loader = build_train_loader(train_set, batches, config.data.workers)
    augment = Augmenter(config.augment, config.seed, execution.change, config.model.pixels)
    eval_loaders = build_eval_loaders(
        config, manifest, accelerator, image_size, execution.step.micro_batch
    )

    # Resume
    metrics = load_state(run, setup)
    accelerator.wait_for_everyone()  # all processes have read the folder before it changes
    device = describe_device(accelerator.device)
    if accelerator.is_main_process and metrics:
        with reporting_failed_save(run, len(metrics)):
            publish_epochs(run, len(metrics))
        run.resume(len(metrics), command, device)
    elif accelerator.is_main_process:
        run.start(config, data, command, device, accelerator.num_processes, execution.way)
    save, save_every = partial(save_state, run, setup), config.compute.save_every
    keeper = EpochKeeper(
        run, model, save, save_every, len(metrics), config.train.balance, setup.average
    )

    # Epochs
    shown = accelerator.is_local_main_process
    opened = nullcontext(progress) if progress else Progress(clips * epochs, shown)
    with opened as bar, tracking(accelerator, config):
        bar.begin_run(config.title, epochs, len(metrics) * clips, execution.remark)
        for epoch in range(len(metrics), epochs):
            started_s = time.perf_counter()
            bar.begin_epoch(epoch)
            seed_epoch(config.seed, epoch, accelerator.process_index)
            model.set_stage(1 if epoch < config.train.stage1_epochs else 2)
            batches.epoch = epoch
            loss = train_epoch(execution.step, train_loader, batches, augment, bar.step)
            trained_s = time.perf_counter()
            if not math.isfinite(loss):
                raise ConfigError(_describe_divergence(loss, epoch, config, run))

            with nullcontext() if setup.average is None else setup.average.applied():
                predictions = predict_parts(
                    execution.tester, eval_loaders, accelerator, class_names
                )
            line: EpochMetrics = {
                "epoch": epoch + 1,
                "loss": loss,
                "lr": float(setup.scheduler.get_last_lr()[0]),
                **score(predictions),
                "seconds": round(time.perf_counter() - started_s, 2),
                "clips_per_s": round(clips / (trained_s - started_s), 1),
            }
            metrics.append(line)
            bar.end_epoch(line)
            accelerator.log({k: v for k, v in line.items() if k in LOGGED}, step=epoch + 1)

            if accelerator.is_main_process:
                keeper.keep(metrics, predictions, last=epoch + 1 == epochs)
        if accelerator.is_main_process:
            _note_remarks(bar, run, config)
            keeper.finish(metrics)


def train_epoch(
    step: OptimizerStep,
    loader: DataLoader,
    batches: EpochBatches,
    augment: Callable[[Tensor, Tensor, Tensor], Tensor],
    report: Callable[[int, Tensor], None],
) -> float:
    """Make one pass over the training clips.

    Args:
        step: Takes the steps.
        loader: This process's training clips.
        batches: The sampler of the loader.
        augment: Maps uint8 clips and their keys, (N,) twice, to normalised views (N, T, 3, H, W).
        report: Called after each step with the clips of its batch and the loss of this process's
            share.

    Returns:
        The mean loss over the clips of all processes.
    """
    setup, device = step.setup, step.setup.accelerator.device
    setup.prepared.train()
    total = torch.zeros((), device=device)
    for number, (clips, labels, keys) in enumerate(prefetch(loader, device)):
        clips = augment(clips, *keys)
        if setup.mixup is not None:
            clips, labels = setup.mixup(clips, labels, batches.epoch, number)
        share, batch = batches.count_share(number), batches.count_batch(number)
        loss = step(clips, labels, share, batch)
        total += loss * share
        report(batch, loss)
    return setup.accelerator.reduce(total).item() / batches.length


def _build_model(
    config: RunConfig, manifest: Manifest, calibration: Mapping[str, Any] | None = None
) -> ExpressionModel:
    """Build the model of a run, whose checkpoints record what it was trained on."""
    if config.model.method in UNTRAINED:
        return build_model(config.model, manifest.class_names, manifest.crop)
    trained = {
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
    entries = {"trained": trained} | ({"calibration": calibration} if calibration else {})
    drop_path = config.train.drop_path
    model = build_model(config.model, manifest.class_names, manifest.crop, entries, drop_path)
    if config.init is not None:
        load_initial(model, config.init)
    if config.train.lora_rank > 0:
        add_lora(model, config.train.lora_rank, config.train.lora_projections)
    return model


def measure_clips(manifest: Manifest) -> float | None:
    """Return the median length of the clips in seconds; None for own videos of unknown rate."""
    if manifest.kind == "folder":
        return None
    return round(float(manifest.rows["n_frames"].median()) / FILM_FPS, 2)


def _build_batches(
    config: RunConfig, train_set: ClipDataset, accelerator: Accelerator
) -> EpochBatches:
    chances = balance_weights(train_set.labels) if config.train.balance == "oversample" else None
    rank, processes = accelerator.process_index, accelerator.num_processes
    return EpochBatches(
        len(train_set), config.train.batch_size, config.seed, rank, processes, chances
    )


def _build_setup(
    config: RunConfig,
    train_set: ClipDataset,
    steps_per_epoch: int,
    model: ExpressionModel,
    accelerator: Accelerator,
) -> TrainingSetup:
    """Build the optimizer, the schedule and the loss for a model."""
    model.returns_extras = bool(find_auxiliary(model, config.train))
    if config.train.stage1_epochs > 0:
        unite_stages(model)  # the optimizer and DDP must know what trains in any stage
    prepared, optimizer = accelerator.prepare(model, build_optimizer(model, config.train))
    scheduler = build_scheduler(optimizer, config.train, steps_per_epoch)
    loss = build_loss(config.train, train_set.class_sizes, accelerator.device)
    loss = add_auxiliary(loss, model, config.train)
    mixup = None
    if config.train.mixup > 0:
        rank = accelerator.process_index
        mixup = Mixup(config.train.mixup, len(model.class_names), config.seed, rank)
    average = WeightAverage(model, config.train.ema) if config.train.ema > 0 else None
    shares = mixup is not None or config.train.labels == "votes"
    return TrainingSetup(
        model, prepared, optimizer, scheduler, accelerator, loss, mixup, average, shares
    )


def unite_stages(model: ExpressionModel) -> None:
    """Let all parameters train that train in any stage."""
    trained: set[nn.Parameter] = set()
    for stage in (1, 2):
        model.set_stage(stage)
        trained |= {p for p in model.parameters() if p.requires_grad}
    for parameter in trained:
        parameter.requires_grad_(True)


def _describe_divergence(loss: float, epoch: int, config: RunConfig, run: RunFolder) -> str:
    text = f"{config.title}: the loss is {loss} in epoch {epoch + 1}; lower --lr and train again "
    text += "with --overwrite"
    if state := find_state(run):
        text += f"; the weights of epoch {count_epochs(state)} are in {state}"
    return text


def _note_remarks(bar: Progress, run: RunFolder, config: RunConfig) -> None:
    """Print a warning for classes that were never predicted, and for a missing calibration."""
    if config.fold == ALL_DATA:
        return
    if missed := find_missed(read_predictions(run.predictions_file("last"))):
        bar.note(f"{config.title}: never predicted: {', '.join(missed)}")
    if config.train.val_fraction > 0:
        held_out = read_predictions(run.validation_file("last"))
        if remark := fit_held_out(held_out, config.train.balance).remark:
            bar.note(f"{config.title}: {remark}")
