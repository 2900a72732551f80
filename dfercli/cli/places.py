"""Where the data and the caches of a user usually are, by the environment."""

import os
from collections.abc import Collection
from pathlib import Path

from dfercli.errors import ConfigError


def usual_root(dataset: str) -> Path:
    """Return the folder of a dataset: `$DFER_DATA/NAME` if it exists, else `data/NAME`.

    Upper and lower case do not matter in its name: people have DFEW and FERV39k. Where there is
    none, the folder is given that it is missed in.
    """
    parents = [Path(name) for name in (os.environ.get("DFER_DATA"), "data") if name]
    found = [folder for parent in parents if (folder := _find_folder(parent, dataset))]
    return found[0] if found else parents[0] / dataset


def _find_folder(parent: Path, name: str) -> Path | None:
    """Find a folder of this name, or of one that only upper and lower case tell from it."""
    alike = [path for path in parent.glob("*") if path.name.casefold() == name.casefold()]
    folders = sorted(path for path in alike if path.is_dir())
    return parent / name if parent / name in folders else next(iter(folders), None)


def find_unprepared(prepared: Collection[str]) -> dict[str, Path]:
    """Return the folders of datasets in their usual place that have not been prepared yet."""
    from dfercli.data import DATASETS

    folders = {name: usual_root(name) for name in DATASETS if name not in prepared}
    return {name: folder for name, folder in folders.items() if folder.is_dir()}


def find_root(manifest: Path) -> Path | None:
    """Find the data of a manifest in $DFER_DATA; None where it has to be asked itself."""
    given = os.environ.get("DFER_DATA")
    return _find_folder(Path(given), manifest.stem) if given else None


def usual_cache() -> Path:
    """Return the folder of decoded frames: `$DFER_CACHE`, or `dfer` in the user's caches.

    Raises:
        ConfigError: Neither is set, and the user has no home folder.
    """
    named = os.environ.get("DFER_CACHE")
    if named:
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dfer"
    except RuntimeError as error:
        raise ConfigError(
            "no home folder to keep decoded frames in; name a folder: --cache-dir, or $DFER_CACHE"
        ) from error
