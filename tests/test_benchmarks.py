"""Every script in benchmarks/ runs, with settings that take it seconds, and writes where told."""

import importlib
import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfercli.data.manifest import COLUMNS, Manifest, write_manifest
from dfercli.demo.drawing import Action, Pose, draw_backdrop, draw_person, make_person
from dfercli.media.images import write_image
from dfercli.media.video_writer import write_video

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TINY = "--backbone demo-ViT-tiny"

RUNS = {
    "crop": "{video} --detector mtcnn --repeats 1",
    "doctor": "--clips 4 --frames 2",
    "dynamics": "--data {work} --datasets order --variants full --persons 2 1 --epochs 1 --seeds 0 "
    "--machine m --out {out}",
    "gpu": f"{TINY} --device cpu --precision fp32 --way eager --sizes 2 --steps 1 --sides 64 "
    "--clips 4 --rows 6 --workers 0 --video {video} --videos 2 --jobs 1 --large demo-ViT-tiny "
    "--large-size 2 --machine m --out {out}",
    "intervals": "--sets 8 --out {out}",
    "loader": "--clips 3 --frames 2 --repeats 1 --epochs 1 --workers 1 --watch cache --machine m "
    "--out {out}",
    "machine": "",
    "manifest": "--clips 50 --repeats 1",
    "networks": "--models c3d --sizes small --pairs 1 --write --machine m --out {out}",
    "predict": f"{{video}} {TINY} --seconds 1 --repeats 1 --write --out {{out}}",
    "temperature": "--runs 2 --out {out}",
    "train": f"{TINY} --device cpu --precision fp32 --steps 1 --repeats 1 --batch-size 2 "
    "--sides 64 --manifest {manifest} --cache {work} --workers 0 --machine m --out {out}",
    "workers": "--workers 2",
}
"""Arguments by script: small settings, and all that it writes in folders of the test."""

FIGURES = {
    "dynamics": ("dynamics-m.json", {"machine", "settings", "results"}),
    "gpu": ("gpu-m.json", {"machine", "results"}),
    "intervals": ("intervals.json", {"sets", "results"}),
    "loader": ("loader-m.json", {"machine", "settings", "results"}),
    "networks": ("networks-m.json", {"machine", "settings", "results"}),
    "predict": ("predict-*.json", {"machine", "seconds", "in_process", "command"}),
    "temperature": ("temperature.json", {"runs", "results"}),
    "train": ("train-m-fp32.json", {"machine", "settings", "results"}),
}
"""File and some entries of what a script writes; the others only print."""


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A second of a drawn face that nods."""
    path = tmp_path_factory.mktemp("video") / "face.mp4"
    person = make_person(3, 0)
    backdrop = draw_backdrop(person)
    poses = [Pose(pitch=0.05 * np.sin(index / 3)) for index in range(13)]
    write_video(path, [draw_person(person, Action(), pose, backdrop) for pose in poses], 12.5)
    return path


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Manifest of six clips of three frames."""
    root = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(6):
        (root / str(number)).mkdir()
        for frame in range(3):
            image_rgb = rng.integers(256, size=(48, 48, 3), dtype=np.uint8)
            write_image(root / str(number) / f"{frame + 1:06d}.jpg", image_rgb)
        rows.append((str(number), str(number), 3, ("anger", "happiness")[number % 2], number // 4))
    table = pd.DataFrame(rows, columns=[*COLUMNS])
    write_manifest(
        Manifest("noise", table, ("anger", "happiness"), None, str(root)), root / "noise.csv"
    )
    return root / "noise.csv"


def _list_results():
    files = (BENCHMARKS / "results").rglob("*")
    return {path: path.stat().st_mtime_ns for path in files if path.is_file()}


def test_every_script_is_run():
    scripts = {path.stem for path in BENCHMARKS.glob("*.py")}
    assert RUNS.keys() == scripts


@pytest.mark.slow
@pytest.mark.parametrize("script", RUNS)
def test_a_script_runs_and_writes_where_it_is_told(script, video, manifest, tmp_path):
    folders = {folder: tmp_path / folder for folder in ("here", "work", "out")}
    for folder in folders.values():
        folder.mkdir()
    filled = RUNS[script].format(
        video=video, manifest=manifest, work=folders["work"], out=folders["out"]
    )
    before = _list_results()
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{script}.py"), *filled.split()],
        cwd=folders["here"],
        env=os.environ | {"PYTHONPATH": str(BENCHMARKS.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(folders["here"].iterdir()) == []
    assert _list_results() == before
    if script not in FIGURES:
        assert list(folders["out"].iterdir()) == []
        assert bool(done.stdout) == (script != "machine")
        return
    pattern, entries = FIGURES[script]
    (path,) = folders["out"].iterdir()
    assert path.match(pattern)
    figures = json.loads(path.read_text(encoding="utf-8"))
    assert entries <= figures.keys()
    assert str(tmp_path) not in json.dumps(figures.get("machine"))
    if script == "gpu":  # there, a measurement that fails does not stop the others
        assert not any(
            {"failed", "left out"} & row.keys() for row in figures["results"]["rows"].values()
        )


def test_a_machine_that_says_little_is_described(monkeypatch):
    def missing(name, **options):
        raise PackageNotFoundError(name)

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    machine = importlib.import_module("machine")
    monkeypatch.setattr("importlib.metadata.version", missing)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", missing)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(machine, "CPU_INFO", Path("nowhere"))
    described = machine.describe_machine("torch", "opencv-python")
    assert described["cpu"]
    assert described["device"] == "CUDA GPU of unknown name"
    assert described["commit"] is None
    assert described["versions"].items() >= {"torch": None, "opencv-python": None}.items()
