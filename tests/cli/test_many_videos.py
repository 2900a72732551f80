"""`dfer predict` with several videos: what is refused before any work, printed, and written."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import hostile
import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from predict.batch import by_hand

from dfercli.config import ModelConfig
from dfercli.faces.align import CropRecipe
from dfercli.media.images import write_image
from dfercli.media.video import read_frames
from dfercli.media.video_writer import write_video
from dfercli.models.base import build_model
from dfercli.predict import predictor
from dfercli.runs.checkpoint import save_checkpoint


@pytest.fixture
def videos(dfer):
    """A face, the same in another container, nobody, and what is no video; and a checkpoint."""
    config = ModelConfig(backbone="demo-ViT-tiny", weights="random")
    crop = asdict(CropRecipe("mtcnn", 48))
    save_checkpoint(build_model(config, ("happiness", "sadness"), crop), Path("model"))
    Path("v/n").mkdir(parents=True)
    hostile.write(Path("v/a.mp4"), hostile.draw_faces(), "mp4v")
    hostile.write(Path("v/n/a.avi"), hostile.draw_faces(4), "MJPG")
    write_video(Path("v/grey.mp4"), [np.full((48, 64, 3), 128, np.uint8)] * 8, 12.5)
    Path("v/text.mp4").write_text("no video")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("v --out x.txt", "unknown suffix of --out x.txt; use one of .json, .jsonl, .csv, "),
        ("v --out v/text.mp4/x.csv", "cannot write v/text.mp4/x.csv: "),
        ("v --plot v/text.mp4/plots", "cannot write v/text.mp4/plots: "),
        (
            "v --plot x.png",
            "--plot x.png is a single file, but there are several videos; use a folder",
        ),
        (
            "v --annotate x.mp4",
            "--annotate x.mp4 is a single file, but there are several videos; use ",
        ),
        ("v --annotate v", "the output of v/a.mp4 would replace the input v/a.mp4; choose another"),
        ("v/a.mp4 --plot x.gif", "cannot draw x.gif: unknown suffix; use one of .png, .pdf, .svg"),
        ("v/a.mp4 --annotate x.avi", "cannot write a video to x.avi: its name must end in .mp4"),
        ("v/a.mp4 --annotate v/a.mp4", "v/a.mp4 is the input video; choose another name for"),
        (
            "0 --annotate x.mp4",
            "--annotate does not work with streams and cameras (0), because it r",
        ),
        ("v rtsp://h/a --annotate x", "--annotate does not work with streams and cameras (rtsp:/"),
        ("v --zero-shot --checkpoint model", "--zero-shot and --checkpoint both choose the model"),
    ],
)
@pytest.mark.usefixtures("videos")
def test_what_cannot_be_written_is_refused_before_any_work(line, said, dfer):
    before = sorted(Path().rglob("*"))
    done = dfer(f"predict {line}")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {said}")
    assert done.err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


@pytest.mark.slow
@pytest.mark.usefixtures("videos")
def test_the_process_that_starts_others_loads_no_model(dfer, monkeypatch):
    """For want of memory the kernel takes the largest: it must not be the one with the journal."""
    monkeypatch.setattr(predictor, "load_checkpoint", lambda where: pytest.fail("loaded"))
    done = dfer("predict v/a.mp4 v/n/a.avi --checkpoint model --jobs 2 --out r.json")
    assert done.code == 0, done.err
    assert json.loads(Path("r.json").read_text())["class_names"] == ["happiness", "sadness"]
    again = dfer("predict v/a.mp4 v/n/a.avi --checkpoint model --out r.json")  # nothing to read
    assert again.code == 0, again.err


@pytest.mark.slow
@pytest.mark.usefixtures("videos")
def test_the_same_call_again_does_not_read_what_it_has_written(dfer):
    shutil.copy("v/a.mp4", "b.mp4")
    for typed in (".", "v b.mp4", "**/*.mp4"):
        lines = []
        for _ in range(2):
            call = f"predict {typed} --checkpoint model --out r.csv"
            done = dfer(f"{call} --annotate annotated --plot v/plots")
            assert done.code == 4  # for v/text.mp4
            lines.append({line.partition(":")[0] for line in done.out.splitlines()[:-1]})
        assert lines[0] == lines[1]
        assert "already predicted, skipped: " in done.err
        shutil.rmtree("annotated")
        shutil.rmtree("v/plots")
    shutil.rmtree("v")
    done = dfer("predict . --checkpoint model --annotate c.mp4 --plot c.png")
    assert (done.code, len(done.err.splitlines())) == (0, 4)
    assert "picture: c.png\nannotated: c.mp4" in done.err
    before = Path("c.mp4").read_bytes()  # who has made it cannot be known
    again = dfer("predict . --checkpoint model --annotate c.mp4")
    assert again.code == 1
    assert "--annotate c.mp4 is a single file, but there are several videos" in again.err
    assert Path("c.mp4").read_bytes() == before
    assert dfer("predict b.mp4 c.mp4 --checkpoint model --annotate .").code == 1


@pytest.mark.usefixtures("videos")
def test_pictures_do_not_get_among_images_that_are_read(dfer):
    for name in ("f/1.png", "f/2.png", "p/anna.jpg", "p/bob.jpg"):
        Path(name).parent.mkdir(exist_ok=True)
        write_image(Path(name), hostile.draw_faces()[0])
    for line in ("f --plot f/x.png", "f p --plot f", "p --plot p", "p --annotate p", "p --plot ."):
        done = dfer(f"predict {line} --checkpoint model")
        if line == "p --plot .":
            assert (done.code, sorted(path.name for path in Path().glob("*.png"))) == (
                0,
                ["anna.png", "bob.png"],
            )
            continue
        where = line.split()[-1]
        assert (done.code, done.out) == (1, "")
        assert done.err == (
            f"error: {line.split()[-2]} {where} is in a folder of input images, so the next "
            f"call would read the output as input; choose another folder\n"
        )


@pytest.mark.usefixtures("videos")
def test_a_missing_video_is_that_whatever_is_to_be_made_of_it(dfer):
    for missing in ("gone.mp4", "x" * 300):
        done = dfer(f"predict {missing} --checkpoint model --annotate v/a.mp4")
        assert done.code == 4
        assert "is the video itself" not in done.err


@pytest.mark.usefixtures("videos")
def test_two_streams_need_two_jobs(dfer):
    done = dfer("predict rtsp://h/a rtsp://h/b --checkpoint model")
    assert done.err.splitlines()[-1] == (
        "error: 2 streams need 2 processes; use --jobs 2, or fewer streams"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("videos")
def test_several_videos_are_a_line_each_and_a_summary(dfer):
    done = dfer("predict v --checkpoint model --out x.csv --plot plots --annotate annotated")
    assert done.code == 4
    first, grey, last, summary = done.out.splitlines()
    assert first.startswith("v/a.mp4: 0.8 s, 1 face: ")
    assert grey == "v/grey.mp4: no face; frames searched: 5"
    assert last.startswith("v/n/a.avi: 0.8 s, 1 face: ")
    assert summary.startswith("4 videos in ")
    assert summary.endswith(" s: 2 predicted, 1 without a face, 1 unreadable")
    assert done.err.splitlines()[0] == "checkpoint: model"
    (error,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: cannot read v/text.mp4: ")
    assert done.err.splitlines()[-1] == "written: x.csv"
    pictures = sorted(p.as_posix() for f in ("plots", "annotated") for p in Path(f).rglob("*.*"))
    assert [path for path in pictures if not path.endswith(".dfer")] == [
        "annotated/a.mp4",
        "annotated/n/a.mp4",
        "plots/a.png",
        "plots/n/a.png",
    ]
    table = pd.read_csv("x.csv")
    assert table["video"].tolist() == ["v/a.mp4", "v/n/a.avi"]
    again = dfer("predict v --checkpoint model --out x.csv --plot plots --annotate annotated")
    assert "already predicted, skipped: 3\n" in again.err
    assert again.out.splitlines()[0] == "v/a.mp4: ok, already predicted"
    other = dfer("predict v --checkpoint model --out x.csv --window-s 0.5")
    assert "changed or predicted with other settings, predicted again: 3\n" in other.err
    assert len(pd.read_csv("x.csv")) > len(table)
    before = Path("plots/a.png").read_bytes()
    drawn = dfer("predict v --checkpoint model --out x.csv --window-s 0.5 --plot plots --jobs 2")
    assert "picture: plots/a.png\npicture: plots/n/a.png\nwritten: x.csv\n" in drawn.err
    assert Path("plots/a.png").read_bytes() != before


@pytest.mark.usefixtures("videos")
def test_the_document_is_printed_and_nothing_else(dfer):
    done = dfer("predict v v/n/a.avi --checkpoint model --json --out x.json")
    assert done.code == 4
    document = json.loads(done.out)
    Draft202012Validator(by_hand.load_schema()).validate(document)
    assert done.out == Path("x.json").read_text(encoding="utf-8")
    assert [(v["video"], v["status"]) for v in document["videos"]] == [
        ("v/a.mp4", "ok"),
        ("v/grey.mp4", "no face"),
        ("v/n/a.avi", "ok"),
        ("v/text.mp4", "unreadable"),
    ]
    assert document["settings"]["window_s"] == 2.0
    nobody = dfer("predict v/grey.mp4 v/a.mp4 --checkpoint model --json")
    assert (nobody.code, len(json.loads(nobody.out)["videos"])) == (3, 2)


@pytest.mark.usefixtures("videos")
def test_one_video_is_printed_as_it_is_read(dfer):
    done = dfer("predict v/a.mp4 --checkpoint model --plot x.png --out x.parquet")
    assert done.code == 0
    assert "face 1" in done.out
    assert done.err.splitlines() == [
        "checkpoint: model",
        "model: model, trained on unknown data; not calibrated",
        "picture: x.png",
        "written: x.parquet",
    ]
    assert len(pd.read_parquet("x.parquet")) == 1
    into = dfer("predict v/a.mp4 --checkpoint model --plot pictures")
    assert into.err.splitlines()[2:] == ["picture: pictures/a.png"]


@pytest.mark.slow
@pytest.mark.usefixtures("videos")
def test_without_pictures_neither_training_nor_matplotlib_is_loaded():
    code = (
        "import sys; from dfercli.cli import app\n"
        "try: app()\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    call = ["predict", "v/a.mp4", "--checkpoint", "model", "--device", "cpu", "--out", "x.json"]
    done = subprocess.run([sys.executable, "-c", code, *call], capture_output=True, text=True)
    assert (done.returncode, Path("x.json").is_file()) == (0, True), done.stderr
    loaded = done.stderr.splitlines()[-1].split()
    assert "dfercli.predict.batch.predict_all" in loaded
    packages = ("ablation", "evaluation", "jobs", "report", "training", "visualize.timeline")
    unwanted = ("matplotlib", "accelerate", "sklearn", *(f"dfercli.{name}" for name in packages))
    assert [name for name in loaded if name.startswith(unwanted)] == []


def test_no_model_is_needed_to_say_that_nothing_is_there(dfer):
    done = dfer("predict gone.mp4 foo://bar")
    assert done.code == 4
    assert re.fullmatch(r"2 videos in \d+ s: 2 unreadable\n", done.out)
    assert done.err.splitlines()[0] == "error: gone.mp4: no such file or folder"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "jobs", "code"),
    [
        (signal.SIGINT, 2, 130),
        (signal.SIGTERM, 1, 143),
        (signal.SIGTERM, 2, 143),
        (signal.SIGHUP, 2, 129),
    ],
)
@pytest.mark.usefixtures("videos")
def test_a_call_that_is_ended_leaves_nothing_half(number, jobs, code):
    frames = hostile.draw_faces() * 600
    for name in "xy":
        Path("w").mkdir(exist_ok=True)
        hostile.write(Path(f"w/{name}.avi"), frames, "MJPG", fps=500)
    call = f"-m dfercli predict w --checkpoint model --annotate out --jobs {jobs}".split()
    with subprocess.Popen([sys.executable, *call], start_new_session=True) as run:
        until_s = time.monotonic() + 60
        while len(list(Path("out").glob(".dfer-*/picture.mp4"))) < jobs:
            assert run.poll() is None and time.monotonic() < until_s
            time.sleep(0.05)
        run.send_signal(number)
        assert run.wait(30) == code
    until_s = time.monotonic() + 10
    while list(Path("out").glob(".dfer-*")) and time.monotonic() < until_s:
        time.sleep(0.1)  # processes whose parent is gone end a little later
    left = {path.name for path in Path("out").iterdir()} - {".dfer"}
    assert left in (set(), {"x.mp4"}, {"y.mp4"})  # both were being written
    for name in left:  # it was whole before the signal came
        assert sum(1 for _ in read_frames(Path("out") / name)) == len(frames)
