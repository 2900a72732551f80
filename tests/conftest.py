"""A tiny CLIP that runs the very code that ViT-B/32 runs, and models and clips made for it."""

import json
import os
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker a core: more threads would only wait
    os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["small_runs"]

SLOW = (
    "ablation",
    "app",
    "batch",
    "cli",
    "evaluation",
    "gpu",
    "jobs",
    "preprocess",
    "publish",
    "report",
    "runs",
    "training",
    "visualize",
)
"""Folders of tests that train, start processes or draw; all others are marked `fast`."""

SLOW_FILES = ("test_benchmarks.py", "test_bombs.py", "test_demo.py", "test_dynamics.py")

TINY_NAME = "test-ViT-tiny"
TINY_CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": 32,
        "layers": 2,
        "width": 64,
        "head_width": 32,
        "patch_size": 16,
    },
    "text_cfg": {
        "context_length": 12,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 2,
    },
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the fast tests, which run on all systems and with the lowest versions."""
    here = Path(__file__).parent
    for item in items:
        folders = item.path.relative_to(here).parent.parts
        needy = any(map(item.get_closest_marker, ("network", "gpu", "realvideo")))
        if not set(folders) & set(SLOW) and item.path.name not in SLOW_FILES and not needy:
            item.add_marker("fast")


@pytest.fixture(scope="session")
def tiny_name(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a backbone of two layers, known to open_clip from now on."""
    import open_clip

    path: Path = tmp_path_factory.mktemp("backbones") / f"{TINY_NAME}.json"
    path.write_text(json.dumps(TINY_CONFIG), encoding="utf-8")
    open_clip.add_model_config(path)
    return TINY_NAME


@pytest.fixture
def tiny_clip(tiny_name: str) -> Any:
    """open_clip's own model of this name, both towers, the same random weights each time."""
    import open_clip
    import torch

    torch.manual_seed(7)
    return open_clip.create_model(tiny_name).eval()


@pytest.fixture(scope="session")
def class_names() -> tuple[str, ...]:
    """K = 5 classes."""
    return ("happiness", "sadness", "anger", "surprise", "fear")


@pytest.fixture
def make_config(tiny_name: str) -> Callable[..., Any]:
    """Make a ModelConfig of the tiny backbone with random weights, and any other settings."""
    from dfercli.config import ModelConfig

    return lambda **settings: ModelConfig(backbone=tiny_name, weights="random", **settings)


@pytest.fixture
def make_model(make_config: Callable[..., Any], class_names: tuple[str, ...]) -> Callable[..., Any]:
    """Build a model by the settings of its ModelConfig, the same random weights each time."""
    import torch

    from dfercli.models.base import build_model

    def make(**settings: Any) -> Any:
        torch.manual_seed(7)
        return build_model(make_config(**settings), class_names)

    return make


@pytest.fixture
def make_clips() -> Callable[..., Any]:
    """Draw clips (B, T, 3, side, side) of noise, the same each time."""
    import torch

    def make(batch: int = 3, frames: int = 8, side: int = 32) -> Any:
        generator = torch.Generator().manual_seed(11)
        return torch.randn(batch, frames, 3, side, side, generator=generator)

    return make


@pytest.fixture(scope="session")
def count_ops() -> Any:
    """A context manager whose `count` is the operations of PyTorch that ran in it, views too."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class CountOps(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            self.count += 1
            return function(*args, **(kwargs or {}))

    return CountOps


@pytest.fixture
def words_inside(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[str]]:
    """Draw a figure and give its words, after checking that none is cut off or hides another."""

    def check(figure: Any) -> list[str]:
        from matplotlib.text import Text

        drawn = []
        draw = Text.draw

        def note(text: Any, renderer: Any) -> None:
            drawn.append(text)
            draw(text, renderer)

        monkeypatch.setattr(Text, "draw", note)
        figure.canvas.draw()
        monkeypatch.undo()
        texts = [text for text in dict.fromkeys(drawn) if text.get_text().strip()]
        frame = figure.bbox
        boxes = {text: text.get_window_extent() for text in texts}
        for text, box in boxes.items():
            inside = box.x0 > -1 and box.y0 > -1 and box.x1 < frame.x1 + 1 and box.y1 < frame.y1 + 1
            assert inside, f"{text.get_text()!r} is cut off"
        level = [(text, box) for text, box in boxes.items() if text.get_rotation() == 0]
        for (one, a), (other, b) in combinations(level, 2):
            across = min(a.x1, b.x1) - max(a.x0, b.x0)
            along = min(a.y1, b.y1) - max(a.y0, b.y0)
            assert min(across, along) < 1.5, f"{one.get_text()!r} is on {other.get_text()!r}"
        return [text.get_text() for text in texts]

    return check
