"""Ingredients that the paper's recipe lacks: what each of them changes in a run."""

from collections import Counter
from dataclasses import replace
from itertools import chain

import pytest
import torch
from torch.nn import functional as F

from dfercli.config import TrainConfig
from dfercli.data.loaders import EpochBatches
from dfercli.data.manifest import read_manifest, write_manifest
from dfercli.models.base import build_model
from dfercli.models.dfer import DFERModel
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.training import loop
from dfercli.training.loop import train_fold
from dfercli.training.recipe import Mixup, build_loss, build_optimizer, build_scheduler
from dfercli.training.state import seed_epoch

ONE_EPOCH = {"epochs": 1, "warmup_epochs": 0}
CLASSES = ("happiness", "sadness", "anger")


@pytest.fixture(scope="module")
def plain(make_run, tmp_path_factory):
    """One epoch of the paper's recipe."""
    return train_fold(make_run(**ONE_EPOCH), tmp_path_factory.mktemp("plain"))


def _weights(run):
    return load_checkpoint(str(run.checkpoint("last"))).state_dict()


def test_with_all_off_the_steps_are_the_plain_ones_to_the_bit(make_run, tmp_path, monkeypatch):
    seen, forward = [], DFERModel.forward

    def look(self, clips):
        if self.training:
            seen.append(clips.clone())
        return forward(self, clips)

    config = make_run(**ONE_EPOCH)
    with monkeypatch.context() as patched:
        patched.setattr(DFERModel, "forward", look)
        run = train_fold(config, tmp_path)
    manifest = read_manifest(tmp_path.joinpath(config.data.manifest))
    labels = [CLASSES.index(name) for name in manifest.select(1, "train")["label"]]
    torch.manual_seed(0)
    model = build_model(config.model, CLASSES).train()
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 5e-4},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
    scheduler = build_scheduler(optimizer, config.train, 3)
    for keys, clips in zip(EpochBatches(12, 4, seed=0), seen, strict=True):
        targets = torch.tensor([labels[index] for _, index in keys])
        F.cross_entropy(model(clips), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        model.clamp_logit_scale()
    expected = model.state_dict()
    for name, tensor in _weights(run).items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize(
    "settings",
    [
        {"layer_decay": 0.5},
        {"label_smoothing": 0.2},
        {"mixup": 0.8},
        {"drop_path": 0.5},
        {"balance": "oversample"},
    ],
    ids=str,
)
def test_each_ingredient_changes_the_training_and_not_the_model(
    settings, make_run, plain, tmp_path
):
    run = train_fold(make_run(**ONE_EPOCH, **settings), tmp_path)
    assert any(not torch.equal(t, _weights(plain)[name]) for name, t in _weights(run).items())
    model = load_checkpoint(str(run.path))
    assert model.config == load_checkpoint(str(plain.path)).config
    assert model.backbone.drop_path == 0
    assert replace(run.read().config, train=make_run(**ONE_EPOCH).train) == make_run(**ONE_EPOCH)


def test_layer_decay_lowers_the_rate_from_the_top_to_the_embedding(make_run, class_names):
    model = build_model(make_run().model, class_names)
    optimizer = build_optimizer(model, TrainConfig(lr=0.8, layer_decay=0.5, weight_decay=0.02))
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    decays = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(rates)
    visual = "backbone.visual."
    by_hand = {  # two blocks: embedding 3 below the top
        f"{visual}class_embedding": 0.1,
        f"{visual}positional_embedding": 0.1,
        f"{visual}conv1.weight": 0.1,
        f"{visual}ln_pre.bias": 0.1,
        f"{visual}transformer.resblocks.0.ln_1.weight": 0.2,
        f"{visual}transformer.resblocks.0.attn.in_proj_weight": 0.2,
        f"{visual}transformer.resblocks.1.mlp.c_fc.weight": 0.4,
        f"{visual}ln_post.weight": 0.8,
        f"{visual}proj": 0.8,
        "logit_scale": 0.8,
    }
    named = dict(model.named_parameters())
    assert {name: rates[id(named[name])] for name in by_hand} == pytest.approx(by_hand)
    for name, parameter in named.items():
        assert decays[id(parameter)] == (0.02 if parameter.ndim >= 2 else 0.0), name
        if not name.startswith("backbone."):
            assert rates[id(parameter)] == 0.8, name
    assert optimizer.param_groups[0]["lr"] == 0.8  # what the metrics say


def test_what_clip_has_not_learns_at_a_rate_of_its_own(make_run, class_names):
    config = TrainConfig(lr=0.8, layer_decay=0.5, new_layers_lr=10.0, weight_decay=0.02)
    for settings in ({}, {"biehpro": False, "text": False}, {"method": "dfer-clip"}):
        model = build_model(make_run(model=settings).model, class_names)
        optimizer = build_optimizer(model, config)
        rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        assert optimizer.param_groups[0]["lr"] == 0.8  # what the metrics say
        assert sum(len(group["params"]) for group in optimizer.param_groups) == len(rates)
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                assert id(parameter) not in rates
            elif name == "logit_scale":
                assert rates[id(parameter)] == 0.8
            else:
                of_clip = name.startswith("backbone.")
                assert (rates[id(parameter)] == 8.0) != of_clip, name


def test_where_new_layers_alone_learn_the_metrics_say_their_rate(make_run, class_names):
    model = build_model(make_run(model={"method": "coop"}).model, class_names)
    (group,) = build_optimizer(model, TrainConfig(lr=0.8, new_layers_lr=10.0)).param_groups
    assert group["lr"] == 8.0
    assert group["params"] == [model.contexts]


def test_all_rates_follow_the_same_cosine(make_run, class_names):
    model = build_model(make_run().model, class_names)
    config = TrainConfig(lr=0.8, min_lr=0.08, layer_decay=0.5, epochs=1, warmup_epochs=0)
    optimizer = build_optimizer(model, config)
    scheduler = build_scheduler(optimizer, config, 2)
    assert sorted(set(scheduler.get_last_lr())) == pytest.approx([0.1, 0.2, 0.4, 0.8])
    optimizer.step()
    scheduler.step()
    assert sorted(set(scheduler.get_last_lr())) == pytest.approx([0.01, 0.02, 0.04, 0.08])


def test_every_step_of_a_run_is_mixed_anew(make_run, tmp_path, monkeypatch):
    seen, mix = [], Mixup.__call__

    def look(self, clips, labels, epoch, step):
        seen.append((self.seed, self.rank, self.num_classes, len(clips), epoch, step))
        return mix(self, clips, labels, epoch, step)

    monkeypatch.setattr(Mixup, "__call__", look)
    train_fold(make_run(epochs=2, batch_size=5, mixup=0.8, seed=7), tmp_path)
    steps = [(epoch, step) for epoch in (0, 1) for step in (0, 1, 2)]
    assert seen == [(7, 0, 3, 2 if step == 2 else 5, epoch, step) for epoch, step in steps]


def test_mixed_clips_are_one_batch_however_it_is_divided(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        loop, "build_optimizer", lambda model, _: torch.optim.SGD(model.parameters(), lr=0.1)
    )
    settings = {**ONE_EPOCH, "batch_size": 5, "mixup": 0.8, "label_smoothing": 0.1}
    whole = train_fold(make_run(**settings), tmp_path / "whole")
    parts = train_fold(make_run(**settings, compute={"accumulate": 5}), tmp_path / "parts")
    expected = _weights(whole)
    for name, tensor in _weights(parts).items():
        assert torch.allclose(tensor, expected[name], rtol=0, atol=1e-6), name


@pytest.fixture
def uneven(make_run, colours, tmp_path):
    """Make a run whose training clips are 4 of happiness, 1 of sadness and 1 of anger."""
    manifest = read_manifest(colours)
    rows = manifest.rows
    rare = (rows["label"] != "happiness") & (rows["test_fold"] != 1)
    first = ~rows[rare].duplicated("label")
    reduced = rows.drop(index=first[~first].index)
    write_manifest(replace(manifest, rows=reduced.reset_index(drop=True)), tmp_path / "colours.csv")

    def make(**settings):
        config = make_run(**ONE_EPOCH, manifest=tmp_path / "colours.csv", **settings)
        return replace(config, data=replace(config.data, root=str(colours.parent)))

    return make


def test_oversampling_repeats_the_rare_classes_of_the_training_clips(uneven, tmp_path, monkeypatch):
    made = []

    class Noted(EpochBatches):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(loop, "EpochBatches", Noted)
    train_fold(uneven(), tmp_path / "none")
    train_fold(uneven(balance="oversample"), tmp_path / "oversample")
    each_once, balanced = made
    assert sorted(index for _, index in chain(*each_once)) == list(range(6))
    drawn = Counter()
    for epoch in range(200):
        balanced.epoch = epoch
        drawn.update(max(0, index - 3) for _, index in chain(*balanced))
    assert sum(drawn.values()) == 1200
    assert set(drawn) == {0, 1, 2}
    assert max(abs(count - 400) for count in drawn.values()) < 70  # deviation 16


def test_the_prior_is_of_the_training_clips(uneven, tmp_path, monkeypatch):
    calls = []

    def note(config, counts, device):
        calls.append((config.balance, counts))
        return build_loss(config, counts, device)

    monkeypatch.setattr(loop, "build_loss", note)
    train_fold(uneven(balance="prior"), tmp_path)
    assert calls == [("prior", [4, 1, 1])]


def test_seeds_of_an_epoch_decide_what_is_dropped(make_run, class_names):
    torch.manual_seed(0)
    model = build_model(make_run().model, class_names).train()
    model.backbone.drop_path = 0.5
    clips = torch.randn(8, 4, 3, 32, 32)

    def look(epoch):
        seed_epoch(0, epoch, 0)
        return model(clips)

    assert torch.equal(look(1), look(1))
    assert not torch.equal(look(1), look(2))
