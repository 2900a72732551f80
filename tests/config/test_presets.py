"""Presets: what they change, precedence of the user's settings, and descriptions of recipes."""

from dataclasses import fields, replace

import open_clip
import pytest
import typer

from dfercli.cli import app
from dfercli.config import (
    METHODS,
    NETWORKS,
    PRESETS,
    UNTRAINED,
    AugmentConfig,
    ComputeConfig,
    DataConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
)
from dfercli.config.presets import (
    CHANGES,
    EXCEPTIONS,
    METHOD_CHANGES,
    VARIANT,
    apply_method,
    apply_preset,
    describe_recipe,
    recipe_options,
)
from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.errors import ConfigError, WeightsError
from dfercli.models.flops import measure_cost
from dfercli.models.pretrained import known_backbones, load_pretrained
from dfercli.training.recipe import check_recipe

STRONG = TrainConfig(
    layer_decay=0.75, label_smoothing=0.1, mixup=0.8, drop_path=0.1, balance="prior"
)
GENTLE = TrainConfig(layer_decay=0.75, balance="prior")
OTHER_VALUES = {"method": "coop", "num_blocks": 3, "cross_attention": "all"}


def _run(preset, dataset="dfew", kind="", **settings):
    return RunConfig(
        data=DataConfig(dataset=dataset, manifest="", root="", kind=kind),
        fold=1,
        preset=preset,
        **settings,
    )


def test_the_paper_changes_nothing():
    assert (
        apply_preset(_run("paper")) == _run("paper") == RunConfig(data=_run("paper").data, fold=1)
    )
    assert set(CHANGES) == set(PRESETS)


@pytest.mark.parametrize(
    ("dataset", "kind", "expected"),
    [
        ("dfew", "dfew", STRONG),
        ("mafw", "", STRONG),
        ("ferv39k", "ferv39k", GENTLE),
        ("ferv39k", "", GENTLE),
        ("mine", "ferv39k", GENTLE),  # the manifest was given another name
        ("ferv39k", "folder", STRONG),  # somebody's own videos that are called so
    ],
)
def test_strong_is_gentle_where_its_ingredients_are_known_to_hurt(dataset, kind, expected):
    run = apply_preset(_run("strong", dataset, kind))
    assert run.train == expected
    assert run.model == ModelConfig(backbone="ViT-B-16-quickgelu", num_frames=16)
    assert describe_recipe(run) == "strong"


def test_presets_change_known_settings_alone():
    for changes in (*CHANGES.values(), *EXCEPTIONS.values(), *METHOD_CHANGES.values()):
        for part, values in changes.items():
            names = {each.name for each in fields(getattr(_run("paper"), part))}
            assert set(values) <= names - set(VARIANT)


def test_no_two_settings_of_a_recipe_share_a_name():
    parts = (ModelConfig, TrainConfig, AugmentConfig)
    names = [each.name for part in parts for each in fields(part)]
    assert len(names) == len(set(names))


def test_what_was_typed_wins_over_the_preset_also_at_its_default():
    typed = replace(_run("strong"), train=TrainConfig(mixup=0.2, epochs=20))
    run = apply_preset(typed, {"mixup", "epochs", "num_frames"})
    assert run.train == replace(STRONG, mixup=0.2, epochs=20)
    assert run.model == ModelConfig(backbone="ViT-B-16-quickgelu", num_frames=8)
    assert describe_recipe(run) == "strong, changed: num_frames 8, epochs 20, mixup 0.2"
    again = apply_preset(_run("strong", kind="ferv39k"), {"mixup"})
    assert again.train == GENTLE


@pytest.mark.parametrize("preset", PRESETS)
def test_each_method_has_its_rates_in_every_preset(preset):
    rates = {}
    for method in (name for name in METHODS if name not in NETWORKS):
        run = apply_preset(_run(preset, model=ModelConfig(method=method)))
        ours = apply_preset(_run(preset))
        changed = {"lr": run.train.lr, "new_layers_lr": run.train.new_layers_lr}
        nothing = TrainConfig(epochs=1, warmup_epochs=0)
        expected = nothing if method in UNTRAINED else replace(ours.train, **changed)
        assert run.train == expected
        template = run.model.prompt_template
        if method == "still-image":
            expected = ModelConfig(method=method, num_frames=ours.model.num_frames)
            assert (run.model, run.compute) == (expected, ComputeConfig())
        else:
            assert run.model == replace(ours.model, method=method, prompt_template=template)
            assert run.compute == ours.compute
        assert ("expression of {}" in template) == (method == "zero-shot")
        if (
            preset == "small" and method not in UNTRAINED
        ):  # one rate for all: no method starts from what CLIP has learnt
            assert (run.train.lr, run.train.new_layers_lr) == (3e-4, 1.0)
            continue
        own = {
            "dfer": preset,
            "zero-shot": f"nothing trained, prompt_template {template!r}",
            "still-image": "nothing trained",
            "coop": f"{preset}, of coop: lr 0.002",
            "cocoop": f"{preset}, of cocoop: lr 0.002",
        }
        of_dfer_clip = f"{preset}, of {method}: lr 1e-05, new_layers_lr 100.0"
        assert describe_recipe(run) == own.get(method, of_dfer_clip)
        rates[method] = (run.train.lr, run.train.lr * run.train.new_layers_lr)
    assert preset == "small" or rates == {
        "dfer": (2e-5, 2e-5),
        "zero-shot": (2e-5, 2e-5),
        "still-image": (2e-5, 2e-5),
        "coop": (2e-3, 2e-3),
        "cocoop": (2e-3, 2e-3),
        "dfer-clip": (1e-5, pytest.approx(1e-3)),
        "dfer-clip-no-tm": (1e-5, pytest.approx(1e-3)),
    }


