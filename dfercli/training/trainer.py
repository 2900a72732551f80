"""One epoch of training: batches in parts that fit, and the same step however it is divided."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dfercli.data.loaders import EpochBatches, prefetch
from dfercli.data.transforms import normalise
from dfercli.errors import ConfigError
from dfercli.models.base import ExpressionModel
from dfercli.models.dfer import contrastive_loss
from dfercli.training.loss import Loss, Mixup
from dfercli.training.step import EagerGradients, Gradients

Augment = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Makes normalised views (N, T, 3, H, W) of uint8 clips, given their keys, (N,) twice."""

Report = Callable[[int, Tensor], None]
"""Takes, after each step, the clips of its batch and the loss of this process's share."""


@dataclass
class Trainer:
    """All that a step changes, and how it is taken.

    Attributes:
        model: The model.
        prepared: The same as accelerate runs it: on its device, at its precision, distributed.
        optimizer: Prepared by accelerate.
        scheduler: Of the rate, a step of the optimizer at a time.
        accelerator: Knows the devices and processes.
        micro_batch: Clips that a device takes at once; more are accumulated.
        loss: What is minimised.
        mixup: Mixes the clips of a step; None takes them as they are.
        gradients: How clips become gradients: kernel by kernel, until another way is put here.
    """

    model: ExpressionModel
    prepared: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    accelerator: Accelerator
    micro_batch: int
    loss: Loss = contrastive_loss
    mixup: Mixup | None = None
    gradients: Gradients = field(init=False)

    def __post_init__(self) -> None:
        self.gradients = EagerGradients(self.prepared, self.optimizer, self.accelerator, self.loss)

    def train_epoch(self, loader: DataLoader, augment: Augment, report: Report) -> float:
        """Take one pass over the training clips.

        Args:
            loader: This process's training clips.
            augment: Makes views of them.
            report: Called after each step.

        Returns:
            The mean loss over the clips of all processes.
        """
        batches = loader.batch_sampler
        assert isinstance(batches, EpochBatches)  # nothing else is trained on
        self.prepared.train()
        device = self.accelerator.device
        total = torch.zeros((), device=device)
        for step, (clips, labels, keys) in enumerate(prefetch(loader, device)):
            clips = augment(clips, *keys)
            if self.mixup is not None:
                clips, labels = self.mixup(clips, labels, batches.epoch, step)
            share, batch = batches.count_share(step), batches.count_batch(step)
            split = clips.split(self.micro_batch), labels.split(self.micro_batch)
            loss = self._take_step(list(zip(*split, strict=True)), share, batch)
            total += loss * share
            report(batch, loss)
        return self.accelerator.reduce(total).item() / batches.length

    def find_micro_batch(self) -> int:
        """Halve the clips that a device takes at once until a step fits in memory, on all devices.

        Raises:
            ConfigError: Not even one clip fits.
        """
        size = self.micro_batch
        while not self._fits(size):
            if size == 1:
                raise ConfigError("one clip alone does not fit in memory; take a smaller model")
            size = math.ceil(size / 2)
        return size

    def _fits(self, size: int) -> bool:
        """Whether forward and backward of so many clips fit in memory, on every device."""
        fits = torch.tensor([int(self._try(size))], device=self.accelerator.device)
        return bool(self.accelerator.gather(fits).min())

    def _try(self, size: int) -> bool:
        """Try them here, beside what the optimizer will hold."""
        device, side = self.accelerator.device, self.model.backbone.image_size
        shape = (size, self.model.config.num_frames, 3, side, side)
        self.model.train()
        try:
            with self.reserving_moments():
                clips = torch.zeros(shape, dtype=torch.uint8, device=device)
                logits = self.model(normalise(clips))  # by itself: processes need not keep step
                loss = self.loss(logits, torch.zeros(size, dtype=torch.long, device=device))
                self.accelerator.backward(loss * 0)
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            return False
        finally:
            self.optimizer.zero_grad()
            clear_device_cache(garbage_collection=True)
        return True

    @contextmanager
    def reserving_moments(self) -> Iterator[None]:
        """Hold as much memory as the optimizer will from its first step on: two numbers a weight.

        A CPU's memory is not taken before it is written to.
        """
        learning = [p for p in self.model.parameters() if p.requires_grad]
        moments = [torch.empty_like(p) for p in learning for _ in range(2)]
        yield
        del moments

    def _take_step(self, parts: Sequence[tuple[Tensor, Tensor]], share: int, batch: int) -> Tensor:
        """Take one step of the optimizer on the mean loss over a batch.

        Args:
            parts: This process's clips (N, T, 3, H, W), as many as it takes at once; and their
                labels (N,) int64, or shares of each class (N, K).
            share: How many of them count: all, or none if they only keep step with the others.
            batch: Clips of all processes.

        Returns:
            The mean loss of this process's clips.
        """
        # The gradients of processes are averaged, and each part gives the mean over its own clips.
        scale = self.accelerator.num_processes / batch * (share > 0)
        total, count = torch.zeros((), device=self.accelerator.device), 0
        for number, (clips, labels) in enumerate(parts, start=1):
            loss = self.gradients.add(clips, labels, scale, last=number == len(parts))
            total += loss * len(labels)
            count += len(labels)
        self.optimizer.step()
        self.gradients.clear()
        self.scheduler.step()  # also after a step that fp16 skips: the cosine ends where it should
        self.model.clamp_logit_scale()
        return total / count
