"""A healthy manifest of own videos."""

import pandas as pd
import pytest
from data.official_trees import JPEG

from dfercli.data.manifest import Manifest, write_manifest
from dfercli.faces.align import CropRecipe

NUM_FRAMES = 16
COLUMNS = ["clip_id", "path", "n_frames", "label", "test_fold", "group"]
CLASSES = ("happiness", "anger")


@pytest.fixture
def healthy(tmp_path):
    """Path of a healthy manifest: two people, each with a clip of each class and a fold."""
    rows = []
    for fold, person in enumerate(("anna", "ben"), start=1):
        for label in CLASSES:
            clip_id = f"{person}/{label}"
            (tmp_path / "root" / "faces" / clip_id).mkdir(parents=True)
            for number in range(NUM_FRAMES):
                path = tmp_path / "root" / "faces" / clip_id / f"{number}.jpg"
                path.write_bytes(JPEG)
            rows.append((clip_id, f"faces/{clip_id}", NUM_FRAMES, label, fold, person))
    lines = [f"{clip_id}.mp4,{label},{group}\n" for clip_id, _, _, label, _, group in rows]
    (tmp_path / "root" / "labels.csv").write_text("path,label,group\n" + "".join(lines))
    crop = vars(CropRecipe("mtcnn", 32))
    table = pd.DataFrame(rows, columns=COLUMNS)
    root = (tmp_path / "root").as_posix()
    path = tmp_path / "manifests" / "own.csv"
    write_manifest(Manifest("own", table, CLASSES, crop, root, 2), path)
    return path
