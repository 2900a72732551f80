"""Networks of Table 1 in the training loop: what learns changes, and interrupted runs resume."""

import math

import pytest
import torch
from safetensors.torch import load_file
from small_runs import small_network

from dfercli.config import NETWORKS, STAGED, TrainConfig
from dfercli.config.presets import apply_preset, default_model
from dfercli.data.loaders import EpochBatches
from dfercli.errors import ConfigError
from dfercli.models.base import build_model
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.training import loop
from dfercli.training.execution import check_smallest_share
from dfercli.training.loop import train_fold
from dfercli.training.recipe import check_recipe

pytestmark = pytest.mark.slow

CLASSES = ("happiness", "sadness", "anger")


@pytest.fixture
def make_small(make_run, tiny_name):
    """Make a run of a network with tiny layers."""

    def make(name, **train):
        if name in STAGED:
            train = {"stage1_epochs": 1, "warmup_epochs": 0} | train
        return make_run(model=small_network(name, tiny_name), **train)

    return make


@pytest.mark.parametrize("name", NETWORKS)
def test_a_run_trains_what_learns(name, make_small, tmp_path):
    config = make_small(name)
    run = train_fold(config, tmp_path)
    assert run.path.relative_to(tmp_path).parts == ("colours", name, "fold1")
    model = load_checkpoint(str(run.checkpoint("last")))
    assert model.config == config.model
    torch.manual_seed(0)  # of the run
    fresh = build_model(config.model, CLASSES)
    weights = fresh.state_dict()
    learnt = set()
    for stage in (1, 2) if name in STAGED else (2,):
        fresh.set_stage(stage)
        learnt |= {key for key, p in fresh.named_parameters() if p.requires_grad}
    for key, parameter in model.named_parameters():
        changed = not torch.equal(parameter, weights[key])
        assert changed == (key in learnt), key


@pytest.mark.parametrize("name", ["c3d", "p3d"])
def test_the_default_precision_trains_networks_on_this_machine(name, make_small, tmp_path):
    """Maps of two frames, where gradients of convolutions in bf16 are not numbers on some CPUs."""
    run = train_fold(make_small(name, compute={"precision": "auto"}, epochs=2), tmp_path)
    assert all(math.isfinite(line["loss"]) for line in run.read_metrics())
    model = load_checkpoint(str(run.checkpoint("last")))
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())


@pytest.mark.parametrize("name", ["aen", "cliper", "est", "m3dfel", "ec-stfl"])
@pytest.mark.parametrize("stop", [1, 2])
def test_an_interrupted_run_ends_as_if_it_had_not_been(
    name, stop, make_small, tmp_path, monkeypatch
):
    optimizer = {"optimizer": "sgd", "lr": 1e-2} if name in ("aen", "ec-stfl") else {}
    config = make_small(name, **optimizer)
    whole = train_fold(config, tmp_path / "whole")
    train_epoch, calls = loop.train_epoch, []

    def interrupt(*arguments):
        calls.append(None)
        if len(calls) == stop + 1:
            raise KeyboardInterrupt
        return train_epoch(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "train_epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_fold(config, tmp_path / "parts")
    parts = train_fold(config, tmp_path / "parts")
    expected = load_file(whole.checkpoint("last") / "model.safetensors")
    for key, tensor in load_file(parts.checkpoint("last") / "model.safetensors").items():
        assert torch.equal(tensor, expected[key]), key


def test_the_first_stage_trains_its_part_only(make_small, tmp_path, monkeypatch):
    seen = []
    train_epoch = loop.train_epoch

    def note(step, *arguments):
        before = {n: p.detach().clone() for n, p in step.setup.model.named_parameters()}
        loss = train_epoch(step, *arguments)
        after = dict(step.setup.model.named_parameters())
        seen.append({n.partition(".")[0] for n in before if not torch.equal(before[n], after[n])})
        return loss

    monkeypatch.setattr(loop, "train_epoch", note)
    train_fold(make_small("cliper"), tmp_path)
    assert seen == [{"vectors"}, {"backbone"}, {"backbone"}]


def test_the_average_of_a_network_has_statistics_of_its_own(make_small, tmp_path):
    plain = train_fold(make_small("resnet18-lstm"), tmp_path / "plain")
    averaged = train_fold(make_small("resnet18-lstm", ema=0.9), tmp_path / "averaged")
    first, second = (
        load_file(run.checkpoint("last") / "model.safetensors") for run in (plain, averaged)
    )
    name = "backbone.trunk.bn1.running_mean"
    assert not torch.equal(first[name], second[name])


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        ({"accumulate": 2}, "--accumulate or --batch auto would change it"),
        ({"batch": "auto"}, "--accumulate or --batch auto would change it"),
        ({"steps": "compiled"}, "--steps compiled would change it"),
    ],
)
def test_batches_that_belong_together_are_not_split(compute, reason, make_run, tmp_path):
    model = default_model("resnet18-lstm", weights="random", width=0.125, image_size=32)
    config = make_run(model=vars(model), compute=compute)
    with pytest.raises(ConfigError, match=reason):
        train_fold(config, tmp_path)


def test_two_stages_leave_epochs_for_the_second():
    with pytest.raises(ConfigError, match="stage1_epochs 3 and warmup_epochs 0 leave none"):
        TrainConfig(epochs=3, warmup_epochs=0, stage1_epochs=3)


@pytest.mark.parametrize(("name", "num_frames"), [("r3d-hara", 16), ("resnet18-lstm", 1)])
def test_a_last_batch_of_one_clip_is_refused_if_its_maps_have_one_position(
    name, num_frames, make_run, tmp_path
):
    sizes = {"width": 0.125, "image_size": 16, "num_frames": num_frames}
    model = vars(default_model(name, **sizes, weights="random"))
    with pytest.raises(ConfigError, match=r"one clip per process, .* 16 px; use another --batch"):
        train_fold(make_run(model=model, batch_size=11), tmp_path)  # of 12 clips
    larger = {**model, "image_size": 64}
    assert train_fold(make_run(model=larger, batch_size=11, epochs=2), tmp_path).finished


@pytest.mark.parametrize("name", NETWORKS)
def test_a_last_batch_of_one_clip_trains_at_the_size_of_the_paper(name):
    model = build_model(default_model(name, weights="random"), CLASSES)
    check_smallest_share(model, EpochBatches(12, 11, seed=0))


def test_a_loss_of_embeddings_that_are_not_trained_is_refused(make_run):
    config = make_run(model={"method": "coop"}, ec_stfl=1.0)
    with pytest.raises(ConfigError, match="coop trains prompts only, not embeddings; use --ec-stf"):
        check_recipe(config)


def test_a_typed_sampling_meets_the_frames_of_its_network(make_run):
    model = {"method": "former-dfer", "sampling": "4x4"}
    run = apply_preset(make_run(model=model), {"method", "sampling"})
    assert (run.model.num_frames, run.model.sampling) == (16, "4x4")
    check_recipe(run)
    with pytest.raises(ConfigError, match="sampling 4x4 gives 16 frames, but num_frames is 4"):
        check_recipe(make_run(model={"sampling": "4x4"}))
