"""From drawn people to the prediction of a video, on the command line."""

import json
from pathlib import Path

import pandas as pd
import pytest

from dfercli.media.images import read_image
from dfercli.metrics.scores import war
from dfercli.models.base import read_settings
from dfercli.runs.predictions import confusion_of, read_predictions

CLASSES = ("happiness", "anger", "surprise")
CROPS = "--dataset folder --root data/demo --detector mtcnn --size 64 --num-folds 2 --jobs 2"
RECIPE = "--backbone demo-ViT-tiny --weights random --epochs 2 --warmup-epochs 1 --batch-size 8"
RECIPE += " --lr 3e-4 --min-lr 3e-6 --workers 0"


@pytest.mark.slow
def test_the_whole_way(dfer):
    done = dfer("demo data/demo --persons 2")
    assert done.code == 0
    assert done.out.startswith("14 videos, listed in data/demo/labels.csv\n")
    _keep_three_classes_and_add_a_broken_video(Path("data/demo"))

    done = dfer("preprocess --dataset folder --root data/demo --detector mtcnn --size 64")
    assert done.code == 1
    assert done.err == (
        "error: 2 groups (or videos, without a column group) cannot be split into 5 folds; "
        "add videos, or use --num-folds 2\n"
    )
    done = dfer(f"preprocess {CROPS}")
    assert done.code == 4  # one video was left out
    faces, manifest = "data/demo/faces-mtcnn-64", "data_manifests/demo.csv"
    assert done.out.splitlines() == [
        f"6 done, 1 unreadable; faces in {faces}, manifest {manifest}",
        "clips: 6 (happiness 2, anger 2, surprise 2); by test fold 1: 3, 2: 3",
    ]
    assert done.err.splitlines()[-3:] == [
        "clips to review: data_manifests/review/demo.csv",
        "worst crops: data_manifests/review/demo-worst.png",
        "left out: 1 clip; reasons in data_manifests/review/demo.csv",
    ]
    table = pd.read_csv(manifest)
    assert len(table) == 6
    assert sorted(table["test_fold"].unique()) == [1, 2]

    done = dfer(f"train --folds 1-2 {RECIPE}")
    assert done.code == 0
    assert done.out.startswith("demo full, mean over folds 1, 2:\n  best epoch: WAR ")
    assert "dataset: demo (data_manifests/demo.csv), data in data/demo\n" in done.err
    _check_runs(Path("runs/demo/full"), table)
    again = dfer(f"train --folds 1-2 {RECIPE}")
    assert (again.code, again.out) == (0, done.out)

    _check_eval(dfer)
    _check_ablation(dfer)
    _check_prediction(dfer)
    _check_final_model(dfer)


def _keep_three_classes_and_add_a_broken_video(root):
    labels = pd.read_csv(root / "labels.csv")
    kept = labels[labels["label"].isin(CLASSES)]
    broken = pd.DataFrame([("broken.mp4", "anger", "person01")], columns=labels.columns)
    (root / "broken.mp4").write_bytes(b"no video")
    pd.concat([kept, broken]).to_csv(root / "labels.csv", index=False)


def _check_runs(folder, manifest):
    assert {path.name for path in folder.glob("[!.]*")} == {"fold1", "fold2"}
    for fold in (1, 2):
        run = folder / f"fold{fold}"
        assert {path.name for path in run.iterdir()} == {
            "run.json",
            "metrics.jsonl",
            "curves.png",
            "best",
            "last",
            "predictions_best.csv",
            "predictions_last.csv",
        }
        assert json.loads((run / "run.json").read_text())["command"] == (
            f"dfer train --folds 1-2 {RECIPE}"
        )
        tested = manifest.loc[manifest["test_fold"] == fold, "clip_id"]
        assert list(read_predictions(run / "predictions_last.csv")["clip_id"]) == list(tested)


