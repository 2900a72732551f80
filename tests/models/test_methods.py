"""Contract over all methods: ours, and those it is compared with."""

import json
from functools import partial

import pytest
import torch

from dfercli.config import METHODS as ALL_METHODS
from dfercli.config import NETWORKS, UNTRAINED, TrainConfig
from dfercli.errors import ConfigError
from dfercli.models import MODELS, load_method
from dfercli.models.base import build_model
from dfercli.models.dfer import DFERModel, contrastive_loss
from dfercli.models.settings import seal
from dfercli.models.still_image import IMAGE_SIZE
from dfercli.models.zero_shot import ZeroShotCLIP
from dfercli.runs.checkpoint import load_checkpoint, save_checkpoint
from dfercli.training.recipe import build_optimizer

METHODS = tuple(name for name in ALL_METHODS if name not in NETWORKS)
"""Those of Table 1 are tested in `networks`."""

TRAINED = [method for method in METHODS if method not in UNTRAINED]
LEARNT = {  # what trains, by the first part of its name; all in it
    "dfer": {"backbone", "interfit", "msta", "biehpro", "logit_scale"},
    "zero-shot": set(),
    "coop": {"contexts"},
    "cocoop": {"contexts", "meta_net"},
    "dfer-clip": {"backbone", "temporal", "contexts"},
    "dfer-clip-no-tm": {"backbone", "contexts"},
    "still-image": set(),
}
FROZEN = {
    "dfer": set(),
    "zero-shot": {"backbone", "logit_scale"},
    "coop": {"backbone", "prompts", "logit_scale"},
    "cocoop": {"backbone", "prompts", "logit_scale"},
    "dfer-clip": {"prompts", "logit_scale"},
    "dfer-clip-no-tm": {"prompts", "logit_scale"},
    "still-image": {"backbone", "head"},
}
every_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture
def make_method(make_model):
    """Build the model of a method; ours without its initial zeros."""

    def make(method):
        return make_model(**{"near_clip_init": False} if method == "dfer" else {"method": method})

    return make


@pytest.fixture
def make_clips(make_clips, request):
    """Draw clips of the size that the tested method reads."""
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    side = IMAGE_SIZE if params.get("method") == "still-image" else 32
    return partial(make_clips, side=side)


def _scale(model):
    """What logits are multiples of: a cosine similarity has none larger."""
    return 1.0 if model.logit_scale is None else model.logit_scale.exp()


def _parts(names):
    return {name.partition(".")[0] for name in names}


def test_the_registry_has_the_methods_of_the_configuration():
    assert tuple(MODELS) == ALL_METHODS
    assert set(LEARNT) == set(FROZEN) == set(METHODS)
    for method in METHODS:
        assert callable(load_method(method).assemble)


@every_method
def test_logits_are_finite_and_of_their_shape(method, make_method, make_clips, class_names):
    model = make_method(method).eval()
    with torch.no_grad():
        assert model(make_clips()).shape == (3, len(class_names))
        videos = model.encode_video(make_clips())
        assert videos.shape == (3, 256 if method == "still-image" else 32)
        assert torch.equal(model.classify(videos), model(make_clips()))
        assert model(make_clips()).isfinite().all()
    assert model.config.variant == ("full" if method == "dfer" else method)
    assert model.class_names == list(class_names)


@every_method
def test_a_step_changes_all_that_learns_and_nothing_that_is_frozen(method, make_method, make_clips):
    model = make_method(method).train()
    learnt = {name for name, p in model.named_parameters() if p.requires_grad}
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert (_parts(learnt), _parts(frozen)) == (LEARNT[method], FROZEN[method])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loss = contrastive_loss(model(make_clips()), torch.arange(3))
    assert loss.requires_grad == bool(learnt)
    if learnt:
        optimizer = build_optimizer(model, TrainConfig(lr=1e-2))
        loss.backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        if name in learnt:
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name
        else:
            assert parameter.grad is None, name
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name not in learnt), name


@pytest.mark.parametrize("method", TRAINED)
def test_steps_lower_the_loss(method, make_method, make_clips):
    model, clips = make_method(method).train(), make_clips()
    optimizer = build_optimizer(model, TrainConfig(lr=2e-3 if "co" in method else 1e-4))
    losses = []
    for _ in range(4):
        loss = contrastive_loss(model(clips), torch.arange(3))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@every_method
def test_what_is_frozen_stays_as_in_evaluation(method, make_method, make_clips):
    model, clips = make_method(method), make_clips()
    if method != "still-image":
        model.backbone.drop_path = 0.9
    model.train()
    for part in FROZEN[method] - {"logit_scale"}:
        assert not any(module.training for module in getattr(model, part).modules())
    assert model.backbone.training == ("backbone" in LEARNT[method])
    drawn = [model(clips).detach() for _ in range(3)]
    still = all(torch.equal(drawn[0], logits) for logits in drawn[1:])
    assert still == ("backbone" in FROZEN[method])


