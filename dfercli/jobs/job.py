"""A job: one training run among several."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dfercli.config import RunConfig
from dfercli.data.manifest import Manifest
from dfercli.runs.run_folder import RunFolder, run_folder


@dataclass(frozen=True)
class Job:
    """One run to train.

    `command` is the command line, for the record; with `overwrite` a finished run is trained again.
    Without a manifest, the data is opened where the job runs. `calibration` is that entry of a
    checkpoint trained on all clips.
    """

    config: RunConfig
    runs: Path
    command: str = ""
    overwrite: bool = False
    manifest: Manifest | None = field(default=None, compare=False, repr=False)
    calibration: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    @property
    def title(self) -> str:
        """Dataset, variant and fold."""
        return self.config.title

    @property
    def run(self) -> RunFolder:
        """The run's folder."""
        return run_folder(self.runs, self.config)

    @property
    def unfinished(self) -> bool:
        """Whether the run must be trained."""
        return self.overwrite or not self.run.finished


@dataclass(frozen=True)
class Failure:
    """Why a job failed, in one line; with the traceback if the error is unexpected."""

    line: str
    trace: str = ""


Ended = tuple[Job, Failure | None]
"""A job that has ended, and why it failed if it did."""

Work = Callable[[Job], Failure | None]
"""Runs a job; a function of a module, so that other processes can call it."""
