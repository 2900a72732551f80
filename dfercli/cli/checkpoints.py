"""Which model reads videos: as it is named, the newest, or CLIP as it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfercli.cli import options as opt
from dfercli.config import PRECISIONS, require_device
from dfercli.errors import ConfigError, require_known
from dfercli.faces import check_detector

if TYPE_CHECKING:
    from dfercli.predict import ModelInfo, Predictor

WEAKNESS = "CLIP as it is, never trained on expressions: the paper has 20.07 % WAR with it on DFEW"
"""Source: Table 5."""

Checkpoint = Annotated[
    str | None,
    typer.Option(
        help="Folder, name of a run such as `full` or `my-videos/full/fold1`, or Hub name; by "
        "default the run finished last, but none on the demo's drawn people."
    ),
]
ZeroShot = Annotated[
    bool,
    typer.Option("--zero-shot", help="CLIP's own weights: weak, never trained on expressions."),
]
Detector = Annotated[
    str | None, typer.Option(help="Face detector; by default that of the checkpoint.")
]
Device = Annotated[
    str, typer.Option(help="`auto`, `cpu`, `cuda` (or a GPU by number: `cuda:1`) or `mps`.")
]
Precision = Annotated[str, typer.Option(help="`auto`, `fp32`, `bf16` or `fp16`.")]


def check_choice(
    checkpoint: str | None, zero_shot: bool, detector: str | None, device: str, precision: str
) -> None:
    """Refuse what no machine has, and two models at a time, before anything is loaded.

    Raises:
        ConfigError: Both models are asked for, or no device or precision has this name.
        UnknownNameError: No detector has this name.
    """
    if zero_shot and checkpoint is not None:
        raise ConfigError("--zero-shot is CLIP as it is; leave it out, or --checkpoint")
    if detector is not None:
        check_detector(detector)
    require_device(device)
    require_known("precision", precision, PRECISIONS)


@dataclass(frozen=True)
class Reader:
    """A model that is yet to be loaded; can be sent to other processes.

    Attributes:
        checkpoint: A folder or a name on the Hub; None for CLIP as it is.
        detector: A face detector's name; None for the checkpoint's own.
        device: As typed.
        precision: As typed.
    """

    checkpoint: str | None
    detector: str | None
    device: str
    precision: str

    def __call__(self) -> "Predictor":
        """Load the model."""
        from dfercli.predict import Predictor

        options = (self.detector, self.device, self.precision)
        if self.checkpoint is None:
            return Predictor.zero_shot(*options)
        return Predictor.from_checkpoint(self.checkpoint, *options)

    def describe(self) -> "ModelInfo":
        """Return what its configuration says; the weights are not read."""
        from dfercli.predict.model_info import describe_checkpoint, describe_zero_shot

        options = (self.detector, self.device, self.precision)
        if self.checkpoint is None:
            return describe_zero_shot(*options)
        return describe_checkpoint(self.checkpoint, *options)


def choose_predictor(
    checkpoint: str | None,
    zero_shot: bool,
    runs: Path,
    detector: str | None,
    device: str,
    precision: str,
) -> Reader:
    """Print which model is used, and return its loader.

    Raises:
        CheckpointError: There is no such model; or none is named, and no run is finished.
    """
    if zero_shot:
        opt.note(f"zero-shot: {WEAKNESS}")
        return Reader(None, detector, device, precision)
    from dfercli.runs.lookup import find_checkpoint

    where = find_checkpoint(checkpoint, runs)
    opt.note(f"checkpoint: {where}")
    return Reader(where, detector, device, precision)
