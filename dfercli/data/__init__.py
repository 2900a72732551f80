"""Datasets on disk, their manifests, and the clips that are sampled from them."""

from importlib import import_module
from types import ModuleType

from dfercli.errors import UnknownNameError

DATASETS = {
    "dfew": "dfercli.data.sources.dfew",
    "ferv39k": "dfercli.data.sources.ferv39k",
    "mafw": "dfercli.data.sources.mafw",
    "ravdess": "dfercli.data.sources.ravdess",
    "crema-d": "dfercli.data.sources.crema_d",
    "enterface": "dfercli.data.sources.enterface",
    "folder": "dfercli.data.sources.folder",
}
"""Public name of each dataset, and the module whose `read_sources` lists its videos."""


def load_dataset(name: str) -> ModuleType:
    """Return the module of a dataset by its public name.

    Raises:
        UnknownNameError: There is no dataset of this name.
    """
    if name not in DATASETS:
        raise UnknownNameError("dataset", name, DATASETS)
    return import_module(DATASETS[name])