def test_what_was_typed_wins_over_the_methods_own():
    model = ModelConfig(method="zero-shot", prompt_template="{}")
    run = apply_preset(_run("paper", model=model), {"method", "prompt_template"})
    assert run.model == model
    assert describe_recipe(run) == "nothing trained, prompt_template '{}'"
    typed = _run("paper", model=ModelConfig(method="coop"), train=TrainConfig(lr=2e-5))
    run = apply_preset(typed, {"method", "lr"})
    assert run.train == TrainConfig()
    assert describe_recipe(run) == "paper, changed: lr 2e-05"


def test_a_rate_that_was_typed_is_the_rate_of_all_parts():
    model = ModelConfig(method="dfer-clip")
    run = apply_preset(_run("paper", model=model, train=TrainConfig(lr=3e-4)), {"lr"})
    assert (run.train.lr, run.train.new_layers_lr) == (3e-4, 1)
    both = TrainConfig(lr=3e-4, new_layers_lr=2)
    run = apply_preset(_run("paper", model=model, train=both), {"lr", "new_layers_lr"})
    assert run.train == both


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "paper"),
        ({"train": TrainConfig(epochs=20, lr=1e-4)}, "paper, changed: epochs 20, lr 0.0001"),
        (
            {"train": TrainConfig(epochs=2, warmup_epochs=1, batch_size=8, lr=1e-4, min_lr=1e-5)},
            "paper, changed: epochs 2, warmup_epochs 1, batch_size 8, lr 0.0001, min_lr 1e-05",
        ),
        (
            {"model": ModelConfig(num_frames=16), "train": TrainConfig(mixup=0.8)},
            "paper, changed: num_frames 16, mixup 0.8",
        ),
        (
            {"model": ModelConfig(msta_pools=((3, 3), (5, 3), (7, 1)))},
            "paper, changed: msta_pools ((3, 3), (5, 3), (7, 1))",
        ),
        ({"model": ModelConfig(interfit=False, num_blocks=3, cross_attention="all")}, "paper"),
        ({"model": ModelConfig(msta_fc="channels")}, "paper, changed: msta_fc channels"),
        ({"seed": 3}, "paper"),
    ],
)
def test_a_recipe_is_described_by_what_was_changed_in_it(settings, said):
    assert describe_recipe(_run("paper", **settings)) == said


def test_a_preset_that_was_not_taken_is_described_as_it_is():
    assert describe_recipe(_run("strong")) == (
        "strong, changed: backbone ViT-B-32-quickgelu, num_frames 8, layer_decay 1.0, "
        "label_smoothing 0.0, mixup 0.0, drop_path 0.0, balance none"
    )
    ferv39k = apply_preset(_run("strong", kind="ferv39k"))
    mixed = replace(ferv39k, train=replace(ferv39k.train, mixup=0.8))
    assert describe_recipe(mixed) == "strong, changed: mixup 0.8"


def test_settings_that_are_no_part_of_a_recipe_are_in_the_name_of_the_variant():
    base = ModelConfig(biehpro=False, text=True)
    for name in VARIANT:
        default = getattr(ModelConfig, name)
        changes = {name: OTHER_VALUES.get(name, not default)}
        start = base if name == "text" else ModelConfig()
        assert replace(start, **changes).variant != start.variant, name


def test_an_unknown_preset_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError) as caught:
        _run("weak")
    assert str(caught.value) == "no preset 'weak'; known: paper, small, strong"