def _check_eval(dfer):
    report = json.loads(dfer("eval --format json").out)["data"]
    assert report["class_names"] == list(CLASSES)
    assert set(report["protocols"]) == {"best", "last"}
    for protocol, figures in report["protocols"].items():
        paths = [Path(f"runs/demo/full/fold{f}/predictions_{protocol}.csv") for f in (1, 2)]
        wars = [war(confusion_of(read_predictions(path))) for path in paths]
        assert figures["folds"] == [1, 2]
        assert figures["war"] == pytest.approx(wars)
        assert figures["mean_war"] == pytest.approx(sum(wars) / 2)
    printed = dfer("eval").out
    assert f"{100 * report['protocols']['last']['mean_war']:.2f}" in printed
    assert all(name in printed for name in CLASSES)
    line = "test runs/demo/full/fold2 --folds 2 --format json"
    checked = json.loads(dfer(line).out)["data"]
    assert checked["protocols"]["checkpoint"]["war"] == report["protocols"]["best"]["war"][1:]


def _check_ablation(dfer):
    done = dfer(f"ablate --table 3 --folds 1 --format json {RECIPE}")
    assert done.code == 0
    rows = json.loads(done.out)["data"]["rows"]
    assert [row["variant"] for row in rows] == ["interfit-msta-notext", "full"]
    best = read_predictions(Path("runs/demo/full/fold1/predictions_best.csv"))
    assert rows[1]["best"]["mean_war"] == war(confusion_of(best))
    assert {path.name for path in Path("runs/demo").iterdir()} == {row["variant"] for row in rows}
    printed = dfer(f"ablate --table 3 --folds 1 {RECIPE}").out
    assert "no text" in printed
    assert "72.05 / 60.41" in printed


def _check_prediction(dfer):
    video = "data/demo/videos/person01/happiness_1.mp4"
    model = "--checkpoint runs/demo/full/fold1"
    done = dfer(f"predict {video} {model} --json --plot line.png")
    assert done.code == 0
    report = json.loads(done.out)
    assert report["checkpoint"]["name"] == "runs/demo/full/fold1"
    (told,) = report["videos"]
    assert told["status"] == "ok"
    window, *_ = told["windows"]
    probs = [window["probs"][name] for name in CLASSES]
    assert sum(probs) == pytest.approx(1.0, abs=1e-5)
    assert window["confidence"] == max(probs)
    assert read_image(Path("line.png")).shape[1] > 1000
    assert "picture: line.png" in done.err
    printed = dfer(f"predict {video} --checkpoint interfit-msta-notext")
    assert printed.code == 0
    assert " % on average)" in printed.out
    assert "checkpoint: runs/demo/interfit-msta-notext/fold1/best" in printed.err
    printed = dfer(f"predict {video}")  # a model of drawn people is not taken for real faces
    assert printed.code == 0
    assert "model: built-in still-image model: not the paper's method, no motion" in printed.err


def _check_final_model(dfer):
    done = dfer(f"train --all-data {RECIPE}")
    assert done.code == 0
    trained = read_settings("runs/demo/full/all/last")["trained"]
    assert (trained["fold"], trained["clips"], trained["drawn"]) == (0, 6, True)
    epochs = [read_settings(f"runs/demo/full/fold{k}/best")["trained"]["epoch"] for k in (1, 2)]
    assert trained["epoch"] == max(epochs)  # of two the median is the higher
    assert done.out.splitlines() == [
        f"demo full all clips: {max(epochs)} epochs on all clips, not tested",
        "  model: runs/demo/full/all/last",
        *[line for line in done.out.splitlines() if line.startswith("  recipe: ")],
        "`dfer eval runs/demo/full` prints the test results of folds 1, 2",
    ]
    printed = dfer("predict data/demo/videos/person01/happiness_1.mp4 --checkpoint full")
    assert "checkpoint: runs/demo/full/all/last" in printed.err
    assert dfer("eval demo/full").out == dfer("eval runs/demo/full").out  # a name, and a folder
    refused = dfer("test full")
    assert "was trained on all clips of demo, so there are no clips to test it on" in refused.err
