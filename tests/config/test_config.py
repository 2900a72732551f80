"""Settings: round trips through JSON, names of variants, and every refusal."""

import json
from itertools import product
from math import inf

import pytest

from dfercli.config import (
    AugmentConfig,
    ComputeConfig,
    DataConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    from_dict,
    is_numbered,
    to_dict,
)
from dfercli.errors import ConfigError, DferError, require_at_least
from dfercli.models.biehpro import BiEhPro

DATA = DataConfig(dataset="dfew", manifest="dfew.csv", root="/data/dfew", workers=0)


def test_a_whole_number_is_a_prompt_scale():
    for config in (ModelConfig(prompt_scale=1), from_dict(ModelConfig, {"prompt_scale": 1})):
        assert type(config.prompt_scale) is float
        BiEhPro(8, prompt_scale=config.prompt_scale)


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(),
        ModelConfig(msta_pools=((3, 3), (5, 3), (7, 1)), num_frames=16, prompt_template="a {}"),
        ModelConfig(biehpro=False, text=False, weights="random"),
        DATA,
        TrainConfig(epochs=8, lr=1e-4),
        ComputeConfig(accumulate=4, precision="bf16", batch="auto"),
        RunConfig(data=DATA, fold=2),
        RunConfig(
            data=DATA,
            fold=5,
            model=ModelConfig(msta=False),
            train=TrainConfig(batch_size=8),
            augment=AugmentConfig(hue=0.05),
            compute=ComputeConfig(device="cuda"),
            seed=3,
            preset="strong",
        ),
    ],
)
def test_a_trip_through_json_changes_nothing(config):
    there_and_back = from_dict(type(config), json.loads(json.dumps(to_dict(config))))
    assert there_and_back == config
    assert hash(there_and_back) == hash(config)  # lists from JSON came back as tuples


def test_missing_settings_take_their_defaults():
    stored = {"num_blocks": 3, "msta_fc": "positions"}
    assert from_dict(ModelConfig, stored) == ModelConfig(num_blocks=3)


@pytest.mark.parametrize(
    ("stored", "mixed"),
    [
        ({}, "channels"),
        ({"num_blocks": 3}, "channels"),
        ({"msta_fc": "positions"}, "positions"),
        ({"msta": False}, "positions"),  # no effect there: the same model as one that says so
        ({"method": "coop"}, "positions"),  # refuses settings that are not its own
    ],
)
def test_models_stored_before_msta_fc_was_a_setting_mixed_channels(stored, mixed):
    assert from_dict(ModelConfig, stored).msta_fc == mixed
    run = from_dict(RunConfig, {"data": to_dict(DATA), "fold": 1, "model": stored})
    assert run.model.msta_fc == mixed


