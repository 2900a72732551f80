"""Official sets of a handful of clips on disk, which are all that is published about them."""

from collections import Counter
from dataclasses import replace

import numpy as np
from data.official_trees import (
    DFEW_FEW,
    FERV39K_FEW,
    MAFW_FEW,
    put_clips,
    sides,
    write_dfew,
    write_ferv39k,
    write_mafw,
)

from dfercli.data.sources import dfew, ferv39k, mafw
from dfercli.data.sources.official_lists import OfficialList, fingerprint
from dfercli.faces.align import TEMPLATE
from dfercli.faces.types import Face
from dfercli.media.video_writer import write_video

CLIPS = {"dfew": DFEW_FEW, "ferv39k": FERV39K_FEW, "mafw": MAFW_FEW}
FACES = {"dfew": "Clip/clip_224x224", "ferv39k": "2_ClipsforFaceCrop", "mafw": "data/frames"}
LISTS = {"dfew": write_dfew, "ferv39k": write_ferv39k, "mafw": write_mafw}
MODULES = {"dfew": dfew, "ferv39k": ferv39k, "mafw": mafw}

FRAMES = ("{0}_1.jpg", "{0}_2.jpg", "{0}_3.jpg")
"""Images of a clip."""

BRIGHT, DARK = 120, 20


class BrightFaces:
    """A detector that sees one face in bright frames; it takes so much of their height."""

    def __init__(self, share=0.5):
        self._share = share

    def detect(self, image_rgb):
        if image_rgb.mean() < (BRIGHT + DARK) / 2:
            return []
        side = self._share * image_rgb.shape[0]
        return [Face(np.array([2.0, 0, 2 + side, side]), side * TEMPLATE, 0.95)]


def publish(patch, kind, frames=None):
    """Let the few clips of a set be all that its module knows as published.

    `frames` is what is published about their frames, by the name of the media.
    """
    module = MODULES[kind]
    official = module.OFFICIAL
    lists = {}
    for name, clips in sides(CLIPS[kind], len(official.lists) // 2).items():
        counted = Counter(clips.values())
        counts = tuple(counted[class_name] for class_name in official.class_names)
        lists[name] = OfficialList(counts, fingerprint(official.line(*c) for c in clips.items()))
    patch.setattr(module, "OFFICIAL", replace(official, lists=lists, frames=frames or {}))


def write_set(root, kind):
    """Write the lists of a set, and a folder of images for each clip."""
    LISTS[kind](root, CLIPS[kind])
    folder = root / FACES[kind]
    for clip_id in CLIPS[kind]:
        put_clips((folder / clip_id).parent, [clip_id.rpartition("/")[2]], FRAMES)
    return root


def paint(grey, side=96):
    """Give a square of one grey."""
    return np.full((side, side, 3), grey, dtype=np.uint8)


def paint_video(path, grey, num_frames=3):
    """Write a video of one grey."""
    write_video(path, [paint(grey)] * num_frames, fps=25)


def write_mafw_videos(root, dark=()):
    """Write the lists of MAFW and its clips as plain videos, of which some show no face."""
    write_mafw(root, MAFW_FEW)
    for clip_id in MAFW_FEW:
        grey = DARK if clip_id in dark else BRIGHT
        paint_video(root / "data" / "clips" / f"{clip_id}.mp4", grey)
    return root


def work_here(tasks, start, shares, **options):
    """Do tasks in this process instead of in workers, which take a while to start."""
    work = start()
    for task in tasks:
        yield task, work(task, None)


def crop_here(patch):
    """Crop in this process, by a detector that sees faces in bright frames."""
    for module in ("plan", "run", "crops"):
        patch.setattr(f"dfercli.preprocess.{module}.load_detector", lambda name: BrightFaces())
    patch.setattr("dfercli.preprocess.crops.run_in_workers", work_here)


def look_at(folder):
    """Give all that lies below a folder, hidden too: bytes of each file, None for a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }
