"""Options that choose the model of a prediction: a checkpoint, the last run, or zero-shot CLIP."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dfercli.cli import options as opt
from dfercli.config import PRECISIONS, require_device
from dfercli.errors import ConfigError, require_known
from dfercli.faces import check_detector

if TYPE_CHECKING:
    from dfercli.predict.predictor import ModelSource

WEAKNESS = "CLIP without training on expressions; the paper reports 20.07 % WAR for it on DFEW"
"""Source: Table 5."""

Checkpoint = Annotated[
    str | None,
    opt.in_model(
        "Folder of a checkpoint or run, name of a run such as `full` or `my-videos/full/fold1`, or "
        "name of a model on the Hub; by default the run finished last, except runs on the demo."
    ),
]
ZeroShot = Annotated[
    bool,
    opt.in_model(
        "Use CLIP without training on expressions; its predictions are weak.", "--zero-shot"
    ),
]
Detector = Annotated[
    str | None, opt.in_model("Face detector; by default the one used in training.")
]
Device = Annotated[
    str, opt.in_compute("Device: `auto`, `cpu`, `cuda` (or a GPU by number: `cuda:1`) or `mps`.")
]
Precision = Annotated[
    str, opt.in_compute("Precision of the model: `auto`, `fp32`, `bf16` or `fp16`.")
]


def check_choice(
    checkpoint: str | None, zero_shot: bool, detector: str | None, device: str, precision: str
) -> None:
    """Raise a ConfigError if the options of the model are unknown or contradict each other."""
    if zero_shot and checkpoint is not None:
        raise ConfigError("--zero-shot and --checkpoint both choose the model; remove one of them")
    if detector is not None:
        check_detector(detector)
    require_device(device)
    require_known("precision", precision, PRECISIONS)


def choose_model(
    checkpoint: str | None,
    zero_shot: bool,
    runs: Path,
    detector: str | None,
    device: str,
    precision: str,
) -> "ModelSource":
    """Print and return the chosen model, without loading it."""
    from dfercli.predict.predictor import ModelSource

    if zero_shot:
        opt.note(f"zero-shot: {WEAKNESS}")
        return ModelSource(None, detector, device, precision)
    from dfercli.runs.lookup import find_checkpoint

    where = find_checkpoint(checkpoint, runs)
    opt.note(f"checkpoint: {where}")
    return ModelSource(where, detector, device, precision)
