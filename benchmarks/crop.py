"""Time cropping by key frames against searching every frame: `python benchmarks/crop.py VIDEO...`.

One process and one thread, as a worker of `dfer preprocess` has. Both sides decode, search, crop
and write; they take turns, and the median of their times counts.
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from dfercli.faces import load_detector
from dfercli.faces.align import TEMPLATE, similarity_transform
from dfercli.faces.crop_files import CROPS, crop_video
from dfercli.faces.search import KEY_STEP_S
from dfercli.faces.track import FollowedFace, crop_followed_face, follow_main_face
from dfercli.faces.types import Detector
from dfercli.files import replacing_folder
from dfercli.media.images import write_image

SIZE = 224
HEADER = (
    "video",
    "frames",
    "every/s",
    "keys/s",
    "ratio",
    "searched",
    "both",
    "median",
    "90%",
    "max",
)
ROW = "{:28.28} {:>7} {:>8} {:>8} {:>6} {:>9} {:>6} {:>7} {:>6} {:>6}"


def crop_by_every_frame(video: Path, folder: Path, detector: Detector) -> None:
    """Do what `crop_video` does, with a search of every frame."""
    followed = follow_main_face(video, detector)
    with replacing_folder(folder, CROPS) as partial:
        partial.mkdir(parents=True)
        for number, crop in enumerate(crop_followed_face(video, followed, SIZE), start=1):
            write_image(partial / f"{number:06d}.jpg", crop.image_rgb)


def time_both(video: Path, detector: Detector, repeats: int) -> tuple[float, float]:
    """Give the median seconds with every frame searched, and with key frames."""
    spent = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            started = time.perf_counter()
            crop_by_every_frame(video, Path(folder) / "every", detector)
            turned = time.perf_counter()
            crop_video(video.parent, video.name, Path(folder) / "keys", SIZE, detector)
            spent.append((turned - started, time.perf_counter() - turned))
    every_s, keys_s = np.median(spent, axis=0)
    return float(every_s), float(keys_s)


def measure_distances(every: FollowedFace, keys: FollowedFace) -> np.ndarray:
    """Give (frames, 5) distances of landmarks, in pixels of the crops by key frames."""
    distances = []
    for index in sorted(every.faces.keys() & keys.faces.keys()):
        landmarks_xy = keys.faces[index].landmarks_xy
        scale = np.hypot(*similarity_transform(landmarks_xy, TEMPLATE * SIZE)[:, 0])
        apart = np.linalg.norm(landmarks_xy - every.faces[index].landmarks_xy, axis=1)
        distances.append(scale * apart)
    return np.array(distances)


def compare(video: Path, detector: Detector, repeats: int) -> tuple[str, ...]:
    """Give a line of the table for one video."""
    every = follow_main_face(video, detector)
    keys = follow_main_face(video, detector, carry_s=KEY_STEP_S)
    every_s, keys_s = time_both(video, detector, repeats)
    distances = measure_distances(every, keys)
    measures = (np.median(distances), np.percentile(distances, 90), distances.max())
    return (
        video.name,
        str(keys.num_frames),
        f"{keys.num_frames / every_s:.1f}",
        f"{keys.num_frames / keys_s:.1f}",
        f"{every_s / keys_s:.2f}",
        f"{keys.num_searched / keys.num_frames:.1%}",
        str(len(distances)),
        *(f"{measure:.2f}" for measure in measures),
    )


def main() -> None:
    """Print a line a video: frames a second, and landmarks' distances in pixels of a crop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--detector", default="mtcnn")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    detector = load_detector(arguments.detector)
    print(ROW.format(*HEADER))
    for video in arguments.videos:
        print(ROW.format(*compare(video, detector, arguments.repeats)), flush=True)


if __name__ == "__main__":
    main()
