"""Where a checkpoint comes from: the run that trained it, where that is still around it."""

from dataclasses import dataclass
from pathlib import Path

from dfercli.runs.run_folder import PROTOCOLS, RunFolder


@dataclass(frozen=True)
class Source:
    """A checkpoint as it was named, and what is known of where it lies.

    Attributes:
        where: A checkpoint's folder, a run's folder (its best epoch is meant), or a Hub name.
        folder: The checkpoint's folder; None on the Hub.
        run: The run that it lies in; None where it lies elsewhere.
    """

    where: str
    folder: Path | None
    run: RunFolder | None

    @property
    def name(self) -> str:
        """What it is called, without the folders of this machine.

        As `dataset/variant/fold1/best` in a run; else the folder's own name, or the Hub's.
        """
        if self.folder is None:
            return self.where
        return "/".join(self.folder.parts[-4:]) if self.run else self.folder.name


def find_source(where: str) -> Source:
    """Look where a checkpoint lies; whether it can be loaded is not looked at."""
    path = Path(where)
    if not path.is_dir():
        return Source(where, None, None)
    path = path.resolve()
    if (model := RunFolder(path).model).is_dir():
        path = model
    run = RunFolder(path.parent)
    in_run = path.name in PROTOCOLS and run.run_file.is_file()
    return Source(where, path, run if in_run else None)
