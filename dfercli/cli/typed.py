"""What words on a command line mean: folds, and runs."""

import re
from pathlib import Path

from dfercli.data.spec import MAX_FOLD
from dfercli.errors import ConfigError


def parse_folds(text: str) -> list[int]:
    """Read `1-5`, `1,3` or `2` as fold numbers.

    Raises:
        ConfigError: It is none of these.
    """
    folds: set[int] = set()
    for part in text.split(","):
        matched = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not matched:
            raise ConfigError(f"cannot read folds {text!r}; give 1-5, or 1,3, or 2")
        first, last = int(matched[1]), int(matched[2] or matched[1])
        if last < first:
            raise ConfigError(f"no fold in {part!r}; give the lower one first, as in 1-5")
        if first < 1:
            raise ConfigError("folds are counted from 1; to train on all clips, give --all-data")
        if last > MAX_FOLD:
            raise ConfigError(f"no dataset has a fold {last}; give numbers up to {MAX_FOLD}")
        folds |= set(range(first, last + 1))
    return sorted(folds)


def find_variant(
    name: str | None, runs: Path, dataset: str | None
) -> tuple[Path, str | None, str | None]:
    """Give the folder of all runs, the dataset and the variant, of which some may be open.

    Args:
        name: Of the variant, or the path of its folder; None leaves it open.
        runs: Folder of all runs, unless the path tells it.
        dataset: Its name, unless the path tells it.

    Raises:
        ConfigError: The path is that of a fold.
    """
    folder = Path(name or "")
    if re.fullmatch(r"fold\d+", folder.name) and len(folder.parts) > 1:
        fold = folder.name.removeprefix("fold")
        raise ConfigError(f"{name} is a single fold; give {folder.parent} --folds {fold}")
    if len(folder.parts) < 2:
        return runs, dataset, name
    if len(folder.parts) == 2 and not folder.is_dir() and (runs / folder).is_dir():
        return runs, folder.parts[0], folder.parts[1]  # `DATASET/VARIANT`, as --checkpoint has it
    return folder.parent.parent, folder.parent.name, folder.name
