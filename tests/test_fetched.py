"""Downloaded weights are checked against a hash before they are loaded."""

import hashlib
import socket
import threading
from functools import cache as remember
from http.server import BaseHTTPRequestHandler, HTTPServer

import open_clip
import pytest
from huggingface_hub import constants

from dfercli import downloads
from dfercli.downloads import PUBLISHED, find_damage
from dfercli.errors import WeightsError
from dfercli.models import pretrained
from dfercli.models.pretrained import is_cached, load_pretrained

CLIP = "ViT-B-32-quickgelu"
REPOSITORY = "timm/vit_base_patch32_clip_224.openai"
FILE = "open_clip_model.safetensors"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return a function that puts a file into a cache of the Hub, under this name."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def put(content, blob):
        folder = tmp_path / f"models--{REPOSITORY.replace('/', '--')}"
        for name in ("blobs", "refs", "snapshots/1234"):
            (folder / name).mkdir(parents=True)
        (folder / "refs" / "main").write_text("1234")
        (folder / "blobs" / blob).write_bytes(content)
        path = folder / "snapshots" / "1234" / FILE
        path.symlink_to(f"../../blobs/{blob}")
        return path

    return put


def test_clips_weights_are_those_that_openai_published(cache, monkeypatch):
    """Their hash is known, whatever name they lie under; nothing of them is loaded before."""
    path = cache(b"weights", hashlib.sha256(b"weights").hexdigest())
    assert is_cached(CLIP, "openai")
    monkeypatch.setattr(open_clip, "download_pretrained", lambda tag: str(path))
    monkeypatch.setattr(open_clip, "create_model", lambda *a, **k: pytest.fail("loaded"))
    with pytest.raises(WeightsError) as caught:
        load_pretrained(CLIP, "openai")
    assert str(caught.value) == (
        f"weights 'openai' of {CLIP} are damaged, or others than the published ones: {path} has "
        f"the SHA-256 9fcb1d9b9c5d..., not e6d1bd7789aa...; remove {path.resolve()}, and the next "
        f"use fetches them again"
    ).replace("9fcb1d9b9c5d", hashlib.sha256(b"weights").hexdigest()[:12])


def test_the_right_file_is_loaded(cache, monkeypatch):
    path = cache(b"weights", "any")
    name = f"{REPOSITORY.split('/')[1]}/{FILE}"
    monkeypatch.setitem(PUBLISHED, name, hashlib.sha256(b"weights").hexdigest())
    monkeypatch.setattr(open_clip, "download_pretrained", lambda tag: str(path))
    asked = []
    monkeypatch.setattr(
        open_clip, "create_model", lambda name, **how: asked.append((name, how["pretrained"]))
    )
    load_pretrained(CLIP, "openai")
    assert asked == [(CLIP, str(path))]


def test_a_file_of_the_hub_is_what_its_name_in_the_cache_says(cache):
    digest = hashlib.sha256(b"weights").hexdigest()
    path = cache(b"weights", digest)
    assert find_damage(path) is None
    path.resolve().write_bytes(b"Weights")
    said = f"{path} has the SHA-256 "
    assert find_damage(path).startswith(said)
    assert find_damage(path).endswith(f"..., not {digest[:12]}...")


@pytest.mark.parametrize("name", ["weights.pth", "weights-v2.pth", "weights-1234567.pth"])
def test_a_name_without_a_hash_tells_nothing(name, tmp_path):
    (tmp_path / name).write_bytes(b"weights")
    assert find_damage(tmp_path / name) is None


def test_every_published_hash_is_whole_and_of_a_tag_that_open_clip_knows():
    repositories = {
        pretrained._find_repository(model, tag).rpartition("/")[2]
        for model, tag in open_clip.list_pretrained()
    }
    for name, digest in downloads.PUBLISHED.items():
        assert len(bytes.fromhex(digest)) == 32
        assert name.split("/")[0] in repositories


@pytest.fixture
def ask(monkeypatch):
    """Return a function that asks a server, which has forgotten what others said."""
    function = remember(downloads.answers.__wrapped__)
    monkeypatch.setattr(downloads, "answers", function)
    return function


def test_a_server_that_refuses_is_a_network(ask):
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:  # it knows no HEAD
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert ask(f"http://127.0.0.1:{server.server_port}/")


def test_no_server_and_a_silent_one_are_no_network(ask, monkeypatch):
    monkeypatch.setattr(downloads, "ANSWER_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        assert not ask(f"http://127.0.0.1:{port}/nobody")
        silent.listen()
        assert not ask(f"http://127.0.0.1:{port}/silent")


def test_the_hub_is_asked_once_and_not_at_all_where_that_is_forbidden(ask, monkeypatch):
    asked = []

    def refuse(request, timeout):
        asked.append(request.full_url)
        raise OSError

    monkeypatch.setattr(downloads, "urlopen", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not downloads.hub_answers()
    assert asked == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert [downloads.hub_answers() for _ in range(3)] == [False] * 3
    assert len(asked) == 1


def test_a_missing_network_is_noticed_without_a_second_try(ask, monkeypatch, tmp_path):
    monkeypatch.setattr(downloads, "answers", lambda url: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(open_clip, "download_pretrained", lambda tag: pytest.fail("tried"))
    with pytest.raises(WeightsError, match=r"neither cached nor to be fetched \(no network\)"):
        load_pretrained(CLIP, "openai")


def test_what_is_no_web_server_is_no_network(ask):
    assert not ask("hub.example.org")  # without a scheme, as an environment variable may have it
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()

        def greet():
            connection, _ = other.accept()
            connection.sendall(b"SSH-2.0-x\r\n")
            connection.close()

        threading.Thread(target=greet, daemon=True).start()
        assert not ask(f"http://127.0.0.1:{other.getsockname()[1]}/")
