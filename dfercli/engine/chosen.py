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

from dfercli.data.folds import Part
from dfercli.engine.checkpoint import write_sealed
from dfercli.engine.kinds import CHECKPOINT, CHOSEN
from dfercli.engine.predictions import write_predictions
from dfercli.engine.runlog import RunFolder
from dfercli.files import move_files, replacing_files

TEST_FILE, HELD_OUT_FILE = "predictions.csv", "validation.csv"

FOLDER = re.compile(r"\.?epoch([0-9]+)-([a-z]+)(\.partial)?")
"""Name of a folder that waits: the epochs that the state includes, and the protocol; or of what was
being written when dfer was killed."""


@dataclass(frozen=True)
class ChosenEpoch:
    """What a protocol reports, as it was after its epoch.

    Attributes:
        weights: Of the model.
        settings: Of the model, calibration included.
        predictions: Of the `test` fold and, where there is one, of the `val` part.
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
            write_predictions(epoch.predictions["test"], partial / TEST_FILE)
            if "val" in epoch.predictions:
                write_predictions(epoch.predictions["val"], partial / HELD_OUT_FILE)


def publish_epochs(run: RunFolder, finished: int) -> None:
    """Put what waits for a state in its place, and remove what waits for any other.

    It can be killed and called again.

    Args:
        run: The run.
        finished: Epochs that the state includes.
    """
    for folder in sorted(run.resume_folder.glob("*epoch*-*")):
        named = FOLDER.fullmatch(folder.name)
        if named is None or CHOSEN.find_fault(folder) is not None:
            continue
        if int(named[1]) == finished and not named[3]:
            _publish(folder, run, protocol=named[2])
        CHOSEN.drop(folder)


def _publish(folder: Path, run: RunFolder, protocol: str) -> None:
    """Move the files of one epoch; those that an interrupted call has moved are no longer there."""
    tables = {
        TEST_FILE: run.predictions_file(protocol),
        HELD_OUT_FILE: run.validation_file(protocol),
    }
    for name, place in tables.items():
        if (folder / name).is_file():
            (folder / name).replace(place)
    move_files(folder, run.checkpoint(protocol), CHECKPOINT)
