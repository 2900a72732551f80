"""Weights from the network are held against a hash before they are loaded."""

import hashlib

import open_clip
import pytest
from huggingface_hub import constants

from dfercli import fetched
from dfercli.errors import WeightsError
from dfercli.fetched import PUBLISHED, find_damage
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
    for name, digest in fetched.PUBLISHED.items():
        assert len(bytes.fromhex(digest)) == 32
        assert name.split("/")[0] in repositories
