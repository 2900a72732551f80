"""Where a checkpoint is stored, and the run that trained it, if it still lies in that run."""

from dataclasses import dataclass
from pathlib import Path

from dfercli.runs.run_folder import PROTOCOLS, RunFolder


@dataclass(frozen=True)
class CheckpointSource:
    """Where a checkpoint is stored.

    Attributes:
        where: The folder of a checkpoint or of a run (its best epoch), or a name on the Hub.
        folder: The folder of the checkpoint; None on the Hub.
        run: The run whose folder it lies in; None if it lies elsewhere.
    """

    where: str
    folder: Path | None
    run: RunFolder | None

    @property
    def name(self) -> str:
        """Its name, without folders of this machine.

        In a run it is `dataset/variant/fold1/best`; otherwise the name of the folder or on the Hub.
        """
        if self.folder is None:
            return self.where
        return "/".join(self.folder.parts[-4:]) if self.run else self.folder.name


def find_source(where: str) -> CheckpointSource:
    """Find where a checkpoint is stored; whether it can be loaded is not checked."""
    path = Path(where)
    if not path.is_dir():
        return CheckpointSource(where, None, None)
    path = path.resolve()
    if (model := RunFolder(path).model).is_dir():
        path = model
    run = RunFolder(path.parent)
    in_run = path.name in PROTOCOLS and run.run_file.is_file()
    return CheckpointSource(where, path, run if in_run else None)
