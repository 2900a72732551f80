"""Finished runs that nothing trained: random weights, and the predictions that these make."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
ELEVEN = (*SEVEN, "contempt", "anxiety", "helplessness", "disappointment")

CLASSES = ("happiness", "sadness", "anger")
FOLDS, PER_CLASS, SIDE = (1, 2), 3, 32
COMMAND = "dfer train --folds 1-2 --dataset small --lr 1e-3"


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A DataConfig of 18 clips: 3 classes in 2 folds, 4 frames of noise each."""
    from dfercli.config import DataConfig
    from dfercli.data.manifest import Manifest, write_manifest
    from dfercli.media.images import write_image

    root, rng, rows = tmp_path_factory.mktemp("small"), np.random.default_rng(0), []
    for number in range(len(FOLDS) * PER_CLASS):
        for name in CLASSES:
            folder = root / f"{name}{number}"
            folder.mkdir()
            for index in range(4):
                image_rgb = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
                write_image(folder / f"{index}.png", image_rgb)
            rows.append((folder.name, folder.name, 4, name, FOLDS[number % len(FOLDS)]))
    table = pd.DataFrame(rows, columns=["clip_id", "path", "n_frames", "label", "test_fold"])
    path = root / "small.csv"
    write_manifest(Manifest("small", table, CLASSES, None, str(root)), path)
    return DataConfig(dataset="small", manifest=str(path), root=str(root), workers=0)


@pytest.fixture(scope="session")
def make_runs(small_data: Any, tiny_name: str) -> Callable[..., None]:
    """Make finished runs of variants, given as changes of the full model, in a folder.

    What else of a run is not as usual, such as its seed, is given by name.
    """
    import torch

    from dfercli.config import ModelConfig, RunConfig
    from dfercli.data.loaders import build_dataset, build_test_loader
    from dfercli.data.manifest import read_manifest
    from dfercli.evaluation.explain import collect
    from dfercli.models.base import build_model
    from dfercli.runs.checkpoint import save_checkpoint
    from dfercli.runs.predictions import write_predictions
    from dfercli.runs.run_folder import protocols_of, run_folder
    from dfercli.training.evaluation import describe_data

    manifest = read_manifest(Path(small_data.manifest))

    def predict(model: Any, config: RunConfig, part: Any) -> pd.DataFrame:
        clips = build_dataset(manifest, part, config, model.image_size)
        found = collect(model, build_test_loader(clips, 4, 0))
        table = pd.DataFrame(found.probs, columns=list(CLASSES))
        table.insert(0, "label", [CLASSES[label] for label in found.labels])
        table.insert(0, "clip_id", found.clip_ids)
        return table

    def finish(runs: Path, config: RunConfig) -> None:
        torch.manual_seed(config.fold)
        model = build_model(config.model, CLASSES, None).eval()
        trained = any(parameter.requires_grad for parameter in model.parameters())
        run, held_out = run_folder(runs, config), config.train.val_fraction > 0
        run.start(config, describe_data(config, manifest), COMMAND, "a CPU")
        for which in protocols_of(config.train.val_fraction):
            save_checkpoint(model, run.checkpoint(which))
            write_predictions(predict(model, config, "test"), run.predictions_file(which))
            if held_out:
                write_predictions(predict(model, config, "val"), run.validation_file(which))
        scores = {"war": 0.3, "uar": 0.3} | ({"val_war": 0.4, "val_uar": 0.4} if held_out else {})
        lines = [{"epoch": e, "loss": 2 / e, "lr": 0.1, **scores} for e in (1, 2)]
        run.write_metrics(lines if trained else [{"epoch": 0, "loss": None, "lr": 0.0, **scores}])
        run.finish()

    def make(
        runs: Path, *variants: dict[str, Any], folds: tuple[int, ...] = FOLDS, **settings: Any
    ) -> Path:
        model = ModelConfig(backbone=tiny_name, weights="random", num_frames=4)
        for changes in variants:
            for fold in folds:
                finish(
                    runs,
                    RunConfig(
                        data=small_data, fold=fold, model=replace(model, **changes), **settings
                    ),
                )
        return runs

    return make


@pytest.fixture(scope="session")
def full_runs(tmp_path_factory: pytest.TempPathFactory, make_runs: Callable[..., Any]) -> Path:
    """Folder of runs of the full model alone, on both folds; not to be changed."""
    return make_runs(tmp_path_factory.mktemp("runs"), {})


@pytest.fixture(scope="session")
def all_runs(tmp_path_factory: pytest.TempPathFactory, make_runs: Callable[..., Any]) -> Path:
    """Folder of runs of the full model and all that it is compared with; not to be changed."""
    off = {"interfit": False, "msta": False}
    variants = (
        {},
        off | {"biehpro": False},
        {"text": False, "biehpro": False},
        off,
        off | {"visual_prompt": False},
    )
    return make_runs(tmp_path_factory.mktemp("runs"), *variants, folds=(1,))


@pytest.fixture
def make_picture() -> Iterator[Callable[..., Any]]:
    """Make a clip of noise that two models see."""
    from dfercli.report.figures import ClipPicture

    rng = np.random.default_rng(0)

    def make(num_classes: int, label: int = 0, frames: int = 8, names: Any = ("one", "two")) -> Any:
        return ClipPicture(
            frames=rng.integers(0, 256, (frames, 16, 16, 3), dtype=np.uint8),
            label=label,
            predictions={name: (number, 0.5 + number / 10) for number, name in enumerate(names)},
            maps={name: rng.random((frames, 2, 2)) for name in names},
            interaction={names[0]: 0.25},
            similarities={name: rng.uniform(-0.3, 0.3, num_classes) for name in names},
        )

    yield make


@pytest.fixture
def names() -> SimpleNamespace:
    """Seven and eleven classes."""
    return SimpleNamespace(seven=SEVEN, eleven=ELEVEN)
