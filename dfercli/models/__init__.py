"""Our model, one file a box of the paper's figure, and those that it is compared with.

Shapes are written with these letters, here and in every docstring:

| letter | is |
|---|---|
| B | clips in a batch |
| T | frames a clip |
| P | tokens a frame: the class token and the patches |
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
}
"""Public name of each method, and the module whose `assemble` builds its model."""


def load_method(name: str) -> ModuleType:
    """Give the module of a method by its public name.

    Raises:
        UnknownNameError: No method has this name.
    """
    if name not in MODELS:
        raise UnknownNameError("model", name, MODELS)
    return import_module(MODELS[name])
