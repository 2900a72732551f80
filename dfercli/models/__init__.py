"""The paper's model, one file per box of its figure 3, and the methods it is compared with.

Letters in shapes, here and in every docstring:

| letter | meaning |
|---|---|
| B | clips in a batch |
| T | frames per clip |
| P | tokens per frame: the class token and the patches |
| D | width of the backbone |
| E | width of the joint space of images and texts |
| K | classes |
| C | context vectors of a prompt |
| D' | width of the text tower |
"""

from importlib import import_module
from types import ModuleType

from dfercli.errors import UnknownNameError

MODELS = {
    "dfer": "dfercli.models.dfer",
    "zero-shot": "dfercli.models.zero_shot",
    "coop": "dfercli.models.coop",
    "cocoop": "dfercli.models.cocoop",
    "dfer-clip": "dfercli.models.dfer_clip",
    "dfer-clip-no-tm": "dfercli.models.dfer_clip",
    "still-image": "dfercli.models.still_image",
}
"""Module of each method, by its public name.

Its `assemble(config, class_names, towers)` builds the model for K classes from an open_clip model,
whose towers become part of it.
"""


def load_method(name: str) -> ModuleType:
    """Return the module of a method by its public name.

    Raises:
        UnknownNameError: No method has this name.
    """
    if name not in MODELS:
        raise UnknownNameError("model", name, MODELS)
    return import_module(MODELS[name])
