"""Measure training crops by key frames: `python benchmarks/crop.py VIDEO...`.

Speed is compared with a search of every frame, in one process and one thread as a worker of
`dfer preprocess` has. Both sides decode, search, crop and write; they take turns, and the median of
their times counts. Landmarks are compared with those that the detector finds in each single frame,
in shares of the distance between the eyes.
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from dfercli.faces import load_detector
from dfercli.faces.crop_files import CROPS, crop_video
from dfercli.faces.main_face import FollowedFace, follow_main_face, read_crops
from dfercli.faces.search import KEY_STEP_S
from dfercli.faces.tracking import number_views
from dfercli.faces.types import Detector
from dfercli.files import replacing_folder
from dfercli.media.images import write_image
from dfercli.media.video import read_frames

SIZE = 224
CLOSE = 0.05
"""Distance up to which a landmark is close to the detected one, as a share of that of the eyes."""

COLUMNS = {
    "video": 28,
    "frames": 7,
    "every/s": 8,
    "keys/s": 7,
    "ratio": 6,
    "searched": 9,
    "compared": 9,
    "mean": 7,
    "95%": 7,
    "close": 7,
    "jitter": 7,
    "cuts": 5,
    "crossed": 8,
}
"""Headings of the table and their widths."""


def crop_by_every_frame(video: Path, folder: Path, detector: Detector) -> None:
    """Do what `crop_video` does, with a search of every frame."""
    followed = follow_main_face(video, detector)
    with replacing_folder(folder, CROPS) as partial:
        partial.mkdir(parents=True)
        for number, crop_rgb in enumerate(read_crops(video, followed, SIZE), start=1):
            write_image(partial / f"{number:06d}.jpg", crop_rgb)


def time_both(video: Path, detector: Detector, repeats: int) -> tuple[float, float]:
    """Return the median seconds with every frame searched, and with key frames."""
    spent_s = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            started = time.perf_counter()
            crop_by_every_frame(video, Path(folder) / "every", detector)
            turned = time.perf_counter()
            crop_video(video.parent, video.name, Path(folder) / "keys", SIZE, detector)
            spent_s.append((turned - started, time.perf_counter() - turned))
    every_s, keys_s = np.median(spent_s, axis=0)
    return float(every_s), float(keys_s)


def measure_distances(video: Path, followed: FollowedFace, detector: Detector) -> np.ndarray:
    """Return (frames, 5) distances of landmarks from detected ones, in distances of the eyes.

    Only frames where the detector finds a face around the followed one's nose are compared.
    """
    distances = []
    for frame in read_frames(video):
        face = followed.faces.get(frame.index)
        if face is None:
            continue
        apart = [
            np.linalg.norm(other.landmarks_xy - face.landmarks_xy, axis=1)
            for other in detector.detect(frame.image_rgb)
            if (other.box_xyxy[:2] < face.landmarks_xy[2]).all()
            and (face.landmarks_xy[2] < other.box_xyxy[2:]).all()
        ]
        if apart:
            eyes = np.linalg.norm(face.landmarks_xy[1] - face.landmarks_xy[0])
            distances.append(min(apart, key=np.mean) / eyes)
    return np.array(distances).reshape(-1, 5)


def count_cuts(video: Path, followed: FollowedFace) -> tuple[int, int]:
    """Return how many cuts a video has, and how many the face is followed across at once."""
    views = [view for view, _ in number_views(read_frames(video))]
    cuts = [index for index in range(1, len(views)) if views[index] != views[index - 1]]
    return len(cuts), sum({index - 1, index} <= followed.faces.keys() for index in cuts)


def measure(video: Path, detector: Detector, repeats: int) -> tuple[str, ...]:
    """Return one line of the table."""
    followed = follow_main_face(video, detector, carry_s=KEY_STEP_S)
    every_s, keys_s = time_both(video, detector, repeats)
    distances = measure_distances(video, followed, detector)
    means = distances.mean(axis=1) if len(distances) else np.array([np.nan])
    cuts, crossed = count_cuts(video, followed)
    return (
        video.name,
        str(followed.num_frames),
        f"{followed.num_frames / every_s:.1f}",
        f"{followed.num_frames / keys_s:.1f}",
        f"{every_s / keys_s:.2f}",
        f"{followed.num_searched / followed.num_frames:.1%}",
        str(len(distances)),
        f"{means.mean():.2%}",
        f"{np.percentile(means, 95):.2%}",
        f"{(means <= CLOSE).mean():.1%}",
        f"{followed.jitter:.2%}",
        str(cuts),
        str(crossed),
    )


def _print_line(cells: tuple[str, ...]) -> None:
    widths = COLUMNS.values()
    print("".join(f"{cell:>{width}.{width}}" for cell, width in zip(cells, widths, strict=True)))


def main() -> None:
    """Print one line per video."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--detector", default="mtcnn")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    detector = load_detector(arguments.detector)
    _print_line(tuple(COLUMNS))
    for video in arguments.videos:
        _print_line(measure(video, detector, arguments.repeats))


if __name__ == "__main__":
    main()
