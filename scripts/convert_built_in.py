"""Convert FaceExpressionNet of the npm package @vladmandic/face-api to the built-in checkpoint.

    npm pack @vladmandic/face-api@1.7.15
    python scripts/convert_built_in.py vladmandic-face-api-1.7.15.tgz

The package is MIT-licensed; see THIRD_PARTY.md.
"""

import argparse
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfercli.config import ModelConfig
from dfercli.faces.align import CropRecipe
from dfercli.models.settings import BUILT_IN_FOLDER, WEIGHTS_FILE
from dfercli.models.still_image import EXPRESSIONS, IMAGE_SIZE, assemble
from dfercli.runs.checkpoint import write_sealed

MANIFEST = "package/model/face_expression_model-weights_manifest.json"
VALUES = "package/model/face_expression_model.bin"

THEIR_EXPRESSIONS = (
    "neutral",
    "happiness",
    "sadness",
    "anger",
    "fear",
    "disgust",
    "surprise",
)
"""Our names of the network's outputs, in their order."""


def read_package(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the network by their names in the package, in float32."""
    with tarfile.open(path) as package:
        manifest = json.load(_open(package, MANIFEST))
        values = _open(package, VALUES).read()
    tensors, start = {}, 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        tensors[entry["name"]], start = _decode(entry, values, start)
    if start != len(values):
        raise SystemExit(f"{path}: {len(values)} bytes of weights, but the manifest lists {start}")
    return tensors


def _open(package: tarfile.TarFile, name: str) -> Any:
    stream = package.extractfile(name)
    if stream is None:
        raise SystemExit(f"no file {name} in the package")
    return stream


def _decode(entry: dict[str, Any], values: bytes, start: int) -> tuple[Tensor, int]:
    """Return the tensor that begins at a byte, and the byte behind it."""
    count = int(np.prod(entry["shape"]))
    quantised = entry.get("quantization")
    kind = np.dtype(np.uint8 if quantised else np.float32)
    numbers = np.frombuffer(values, kind, count, start).astype(np.float64)
    if quantised:
        numbers = numbers * quantised["scale"] + quantised["min"]
    tensor = torch.from_numpy(numbers.reshape(entry["shape"])).float()
    return tensor, start + count * kind.itemsize


def rename(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors by our names, and in PyTorch's order of axes."""
    order = [THEIR_EXPRESSIONS.index(name) for name in EXPRESSIONS]
    state = {"head.weight": tensors["fc/weights"].T[order], "head.bias": tensors["fc/bias"][order]}
    for block in range(4):
        for number in range(4):
            theirs = f"dense{block}/conv{number}"
            ours = f"backbone.blocks.{block}." + ("halve" if number == 0 else f"add.{number - 1}")
            if f"{theirs}/filters" in tensors:
                state[f"{ours}.1.weight"] = tensors[f"{theirs}/filters"].permute(3, 2, 0, 1)
                state[f"{ours}.1.bias"] = tensors[f"{theirs}/bias"]
            else:
                depthwise, pointwise = f"{theirs}/depthwise_filter", f"{theirs}/pointwise_filter"
                state[f"{ours}.1.weight"] = tensors[depthwise].permute(2, 3, 0, 1)
                state[f"{ours}.2.weight"] = tensors[pointwise].permute(3, 2, 0, 1)
                state[f"{ours}.2.bias"] = tensors[f"{theirs}/bias"]
    return state


def write_checkpoint(tensors: dict[str, Tensor], folder: Path) -> None:
    """Write the checkpoint of the built-in model, with weights in float16."""
    config = ModelConfig(method="still-image", num_frames=16)
    model = assemble(config, EXPRESSIONS, rename(tensors))
    crop = CropRecipe("mtcnn", IMAGE_SIZE)
    entries = {"method": config.method, "num_frames": config.num_frames}
    settings = {**model.settings, "model": entries, "crop": vars(crop)}
    shutil.rmtree(folder, ignore_errors=True)
    weights = {name: tensor.half() for name, tensor in model.state_dict().items()}
    write_sealed(weights, settings, folder)
    (folder / WEIGHTS_FILE).chmod(0o644)


def main() -> None:
    """Parse the command line and convert."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", type=Path, help="archive of the npm package (.tgz)")
    parser.add_argument("--out", type=Path, default=BUILT_IN_FOLDER, help="folder to write")
    arguments = parser.parse_args()
    write_checkpoint(read_package(arguments.package), arguments.out)


if __name__ == "__main__":
    main()
