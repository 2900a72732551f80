"""Options that choose the model of a prediction: a checkpoint, the last run, or zero-shot CLIP."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dfercli.cli import options as opt
from dfercli.config import PRECISIONS, require_device
from dfercli.errors import ConfigError, require_known
from dfercli.faces import check_detector

if TYPE_CHECKING:
    from dfercli.predict.predictor import ModelSource

WEAKNESS = "CLIP without training on expressions; the paper reports 20.07 % WAR for it on DFEW"
"""Source: Table 5."""


@dataclass(frozen=True)
class ModelOptions:
    """The options that choose a model.

    Attributes:
        checkpoint: Folder of a checkpoint or run, name of a run such as `full` or
            `my-videos/full/fold1`, name of a model on the Hub, or `built-in`; by default the
            trained run finished last, except runs on the demo, or the built-in model without one.
        zero_shot: Use CLIP without training on expressions; its predictions are weak.
        detector: Face detector; by default the one used in training.
        device: Device: `auto`, `cpu`, `cuda` (or a GPU by number: `cuda:1`) or `mps`.
        precision: Precision of the model: `auto`, `fp32`, `bf16` or `fp16`.
        runs: Folder of the runs.
    """

    checkpoint: str | None = opt.option(opt.MODEL)
    zero_shot: bool = opt.option(opt.MODEL, False, "--zero-shot")
    detector: str | None = opt.option(opt.MODEL)
    device: str = opt.option(opt.COMPUTE, "auto")
    precision: str = opt.option(opt.COMPUTE, "auto")
    runs: Path = opt.option(opt.RUN, opt.RUNS)

    def check(self) -> None:
        """Raise a ConfigError if an option is unknown, or two options contradict each other."""
        if self.zero_shot and self.checkpoint is not None:
            raise ConfigError(
                "--zero-shot and --checkpoint both choose the model; remove one of them"
            )
        if self.detector is not None:
            check_detector(self.detector)
        require_device(self.device)
        require_known("precision", self.precision, PRECISIONS)

    def choose(self) -> "ModelSource":
        """Print and return the chosen model, without loading it."""
        from dfercli.predict.predictor import ModelSource

        if self.zero_shot:
            opt.note(f"zero-shot: {WEAKNESS}")
            where = None
        else:
            from dfercli.runs.lookup import find_checkpoint

            where = find_checkpoint(self.checkpoint, self.runs)
            opt.note(f"checkpoint: {where}")
        return ModelSource(where, self.detector, self.device, self.precision)
