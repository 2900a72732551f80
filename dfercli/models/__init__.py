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
    "c3d": "dfercli.models.networks.c3d",
    "p3d": "dfercli.models.networks.p3d",
    "i3d": "dfercli.models.networks.i3d",
    "r3d-hara": "dfercli.models.networks.r3d",
    "r2plus1d": "dfercli.models.networks.r2plus1d",
    "r3d-18": "dfercli.models.networks.torchvision_3d",
    "mc3-18": "dfercli.models.networks.torchvision_3d",
    "r2plus1d-18": "dfercli.models.networks.torchvision_3d",
    "resnet18-lstm": "dfercli.models.networks.resnet",
    "resnet18-vit": "dfercli.models.networks.resnet",
    "ec-stfl": "dfercli.models.networks.r3d",
    "former-dfer": "dfercli.models.networks.former_dfer",
    "t-esfl": "dfercli.models.networks.est",
    "est": "dfercli.models.networks.est",
    "freq-hd": "dfercli.models.networks.resnet",
    "logo-former": "dfercli.models.networks.logo_former",
    "ial": "dfercli.models.networks.ial",
    "aen": "dfercli.models.networks.aen",
    "m3dfel": "dfercli.models.networks.m3dfel",
    "cliper": "dfercli.models.networks.cliper",
    "lstpnet": "dfercli.models.networks.lstpnet",
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
