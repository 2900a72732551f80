"""What a GPU runs, tried on the CPU: one graph per variant, the same results, few kernels."""

import pytest
import torch
from torch.nn import functional as F
from torch.torch_version import TorchVersion

from dfercli.config import METHODS, WITHOUT_CLIP, ModelConfig
from dfercli.models import layers
from dfercli.models.base import build_model
from dfercli.models.layers import unfold_patches

CLASSES = tuple("abcde")
BASELINE = {"interfit": False, "msta": False, "biehpro": False}
VARIANTS = [
    {},
    BASELINE,
    {**BASELINE, "interfit": True},
    {**BASELINE, "msta": True},
    {**BASELINE, "biehpro": True},
    {"biehpro": False},
    {"msta": False},
    {"interfit": False},
    {"biehpro": False, "text": False},
    {"visual_prompt": False},
    {"text_prompt": False},
    {"cross_attention": "all"},
    {"num_frames": 16},
    *({"method": method} for method in METHODS if method not in ("dfer", "cliper", *WITHOUT_CLIP)),
]


def _name(settings):
    return "-".join(f"{name}={value}" for name, value in settings.items()) or "full"


@pytest.fixture
def few_kernels(monkeypatch):
    """Let the model run as on a GPU."""
    monkeypatch.setattr(layers, "prefers_few_kernels", lambda tensor: True)


@pytest.fixture
def make(tiny_name):
    """Build a model on the tiny backbone, in training, and clips for it."""

    def make(batch=4, **settings):
        torch.manual_seed(0)
        config = ModelConfig(**{"backbone": tiny_name, "weights": "random", **settings})
        model = build_model(config, CLASSES).train()
        size = model.backbone.image_size
        return model, torch.randn(batch, config.num_frames, 3, size, size)

    return make


def test_unfolded_patches_are_what_a_convolution_sees():
    weight, frames = torch.randn(10, 3, 16, 16), torch.randn(2, 3, 48, 32)
    expected = F.conv2d(frames, weight, stride=16).flatten(2).transpose(1, 2)
    ours = F.linear(unfold_patches(frames, 16), weight.flatten(1))
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("settings", VARIANTS, ids=_name)
def test_a_variant_gives_the_same_logits_and_gradients(settings, make, few_kernels, monkeypatch):
    model, clips = make(**settings)
    ours = model(clips)
    monkeypatch.undo()
    theirs = model(clips)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    learning = [p for p in model.parameters() if p.requires_grad]
    if learning:
        pairs = zip(
            torch.autograd.grad(ours.square().sum(), learning),
            torch.autograd.grad(theirs.square().sum(), learning),
            strict=True,
        )
        for ours, theirs in pairs:
            scale = theirs.abs().max().clamp(min=1e-3)
            torch.testing.assert_close(ours / scale, theirs / scale, atol=1e-3, rtol=0)


@pytest.mark.parametrize("settings", VARIANTS, ids=_name)
def test_no_two_parameters_share_a_gradient(settings, make, few_kernels):
    """Changing gradients in place, as loss scaling does, would change a shared one twice."""
    model, clips = make(**settings)
    loss = model(clips).square().sum()
    if loss.requires_grad:
        loss.backward()
    grads = [p.grad.data_ptr() for p in model.parameters() if p.grad is not None]
    assert len(set(grads)) == len(grads)


@pytest.mark.slow
@pytest.mark.parametrize("settings", VARIANTS, ids=_name)
def test_a_variant_is_one_graph_without_a_break(settings, make, few_kernels):
    model, clips = make(**settings)
    torch.compiler.reset()
    report = torch._dynamo.explain(model)(clips)
    assert (report.graph_count, report.graph_break_count) == (1, 0), report.break_reasons


class _CountGraphs:
    """A backend of `torch.compile` that runs graphs unchanged and counts them."""

    def __init__(self):
        self.count = 0

    def __call__(self, graph, inputs):
        self.count += 1
        return graph.forward


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, BASELINE], ids=_name)
def test_neither_a_second_step_nor_another_batch_compiles_again(settings, make, few_kernels):
    model, clips = make(batch=4, **settings)
    torch.compiler.reset()
    graphs = _CountGraphs()
    compiled = torch.compile(model, backend=graphs, fullgraph=True, dynamic=True)
    for batch in (clips, clips, torch.cat([clips, clips[:3]])):
        compiled(batch)
    assert graphs.count == 1


def test_all_blocks_share_what_one_compiled(make, few_kernels):
    model, clips = make()
    assert model.backbone.num_layers == 2
    torch.compiler.reset()
    graphs = _CountGraphs()
    model.backbone.run_block = torch.compile(
        model.backbone.run_block, backend=graphs, fullgraph=True, dynamic=False
    )
    model.backbone.drop_path = 0.5  # the rate differs from block to block
    for _ in range(2):
        model(clips)
    assert graphs.count == 1


@pytest.mark.slow
@pytest.mark.skipif(
    torch.__version__ < TorchVersion("2.10"), reason="PyTorch 2.9 has more views of its own"
)
@pytest.mark.parametrize("settings", VARIANTS, ids=_name)
def test_a_pass_takes_as_many_operations_however_many_clips_there_are(
    settings, make, few_kernels, count_ops
):
    counts = []
    for batch in (2, 4):
        model, clips = make(batch=batch, **settings)
        with count_ops() as ops:
            loss = model(clips).square().sum()
            if loss.requires_grad:
                loss.backward()
        counts.append(ops.count)
    assert counts[0] == counts[1]
    # Views count too. Measured: 121 per block, 190 + 42 T per interaction layer, below 700 in all
    # else.
    per_layer = 200 + 45 * clips.shape[1] if getattr(model, "interfit", None) else 0
    assert counts[0] <= 750 + model.backbone.num_layers * (130 + per_layer)
