"""Checkpoints of DFER-CLIP: converted exactly, and loaded without running code in them."""

import math
import os

import numpy as np
import open_clip
import pytest
import torch
from torch.nn import functional as F

from dfercli.data.transforms import normalise
from dfercli.errors import CheckpointError, ConfigError
from dfercli.publish.import_dfer_clip import BACKBONE, THEIR_CLASSES, import_dfer_clip
from dfercli.runs.checkpoint import load_checkpoint

DFEW = THEIR_CLASSES[:7]
MAFW = (
    *("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    *("contempt", "anxiety", "helplessness", "disappointment"),
)
CONTEXTS = 4
"""As many as leave room for words in the tiny tower, which reads twelve tokens; theirs are 8."""


def _make_state(backbone, num_classes, copies=True, contexts=CONTEXTS):
    """Return a state dict with their names and shapes, and random values."""
    torch.manual_seed(5)
    clip = open_clip.create_model(backbone)
    width, embed = clip.positional_embedding.shape[1], clip.text_projection.shape[1]
    theirs = {}
    for name, value in clip.visual.state_dict().items():
        theirs[f"image_encoder.{name}"] = value
    for name, value in clip.transformer.state_dict().items():
        theirs[f"text_encoder.transformer.{name}"] = value
    theirs["text_encoder.positional_embedding"] = clip.positional_embedding
    theirs["text_encoder.ln_final.weight"] = 1 + 0.1 * torch.randn(width)
    theirs["text_encoder.ln_final.bias"] = 0.1 * torch.randn(width)
    theirs["text_encoder.text_projection"] = clip.text_projection
    texts = [" ".join(["word"] * (2 + index % 3)) for index in range(num_classes)]
    texts[0] = "a smile, cheeks"
    tokens = open_clip.tokenize(texts, context_length=clip.context_length - contexts)
    embeds = clip.token_embedding(tokens)
    theirs["prompt_learner.ctx"] = 0.02 * torch.randn(num_classes, contexts, width)
    theirs["prompt_learner.token_prefix"] = embeds[:, :1]
    theirs["prompt_learner.token_suffix"] = embeds[:, 1:]
    temporal = "temporal_net.transformer.layers.0"
    shapes = {
        "temporal_net.cls_token": (1, 1, embed),
        "temporal_net.pos_embedding": (1, 17, embed),
        f"{temporal}.0.fn.norm.weight": (embed,),
        f"{temporal}.0.fn.norm.bias": (embed,),
        f"{temporal}.0.fn.fn.to_qkv.weight": (3 * embed, embed),
        f"{temporal}.0.fn.fn.to_out.0.weight": (embed, embed),
        f"{temporal}.0.fn.fn.to_out.0.bias": (embed,),
        f"{temporal}.1.fn.norm.weight": (embed,),
        f"{temporal}.1.fn.norm.bias": (embed,),
        f"{temporal}.1.fn.fn.net.0.weight": (2 * embed, embed),
        f"{temporal}.1.fn.fn.net.0.bias": (2 * embed,),
        f"{temporal}.1.fn.fn.net.3.weight": (embed, 2 * embed),
        f"{temporal}.1.fn.fn.net.3.bias": (embed,),
    }
    theirs |= {name: torch.randn(shape) / math.sqrt(embed) for name, shape in shapes.items()}
    if copies:
        theirs["clip_model_.token_embedding.weight"] = clip.token_embedding.weight
        theirs["clip_model_.logit_scale"] = clip.logit_scale
    ends = tokens.argmax(dim=-1)
    state = {f"module.{name}": value.detach().clone() for name, value in theirs.items()}
    return state, ends, clip


def _norm(x, state, name):
    weight, bias = state[f"module.{name}.weight"], state[f"module.{name}.bias"]
    return F.layer_norm(x, weight.shape, weight, bias)


@torch.no_grad()
def _their_logits(state, ends, clip, pixels):
    """Return the logits (B, K) of their network on clips (B, T, 3, H, W) in [0, 1]."""
    batch, frames = pixels.shape[:2]
    clip.visual.load_state_dict(
        {
            name.removeprefix("module.image_encoder."): value
            for name, value in state.items()
            if "image_encoder." in name
        }
    )
    images = clip.visual(pixels.flatten(0, 1)).unflatten(0, (batch, frames))
    tokens = torch.cat([state["module.temporal_net.cls_token"].expand(batch, -1, -1), images], 1)
    tokens = tokens + state["module.temporal_net.pos_embedding"]
    layer = "temporal_net.transformer.layers.0"
    width = tokens.shape[-1]
    heads = max(1, width // 64)
    normed = _norm(tokens, state, f"{layer}.0.fn.norm")
    parts = (normed @ state[f"module.{layer}.0.fn.fn.to_qkv.weight"].T).chunk(3, dim=-1)
    q, k, v = (part.reshape(batch, frames + 1, heads, -1).permute(0, 2, 1, 3) for part in parts)
    weights = (q @ k.transpose(-1, -2) / math.sqrt(width // heads)).softmax(-1)
    mixed = (weights @ v).permute(0, 2, 1, 3).reshape(batch, frames + 1, width)
    output = f"module.{layer}.0.fn.fn.to_out.0"
    tokens = tokens + mixed @ state[f"{output}.weight"].T + state[f"{output}.bias"]
    normed = _norm(tokens, state, f"{layer}.1.fn.norm")
    first, second = (f"module.{layer}.1.fn.fn.net.{number}" for number in (0, 3))
    hidden = normed @ state[f"{first}.weight"].T + state[f"{first}.bias"]
    cubic = hidden + 0.044715 * hidden**3
    hidden = 0.5 * hidden * (1 + torch.tanh(math.sqrt(2 / math.pi) * cubic))
    tokens = tokens + hidden @ state[f"{second}.weight"].T + state[f"{second}.bias"]
    videos = F.normalize(tokens[:, 0], dim=-1)
    learner = "module.prompt_learner"
    names = ("token_prefix", "ctx", "token_suffix")
    prompts = torch.cat([state[f"{learner}.{name}"] for name in names], dim=1)
    prompts = prompts + state["module.text_encoder.positional_embedding"]
    mask = torch.full((prompts.shape[1],) * 2, float("-inf")).triu(1)
    texts = clip.transformer(prompts, attn_mask=mask)
    texts = _norm(texts, state, "text_encoder.ln_final")
    texts = texts[torch.arange(len(texts)), ends + state[f"{learner}.ctx"].shape[1]]
    texts = F.normalize(texts @ state["module.text_encoder.text_projection"], dim=-1)
    return videos @ texts.T / 0.01


def _save(path, state, **entries):
    torch.save({"epoch": 50, "state_dict": state, "best_acc": 71.25} | entries, path)


@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize(("dataset", "classes"), [("dfew", DFEW), ("mafw", MAFW)])
def test_logits_are_those_of_the_original(dataset, classes, copies, tiny_name, tmp_path):
    state, ends, clip = _make_state(tiny_name, len(classes), copies)
    _save(tmp_path / "m.pth", state)
    imported = import_dfer_clip(tmp_path / "m.pth", tmp_path / "m", dataset, 2, tiny_name)
    assert (imported.class_names, imported.best_war) == (classes, 71.25)
    model = load_checkpoint(str(tmp_path / "m"))
    pixels = torch.rand(2, 16, 3, 32, 32)
    ours = model(normalise(pixels * 255)).detach()
    theirs = _their_logits(state, ends, clip.eval(), pixels)
    order = [THEIR_CLASSES.index(name) for name in model.class_names]
    assert (ours - theirs[:, order]).abs().max() < 1e-4 * theirs.abs().max()
    assert model.settings["trained"]["dataset"] == dataset
    assert model.settings["trained"]["fold"] == 2


@pytest.mark.slow
def test_logits_of_the_published_shapes(tmp_path):
    state, ends, clip = _make_state(BACKBONE, 7, contexts=8)
    assert state["module.prompt_learner.token_suffix"].shape == (7, 68, 512)
    _save(tmp_path / "m.pth", state)
    import_dfer_clip(tmp_path / "m.pth", tmp_path / "m", "dfew", 1)
    model = load_checkpoint(str(tmp_path / "m"))
    pixels = torch.rand(1, 16, 3, 224, 224)
    theirs = _their_logits(state, ends, clip.eval(), pixels)
    difference = (model(normalise(pixels * 255)).detach() - theirs).abs().max()
    assert difference < 1e-5 * theirs.abs().max().clamp(min=1)


class RecorderMeter:
    """Stands for the class of theirs that records a training."""

    def __init__(self):
        self.epoch_losses = np.zeros((2, 2), dtype=np.float32)
        self.epoch_accuracy = np.ones((2, 2), dtype=np.float32)


def test_the_record_of_a_training_is_loaded_as_an_empty_class(tiny_name, tmp_path, monkeypatch):
    monkeypatch.setattr(RecorderMeter, "__module__", "__main__")
    monkeypatch.setattr("__main__.RecorderMeter", RecorderMeter, raising=False)
    state, *_ = _make_state(tiny_name, 7)
    _save(tmp_path / "m.pth", state, recorder=RecorderMeter(), best_acc=torch.tensor(60.5))
    imported = import_dfer_clip(tmp_path / "m.pth", tmp_path / "m", "dfew", 1, tiny_name)
    assert imported.best_war == 60.5


class _Hostile:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_hostile_file_is_refused_and_runs_nothing(tiny_name, tmp_path):
    state, *_ = _make_state(tiny_name, 7)
    _save(tmp_path / "m.pth", state, recorder=_Hostile(f"touch {tmp_path}/harm"))
    with pytest.raises(CheckpointError) as caught:
        import_dfer_clip(tmp_path / "m.pth", tmp_path / "m", "dfew", 1, tiny_name)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'm.pth'} is not a checkpoint of DFER-CLIP, or contains")
    assert "system" in said
    assert "\n" not in said
    assert not (tmp_path / "harm").exists()
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no checkpoint", "is not a checkpoint of DFER-CLIP, or contains code, which is not run"),
        (bytes(range(80, 130)), "which is not run: it is not a file of PyTorch"),
        (b"hello\n", "which is not run: it is not a file of PyTorch"),
        (b"", "is not a checkpoint of DFER-CLIP"),
        ([1, 2], "it holds no parameters"),
        ({"state_dict": {"module.conv.weight": torch.zeros(1)}}, "no prompt_learner.token_prefix"),
        ({"state_dict": {"a": 3}}, "is not a checkpoint of DFER-CLIP"),
    ],
)
def test_other_files_are_one_line(content, said, tmp_path):
    if isinstance(content, bytes):
        (tmp_path / "m.pth").write_bytes(content)
    else:
        torch.save(content, tmp_path / "m.pth")
    with pytest.raises(CheckpointError) as caught:
        import_dfer_clip(tmp_path / "m.pth", tmp_path / "m", "dfew", 1)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dataset", "fold", "said"),
    [
        ("folder", 1, "DFER-CLIP has no weights of 'folder'; known: dfew, ferv39k, mafw"),
        ("ferv39k", 2, "ferv39k has no fold 2; known: 1"),
    ],
)
def test_what_it_was_trained_on_is_checked(dataset, fold, said, tmp_path):
    with pytest.raises(ConfigError) as caught:
        import_dfer_clip(tmp_path / "m.pth", tmp_path / "m", dataset, fold)
    assert str(caught.value) == said


def test_other_numbers_of_classes_are_told(tiny_name, tmp_path):
    state, *_ = _make_state(tiny_name, 7)
    _save(tmp_path / "m.pth", state)
    with pytest.raises(CheckpointError, match="knows 7 classes, the dataset has 11"):
        import_dfer_clip(tmp_path / "m.pth", tmp_path / "m", "mafw", 1, tiny_name)


def test_an_existing_folder_is_not_replaced(tmp_path):
    (tmp_path / "m").mkdir()
    with pytest.raises(ConfigError, match="m exists; name a new folder: --out"):
        import_dfer_clip(tmp_path / "m.pth", tmp_path / "m", "dfew", 1)
