"""Prediction on CUDA: the CPU's probabilities, at every precision, with faces searched in threads.

What is compared with are the CPU's in fp32. The tolerances are of probabilities, and follow from
the bits of a number that are left, 10 in cuDNN's convolutions (TF32) and in fp16, 7 in bf16: about
four times what fp16 and bf16 differ by on a CPU.
"""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from colour_videos import (
    BLUE,
    CLASSES,
    GREEN,
    RED,
    CopyableTiles,
    frames_of,
    write_tiles,
)

from dfercli.config import ModelConfig
from dfercli.demo.drawing import make_person
from dfercli.demo.videos import FPS, draw_video
from dfercli.errors import ConfigError
from dfercli.faces.align import CROP_VERSION
from dfercli.faces.search import count_threads
from dfercli.media.video_writer import write_video
from dfercli.models.base import build_model
from dfercli.predict import Predictor, PredictSettings
from dfercli.predict import predictor as predictor_module
from dfercli.predict.predictor import AUTOCAST
from dfercli.runs.checkpoint import save_checkpoint

pytestmark = pytest.mark.gpu

TOLERANCES = {"fp32": 1e-3, "fp16": 2e-3, "bf16": 1.5e-2}
CROP = {"detector": "mtcnn", "size": 48, "version": CROP_VERSION}
LENGTHS = (1, 3, 8, 16, 5, 8, 8, 2, 9, 8, 7)
"""Frames of each clip, more clips than one batch."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The full model on a small backbone, of random weights."""
    torch.manual_seed(7)
    config = ModelConfig(backbone="demo-ViT-tiny", weights="random")
    folder = tmp_path_factory.mktemp("model") / "best"
    save_checkpoint(build_model(config, CLASSES, CROP), folder)
    return folder


@pytest.fixture(scope="module")
def clips():
    """Noise around a colour for each clip, so that no two have the same answer."""
    rng = np.random.default_rng(3)
    colours = rng.integers(0, 256, (len(LENGTHS), 3, 1, 1))
    return [
        list((colour + rng.integers(-40, 40, (length, 3, 48, 48))).clip(0, 255).astype(np.uint8))
        for colour, length in zip(colours, LENGTHS, strict=True)
    ]


@pytest.fixture
def load(checkpoint, monkeypatch):
    """Load the model, with a detector of tiles."""
    monkeypatch.setattr(predictor_module, "load_detector", lambda name, device: CopyableTiles())
    return partial(Predictor.from_checkpoint, checkpoint)


@pytest.fixture
def expected(load, clips):
    """The CPU's probabilities in fp32."""
    return load(device="cpu", precision="fp32").name_expressions(clips)


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
@pytest.mark.parametrize("precision", TOLERANCES)
def test_probabilities_are_those_of_the_cpu(device, precision, load, clips, expected):
    predictor = load(device=device, precision=precision)
    assert all(parameter.is_cuda for parameter in predictor._model.parameters())
    probs = predictor.name_expressions(clips)
    assert probs.dtype == np.float32
    assert np.abs(probs - expected).max() < TOLERANCES[precision]
    assert (probs == predictor.name_expressions(clips)).all()


@pytest.mark.parametrize("precision", AUTOCAST)
def test_weights_that_are_rounded_once_give_the_same_bits(precision, load, clips):
    rounded = load(device="cuda", precision=precision)
    assert any(p.dtype == AUTOCAST[precision] for p in rounded._model.parameters())
    plain = load(device="cuda", precision="fp32")
    plain.precision = precision  # autocast rounds at each call
    assert (rounded.name_expressions(clips) == plain.name_expressions(clips)).all()


def test_auto_is_a_gpu_and_bf16_where_it_multiplies_in_it(load):
    predictor = load()
    assert predictor._device.type == "cuda"
    bf16 = torch.cuda.get_device_capability() >= (8, 0)
    assert predictor.precision == ("bf16" if bf16 else "fp32")


def test_a_video_is_read_as_on_a_cpu_with_threads_beside_the_gpu(load, tmp_path):
    tiles = frames_of((RED, 3), (GREEN, 2, False), (BLUE, 3))
    path = write_tiles(tmp_path / "tiles.mp4", tiles, frames_of((GREEN, 8)))
    tables = {}
    for device in ("cpu", "cuda"):
        predictor = load(device=device, precision="fp32")
        assert predictor.search_threads == count_threads(device, torch.get_num_threads())
        reading = predictor.open(path, PredictSettings(window_s=1.0, stride_s=0.5))
        list(reading)
        tables[device] = reading.finish().to_frame()
    probs = [f"prob_{name}" for name in CLASSES]
    named = ["expression", "confidence", "uncertain", *probs]
    assert tables["cuda"].drop(columns=named).equals(tables["cpu"].drop(columns=named))
    assert len(tables["cuda"]) > 20
    difference = (tables["cuda"][probs] - tables["cpu"][probs]).abs()
    assert (difference.isna() == tables["cpu"][probs].isna()).all(axis=None)
    assert difference.max(axis=None) < TOLERANCES["fp32"]


def test_a_gpu_that_is_not_there_is_one_line(load):
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ConfigError, match=f"--device {missing} does not exist; this machine has "):
        load(device=missing)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_the_second_gpu_does_all_of_it(load, clips, expected):
    before = torch.cuda.memory_allocated(0)
    predictor = load(device="cuda:1", precision="fp32")
    assert predictor._device == torch.device("cuda:1")
    assert np.abs(predictor.name_expressions(clips) - expected).max() < TOLERANCES["fp32"]
    assert torch.cuda.memory_allocated(0) == before


@pytest.mark.parametrize("options", ["--device cuda", "--device cuda:0 --precision fp16 --jobs 2"])
def test_the_command_predicts_on_a_gpu(options, checkpoint, tmp_path):
    frames = list(draw_video(make_person(0, 0), "happiness", np.random.default_rng(5)))
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames, FPS)
    call = [sys.executable, "-m", "dfercli", "predict", "a.mp4", "b.mp4", *options.split()]
    call += ["--checkpoint", str(checkpoint), "--out", "x.csv"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(call, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "x.csv")
    assert set(table["video"]) == {"a.mp4", "b.mp4"}
    assert table["confidence"].notna().any()
