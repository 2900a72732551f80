"""The recipe step by step: optimizer, learning rate, accumulation, and the loss of an epoch."""

from itertools import pairwise

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from dfercli.config import AugmentConfig, TrainConfig
from dfercli.data.augment import Augmenter
from dfercli.data.loaders import EpochBatches
from dfercli.models.base import MAX_LOGIT_SCALE, build_model
from dfercli.models.dfer import contrastive_loss
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.training import loop
from dfercli.training.loop import train_fold
from dfercli.training.recipe import build_optimizer, build_scheduler
from dfercli.training.step import EagerGradients, OptimizerStep, TrainingSetup


def _rates(config, steps_per_epoch):
    """The learning rate of each step of a training, and after the last."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.lr)
    scheduler = build_scheduler(optimizer, config, steps_per_epoch)
    rates = []
    for _ in range(config.epochs * steps_per_epoch + 1):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


def test_the_rate_rises_in_a_line_and_falls_in_a_cosine():
    # 2 of 5 epochs of 5 steps warm up: 10 steps of a tenth each. Of the other 15 steps the first
    # is at the peak, the last at the minimum, the middle one half way between.
    rates = _rates(TrainConfig(epochs=5, warmup_epochs=2, lr=1.0, min_lr=0.01), 5)
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[17] == pytest.approx(0.505)
    assert rates[24] == pytest.approx(0.01)
    assert rates[25] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(1.0)
    assert all(after < before for before, after in pairwise(rates[10:25]))


def test_the_papers_rate():
    rates = _rates(TrainConfig(), steps_per_epoch=3)
    assert rates[0] == pytest.approx(2e-5 / 15)
    assert rates[14] == rates[15] == pytest.approx(2e-5)
    assert rates[299] == pytest.approx(2e-7)


@pytest.mark.parametrize(
    ("settings", "steps", "expected"),
    [
        ({"epochs": 1, "warmup_epochs": 0}, 1, [1.0, 0.1]),
        ({"epochs": 1, "warmup_epochs": 0}, 2, [1.0, 0.1, 0.1]),
        ({"epochs": 2, "warmup_epochs": 1}, 1, [1.0, 1.0, 0.1]),
    ],
)
def test_the_rate_of_the_shortest_trainings(settings, steps, expected):
    assert _rates(TrainConfig(lr=1.0, min_lr=0.1, **settings), steps) == pytest.approx(expected)


def test_the_rate_falls_in_steps():
    config = TrainConfig(
        epochs=5, warmup_epochs=0, lr=1.0, schedule="step", step_epochs=2, step_factor=0.1
    )
    expected = [1.0] * 4 + [0.1] * 4 + [0.01] * 2
    assert _rates(config, 2)[:10] == pytest.approx(expected)


def test_the_rate_begins_again_after_each_cosine():
    config = TrainConfig(
        epochs=6, warmup_epochs=0, lr=1.0, min_lr=0.0, schedule="restarts", step_epochs=3
    )
    expected = [1.0, 0.75, 0.25] * 2  # (1 + cos(pi / 3)) / 2 and (1 + cos(2 pi / 3)) / 2
    assert _rates(config, 1)[:6] == pytest.approx(expected)


def test_the_first_stage_has_a_constant_rate_of_its_own():
    config = TrainConfig(
        epochs=5, warmup_epochs=1, lr=1.0, min_lr=0.0, stage1_epochs=2, stage1_lr=7.0
    )
    # Then the warm-up of an epoch, and a cosine from its peak to its end.
    assert _rates(config, 2)[:10] == pytest.approx([7, 7, 7, 7, 0.5, 1, 1, 0.75, 0.25, 0])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)],
)
def test_the_optimizer_is_the_one_of_the_recipe(name, kind, make_config, class_names):
    model = build_model(make_config(), class_names)
    optimizer = build_optimizer(model, TrainConfig(optimizer=name, adam_eps=1e-4))
    assert type(optimizer) is kind
    for group in optimizer.param_groups:
        assert group.get("momentum", 0.9) == 0.9
        assert group.get("eps", 1e-4) == 1e-4


def test_weights_decay_and_norms_biases_and_scales_do_not(make_config, class_names):
    model = build_model(make_config(), class_names)
    model.backbone.visual.conv1.weight.requires_grad = False
    optimizer = build_optimizer(model, TrainConfig(lr=3e-4, weight_decay=0.02))
    decayed, plain = optimizer.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.02, 0.0)
    assert decayed["lr"] == plain["lr"] == 3e-4
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    matrices = {names[id(parameter)] for parameter in decayed["params"]}
    others = {names[id(parameter)] for parameter in plain["params"]}
    assert "backbone.visual.transformer.resblocks.0.mlp.c_fc.weight" in matrices
    assert {"logit_scale", "backbone.visual.ln_post.weight"} < others
    assert not [name for name in matrices if "bias" in name or "ln_" in name or "norm" in name]
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert matrices | others == trained
    assert "backbone.visual.conv1.weight" not in trained


def test_two_halves_accumulated_are_one_batch(make_run, tmp_path, monkeypatch):
    # Plain descent: Adam takes a whole step even along a gradient that is rounding noise.
    monkeypatch.setattr(
        loop, "build_optimizer", lambda model, _: torch.optim.SGD(model.parameters(), lr=0.1)
    )
    # 12 clips are batches of 5, 5 and 2: the parts are 3 + 2, 3 + 2, and 2 alone.
    settings = {"epochs": 1, "warmup_epochs": 0, "batch_size": 5}
    whole = train_fold(make_run(**settings), tmp_path / "whole")
    halves = train_fold(make_run(**settings, compute={"accumulate": 2}), tmp_path / "halves")
    (of_whole,), (of_halves,) = whole.read_metrics(), halves.read_metrics()
    assert of_halves["loss"] == pytest.approx(of_whole["loss"])
    assert of_halves["lr"] == of_whole["lr"] == pytest.approx(0.1 * 1e-2)
    expected = load_checkpoint(str(whole.path)).state_dict()
    for name, tensor in load_checkpoint(str(halves.path)).state_dict().items():
        assert torch.allclose(tensor, expected[name], rtol=0, atol=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_each_epoch_has_every_clip_once_in_another_order_and_another_view(
    workers, make_run, tmp_path, monkeypatch
):
    orders, views = [], []

    def look(step, loader, sampler, augment, report):
        batches = list(loader)
        indices = torch.cat([indices for _, _, (_, indices) in batches])
        orders.append(tuple(indices.tolist()))
        changed = [augment(clips, *keys) for clips, _, keys in batches]
        views.append(torch.cat(changed)[indices.argsort()])
        return 1.0

    monkeypatch.setattr(loop, "train_epoch", look)
    train_fold(make_run(epochs=2, warmup_epochs=0, workers=workers), tmp_path)
    assert [sorted(order) for order in orders] == [list(range(12))] * 2
    assert orders[0] != orders[1]
    assert not any(torch.equal(*clips) for clips in zip(*views, strict=True))


def test_the_loss_of_an_epoch_is_the_mean_over_clips(make_run, tmp_path, monkeypatch):
    # Batches of 5, 5 and 2 clips, each with its size as its loss: (5 * 5 + 5 * 5 + 2 * 2) / 12.
    monkeypatch.setattr(
        loop, "build_loss", lambda *_: lambda logits, labels: logits.sum() * 0 + len(labels)
    )
    run = train_fold(make_run(epochs=1, warmup_epochs=0, batch_size=5), tmp_path)
    assert run.read_metrics()[0]["loss"] == pytest.approx(4.5)


def test_the_temperature_stays_in_its_bounds(make_run, class_names):
    model = build_model(make_run().model, class_names)
    model.logit_scale.data.fill_(MAX_LOGIT_SCALE + 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    scheduler = build_scheduler(optimizer, TrainConfig(), 1)
    batches = EpochBatches(length=3, batch_size=3, seed=0)
    clips = torch.randint(0, 256, (3, 4, 3, 32, 32), dtype=torch.uint8)
    dataset = [(clip, label, (0, label)) for label, clip in enumerate(clips)]
    loader = DataLoader(_Keyed(dataset), batch_sampler=batches)
    accelerator = Accelerator(cpu=True)
    setup = TrainingSetup(model, model, optimizer, scheduler, accelerator, contrastive_loss)
    step = OptimizerStep(setup, EagerGradients(setup), micro_batch=3)
    augment = Augmenter(AugmentConfig(), 0)
    loop.train_epoch(step, loader, batches, augment, lambda *_: None)
    assert model.logit_scale.item() == pytest.approx(MAX_LOGIT_SCALE)


class _Keyed(list):
    """A list that is read by pairs of epoch and index."""

    def __getitem__(self, key):
        return super().__getitem__(key[1])
