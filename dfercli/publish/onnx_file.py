"""A checkpoint as one ONNX file, compared with PyTorch on drawn clips."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dfercli.config import STILL_IMAGE
from dfercli.data.transforms import fit_frame, normalise
from dfercli.demo.drawing import Action, Pose, draw_backdrop, draw_person, make_person
from dfercli.errors import ConfigError
from dfercli.faces.align import READABLE_VERSIONS, TEMPLATE, CropRecipe
from dfercli.files import replacing
from dfercli.metrics.calibration import apply_temperature
from dfercli.models.base import ExpressionModel
from dfercli.models.settings import BUILT_IN_LICENCE
from dfercli.publish import PublishError
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.runs.lookup import find_source
from dfercli.runs.record import CheckpointInfo
from dfercli.versions import __version__

BATCHES = (1, 2, 3, 5, 9)
"""Clips in each batch (our choice): 20 in all, in batches of different sizes, so that a model that
was exported for one size does not pass."""

SEED = 0

FACE = slice(45, 215), slice(75, 245)
"""Rows and columns of the face in a drawn picture, for a head that is not turned."""

MOVED = 0.4
"""Share of the action units that move in a drawn clip (our choice)."""


@dataclass(frozen=True)
class ProbDifference:
    """Absolute difference between the probabilities of an ONNX file and of PyTorch.

    The largest and the mean over clips and classes, and how many clips have the same top class.
    """

    largest: float
    mean: float
    num_clips: int
    num_same: int


def draw_clips(num_frames: int, image_size: int) -> np.ndarray:
    """Draw clips of different people, whose faces move from rest to some expression.

    Returns (20, T, S, S, 3) uint8 RGB, the same each time, for T frames of S pixels.
    """
    indices = range(sum(BATCHES))
    return np.stack([np.stack(list(_draw_clip(n, num_frames, image_size))) for n in indices])


def _draw_clip(index: int, num_frames: int, image_size: int) -> Iterator[np.ndarray]:
    person, rng = make_person(SEED, index), np.random.default_rng([SEED, index])
    num_units = len(fields(Action))
    apex = rng.uniform(0, 1, num_units) * (rng.random(num_units) < MOVED)
    pose, backdrop = Pose(), draw_backdrop(person)
    for strength in np.linspace(0, 1, num_frames):
        image_rgb = draw_person(person, Action(*(strength * apex)), pose, backdrop)
        yield fit_frame(image_rgb[FACE], image_size).transpose(1, 2, 0)


def split_batches(clips: np.ndarray) -> list[np.ndarray]:
    """Split clips (20, ...) into batches of the sizes in `BATCHES`."""
    return np.split(clips, np.cumsum(BATCHES)[:-1])


@torch.inference_mode()
def predict_by_torch(model: ExpressionModel, clips: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities (N, K) of clips (N, T, S, S, 3), uint8, in single precision."""
    probs = []
    for batch in split_batches(clips):
        frames = torch.from_numpy(batch).permute(0, 1, 4, 2, 3)
        probs.append(model(normalise(frames, model.config.pixels)).softmax(dim=-1).double().numpy())
    return apply_temperature(np.concatenate(probs), temperature)


def predict_by_onnx(path: Path, clips: np.ndarray) -> np.ndarray:
    """Return the probabilities (N, K) of clips (N, T, S, S, 3), uint8, of an ONNX file on a CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: warnings are about how it rewrote its own graph
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    batches = split_batches(clips)
    return np.concatenate([session.run(["probs"], {"faces": batch})[0] for batch in batches])


def compare_probs(ours: np.ndarray, theirs: np.ndarray) -> ProbDifference:
    """Compare probabilities (N, K) with those of PyTorch, (N, K)."""
    difference = np.abs(ours - theirs)
    same = ours.argmax(axis=1) == theirs.argmax(axis=1)
    largest, mean = float(difference.max()), float(difference.mean())
    return ProbDifference(largest, mean, len(same), int(same.sum()))


PACKAGES = ("onnx", "onnxruntime", "onnxscript")
"""Packages of the extra `onnx`."""

OPSET = 20
"""Version of ONNX's operators: the default of PyTorch's exporter (2.14), so that nothing has to be
converted. It is the first one with Gelu; ONNX Runtime supports it since 1.17 (2024)."""

MAX_DIFFERENCE = 1e-3
"""Largest difference between two probabilities (our choice): summing in another order in single
precision changes a thousand times less, and probabilities rounded to 0.1 % are the same."""

MAX_BYTES = 2**31 - 1
"""Maximum size of one ONNX file. Source: protobuf, the format of ONNX files."""

GRAPH_BYTES = 2**24
"""Room for everything but the weights (our choice); the graph of ViT-B/32 takes 3.6 MB."""

INT8_OPERATORS = ("MatMul", "LSTM")
"""Operators whose weights become int8 (our choice): on CLIP they hold nearly all weights. ONNX
Runtime's integer convolution is slower, so networks of convolutions hardly become smaller."""

