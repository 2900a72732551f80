"""Time the reading of a manifest as long as FERV39k's: `python benchmarks/manifest.py`."""

import argparse
import tempfile
import time
from pathlib import Path

import pandas as pd

from dfercli.data.manifest import Manifest, read_manifest, write_manifest
from dfercli.data.sources.base import BASIC_EXPRESSIONS

NUM_CLIPS = 40_000
NUM_FOLDS = 5
REPEATS = 5


def make_manifest(num_clips: int) -> Manifest:
    """Make a manifest of clips that are nowhere."""
    numbers = range(num_clips)
    names = [f"{number // 1000:02d}/{number:05d}" for number in numbers]
    rows = pd.DataFrame(
        {
            "clip_id": names,
            "path": [f"faces-mtcnn-224/{name}" for name in names],
            "n_frames": [16 + number % 100 for number in numbers],
            "label": [BASIC_EXPRESSIONS[number % len(BASIC_EXPRESSIONS)] for number in numbers],
            "test_fold": [number % NUM_FOLDS + 1 for number in numbers],
            "group": [f"person {number // 10}" for number in numbers],
            "coverage": [1 - number % 50 / 100 for number in numbers],
        }
    )
    return Manifest("long", rows, BASIC_EXPRESSIONS, {"detector": "mtcnn", "size": 224}, "data")


def measure(num_clips: int, repeats: int) -> None:
    """Print the seconds that reading with both sides of a fold, writing and the digits take."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.csv"
        manifest = make_manifest(num_clips)
        started = time.perf_counter()
        write_manifest(manifest, path)
        print(f"{num_clips} clips: written in {time.perf_counter() - started:.3f} s")
        for _ in range(repeats):
            started = time.perf_counter()
            read = read_manifest(path)
            sizes = [len(read.select(1, split)) for split in ("train", "test")]
            selected = time.perf_counter()
            digits = read.fingerprint
            ended = time.perf_counter()
            print(
                f"read and selected {sizes} in {selected - started:.3f} s, "
                f"fingerprint {digits} in {ended - selected:.3f} s"
            )


def main() -> None:
    """Time it for as many clips as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=NUM_CLIPS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    arguments = parser.parse_args()
    measure(arguments.clips, arguments.repeats)


if __name__ == "__main__":
    main()
