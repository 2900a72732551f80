"""Whatever lies where dfer writes: a file that was there before, and is not dfer's, is there after.

Names, links and layouts are drawn; a call may do its work or refuse it, but in one line.
"""

import csv
import stat
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from places import a_place, find_files, nothing_is_lost, put, write_thesis
from predict.batch import by_hand
from preprocess.small_sets import BRIGHT, BrightFaces, paint_video

from dfercli.data.sources.base import Choices
from dfercli.data.sources.folder import LABELS_FILE
from dfercli.errors import DferError
from dfercli.faces.align import CropRecipe
from dfercli.files import write_json, write_text
from dfercli.predict.batch.artifacts import check_out, plan_artifacts
from dfercli.predict.batch.inputs import find_inputs
from dfercli.predict.batch.journal import open_journal
from dfercli.predict.batch.predict_all import Recorder, Task, predict_all
from dfercli.predict.model_info import PredictSettings
from dfercli.preprocess import crops
from dfercli.preprocess.plan import plan_preprocess
from dfercli.preprocess.run import preprocess
from dfercli.report.page import Picture, Section, check_page, write_page, write_pictures

RECIPE = CropRecipe("mtcnn", 32)
FACES = "data/faces-mtcnn-32"
RUN = "runs/colours/zero-shot/fold1"

NASTY = ("...mp4", "..mp4", ".mp4", "a/..mp4", "a/...mp4", ".lock.mp4", "recipe.json.mp4")
NASTY += (".dfer.mp4", "con.mp4", "LPT1.x.mp4", "a .mp4", "a..mp4", "b\\c.mp4", f"{'n' * 250}.mp4")
PLAIN = ("a.mp4", "b.mp4", "p/a.mp4", "p/q/b.mp4", "documents.mp4", "faces.mp4", "crop.json/c.mp4")

FEW = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""Each example works in a folder of its own; a deadline would only measure the machine."""


def layouts(*places):
    """Draw what lies at some of these places: a file, a folder of somebody's, or a link to one."""
    kinds = st.sampled_from(("file", "folder", "link", "link to a file", "loop"))
    return st.dictionaries(st.sampled_from(places), kinds, min_size=1, max_size=4)


def crop_here(sources, root, faces, recipe, jobs):
    for source in sources:
        yield crops.crop_clip(source, root, faces, recipe.size, BrightFaces())


@pytest.fixture
def cropping_here():
    with (
        patch.object(crops, "_crop_in_processes", crop_here),
        patch("dfercli.preprocess.run.load_detector", lambda name: BrightFaces()),
    ):
        yield


@FEW
@given(
    videos=st.lists(st.sampled_from(NASTY + PLAIN), unique=True, min_size=2, max_size=4),
    layout=layouts(
        *(
            f"{FACES}{below}"
            for below in ("", "/a", "/p", "/p/a", "/.a.partial/x", "/.lock", "/b/x")
        ),
        *(f"manifests/{name}" for name in ("own.csv", "own.json", "review", ".own.csv.partial")),
        *(f"manifests/review/{name}" for name in ("own.csv", "own-worst.png", ".dfer")),
        f"{FACES}/recipe.json",
        f"{FACES}/a/crop.json",
    ),
    made_before=st.booleans(),
)
def test_preprocess(videos, layout, made_before, cropping_here):
    with a_place({}) as folder:
        root = Path("data")
        for name in videos:
            put_video(root / name)
        with (root / LABELS_FILE).open("w", encoding="utf-8", newline="") as stream:
            rows = [(name, "anger" if i % 2 else "fear") for i, name in enumerate(videos)]
            csv.writer(stream).writerows([("path", "label"), *rows])
        if made_before:  # an earlier call has made the folder of crops, and its owner uses it
            Path(FACES).mkdir()
            write_json(Path(FACES, "recipe.json"), asdict(RECIPE))
        own = {Path(FACES, "recipe.json").absolute()} if made_before else set()
        for place, kind in sorted(layout.items()):
            put(Path(place), kind)
        before = find_files(folder)
        try:
            plan = plan_preprocess(
                "folder", root, Path("manifests/own.csv"), RECIPE, Choices(num_folds=2)
            )
            preprocess(plan)
        except (DferError, OSError) as error:  # which the command line tells in one line
            assert "\n" not in str(error)
        after = find_files(folder)
        for path, content in before.items():
            if path.absolute() not in own:
                assert after.get(path) == content, path


