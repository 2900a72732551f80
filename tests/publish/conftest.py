"""Fixtures: a finished run with hand-made predictions, and a local Hub."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pytest

CLASSES = ("happiness", "sadness", "anger")
CROP = {"detector": "mtcnn", "size": 32, "template": "loose-five-points", "version": 2}
TESTED = [(0, 0), (0, 0), (0, 0), (0, 1), (1, 0), (1, 2), (2, 2), (2, 2)]
"""True and predicted class of each test clip: recalls 3/4, 0/2, 2/2; WAR 5/8, UAR 7/12."""

HELD_OUT = [(0, 0), (1, 1), (2, 2), (2, 0)] * 30


def _table(pairs: list[tuple[int, int]], prefix: str) -> pd.DataFrame:
    rows = []
    for number, (label, predicted) in enumerate(pairs):
        probs = [0.7 if place == predicted else 0.15 for place in range(len(CLASSES))]
        rows.append((f"{prefix}{number}", CLASSES[label], f"person{number}", *probs))
    return pd.DataFrame(rows, columns=["clip_id", "label", "group", *CLASSES])


@pytest.fixture
def make_run(tmp_path: Path, tiny_name: str) -> Callable[..., Any]:
    """Return a function that makes a finished run of the small full model."""
    import torch

    from dfercli.config import DataConfig, ModelConfig, RunConfig, TrainConfig
    from dfercli.models.base import build_model
    from dfercli.runs.checkpoint import save_checkpoint
    from dfercli.runs.predictions import describe_clips, write_predictions
    from dfercli.runs.record import DataRecord
    from dfercli.runs.run_folder import protocols_of, run_folder

    def make(val_fraction: float = 0.0, crop: Any = CROP, **model: Any) -> Any:
        settings = {"backbone": tiny_name, "weights": "random", "num_frames": 4} | model
        data = DataConfig(dataset="small", manifest="small.csv", root="data")
        train = TrainConfig(val_fraction=val_fraction)
        config = RunConfig(data=data, fold=2, model=ModelConfig(**settings), train=train, seed=5)
        run = run_folder(tmp_path / "runs", config)
        tested, held_out = _table(TESTED, "clip"), _table(HELD_OUT, "held")
        record = DataRecord(
            fingerprint="0123456789ab",
            class_names=tuple(CLASSES),
            crop=crop,
            folds=(1, 2),
            grouped=True,
            train_clips=20,
            tested=describe_clips(tested),
            held_out=describe_clips(held_out) if val_fraction else None,
        )
        run.start(config, record, "dfer train", "a CPU")
        torch.manual_seed(3)
        network = build_model(config.model, CLASSES, crop)
        trained = {"dataset": "small", "fold": 2, "seed": 5, "data_fingerprint": "0123456789ab"}
        network.settings["trained"] = trained | {"deviations": [], "recipe": "paper"}
        for which in protocols_of(val_fraction):
            if val_fraction:
                network.settings["calibration"] = {"temperature": 2.5, "clips": len(HELD_OUT)}
                write_predictions(held_out, run.validation_file(which))
            save_checkpoint(network, run.checkpoint(which))
            write_predictions(tested, run.predictions_file(which))
        run.finish()
        return run

    return make


@dataclass
class Hub:
    """A Hub with one repository: the requests it received, and its answers.

    Attributes:
        files: Content by name, of the last commit.
        commits: Number of commits.
        private: Whether the repository is private; None while there is none.
        refusal: Status that every request to write is answered with; 0 for none.
        tokens: Tokens that came with the requests.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0
    private: bool | None = None
    refusal: int = 0
    tokens: set[str | None] = field(default_factory=set)

    def create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        url = f"https://huggingface.co/{asked['organization']}/{asked['name']}"
        if self.private is not None:
            return 409, {"error": "You already created this model repo", "url": url}
        self.private = asked.get("visibility") == "private" or bool(asked.get("private"))
        return 200, {"url": url}

    def commit(self, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        for line in lines:
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.files[line["value"]["path"]] = content
        self.commits += 1
        return 200, {"commitUrl": f"https://huggingface.co/org/name/commit/{SHA}", "commitOid": SHA}

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        """Answer a POST."""
        if self.refusal:
            return self.refusal, {"error": "no"}
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/api/models/org/name/preupload/main":
            asked = [each["path"] for each in json.loads(body)["files"]]
            regular = {"uploadMode": "regular", "shouldIgnore": False}
            return 200, {"files": [{"path": name, **regular} for name in asked]}
        assert path == "/api/models/org/name/commit/main"
        return self.commit([json.loads(line) for line in body.splitlines()])


SHA = "a" * 40


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""

    def do_POST(self) -> None:
        self.hub.tokens.add(self.headers.get("Authorization"))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, answer = self.hub.answer(self.path.partition("?")[0], body)
        self._send(status, json.dumps(answer).encode())

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/api/models/org/name" and self.hub.private is not None:
            said = {"id": "org/name", "private": self.hub.private, "sha": SHA, "siblings": []}
            return self._send(200, json.dumps(said).encode())
        name = path.removeprefix("/org/name/resolve/main/").rpartition("/")[2]
        if name in self.hub.files:
            return self._send(200, self.hub.files[name])
        return self._send(404, b"{}")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hash(content):x}"')
        self.send_header("X-Repo-Commit", SHA)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A local Hub that huggingface_hub talks to, with a user logged in."""
    from huggingface_hub import constants

    found = Hub()
    handler = type("Handler", (_Handler,), {"hub": found})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    _point_to(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hub that cannot be reached."""
    _point_to(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")


def _point_to(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
