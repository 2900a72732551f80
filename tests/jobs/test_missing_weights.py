"""Initial weights that several runs need and that cannot be fetched."""

import pytest

from dfercli.config.presets import default_model
from dfercli.errors import WeightsError
from dfercli.jobs.run import _ensure_weights


@pytest.fixture
def fetched(monkeypatch):
    """Return the files that were asked for; there is no network."""
    urls = []

    def fetch(url, **options):
        urls.append(url)
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fetch)
    return urls


def test_all_models_without_their_weights_are_listed_and_each_file_is_asked_for_once(fetched):
    names = ("aen", "est", "aen", "mc3-18", "c3d", "m3dfel", "r3d-18")
    with pytest.raises(WeightsError) as caught:
        _ensure_weights([default_model(name) for name in names])
    message = str(caught.value)
    assert message.startswith(
        "no initial weights: imagenet for aen, est; kinetics400 for mc3-18, m3dfel, r3d-18 ("
    )
    assert message.endswith(
        "; run once with a network, use --weights random, or choose other rows with --models"
    )
    assert "\n" not in message
    assert len(fetched) == len(set(fetched)) == 3


def test_one_model_without_its_weights_says_where_they_are(fetched):
    with pytest.raises(WeightsError, match=r"^weights imagenet of aen are not cached"):
        _ensure_weights([default_model("aen")] * 2)
    assert len(fetched) == 1


def test_random_weights_are_not_fetched(fetched):
    _ensure_weights([default_model(name, weights="random") for name in ("aen", "mc3-18")])
    assert fetched == []