@pytest.mark.slow
@every_method
def test_a_checkpoint_gives_the_model_back(method, make_method, make_clips, tmp_path):
    model, clips = make_method(method).eval(), make_clips()
    for parameter in model.parameters():
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    save_checkpoint(model, tmp_path / "best")
    torch.manual_seed(123)
    state = torch.get_rng_state()
    loaded = load_checkpoint(str(tmp_path / "best"))
    assert torch.equal(torch.get_rng_state(), state)
    assert type(loaded) is type(model)
    assert type(DFERModel.from_pretrained(tmp_path / "best")) is type(model)
    assert not any(module.training for module in loaded.modules())
    assert loaded.config == model.config
    assert loaded.settings == json.loads(json.dumps(model.settings))
    asked = {name for name, p in loaded.named_parameters() if p.requires_grad}
    assert asked == {name for name, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        assert torch.equal(loaded(clips), model(clips))


@every_method
def test_the_text_tower_is_in_the_checkpoint_where_it_is_run_again(method, make_method):
    names = make_method(method).state_dict()
    assert ("prompts.transformer.resblocks.0.ln_1.weight" in names) == ("prompts" in FROZEN[method])
    assert ("text_features" in names) == (method in ("dfer", "zero-shot"))
    assert not [name for name in names if "token_embedding" in name]


def _rewrite(folder, method):
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings["model"].pop("method")
    settings["model"].update(method)
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    seal(folder / "config.json", folder / "model.safetensors")


def test_a_checkpoint_without_a_method_is_ours(make_method, tmp_path):
    save_checkpoint(make_method("dfer"), tmp_path / "best")
    _rewrite(tmp_path / "best", {})
    assert type(load_checkpoint(str(tmp_path / "best"))) is DFERModel


def test_a_checkpoint_of_an_unknown_method_is_one_line(make_method, tmp_path):
    save_checkpoint(make_method("coop"), tmp_path / "best")
    _rewrite(tmp_path / "best", {"method": "maple"})
    with pytest.raises(ConfigError) as caught:
        load_checkpoint(str(tmp_path / "best"))
    assert str(caught.value) == f"no model 'maple'; known: {', '.join(ALL_METHODS)}"


@torch.no_grad()
@every_method
def test_a_batch_of_two_equals_two_batches_of_one(method, make_method, make_clips):
    model, clips = make_method(method).eval(), make_clips(2)
    apart = torch.cat([model(clips[:1]), model(clips[1:])])
    assert torch.allclose(model(clips), apart, atol=1e-6 * _scale(model))


@torch.no_grad()
@every_method
def test_classes_in_another_order_give_their_logits_in_that_order(
    method, make_method, make_clips, class_names
):
    model, order = make_method(method).eval(), [3, 1, 4, 0, 2]
    torch.manual_seed(7)  # the seed of make_model
    other = build_model(model.config, [class_names[index] for index in order]).eval()
    if method.startswith("dfer-clip"):  # contexts of each class, drawn in its order
        other.contexts.copy_(model.contexts[order])
    logits, clips = model(make_clips()), make_clips()
    assert torch.allclose(other(clips), logits[:, order], atol=1e-5 * _scale(model))
    assert not torch.allclose(other(clips), logits, atol=1e-3)


@torch.no_grad()
@every_method
def test_who_feels_the_order_of_the_frames(method, make_method, make_clips):
    model, clips = make_method(method).eval(), make_clips()
    shuffled = clips[:, [3, 7, 0, 5, 1, 6, 2, 4]]
    difference = (model(clips) - model(shuffled)).abs().max() / _scale(model)
    assert difference > 1e-4 if method in ("dfer", "dfer-clip") else difference < 1e-6


@torch.no_grad()
@every_method
def test_half_precision_gives_about_the_same(method, make_method, make_clips):
    model, clips = make_method(method).eval(), make_clips()
    with torch.autocast("cpu", torch.bfloat16):
        half = model(clips)
    assert half.isfinite().all()
    assert (half.float() - model(clips)).abs().max() < 0.05 * _scale(model)


@pytest.mark.parametrize("method", [method for method in METHODS if method != "dfer"])
def test_our_modules_are_no_settings_of_other_methods(method, make_config):
    with pytest.raises(ConfigError, match=f"msta has no effect with --model {method}"):
        make_config(method=method, msta=False)


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 8])
def test_zero_shot_is_open_clips_classifier(frames, make_model, make_clips, tiny_name):
    import open_clip

    template = "a photo of a {} face"
    model = make_model(method="zero-shot", prompt_template=template)
    assert isinstance(model, ZeroShotCLIP)
    torch.manual_seed(7)  # the seed of make_model
    clip = open_clip.create_model(tiny_name).eval()
    texts = open_clip.get_tokenizer(tiny_name)(
        [f"a photo of a {n} face" for n in model.class_names]
    )
    clips = make_clips(frames=1)
    theirs, _ = clip.get_logits(clips[:, 0], texts)
    assert torch.allclose(model.eval()(clips.expand(-1, frames, -1, -1, -1)), theirs, atol=1e-5)
