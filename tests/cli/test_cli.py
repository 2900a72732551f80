"""Commands answer bad input with one line and an exit code."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest

from dfercli.cli import main
from dfercli.data.manifest import Manifest, read_manifest, write_manifest
from dfercli.errors import ConfigError
from dfercli.faces.align import CropRecipe
from dfercli.media.video_writer import write_video
from dfercli.models.base import build_model
from dfercli.runs.checkpoint import save_checkpoint

CLASSES = ("happiness", "sadness")


@pytest.fixture
def project(write_tiny, make_config):
    """Two folds of two clips each, a checkpoint that fits them, and a video without a face."""
    crop = asdict(CropRecipe("mtcnn", 32))
    table = write_tiny(crop)
    save_checkpoint(build_model(make_config(), CLASSES, crop), Path("model"))
    write_video(Path("grey.mp4"), [np.full((120, 160, 3), 128, np.uint8)] * 25, 12.5)
    return SimpleNamespace(table=table, crop=crop)


@pytest.mark.slow
def test_costs_are_counted_without_data(dfer):
    done = dfer("ablate --table 5 --dry-run --format json --backbone demo-ViT-tiny")
    assert done.code == 0
    rows = json.loads(done.out)["data"]["rows"]
    assert [row["visual_prompt"] for row in rows] == [False] * 6 + [True, True]
    printed = dfer("ablate --table 5 --dry-run --backbone demo-ViT-tiny").out
    assert "demo-ViT-tiny, 7 classes" in printed
    assert "still-image" not in printed
    line = "ablate --table 3 --still-image --dry-run --format json --backbone demo-ViT-tiny"
    rows = json.loads(dfer(line).out)["data"]["rows"]
    assert [row["row"] for row in rows] == ["no text", "text", "still-image baseline"]
    assert rows[-1]["trainable_parameters"] == 0
    printed = dfer("ablate --table 1 --models est --still-image --dry-run").out
    costs, readings = printed.split("settings of each row")
    assert "still-image baseline: not in the paper" in costs
    assert "still-image" not in readings
    assert list(Path().iterdir()) == []


@pytest.mark.slow
def test_table_1_is_counted_in_80_columns_and_says_what_settings_do_not_affect(dfer, monkeypatch):
    monkeypatch.setattr("dfercli.cli.printing.screen.width", 80)
    line = "ablate --table 1 --dry-run --width 0.125 --image-size 48 --sampling even"
    printed = dfer(line).out
    assert "…" not in printed
    assert max(map(len, printed.splitlines())) <= 80
    text = " ".join(printed.split())
    assert "--width does not affect CLIPER, DFER-CLIP, Baseline, Ours" in text
    assert "Published numbers are given for the settings of the papers only" in text
    rows = json.loads(dfer(f"{line} --format json --models c3d,ours").out)["data"]["rows"]
    assert [(row["model"], row["image_size"], row["sampling"]) for row in rows] == [
        ("c3d", 48, "even"),
        ("ours", 224, "even"),
    ]


def _unknown_label(project):
    project.table.loc[2, "label"] = "bliss"
    project.table.to_csv("data_manifests/tiny.csv", index=False)


def _path_outside(project):
    project.table.loc[1, "path"] = "../secret"
    project.table.to_csv("data_manifests/tiny.csv", index=False)


def _no_folds(project):
    project.table["test_fold"] = 0
    project.table.to_csv("data_manifests/tiny.csv", index=False)


def _other_classes(project):
    manifest = Manifest("tiny", project.table, CLASSES[::-1], project.crop, "data/tiny")
    write_manifest(manifest, Path("data_manifests", "tiny.csv"))


def _broken_video(project):
    Path("broken.mp4").write_bytes(b"no video")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "line", "said"),
    [
        (None, "train --dataset dfw", "no manifest of 'dfw' in data_manifests; known: tiny"),
        (None, "train --manifests none", "no manifest in none; `dfer preprocess` writes one"),
        (None, "preprocess --dataset dfw", "no dataset 'dfw'; known: "),
        (
            None,
            "train --weights gone.pt",
            "no weights 'gone.pt' for ViT-B-32-quickgelu: no such file; available tags: ",
        ),
        (None, "train --backbone ViT-B-33", "no backbone 'ViT-B-33'; known: "),
        (None, "train --folds 3", "no fold 3 in manifest tiny; its folds: 1, 2"),
        (None, "train --folds one", "invalid folds 'one'; use a form such as 1-5, 1,3 or 2"),
        (None, "train --epochs 5", "warmup_epochs is 5 and epochs is 5; warmup_epochs must be"),
        (
            None,
            "train --root elsewhere",
            "data folder elsewhere does not exist; set --root or $DFE",
        ),
        (None, "train --root data", "folder data/happiness1 does not exist; check that data is t"),
        (
            _unknown_label,
            "train",
            "data_manifests/tiny.csv line 4: label 'bliss' is not one of the classes happiness, "
            "sadn",
        ),
        (
            _path_outside,
            "train",
            "data_manifests/tiny.csv line 3: path '../secret' leaves the data root; ",
        ),
        (_no_folds, "train", "no clip of data_manifests/tiny.csv has a test fold; "),
        (None, "ablate --table 7", "no table '7'; known: 1, 2, 3, 4, 5"),
        (None, "eval", "no finished run in runs; train one with `dfer train`"),
        (None, "eval full", "no finished run in runs/*/full; train one with"),
        (
            None,
            "eval --checkpoint model --folds 1 --workers 0",
            "`dfer eval` reports finished runs; to test a checkpoint: dfer test model --folds 1 "
            "--workers 0",
        ),
        (
            None,
            "eval --device cpu --checkpoint=model",
            "`dfer eval` reports finished runs; to test a checkpoint: dfer test model --device cpu",
        ),
        (
            None,
            "eval --confusion --checkpoint",
            "`dfer eval` reports finished runs; to test a checkpoint: dfer test CHECKPOINT "
            "--confusion",
        ),
        (
            None,
            "eval full --checkpoint model --against baseline --folds 1",
            "`dfer eval` reports finished runs; to test a checkpoint: dfer test model --folds 1",
        ),
        (
            _other_classes,
            "test model --folds 1",
            "the checkpoint was trained on the classes happiness, sadness, but the data has ",
        ),
        (None, "test data --folds 1", "no config.json in data; it is not a checkpoint"),
        (None, "demo grey.mp4", "grey.mp4"),
        (
            None,
            "preprocess --dataset folder",
            "--dataset folder needs --root: the folder with labe",
        ),
        (None, "preprocess --dataset mafw --size 0 --detector mtcnn", "crops of 0 px are too"),
        (
            None,
            "predict grey.mp4 --checkpoint nothing",
            "no checkpoint 'nothing': there is no such folder, no such finished run in runs",
        ),
        (
            None,
            "predict grey.mp4 --checkpoint model --zero-shot",
            "--zero-shot and --checkpoint both choose the model; remove one of them",
        ),
        (
            None,
            "predict grey.mp4 --checkpoint model --plot line.jpg",
            "cannot draw line.jpg: unknown suffix; use one of .png, .pdf, .svg",
        ),
        (
            None,
            "predict grey.mp4 --checkpoint model --window-s 0",
            "invalid window of 0.0 s; it must be at least 0.125 s",
        ),
        (
            None,
            "predict grey.mp4 --checkpoint model --detector dlib",
            "no detector 'dlib'; known: face-alignment, mtcnn",
        ),
    ],
)
def test_an_error_is_one_line_on_stderr(prepare, line, said, project, dfer):
    if prepare:
        prepare(project)
    _check_error(dfer(line), said)
    assert not list(Path("runs").rglob("run.json"))


NOTES = ("dataset: ", "backbone: ", "recipe: ", "checkpoint: ")


def _check_error(done, said):
    assert done.code == 1
    assert done.out == ""
    *notes, last = done.err.splitlines()
    assert last.startswith(f"error: {said}")
    assert all(note.startswith(NOTES) for note in notes)


@pytest.mark.slow
@pytest.mark.usefixtures("project")
def test_weights_that_cannot_be_fetched_are_one_line(dfer, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no route to host\nsecond line")

    monkeypatch.setattr(open_clip.factory, "download_pretrained", no_network)
    said = "weights 'openai' of ViT-B-32-quickgelu are not cached and cannot be fetched (no network"
    _check_error(dfer("train --workers 0"), said)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gone.mp4", "gone.mp4: no such file or folder"),
        (
            "broken.mp4 --checkpoint model",
            "cannot read broken.mp4: no frame can be decoded; it may be incomplete, or not a video",
        ),
    ],
)
def test_a_video_that_cannot_be_read_is_one_line(line, said, project, dfer):
    _broken_video(project)
    done = dfer(f"predict {line}")
    assert (done.code, done.out) == (4, "")
    assert done.err.splitlines()[-1] == f"error: {said}"


@pytest.mark.usefixtures("project")
def test_a_video_without_a_face_has_its_own_exit_code(dfer):
    done = dfer("predict grey.mp4 --checkpoint model --plot line.png")
    assert (done.code, done.out) == (3, "")
    assert done.err.endswith(
        "error: no face in grey.mp4: 16 frames were searched for faces at least 16 pixels high, "
        "upright and towards the camera\n"
    )
    told = dfer("predict grey.mp4 --checkpoint model --json")
    assert told.code == 3
    assert [video["status"] for video in json.loads(told.out)["videos"]] == ["no face"]
    assert not Path("line.png").exists()


@pytest.mark.parametrize(
    "line", ["train --epochs few", "train --nothing", "fly", "predict", "--debug train -x"]
)
def test_a_wrong_option_is_exit_code_2(line, dfer):
    done = dfer(line)
    assert (done.code, done.out) == (2, "")
    assert "dfer" in done.err


@pytest.mark.usefixtures("project")
def test_debug_shows_where_an_error_arose(dfer, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dfer", "--debug", "train", "--folds", "one"])
    with pytest.raises(ConfigError, match="invalid folds 'one'"):
        main()
    _check_error(dfer("train --folds one"), "invalid folds 'one'")


def test_an_interruption_is_one_line_too(dfer, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("dfercli.evaluation.results.read_results", interrupted)
    done = dfer("eval")
    assert (done.code, done.out) == (130, "")
    assert done.err.splitlines()[-1].startswith("interrupted; ")
    assert "Traceback" not in done.err


@pytest.mark.usefixtures("project")
def test_data_is_found_in_the_folder_of_all_data(dfer, monkeypatch, tmp_path):
    Path("data").rename("moved")
    monkeypatch.setenv("DFER_DATA", str(tmp_path / "moved"))
    done = dfer("test model --folds 1 --workers 0 --format json")
    assert f"data in {tmp_path / 'moved' / 'tiny'}\n" in done.err
    assert json.loads(done.out)["data"]["protocols"]["checkpoint"]["folds"] == [1]


@pytest.fixture
def partial(project):
    """The same data with deviations from the official lists; returns them."""
    path = Path("data_manifests", "tiny.csv")
    said = ("fold 1 test has 2 clips, officially 3", "fold 2 test has 2 clips, officially 4")
    write_manifest(replace(read_manifest(path), deviations=said), path)
    return said


MARK = "\nPARTIAL DATA: fold 1 test has 2 clips, officially 3; 1 more\n"
RECIPE = "--backbone demo-ViT-tiny --weights random --epochs 1 --warmup-epochs 0 --workers 0"


@pytest.mark.slow
def test_partial_data_is_told_wherever_figures_of_runs_are(partial, dfer):
    trained = dfer(f"train --folds 1 {RECIPE}")
    assert trained.out.startswith(f"tiny full, mean over folds 1:{MARK}  best epoch: WAR ")
    whole = replace(read_manifest(Path("data_manifests/tiny.csv")), deviations=())
    write_manifest(whole, Path("data_manifests/tiny.csv"))
    assert MARK in dfer(f"train --folds 1 {RECIPE}").out  # the run was trained before
    for command in ("eval", f"ablate --table 3 --folds 1 {RECIPE}"):
        assert f"data: PARTIAL: {'; '.join(partial)}" in " ".join(dfer(command).out.split())
        told = json.loads(dfer(f"{command} --format json").out)
        assert told["data"]["deviations"] == list(partial)


def test_partial_data_is_told_where_a_checkpoint_is_tested(partial, dfer):
    line = "test model --folds 1 --workers 0"
    assert f"data: PARTIAL: {'; '.join(partial)}" in " ".join(dfer(line).out.split())
    told = json.loads(dfer(f"{line} --format json").out)
    assert told["data"]["deviations"] == list(partial)


@pytest.mark.usefixtures("project")
def test_of_whole_data_nothing_is_said(dfer):
    line = "test model --folds 1 --workers 0"
    assert "PARTIAL" not in dfer(line).out
    assert json.loads(dfer(f"{line} --format json").out)["data"]["deviations"] == []
