"""One bar for several runs, wherever they are trained: it reads what they write."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm


@contextmanager
def following(
    files: Sequence[Path], epochs: int, anew: bool = False
) -> Iterator[Callable[[], None]]:
    """Show the epochs of several runs on one bar, as lines are added to their metrics.

    Args:
        files: Metrics of the runs, a line an epoch; they need not be there yet.
        epochs: Of all runs together.
        anew: Files that are there are of older runs, and do not count until they change.

    Yields:
        What moves the bar to where the runs are.
    """
    old = {file: _stamp(file) if anew else 0 for file in files}

    def count() -> int:
        new = [file for file in files if _stamp(file) not in (0, old[file])]
        return sum(file.read_bytes().count(b"\n") for file in new)

    title = f"{len(files)} runs"
    with tqdm(desc=title, total=epochs, initial=count(), unit="epoch", disable=None) as bar:

        def move() -> None:
            bar.n = count()
            bar.refresh()

        yield move


def _stamp(file: Path) -> int:
    """Give a number that changes when a file does; 0 without one."""
    return file.stat().st_mtime_ns if file.is_file() else 0
