"""Lists in the official formats with the published counts, and trees of a few clips.

Which clip is in which fold and class is made up; the numbers are the published ones.
"""

import hashlib
import io
from collections import defaultdict
from dataclasses import replace

import numpy as np
from PIL import Image

from dfercli.data.sources import dfew, ferv39k, mafw

DFEW_LISTS = "EmoLabel_DataSplit/{side}(single-labeled)/set_{fold}.csv"
FERV39K_LISTS = "4_setups/All_scenes/{side}_All.csv"
MAFW_LISTS = "Train & Test Set/single/no_caption/set_{fold}/{side}.txt"

DFEW_CODES = {
    "happiness": 1,
    "sadness": 2,
    "neutral": 3,
    "anger": 4,
    "surprise": 5,
    "disgust": 6,
    "fear": 7,
}
FERV39K_WORDS = {
    "happiness": "Happy",
    "sadness": "Sad",
    "neutral": "Neutral",
    "anger": "Angry",
    "surprise": "Surprise",
    "disgust": "Disgust",
    "fear": "Fear",
}

DFEW_FEW = {
    f"{number:05d}": ("fear" if number <= 5 else "sadness", (number - 1) % 5 + 1)
    for number in range(1, 11)
}
"""Ten clips: each fold tests one of fear, whose code is the largest, and one of sadness."""

MAFW_FEW = {
    f"{number:05d}": ("neutral" if number % 2 else "contempt", number % 5 + 1)
    for number in range(19, 29)
}

FERV39K_FEW = {
    "Action/Happy/0000": ("happiness", 0),
    "Action/Happy/0001": ("happiness", 1),
    "DailyLife/Sad/0000": ("sadness", 1),
    "OfficialEvent/Fear/0000": ("fear", 0),
}


def deal_five(official, numbers):
    """Class and test fold by clip: numbers in any order, as the test lists count them."""
    order = iter(np.random.default_rng(0).permutation(numbers).tolist())
    return {
        f"{next(order):05d}": (class_name, fold)
        for (side, fold), known in official.lists.items()
        if side == "test"
        for class_name, count in zip(official.class_names, known.counts, strict=True)
        for _ in range(count)
    }


def dfew_clips():
    return deal_five(dfew.OFFICIAL, range(1, 16373))


def mafw_clips():
    return deal_five(mafw.OFFICIAL, range(19, 20099))


def ferv39k_clips():
    """Clips of each emotion, spread over the scenes without a gap."""
    rng, clips = np.random.default_rng(0), {}
    train, test = (ferv39k.OFFICIAL.lists[side, 1].counts for side in ("train", "test"))
    for index, (class_name, word) in enumerate(FERV39K_WORDS.items()):
        folds = rng.permutation([0] * train[index] + [1] * test[index]).tolist()
        numbers = defaultdict(int)
        for fold in folds:
            scene = ferv39k.SCENES[rng.integers(22)]
            clips[f"{scene}/{word}/{numbers[scene]:04d}"] = (class_name, fold)
            numbers[scene] += 1
    return clips


def sides(clips, num_folds):
    """Return clips and classes of each list; a fold trains on what it does not test."""
    return {
        (side, fold): {
            clip_id: class_name
            for clip_id, (class_name, tested) in clips.items()
            if (tested == fold) == (side == "test")
        }
        for fold in range(1, num_folds + 1)
        for side in ("train", "test")
    }


def dfew_line(clip_id, class_name):
    return f"{int(clip_id)},{DFEW_CODES[class_name]}"


def ferv39k_line(clip_id, class_name):
    return f"{clip_id} {FERV39K_WORDS[class_name]}"


def mafw_line(clip_id, class_name):
    return f"{clip_id}.mp4 {class_name}"


def write_lists(root, lists, where, line, header=None, end="\n", mark=b""):
    """Write each list; `where` is its path with the names `side` and `fold`."""
    for (side, fold), clips in lists.items():
        lines = [header] * bool(header) + [line(*item) for item in clips.items()]
        path = root / where.format(side=side, fold=fold)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mark + "".join(f"{text}{end}" for text in lines).encode())
    return root


def write_dfew(root, clips, where=DFEW_LISTS, **how):
    how = {"line": dfew_line, "header": "video_name,label"} | how
    return write_lists(root, sides(clips, 5), where, **how)


def write_ferv39k(root, clips, where=FERV39K_LISTS, **how):
    return write_lists(root, sides(clips, 1), where, **{"line": ferv39k_line} | how)


def write_mafw(root, clips, where=MAFW_LISTS, **how):
    return write_lists(root, sides(clips, 5), where, **{"line": mafw_line, "end": "\r\n"} | how)


def put_clips(folder, clip_ids, names=("{0}_00001.jpg", "{0}_00003.jpg")):
    """Put a folder of images for each clip; its name is filled into theirs."""
    for clip_id in clip_ids:
        (folder / clip_id).mkdir(parents=True)
        for name in names:
            (folder / clip_id / name.format(clip_id)).write_bytes(JPEG)


def put_files(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"any")


def with_fingerprints_of(official, lists, line):
    """Return what is published, but with the fingerprints of other lists."""
    known = {}
    for name, clips in lists.items():
        text = "\n".join(sorted(line(*item) for item in clips.items())) + "\n"
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        known[name] = replace(official.lists[name], fingerprint=digest)
    return replace(official, lists=known)


def _jpeg():
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 60, 10)).save(stream, "JPEG")
    return stream.getvalue()


JPEG = _jpeg()
