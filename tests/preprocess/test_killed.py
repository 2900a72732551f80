"""A call that is killed at any moment, again and again, and what the last one leaves."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dfercli.demo.drawing import make_person
from dfercli.demo.videos import draw_video
from dfercli.media.video_writer import write_video

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no SIGKILL and no process groups"
)

NUM_CLIPS = 24
NUM_KILLS = 10
COMMAND = [sys.executable, "-m", "dfercli", "preprocess", "--dataset", "folder", "--root", "data"]
OPTIONS = ["--detector", "mtcnn", "--size", "64", "--jobs", "2"]


def _start(folder):
    """Start the command as the leader of a group of processes."""
    return subprocess.Popen(
        [*COMMAND, *OPTIONS],
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(folder):
    process = _start(folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def _contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _wait_for_orphans(group):
    """Wait until no process of a group is left."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("processes outlive the one that started them")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A working folder with a dataset of many videos, of which a few differ."""
    folder = tmp_path_factory.mktemp("killed")
    videos = folder / "data" / "videos"
    for index, expression in enumerate(("happiness", "surprise", "anger")):
        frames = draw_video(make_person(0, index), expression, np.random.default_rng(0))
        write_video(videos / f"{index:02d}.mp4", frames, fps=25)
    for index in range(3, NUM_CLIPS):
        shutil.copy2(videos / f"{index % 3:02d}.mp4", videos / f"{index:02d}.mp4")
    lines = [f"videos/{index:02d}.mp4,{'abc'[index % 3]}" for index in range(NUM_CLIPS)]
    labels = folder / "data" / "labels.csv"
    labels.write_text("\n".join(["path,label", *lines, ""]), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_killed_ten_times_it_ends_as_if_undisturbed(dataset, tmp_path):
    calm, harried = (
        Path(shutil.copytree(dataset, tmp_path / name)) for name in ("calm", "harried")
    )
    _finish(calm)
    rng = np.random.default_rng(0)
    for _ in range(NUM_KILLS):
        process = _start(harried)
        time.sleep(rng.uniform(0.5, 3.5))
        os.kill(process.pid, signal.SIGKILL)  # it alone: its workers have to notice
        process.communicate()
        _wait_for_orphans(process.pid)
    _finish(harried)
    assert _contents(harried) == _contents(calm)


@pytest.mark.slow
def test_two_calls_do_not_crop_into_one_folder(dataset, tmp_path):
    folder = Path(shutil.copytree(dataset, tmp_path / "busy"))
    first = _start(folder)
    lock = folder / "data" / "faces-mtcnn-64" / ".lock"
    while not lock.exists():
        assert first.poll() is None
        time.sleep(0.01)
    second = _start(folder)
    _, errors = second.communicate(timeout=60)
    assert (second.returncode, errors.splitlines()[-1]) == (
        1,
        "error: another dfer process is writing to data/faces-mtcnn-64; wait until it has finished",
    )
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 0, errors
