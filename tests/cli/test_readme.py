"""README's example of one's own videos, with drawn people in them."""

import re
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from preprocess.small_sets import work_here

from dfercli.data.loaders import check_frames
from dfercli.data.manifest import read_manifest
from dfercli.demo.drawing import make_person
from dfercli.demo.videos import draw_video
from dfercli.media.images import write_image
from dfercli.media.video_writer import write_video

README = Path(__file__).parents[2] / "README.md"
NUM_FRAMES = 4


def _example():
    """The list and the commands that README shows under its heading."""
    text = README.read_text(encoding="utf-8")
    section = text.split("## Your own videos\n")[1].split("\n## ")[0]
    labels, commands = re.findall(r"^```\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE)[:2]
    return labels, commands.splitlines()


@pytest.fixture
def videos(dfer, monkeypatch):
    """Draw what the list names, in the folder that README names."""
    labels, _ = _example()
    root = Path("my-videos")
    root.mkdir()
    (root / "labels.csv").write_text(labels, encoding="utf-8")
    listed = pd.read_csv(root / "labels.csv")
    for row in listed.itertuples():
        person = make_person(0, sorted(set(listed["group"])).index(row.group))
        drawn = draw_video(person, row.label, np.random.default_rng(row.Index))
        frames = islice(drawn, NUM_FRAMES)
        if Path(row.path).suffix:
            write_video(root / row.path, frames, fps=12.5)
            continue
        (root / row.path).mkdir(parents=True)
        for number, image_rgb in enumerate(frames):
            write_image(root / row.path / f"{number}.png", image_rgb)
    monkeypatch.setattr("dfercli.preprocess.crops.run_in_workers", work_here)
    return listed


@pytest.mark.slow
def test_ones_own_videos_are_preprocessed_as_readme_says(videos, dfer):
    _, commands = _example()
    assert commands[0] == "dfer preprocess --dataset folder --root my-videos --detector mtcnn"
    assert {bool(Path(path).suffix) for path in videos["path"]} == {True, False}
    done = dfer(commands[0].removeprefix("dfer "))
    assert (done.code, done.out.splitlines()) == (
        0,
        [
            "6 done; faces in my-videos/faces-mtcnn-224, manifest data_manifests/my-videos.csv",
            "clips: 6 (happiness 3, anger 3); by test fold 1: 2, 2: 1, 3: 1, 4: 1, 5: 1",
        ],
    )
    manifest = read_manifest(Path("data_manifests", "my-videos.csv"))
    rows = manifest.rows
    assert rows["group"].tolist() == videos["group"].tolist()
    assert rows["label"].tolist() == videos["label"].tolist()
    assert set(rows["n_frames"]) == {NUM_FRAMES}
    assert manifest.folds == (1, 2, 3, 4, 5)
    assert rows.groupby("group")["test_fold"].nunique().tolist() == [1] * 5
    check_frames(manifest, Path("my-videos"))
    assert dfer(commands[0].removeprefix("dfer ")).out.startswith(f"{len(videos)} reused; ")