def put_video(path):
    """Write a short video of a bright square by whatever name; its bytes need no name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(VIDEO)


def _make_video():
    with tempfile.TemporaryDirectory() as folder:
        paint_video(Path(folder, "bright.mp4"), BRIGHT)
        return Path(folder, "bright.mp4").read_bytes()


VIDEO = _make_video()


@pytest.mark.slow
@settings(FEW, max_examples=25)
@given(
    layout=layouts(
        *(f"{RUN}{below}" for below in ("", "/notes.txt", "/best", "/best/thesis.txt", "/resume")),
        *(f"{RUN}{below}" for below in ("/logs/x", "/run.json", "/resume/epoch1", "/last/x")),
        *(f"{Path(RUN).parent}/{name}" for name in (".fold1.lock", ".fold1.old", "report.html")),
    ),
    trained_before=st.booleans(),
    overwrite=st.booleans(),
)
@example(layout={f"{RUN}/run.json": "loop"}, trained_before=False, overwrite=False)
def test_train(layout, trained_before, overwrite, make_run):
    from dfercli.training.loop import train_fold

    config = make_run(model={"method": "zero-shot"})
    with a_place({}) as folder:
        if trained_before:
            train_fold(config, Path("runs"))
        own = set(find_files(folder / "runs"))
        for place, kind in sorted(layout.items()):
            put(Path(place), kind)
        before = find_files(folder)
        try:
            train_fold(config, Path("runs"), overwrite=overwrite)
        except (DferError, OSError) as error:  # which the command line tells in one line
            assert "\n" not in str(error)
        after = find_files(folder)
        for path, content in before.items():
            if path not in own:
                assert after.get(path) == content, path


@FEW
@given(
    layout=layouts(
        "out/a.png",
        "out/b.png",
        "out/.a.png.partial",
        "out/.dfer",
        "out",
        *(name for suffix in ("json", "csv", "jsonl") for name in (f"x.{suffix}", f".x.{suffix}")),
        *(
            f".x.{suffix}.{end}"
            for suffix in ("json", "csv", "jsonl")
            for end in ("journal", "lock", "partial")
        ),
    ),
    suffix=st.sampled_from(("json", "csv", "jsonl")),
)
def test_predict(layout, suffix):
    with a_place(layout) as folder:
        for name in ("a.mp4", "b.mp4"):
            Path("videos").mkdir(exist_ok=True)
            Path("videos", name).write_text('{"windows": [0.0]}')
        with nothing_is_lost(folder), patch("dfercli.visualize.timeline.plot_prediction", plot):
            inputs = find_inputs(["videos"])
            out = Path(f"x.{suffix}")
            check_out(out, inputs)
            artifacts = plan_artifacts(inputs, Path("out"), None)
            task = Task(by_hand.make_fake, PredictSettings(), artifacts)
            with open_journal([out], by_hand.ORIGIN, inputs) as journal:
                predict_all(inputs, task, Recorder(journal=journal))
                journal.finish([each.title for each in inputs])


def plot(prediction, path):
    write_text(path, "a picture")


@FEW
@given(layout=layouts("report.html", ".report.html.partial", "pictures", "pictures/curves-1.png"))
def test_report(layout):
    from dfercli.media.figure_style import to_png

    section = Section("Curves", [Picture(_draw_png(to_png), "a curve", "A curve.")])
    with a_place(layout) as folder, nothing_is_lost(folder):
        path = Path("report.html")
        check_page(path)
        write_page("A run", {}, [section], path)
        write_pictures([section], Path("pictures"))


def _draw_png(to_png):
    from matplotlib.figure import Figure

    if not _DRAWN:
        _DRAWN.append(to_png(Figure(figsize=(1, 1))))
    return _DRAWN[0]


_DRAWN: list[bytes] = []


def test_push_and_its_dry_run_change_nothing(make_run, tmp_path):
    from dfercli.publish.hub import prepare
    from dfercli.training.loop import train_fold

    run = train_fold(make_run(model={"method": "zero-shot"}), tmp_path)
    write_thesis(tmp_path / "model" / "README.md")
    for name in ("config.json", "model.safetensors"):
        (run.path / "best" / name).rename(tmp_path / "model" / name)
    before = find_files(tmp_path)
    prepare(str(tmp_path / "model"), "somebody/model")
    assert find_files(tmp_path) == before


@pytest.mark.parametrize("name", NASTY)
def test_a_name_that_no_folder_may_have_is_refused_before_anything_is_written(
    name, tmp_path, monkeypatch, cropping_here
):
    """`...mp4` loses its suffix to `..`: replacing that folder removed the whole dataset."""
    monkeypatch.chdir(tmp_path)
    for path in (name, "p/good.mp4"):
        put_video(Path("data", path))
    Path("data", LABELS_FILE).write_text(f"path,label\n{name},anger\np/good.mp4,fear\n")
    before = find_files(tmp_path)
    with pytest.raises(DferError) as caught:
        preprocess(plan_preprocess("folder", Path("data"), Path("own.csv"), RECIPE, Choices()))
    assert "\n" not in str(caught.value)
    assert find_files(tmp_path) == before


def test_a_link_to_a_folder_of_ours_on_another_disk_goes_on_working(
    tmp_path, monkeypatch, cropping_here
):
    monkeypatch.chdir(tmp_path)
    put_video(Path("data/a.mp4"))
    put_video(Path("data/b.mp4"))
    Path("data", LABELS_FILE).write_text("path,label\na.mp4,anger\nb.mp4,fear\n")
    Path("disk").mkdir()
    Path(FACES).symlink_to(Path("disk").absolute())
    plan = plan_preprocess("folder", Path("data"), Path("own.csv"), RECIPE, Choices(num_folds=2))
    assert preprocess(plan).counts == {"done": 2}
    assert preprocess(plan).counts == {"reused": 2}
    assert Path("disk/a/000001.jpg").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_face_crops_are_for_their_owner_alone(tmp_path, cropping_here):
    list(crops.crop_clips([], tmp_path, tmp_path / "faces", RECIPE))
    assert stat.S_IMODE((tmp_path / "faces").stat().st_mode) == 0o700