def test_the_papers_recipe_is_the_default():
    model, train = ModelConfig(), TrainConfig()
    assert (model.backbone, model.num_frames, model.num_blocks) == ("ViT-B-32-quickgelu", 8, 2)
    assert model.msta_pools == ((5, 3), (5, 3), (7, 1))
    assert (train.lr, train.min_lr, train.weight_decay) == (2e-5, 2e-7, 5e-4)
    assert (train.batch_size, train.epochs, train.warmup_epochs) == (32, 100, 5)
    assert (train.layer_decay, train.label_smoothing, train.mixup) == (1, 0, 0)
    assert (train.drop_path, train.balance) == (0, "none")


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (ModelConfig, {"mtsa": True}, "unknown ModelConfig setting 'mtsa'"),
        (TrainConfig, {"b": 1, "a": 1}, "unknown TrainConfig setting 'a'"),
        (DataConfig, {"dataset": "dfew", "root": "."}, "incomplete DataConfig: .*'manifest'"),
        (RunConfig, {"data": {"dataset": "dfew"}, "fold": 1}, "incomplete DataConfig"),
        (RunConfig, {"data": to_dict(DATA)}, "incomplete RunConfig: .*'fold'"),
        (
            RunConfig,
            {"data": to_dict(DATA), "fold": 1, "model": {"num_frames": 0}},
            "num_frames is 0; it must be at least 1",
        ),
    ],
)
def test_from_dict_names_what_is_wrong(cls, values, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(cls, values)


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    [
        (ModelConfig, {"num_frames": 0}, "num_frames is 0; it must be at least 1"),
        (ModelConfig, {"num_blocks": -1}, "num_blocks is -1; it must be at least 1"),
        (
            ModelConfig,
            {"cross_attention": "both"},
            "no cross_attention 'both'; known: paired, all",
        ),
        (
            ModelConfig,
            {"msta_fc": "frames"},
            "no msta_fc 'frames'; known: positions, channels",
        ),
        (
            ModelConfig,
            {"prompt_template": "a face"},
            "prompt_template 'a face' has no {} for the class",
        ),
        (
            ModelConfig,
            {"text": False},
            "biehpro needs text, which is off; turn biehpro off too",
        ),
        (
            ModelConfig,
            {"text_prompt": False, "visual_prompt": False},
            "biehpro needs text_prompt or visual_prompt; turn one of them on, or biehpro off",
        ),
        (TrainConfig, {"epochs": 0}, "epochs is 0; it must be at least 1"),
        (TrainConfig, {"warmup_epochs": -1}, "warmup_epochs is -1; it must be at least 0"),
        (TrainConfig, {"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        (ComputeConfig, {"accumulate": 0}, "accumulate is 0; it must be at least 1"),
        (
            TrainConfig,
            {"epochs": 5},
            "warmup_epochs is 5 and epochs is 5; warmup_epochs must be less than epochs, such as 4",
        ),
        (TrainConfig, {"lr": 0.0, "min_lr": 0.0}, "lr is 0.0; it must be above 0"),
        (TrainConfig, {"weight_decay": -1.0}, "weight_decay is -1.0; it must be at least 0"),
        (TrainConfig, {"layer_decay": 0.0}, "layer_decay is 0.0; it must be above 0, at most 1"),
        (TrainConfig, {"layer_decay": 1.1}, "layer_decay is 1.1; it must be above 0, at most 1"),
        (
            TrainConfig,
            {"label_smoothing": 1.0},
            "label_smoothing is 1.0; it must be at least 0, below 1",
        ),
        (TrainConfig, {"mixup": -0.1}, "mixup is -0.1; it must be at least 0"),
        (TrainConfig, {"mixup": inf}, "mixup is inf; it must be at least 0"),
        (TrainConfig, {"drop_path": 1.0}, "drop_path is 1.0; it must be at least 0, below 1"),
        (
            TrainConfig,
            {"drop_path": float("nan")},
            "drop_path is nan; it must be at least 0, below 1",
        ),
        (TrainConfig, {"balance": "class"}, "no balance 'class'; known: none, oversample, prior"),
        (
            RunConfig,
            {"data": DATA, "fold": 1, "preset": "p"},
            "no preset 'p'; known: paper, small, strong",
        ),
        (AugmentConfig, {"flip": 3.0}, "flip is 3.0; it must be from 0 to 1.0"),
        (AugmentConfig, {"hue": 0.6}, "hue is 0.6; it must be from 0 to 0.5"),
        (AugmentConfig, {"crop_scale": 0.0}, "crop_scale is 0.0; it must be above 0, at most 1.0"),
        (
            RunConfig,
            {"data": DATA, "fold": 1, "seed": -1},
            "seed is -1; it must be from 0 to 4294967295",
        ),
        (
            RunConfig,
            {"data": DATA, "fold": 1, "seed": 2**32},
            "seed is 4294967296; it must be from 0 to 4294967295",
        ),
        (
            ComputeConfig,
            {"precision": "int8"},
            "no precision 'int8'; known: auto, fp32, bf16, fp16",
        ),
        *(
            (
                ComputeConfig,
                {"device": name},
                f"no device {name!r}; known: auto, cpu, cuda, mps, or a GPU by number, such as "
                f"cuda:1",
            )
            for name in ("gpu", "cuda:", "cuda:-1", "cuda:01", "cuda:1 ", "cuda:x", "cpu:0", "")
        ),
        (ComputeConfig, {"track": "wandb, tb"}, "no track 'tb'; known: tensorboard, wandb"),
        (ComputeConfig, {"batch": "half"}, "no batch 'half'; known: fixed, auto"),
    ],
)
def test_values_that_cannot_be_used_are_refused(cls, settings, message):
    with pytest.raises(ConfigError) as caught:
        cls(**settings)
    assert str(caught.value) == message


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:15", "mps"])
def test_devices_are_known_by_kind_and_by_number(device):
    assert ComputeConfig(device=device).device == device
    assert is_numbered(device) == (":" in device)


def test_refusals_are_errors_for_users():
    assert issubclass(ConfigError, DferError)
    require_at_least("epochs", 1, 1)
    with pytest.raises(DferError):
        require_at_least("epochs", 0, 1)


@pytest.mark.parametrize(
    ("settings", "variant"),
    [
        ({}, "full"),
        ({"interfit": False, "msta": False, "biehpro": False}, "baseline"),
        ({"biehpro": False}, "interfit-msta"),
        ({"interfit": False}, "msta-biehpro"),
        ({"biehpro": False, "text": False}, "interfit-msta-notext"),
        ({"num_blocks": 4}, "full-m4"),
        ({"msta_fc": "channels"}, "full-channels"),
        ({"msta_fc": "channels", "msta": False, "biehpro": False}, "interfit"),
        ({"visual_prompt": False}, "full-tp"),
        ({"text_prompt": False, "cross_attention": "all"}, "full-vp-all"),
    ],
)
def test_variants_have_telling_names(settings, variant):
    assert ModelConfig(**settings).variant == variant


def test_no_two_variants_share_a_name():
    configs = []
    for interfit, msta in product((True, False), repeat=2):
        configs += [
            ModelConfig(interfit=interfit, msta=msta, biehpro=False, text=text)
            for text in (True, False)
        ]
        configs += [
            ModelConfig(
                interfit=interfit,
                msta=msta,
                text_prompt=text_prompt,
                visual_prompt=visual_prompt,
                num_blocks=num_blocks,
                cross_attention=cross_attention,
            )
            for text_prompt, visual_prompt in ((True, True), (True, False), (False, True))
            for num_blocks in (1, 2, 3, 4, 5)
            for cross_attention in ("paired", "all")
        ]
    assert len({config.variant for config in configs}) == len(configs) == 4 * (2 + 3 * 5 * 2)


@pytest.mark.parametrize(
    ("config", "value"),
    [
        (ModelConfig, "dfer"),
        (DataConfig, "dfew"),
        (ComputeConfig, "cpu"),
        (TrainConfig, 100),
        (AugmentConfig, 0.8),
        (RunConfig, DATA),
    ],
)
def test_settings_are_given_by_name(config, value):
    with pytest.raises(TypeError, match="takes 1 positional argument"):
        config(value)


def test_settings_of_earlier_versions_that_decide_nothing_now_are_passed_over():
    stored = to_dict(ComputeConfig(accumulate=2)) | {"compile": True}
    del stored["steps"]
    assert from_dict(ComputeConfig, stored) == ComputeConfig(accumulate=2)
