"""What every system of Table 1 keeps to, whatever its layers."""

import pytest
import torch
from torch import Tensor, nn

from dfercli.config import (
    METHODS,
    NETWORKS,
    OWN_LOSS,
    STAGED,
    WITH_LOSSES,
    WITHOUT_CLIP,
    DataConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
)
from dfercli.config.presets import default_model
from dfercli.errors import ConfigError
from dfercli.models.base import ExpressionModel, Outputs, build_model
from dfercli.runs.checkpoint import load_checkpoint, save_checkpoint
from dfercli.training.recipe import add_auxiliary, build_loss, check_recipe, find_auxiliary

CLASSES = ("happiness", "sadness", "anger")
FRAME_MEANS = ("cliper",)
"""Systems that do not see the order of frames."""

every_network = pytest.mark.parametrize("name", NETWORKS)


def make(name: str, class_names=CLASSES, **changes) -> ExpressionModel:
    torch.manual_seed(0)
    small = {"weights": "random"}
    small |= {"backbone": "demo-ViT-tiny"} if name == "cliper" else {"width": 0.125}
    small |= {} if name == "cliper" else {"image_size": 64}
    return build_model(default_model(name, **{**small, **changes}), class_names)


def make_clips(model: ExpressionModel, count: int = 2) -> Tensor:
    torch.manual_seed(1)
    size = model.image_size
    return torch.randn(count, model.config.num_frames, 3, size, size)


def train_once(model: ExpressionModel, config: TrainConfig, stage: int = 2) -> Tensor:
    """Return the loss of two clips after a backward pass."""
    model.returns_extras = bool(find_auxiliary(model, config))
    model.set_stage(stage)
    loss = build_loss(config, [1, 1, 1], torch.device("cpu"))
    value = add_auxiliary(loss, model, config)(
        model.train()(make_clips(model)), torch.tensor([0, 2])
    )
    value.backward()
    return value.detach()


@every_network
def test_logits_are_finite_and_of_their_shape(name):
    model = make(name).eval()
    with torch.no_grad():
        clips = make_clips(model)
        videos = model.encode_video(clips)
        logits = model(clips)
        assert logits.shape == (2, 3)
        assert videos.ndim == 2
        torch.testing.assert_close(model.classify(videos), logits)
        assert logits.isfinite().all()
        assert model(torch.zeros_like(clips)).isfinite().all()
    assert model.config.variant == name
    assert model.class_names == list(CLASSES)


@pytest.mark.slow
@every_network
def test_all_that_trains_gets_a_gradient_and_nothing_else_does(name):
    model = make(name)
    stages = (1, 2) if name in STAGED else (2,)
    for stage in stages:
        model.zero_grad()
        assert train_once(model, TrainConfig(), stage).isfinite()
        for parameter_name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, parameter_name
                assert parameter.grad.isfinite().all(), parameter_name
                assert parameter.grad.any(), parameter_name
            else:
                assert parameter.grad is None, parameter_name


@pytest.mark.slow
@every_network
def test_one_clip_alone_trains(name):
    model = make(name)
    config = TrainConfig()
    model.returns_extras = bool(find_auxiliary(model, config))
    loss = add_auxiliary(build_loss(config, [1, 1, 1], torch.device("cpu")), model, config)
    value = loss(model.train()(make_clips(model, 1)), torch.tensor([1]))
    value.backward()
    assert value.isfinite()


@pytest.mark.slow
@every_network
def test_a_saved_model_gives_the_same_logits(name, tmp_path):
    model = make(name)
    train_once(model, TrainConfig())  # so that running statistics have moved
    model.eval()
    save_checkpoint(model, tmp_path / "model")
    loaded = load_checkpoint(str(tmp_path / "model"))
    assert loaded.config == model.config
    with torch.no_grad():
        assert torch.equal(loaded(make_clips(model)), model(make_clips(model)))


@pytest.mark.slow
@every_network
def test_a_model_in_flat_storage_is_saved_in_its_own(name, tmp_path):
    """As cuDNN keeps the weights of an LSTM on a GPU: views of one buffer."""
    model = make(name).eval()
    parameters = list(model.parameters())
    flat = torch.cat([parameter.detach().flatten() for parameter in parameters])
    with torch.no_grad():
        expected = model(make_clips(model))
    pieces = flat.split([parameter.numel() for parameter in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter.data = piece.view_as(parameter)
    save_checkpoint(model, tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(load_checkpoint(str(tmp_path / "model"))(make_clips(model)), expected)


@pytest.mark.slow
@every_network
def test_permuted_classes_permute_the_logits(name):
    model, order = make(name).eval(), [2, 0, 1]
    permuted = make(name, [CLASSES[index] for index in order]).eval()
    weights = dict(model.state_dict())
    for row_name in {*model.class_parameters, *model.class_texts}:
        weights[row_name] = weights[row_name][order]
    permuted.load_state_dict(weights)
    with torch.no_grad():
        torch.testing.assert_close(
            permuted(make_clips(model)), model(make_clips(model))[:, order], rtol=1e-4, atol=1e-5
        )


@pytest.mark.slow
@every_network
def test_a_batch_of_two_is_two_batches_of_one(name):
    model = make(name).eval()
    clips = make_clips(model)
    with torch.no_grad():
        single = torch.cat([model(clips[:1]), model(clips[1:])])
        torch.testing.assert_close(model(clips), single, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@every_network
def test_shuffled_frames_matter_to_temporal_models_only(name):
    model = make(name).eval()
    clips = make_clips(model)
    with torch.no_grad():
        logits, reversed_logits = model(clips), model(clips.flip(1))
    same = torch.allclose(logits, reversed_logits, atol=1e-6)
    assert same == (name in FRAME_MEANS)


@pytest.mark.slow
@every_network
def test_evaluation_computes_logits_only(name):
    model = make(name).eval()
    model.returns_extras = True
    with torch.no_grad():
        assert isinstance(model(make_clips(model)), Tensor)
    assert isinstance(model.train()(make_clips(model)), Outputs)


def test_the_lists_of_the_configuration_are_those_of_the_models():
    for name in NETWORKS:
        model = make(name)
        assert bool(model.auxiliary_losses()) == (name in WITH_LOSSES), name
        assert model.own_loss == (name in OWN_LOSS), name
        stages = type(model).set_stage is not ExpressionModel.set_stage
        assert stages == (name in STAGED), name
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        assert model.reads_batches == bool(norms), name
        assert (name in WITHOUT_CLIP) == (name != "cliper")
    assert set(NETWORKS) < set(METHODS)


def test_two_stages_and_lora_exclude_each_other():
    data = DataConfig(dataset="none", manifest="none.csv", root="none")
    train = TrainConfig(epochs=4, warmup_epochs=0, stage1_epochs=2, lora_rank=4)
    run = RunConfig(data=data, fold=1, model=default_model("cliper"), train=train)
    with pytest.raises(ConfigError, match="cliper trains whole parts in two stages; remove --l"):
        check_recipe(run)


@pytest.mark.parametrize("name", ["dpcnet", "mscm", "t-mep"])
def test_systems_without_a_public_definition_say_why(name):
    with pytest.raises(ConfigError, match=f"no model {name}: .*public"):
        ModelConfig(method=name)
