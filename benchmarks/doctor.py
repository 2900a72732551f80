"""How long `dfer doctor` looks at a dataset as large as FERV39k.

Makes clip folders of links to a few images in a temporary folder, so that the disk has little to
do with it, and times the look at all of them: python benchmarks/doctor.py [--clips N] [--frames N]
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from dfercli.data.manifest import Manifest, write_manifest
from dfercli.doctor import inspect_dataset
from dfercli.media.images import write_image

LINKS_EACH = 30_000
"""Links to one file; file systems allow no more than about twice as many."""


def make_dataset(folder: Path, num_clips: int, num_frames: int) -> Path:
    """Make clip folders and their manifest, and give its path."""
    rng = np.random.default_rng(0)
    made = 0
    image = folder / "unset"
    for clip in range(num_clips):
        clip_folder = folder / "faces" / f"{clip:05d}"
        clip_folder.mkdir(parents=True)
        for frame in range(num_frames):
            if made % LINKS_EACH == 0:
                image = folder / f"image{made}.jpg"
                write_image(image, rng.integers(256, size=(224, 224, 3), dtype=np.uint8))
            os.link(image, clip_folder / f"{frame:02d}.jpg")
            made += 1
    rows = pd.DataFrame(
        {
            "clip_id": [f"{clip:05d}" for clip in range(num_clips)],
            "path": [f"faces/{clip:05d}" for clip in range(num_clips)],
            "n_frames": num_frames,
            "label": ["happiness" if clip % 2 else "anger" for clip in range(num_clips)],
            "test_fold": [clip % 5 + 1 for clip in range(num_clips)],
        }
    )
    path = folder / "manifests" / "large.csv"
    write_manifest(Manifest("large", rows, ("happiness", "anger"), None, str(folder)), path)
    return path


def main() -> None:
    """Make the dataset, look at it, and print how long that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=40_000)
    parser.add_argument("--frames", type=int, default=28, help="a clip; FERV39k has 28 on average")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        manifest = make_dataset(Path(name), arguments.clips, arguments.frames)
        start_s = time.perf_counter()
        report = inspect_dataset(manifest)
        seconds = time.perf_counter() - start_s
    for finding in report.findings:
        print(f"{finding.state:6}{finding.topic}: {finding.text}")
    frames = arguments.clips * arguments.frames
    print(f"{arguments.clips:,} clips, {frames:,} frames: {seconds:.1f} s")


if __name__ == "__main__":
    main()