NOTICE = "not for diagnosis: a named expression is not a felt emotion"

LICENCE = (
    "dfer is MIT; the weights derive from their training data and from the pretrained weights "
    f"that they started from, if any, whose licences apply; {NOTICE}"
)


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file that was written and compared with its checkpoint; its size is in bytes.

    Inputs and outputs have type and shape by name. `parity` compares the model in single precision
    with PyTorch, `loss` the int8 model, if any.
    """

    path: Path
    size: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    parity: ProbDifference
    loss: ProbDifference | None


class FacesToProbs(nn.Module):
    """The model from face crops to probabilities; `temperature` divides the logits."""

    def __init__(self, model: ExpressionModel, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.pixels = model.config.pixels  # reading it in `forward` could not be exported

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Map faces (B, T, S, S, 3), uint8 RGB, to logits and probabilities, (B, K) each."""
        logits = self.model(normalise(faces.permute(0, 1, 4, 2, 3), self.pixels))
        return logits, (logits / self.temperature).softmax(dim=-1)


def export_onnx(where: str, path: Path, int8: bool = False) -> OnnxFile:
    """Write a checkpoint as an ONNX file, and compare the probabilities of both on drawn clips.

    Args:
        where: The folder of a checkpoint or of a run, or a model's name on the Hub.
        path: The file; it is written atomically.
        int8: Write large weights as 8-bit integers: a smaller, slightly less accurate file.

    Raises:
        ConfigError: The extra `onnx` is not installed, or the path is a folder.
        CheckpointError: There is no such checkpoint, or it is incomplete.
        PublishError: The model is too large for one file, cannot be exported, or its ONNX form has
            other probabilities.
    """
    _check_installed()
    if path.is_dir():
        raise ConfigError(f"--onnx {path} is a folder; use the path of a file")
    model = load_checkpoint(where)
    _check_size(where, model)
    temperature = temperature_of(model)
    clips = draw_clips(model.config.num_frames, model.image_size)
    expected = predict_by_torch(model, clips, temperature)
    with replacing(path) as partial:
        _write(FacesToProbs(model, temperature).eval(), clips[:2], partial, where)
        parity = _check_parity(where, partial, clips, expected)
        loss = None
        if int8:
            _quantise(partial)
            loss = compare_probs(predict_by_onnx(partial, clips), expected)
    return OnnxFile(path, path.stat().st_size, *_describe(path), parity, loss)


def temperature_of(model: ExpressionModel) -> float:
    """Return the calibration temperature of a model; 1 without calibration."""
    temperature = CheckpointInfo.from_settings(model.settings).temperature
    return 1.0 if temperature is None else float(temperature)


def describe_metadata(model: ExpressionModel, where: str) -> dict[str, str]:
    """Return the entries of the file's `metadata_props`.

    `class_names` and `crop` are JSON. `sampling` says which frames of a video are read, as in
    `ModelConfig`; they are chosen before the model, so that is not in the file. The five points of
    the template are in units of the crop's side: eyes, nose, mouth corners, the left of the image
    first. A crop of null means the dataset's own crops.
    """
    crop = model.settings.get("crop")
    if (
        crop
        and crop.get("template") == CropRecipe.template
        and crop.get("version") in READABLE_VERSIONS
    ):
        crop = {**crop, "points": TEMPLATE.tolist()}
    still_image = model.config.method == STILL_IMAGE  # their weights come with the package
    return {
        "class_names": json.dumps(model.class_names, ensure_ascii=False),
        "num_frames": str(model.config.num_frames),
        "sampling": model.config.sampling,
        "image_size": str(model.image_size),
        "crop": json.dumps(crop, ensure_ascii=False),
        "calibration_temperature": repr(temperature_of(model)),
        "checkpoint": find_source(where).name,
        "dfer_version": __version__,
        "licence": f"{BUILT_IN_LICENCE}; {NOTICE}" if still_image else LICENCE,
    }


