"""The epochs that protocols choose, on disk: written beside a state, and put in place after it.

A process may be killed at any moment, and a GPU does not repeat an epoch bit for bit. So that no
checkpoint is of an epoch that is trained again, an epoch takes the place of the one before only
once the state that includes it is whole.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from dfercli.config import ALL_DATA
from dfercli.data.folds import Part
from dfercli.errors import CheckpointError
from dfercli.files import check_place, move_file, move_files, replacing_files
from dfercli.models.base import read_settings
from dfercli.runs.checkpoint import write_sealed
from dfercli.runs.predictions import write_predictions
from dfercli.runs.run_folder import CHECKPOINT, CHOSEN, RunFolder

TEST_FILE, HELD_OUT_FILE = "predictions.csv", "validation.csv"
TABLE_FILES: dict[Part, str] = {"test": TEST_FILE, "val": HELD_OUT_FILE}

FOLDER = re.compile(r"\.?epoch([0-9]+)-([a-z]+)(\.partial)?")
"""Name of a folder that waits: the epochs that the state includes, and the protocol; or of what was
being written when dfer was killed."""


@dataclass(frozen=True)
class ChosenEpoch:
    """What a protocol reports, as it was after its epoch.

    Attributes:
        weights: Of the model.
        settings: Of the model, calibration included.
        predictions: Of the `test` fold and of the `val` part, where there are any.
    """

    weights: Mapping[str, Tensor]
    settings: Mapping[str, Any]
    predictions: Mapping[Part, pd.DataFrame]


def stage_epochs(run: RunFolder, epochs: Mapping[str, ChosenEpoch], finished: int) -> None:
    """Write the epochs that protocols have chosen, each into a folder that waits.

    Args:
        run: The run.
        epochs: By protocol.
        finished: Epochs that the state to come includes.
    """
    for protocol, epoch in epochs.items():
        with replacing_files(run.resume_folder / f"epoch{finished}-{protocol}", CHOSEN) as partial:
            write_sealed(epoch.weights, epoch.settings, partial)
            for part, name in TABLE_FILES.items():
                if part in epoch.predictions:
                    write_predictions(epoch.predictions[part], partial / name)


def publish_epochs(run: RunFolder, finished: int) -> None:
    """Put what waits for a state in its place, and remove what waits for any other.

    It can be killed and called again.

    Args:
        run: The run.
        finished: Epochs that the state includes.

    Raises:
        DataError: A folder that waits for it, or the place of one, is not as dfer made it.
    """
    for folder in sorted(run.resume_folder.glob("*epoch*-*")):
        named = FOLDER.fullmatch(folder.name)
        if named is None:
            continue
        if int(named[1]) == finished and not named[3]:
            CHOSEN.check(folder)
            _publish(folder, run, protocol=named[2])
        CHOSEN.drop(folder)


def _publish(folder: Path, run: RunFolder, protocol: str) -> None:
    """Move the files of one epoch; those that an interrupted call has moved are no longer there."""
    tables = {
        TEST_FILE: run.predictions_file(protocol),
        HELD_OUT_FILE: run.validation_file(protocol),
    }
    check_place(run.checkpoint(protocol), CHECKPOINT)
    for name, place in tables.items():
        if (folder / name).is_file():
            move_file(folder / name, place)
    move_files(folder, run.checkpoint(protocol), CHECKPOINT)


def check_published(run: RunFolder, epochs: Mapping[str, int]) -> None:
    """Refuse to call a run finished whose checkpoints are not those that its metrics tell of.

    Args:
        run: The run.
        epochs: By protocol the epoch that it chooses, counted from 1.

    Raises:
        CheckpointError: A checkpoint or a table is missing, or of another epoch.
    """
    for protocol, epoch in epochs.items():
        settings = read_settings(str(run.checkpoint(protocol)))
        found = (settings.get("trained") or {}).get("epoch", epoch)  # runs of before do not say
        tested = run.fold == ALL_DATA or run.predictions_file(protocol).is_file()
        if found != epoch or not tested:
            raise CheckpointError(
                f"{run.checkpoint(protocol)} and {run.predictions_file(protocol).name} are not of "
                f"epoch {epoch}, which is the {protocol} one; train the fold again with --overwrite"
            )
