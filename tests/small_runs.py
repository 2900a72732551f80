"""A dataset whose classes are colours, configurations of runs on it, and finished runs."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

COLOURS = {"happiness": (220, 40, 40), "sadness": (40, 40, 220), "anger": (40, 200, 40)}
"""RGB of each class."""

NUM_FOLDS, PER_FOLD, NUM_IMAGES, SIDE = 3, 2, 5, 32


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of 18 clips: 3 classes in 3 folds, twice each, 5 frames of 32 px per clip."""
    from dfercli.data.manifest import Manifest, write_manifest
    from dfercli.faces.align import CropRecipe
    from dfercli.media.images import write_image

    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    rows = []
    for name, colour in COLOURS.items():
        for number in range(NUM_FOLDS * PER_FOLD):
            clip_id = f"{name}{number}"
            (root / clip_id).mkdir()
            for index in range(NUM_IMAGES):
                noise = rng.integers(-30, 31, (SIDE, SIDE, 3))
                image_rgb = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                write_image(root / clip_id / f"{index + 1:06d}.png", image_rgb)
            rows.append((clip_id, clip_id, NUM_IMAGES, name, number % NUM_FOLDS + 1))
    table = pd.DataFrame(rows, columns=["clip_id", "path", "n_frames", "label", "test_fold"])
    crop = asdict(CropRecipe("mtcnn", SIDE))
    path = root / "colours.csv"
    write_manifest(Manifest("colours", table, tuple(COLOURS), crop, str(root)), path)
    return path


@pytest.fixture
def other_data(colours: Path, tmp_path: Path) -> Path:
    """The same clips under other names, with `contempt` in place of `sadness`, and other order."""
    from dfercli.data.manifest import Manifest, read_manifest, write_manifest

    manifest = read_manifest(colours)
    rows = manifest.rows.assign(
        label=manifest.rows["label"].replace("sadness", "contempt"),
        clip_id="other-" + manifest.rows["clip_id"],
    )
    path = tmp_path / "other.csv"
    names = ("contempt", "happiness", "anger")
    write_manifest(Manifest("other", rows, names, manifest.crop, str(colours.parent)), path)
    return path


@pytest.fixture(scope="session")
def make_run(colours: Path, tiny_name: str) -> Callable[..., Any]:
    """Make a RunConfig of the tiny backbone and a short recipe, and any other settings."""
    from dfercli.config import (
        AugmentConfig,
        ComputeConfig,
        DataConfig,
        ModelConfig,
        RunConfig,
        TrainConfig,
    )

    recipe = {"epochs": 3, "warmup_epochs": 1, "batch_size": 4, "lr": 1e-3, "min_lr": 1e-5}

    def make(
        fold: int = 1,
        seed: int = 0,
        workers: int = 0,
        manifest: Path = colours,
        root: Path | None = None,
        augment: Any = None,
        model: Any = None,
        compute: Any = None,
        **train: Any,
    ) -> RunConfig:
        tiny = {"backbone": tiny_name, "weights": "random", "num_frames": 4}
        return RunConfig(
            data=DataConfig(
                dataset="colours",
                manifest=str(manifest),
                root=str(root or manifest.parent),
                workers=workers,
            ),
            fold=fold,
            model=ModelConfig(**tiny | (model or {})),
            train=TrainConfig(**recipe | train),
            augment=AugmentConfig(**augment or {}),
            compute=ComputeConfig(
                **{"device": "cpu", "precision": "fp32", "save_every": 1} | (compute or {})
            ),
            seed=seed,
        )

    return make


@pytest.fixture
def write_votes(colours: Path, tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """Write a manifest with votes for the label of each clip and for the next class.

    Returns what `make_run` needs to read it.
    """
    from dataclasses import replace

    from dfercli.data.manifest import read_manifest, write_manifest

    def write(own: int = 3, other: int = 1) -> dict[str, Path]:
        manifest = read_manifest(colours)
        labels = manifest.rows["label"].map(list(COLOURS).index)
        votes = {
            f"votes:{name}": own * (labels == k) + other * ((labels + 1) % 3 == k)
            for k, name in enumerate(COLOURS)
        }
        path = tmp_path / "colours.csv"
        write_manifest(replace(manifest, rows=manifest.rows.assign(**votes)), path)
        return {"manifest": path, "root": colours.parent}

    return write


def small_network(name: str, backbone: str) -> dict[str, Any]:
    """Return the settings of a network of Table 1 with tiny layers, or a backbone of CLIP."""
    from dfercli.config.presets import default_model

    sizes: dict[str, Any] = {"width": 0.125, "image_size": 32}
    if name == "cliper":
        sizes = {"backbone": backbone}
    elif name in ("p3d", "i3d", "c3d", "ial", "lstpnet", "r3d-hara"):
        sizes["image_size"] = 48  # so that normalised maps have several positions
    return vars(default_model(name, weights="random", **sizes))


@pytest.fixture(scope="session")
def make_job(make_run: Callable[..., Any]) -> Callable[..., Any]:
    """Make a RunConfig of two epochs, with a backbone that new processes know too."""
    recipe = {"epochs": 2, "warmup_epochs": 0, "model": {"backbone": "demo-ViT-tiny"}}
    return lambda fold=1, **settings: make_run(fold, **recipe | settings)


@pytest.fixture(scope="session")
def results_of() -> Callable[..., Any]:
    """Return all results of a run except times."""
    names = ("predictions_best.csv", "predictions_last.csv", "last/model.safetensors")

    def results(run: Any) -> Any:
        metrics = [
            {k: v for k, v in line.items() if k not in ("seconds", "clips_per_s")}
            for line in run.read_metrics()
        ]
        return metrics, [(run.path / name).read_bytes() for name in names]

    return results


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many threads here as a process has that shares two cores: the sums' order follows it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Any]) -> Any:
    """A finished run of the full model on fold 1; not to be changed."""
    from dfercli.training.loop import train_fold

    return train_fold(make_run(), tmp_path_factory.mktemp("runs"), "dfer train --folds 1")


@pytest.fixture
def own_run(trained: Any, tmp_path: Path) -> Any:
    """A copy of the finished run that a test may change."""
    import shutil

    from dfercli.runs.run_folder import RunFolder

    path = tmp_path / "runs" / trained.path.relative_to(trained.path.parents[2])
    shutil.copytree(trained.path, path)
    return RunFolder(path)


@pytest.fixture
def make_setup(make_model: Callable[..., Any]) -> Callable[..., Any]:
    """Make the training setup of the tiny full model on the CPU."""
    import torch
    from accelerate import Accelerator

    from dfercli.config import TrainConfig
    from dfercli.training.recipe import build_loss, build_optimizer, build_scheduler
    from dfercli.training.step import TrainingSetup

    def make(**recipe: Any) -> TrainingSetup:
        model = make_model(num_frames=4)
        config = TrainConfig(**recipe)
        optimizer = build_optimizer(model, config)
        scheduler = build_scheduler(optimizer, config, 10)
        loss = build_loss(config, [5, 3, 2, 1, 1], torch.device("cpu"))
        return TrainingSetup(model, model, optimizer, scheduler, Accelerator(cpu=True), loss)

    return make