def _check_installed() -> None:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(f"--onnx needs {', '.join(missing)}: pip install '.[onnx]' in the clone")


def _check_size(where: str, model: ExpressionModel) -> None:
    weights = [*model.parameters(), *model.buffers()]
    size = sum(tensor.nbytes for tensor in weights)
    if size > MAX_BYTES - GRAPH_BYTES:
        raise PublishError(
            f"{where} has {size / 1e9:.2f} GB of weights, but an ONNX file holds at most "
            f"{MAX_BYTES / 1e9:.2f} GB; train a smaller backbone, or one without InterFIT"
        )


def _check_parity(
    where: str, path: Path, clips: np.ndarray, expected: np.ndarray
) -> ProbDifference:
    parity = compare_probs(predict_by_onnx(path, clips), expected)
    if not parity.largest <= MAX_DIFFERENCE:  # also refuses nan
        raise PublishError(
            f"probabilities of {where} in ONNX differ by {parity.largest:.2g} from PyTorch's, more "
            f"than {MAX_DIFFERENCE:g}, so nothing was written; try other versions of "
            f"{', '.join(PACKAGES)}"
        )
    return parity


def _write(model: FacesToProbs, faces: np.ndarray, path: Path, where: str) -> None:
    """Export a model for the shapes of `faces` (2, T, S, S, 3) and any batch size.

    `strict=True` traces `len(tensor)`, which would otherwise fix the batch size.
    """
    try:
        with _quietly(), torch.no_grad():
            program = torch.export.export(
                model,
                (torch.from_numpy(faces),),
                dynamic_shapes={"faces": {0: torch.export.Dim("batch")}},
                strict=True,
            )
            converted = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=["faces"],
                output_names=["logits", "probs"],
                dynamic_shapes={"faces": {0: "batch"}},
                opset_version=OPSET,
            )
    except RuntimeError as error:  # base of the errors of torch.export and torch.onnx
        reason = str(error).strip().partition("\n")[0]
        raise PublishError(
            f"PyTorch {torch.__version__} cannot export {where} to ONNX ({reason}); try another "
            f"version"
        ) from error
    assert converted is not None  # it is None only without dynamo
    converted.model.metadata_props.update(describe_metadata(model.model, where))
    converted.save(path, external_data=False)


def _quantise(path: Path) -> None:
    """Replace a file by one with int8 weights.

    Weights are unsigned, with one scale per channel (our choice): of ONNX Runtime's options this
    has the smallest mean difference on the demo's model, 0.0009; signed weights have 0.0023, and
    overflow on processors without VNNI.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with _quietly(), TemporaryDirectory(prefix=".int8-", dir=path.parent) as folder:
        plain, small = Path(folder, "plain.onnx"), Path(folder, "int8.onnx")
        # Turns weights that are computed from others into constants; they would stay float.
        quant_pre_process(path, plain, skip_symbolic_shape=True)
        quantize_dynamic(
            plain,
            small,
            list(INT8_OPERATORS),
            per_channel=True,
            weight_type=QuantType.QUInt8,
        )
        small.replace(path)


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence the log lines of the exporter and the quantiser, which the user cannot act on."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _describe(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return type and shape of the inputs and outputs of a file, by name."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return _describe_values(graph.input), _describe_values(graph.output)


def _describe_values(values: Any) -> dict[str, str]:
    import onnx

    described = {}
    for value in values:
        tensor = value.type.tensor_type
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        shape = ", ".join(dim.dim_param or str(dim.dim_value) for dim in tensor.shape.dim)
        described[value.name] = f"{kind} ({shape})"
    return described
