"""A drawn video, a tiny model that reads it, and the page that is served with them."""

import socket
from pathlib import Path

import numpy as np
import pytest

CLASSES = ("happiness", "sadness", "<b>anger</b>")
"""The last is what a manifest may hold, and a page must not take for its own."""


@pytest.fixture(scope="session")
def footage(tmp_path_factory):
    """Videos: `face.mp4` of a drawn person, `wall.mp4` of nobody; and what is none: `text.mp4`,
    `list.mp4` and `list.m3u8`, of which the last two name the first."""
    from dfercli.demo.drawing import make_person
    from dfercli.demo.videos import FPS, draw_video
    from dfercli.media.video_writer import write_video

    folder = tmp_path_factory.mktemp("footage")
    frames = list(draw_video(make_person(0, 0), "happiness", np.random.default_rng(5)))
    write_video(folder / "face.mp4", [*frames, *frames[::-1]], FPS)
    write_video(folder / "wall.mp4", [np.full((120, 160, 3), 128, np.uint8)] * 25, 12.5)
    (folder / "text.mp4").write_text("no video")
    for name in ("list.mp4", "list.m3u8"):
        (folder / name).write_text(f"#EXTM3U\n#EXTINF:2,\n{folder / 'face.mp4'}\n#EXT-X-ENDLIST\n")
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A model that learnt nothing, of a backbone that a new process knows too; calibrated."""
    import torch

    from dfercli.config import ModelConfig
    from dfercli.faces.align import CROP_VERSION
    from dfercli.models.base import build_model
    from dfercli.runs.checkpoint import save_checkpoint

    torch.manual_seed(7)
    crop = {"detector": "mtcnn", "size": 64, "version": CROP_VERSION}
    config = ModelConfig(backbone="demo-ViT-tiny", weights="random", num_frames=4)
    model = build_model(config, CLASSES, crop)
    model.settings["trained"] = {"dataset": "drawn", "fold": 2}
    model.settings["calibration"] = {"temperature": 2.0}
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_checkpoint(model, folder)
    return str(folder)


@pytest.fixture(scope="session")
def predictor(checkpoint):
    from dfercli.predict import Predictor

    return Predictor.from_checkpoint(checkpoint, device="cpu", precision="fp32")


@pytest.fixture
def examiner(predictor):
    from dfercli.app.examine import Examiner

    return Examiner(predictor)


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def served(examiner, free_port, tmp_path, monkeypatch):
    """The page's address, while the test runs; what is uploaded lies in `tmp_path`."""
    from dfercli.app.server import Server

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    Path(tmp_path, "uploads").mkdir()
    server = Server(examiner, "127.0.0.1", free_port)
    yield server.url
    server.close()