def test_open_clip_has_the_backbone_of_strong_and_openais_weights_fit_it(monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(open_clip, "download_pretrained", no_network)
    model = apply_preset(_run("strong")).model
    assert model.backbone in known_backbones()
    with pytest.raises(WeightsError, match="'openai' of ViT-B-16-quickgelu are not cached"):
        load_pretrained(model.backbone, model.weights)


def test_strong_costs_what_16_frames_of_16_px_patches_cost():
    # 12 MLPs over 16 * 197 tokens, the patch convolution and the projection, in 10^9.
    off = {"interfit": False, "msta": False, "biehpro": False}
    model = replace(apply_preset(_run("strong")).model, **off)
    mlps = 16 * 12 * 197 * 2 * 768 * 3072
    others = 16 * 196 * 768 * 3 * 16 * 16 + 16 * 768 * 512
    assert measure_cost(model, BASIC_EXPRESSIONS).paper_macs == mlps + others


def test_small_is_what_fits_a_laptop():
    run = apply_preset(_run("small"))
    assert (run.model.backbone, run.model.weights) == ("demo-ViT-tiny", "random")
    assert run.train == TrainConfig(epochs=20, warmup_epochs=2, batch_size=8, lr=3e-4, min_lr=3e-6)
    assert run.augment == AugmentConfig(
        crop_scale=0.95, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02
    )
    assert run.compute.precision == "fp32"
    assert describe_recipe(run) == "small"
    cost = measure_cost(run.model, BASIC_EXPRESSIONS)
    assert cost.true_macs < 0.5e9  # a hundredth of the paper's
    assert cost.trainable < 5e6


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("method", ["dfer", "dfer-clip"])
def test_options_give_the_recipe_again(preset, method):
    changes = {"train": {"lr": 0.5, "mixup": 0.3}, "augment": {"flip": 0.0}}
    run = replace(_run(preset), model=ModelConfig(method=method, near_clip_init=method != "dfer"))
    run = apply_preset(run)
    run = replace(run, **{n: replace(getattr(run, n), **values) for n, values in changes.items()})
    context = (
        typer.main.get_command(app)
        .commands["train"]
        .make_context("train", ["--model", method, *recipe_options(run)])
    )
    values = context.params
    rates = {name: values[name] for name in ("lr", "new_layers_lr")}
    train = replace(run.train, **rates, mixup=values["mixup"])
    augment = replace(run.augment, flip=values["flip"])
    model = replace(run.model, near_clip_init=values["near_clip_init"])
    assert (values["preset"], model, train, augment) == (preset, run.model, run.train, run.augment)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("method", NETWORKS)
def test_networks_have_a_recipe_in_every_preset(preset, method):
    run = apply_preset(_run(preset, model=ModelConfig(method=method)))
    check_recipe(run)
    assert apply_method(run) == run
    network = NETWORKS[method]
    assert (run.model.sampling, run.model.pixels) == (network.sampling, network.pixels)
    assert run.model.num_frames == network.num_frames
    if preset == "small":
        assert run.model.weights == "random"
        assert (run.train.epochs, run.train.optimizer) == (20, "adamw")
        if method != "cliper":
            assert (run.model.width, run.model.image_size) == (0.25, 48)
    else:
        assert run.model.weights == network.weights[0]
        assert (run.model.width, run.model.image_size) == (1, network.image_size)


def test_recipes_of_networks_by_example():
    run = apply_preset(_run("paper", model=ModelConfig(method="former-dfer")))
    assert (run.train.optimizer, run.train.lr, run.train.weight_decay) == ("sgd", 0.01, 1e-4)
    assert (run.train.schedule, run.train.step_epochs, run.train.epochs) == ("step", 40, 100)
    run = apply_preset(_run("paper", model=ModelConfig(method="ec-stfl")))
    assert (run.train.ec_stfl, run.train.batch_size) == (10.0, 24)
    typed = replace(_run("paper", model=ModelConfig(method="m3dfel")), train=TrainConfig(lr=1e-3))
    run = apply_preset(typed, {"lr"})
    assert (run.train.lr, run.train.weight_decay, run.train.batch_size) == (1e-3, 0.05, 256)


@pytest.mark.parametrize("method", NETWORKS)
def test_rates_of_networks_in_small(method):
    rates = {"cliper": 3e-4} | dict.fromkeys(("ec-stfl", "i3d", "m3dfel", "p3d"), 3e-4)
    rates |= dict.fromkeys(("c3d", "est", "t-esfl"), 1e-4)
    run = apply_preset(_run("small", model=ModelConfig(method=method)))
    lr = rates.get(method, 1e-3)
    assert (run.train.lr, run.train.min_lr) == (lr, pytest.approx(lr / 100))
    assert apply_preset(replace(run, train=replace(run.train, lr=0.5)), {"lr"}).train.lr == 0.5


@pytest.mark.parametrize(
    ("method", "preset", "epochs", "stage1"),
    [("aen", "paper", 10, 5), ("aen", "paper", 100, 20), ("cliper", "small", 3, 0)],
)
def test_a_first_stage_takes_at_most_half_of_few_epochs(method, preset, epochs, stage1):
    run = replace(
        _run(preset, model=ModelConfig(method=method)),
        train=TrainConfig(epochs=epochs, warmup_epochs=0),
    )
    assert apply_preset(run, {"epochs"}).train.stage1_epochs == stage1
