"""Model cards have the figures of their run, or none."""

import json
import shutil

import pytest
from huggingface_hub import ModelCard

from dfercli.errors import CheckpointError, DataError
from dfercli.models.settings import seal
from dfercli.publish.hub import prepare
from dfercli.runs.checkpoint import load_checkpoint, save_checkpoint
from dfercli.runs.run_folder import PROTOCOLS


def _card(where):
    return prepare(str(where), "org/name").card


def test_figures_are_those_of_the_predictions(make_run):
    card = _card(make_run().path)
    # 5 of 8 clips right; recalls 3/4, 0/2, 2/2
    assert "### Test fold 2 of small, 8 clips, best epoch" in card
    assert "| WAR | 62.50 |" in card
    assert "| UAR | 58.33 |" in card
    rows = ["| happiness | 4 | 75.00 |", "| sadness | 2 | 0.00 |", "| anger | 2 | 100.00 |"]
    assert "\n".join(rows) in card
    few = "Student's t over 8 groups of clips (a fold has fewer than 20 groups to draw from)"
    assert f"95 %: {few}; covers the choice of clips, not the training" in card


@pytest.mark.parametrize("which", PROTOCOLS)
def test_the_choice_of_the_epoch_is_told_as_the_tables_tell_it(which, make_run):
    run = make_run(val_fraction=0.2)
    card = _card(run.checkpoint(which))
    told = [name for name, text in PROTOCOLS.items() if f"{name} epoch: {text}" in card]
    assert told == [which]
    assert f"from the checkpoint `small/{run.path.parent.name}/fold2/{which}`" in card


def test_what_figures_are_of_is_told(make_run):
    run = make_run()
    card = _card(run.path)
    assert "- **dataset**: small, fingerprint 0123456789ab\n" in card
    assert "- **folds**: PARTIAL: 2 of 1, 2 (assigned by dfer, each group in one fold)\n" in card
    assert "- **seeds**: 5\n" in card
    assert "- **recipe**: paper, changed: " in card
    crop = "detector mtcnn, size 32, template loose-five-points, version 2"
    assert f"- **crops**: {crop}\n" in card
    versions = run.read().calls[0].versions
    assert f"- **dfer**: {versions['dfer']}, commit " in card
    assert f"torch {versions['torch']}, " in card


def test_calibration_is_told_with_what_it_changes(make_run):
    assert "- **calibration**: none, no clips were held out" in _card(make_run().path)
    told = _card(make_run(val_fraction=0.2).path)
    # Confidence is 0.7 everywhere and 5 of 8 clips are right: apart by 0.075.
    assert "- **calibration**: temperature 2.5, of 120 held-out clips; ECE 7.5% before, " in told


def test_calibration_that_was_refused_says_why(make_run):
    run = make_run(val_fraction=0.2)
    model = load_checkpoint(str(run.checkpoint("best")))
    model.settings["calibration"] = {"clips": 6, "refused": "not calibrated: 6 held-out clips"}
    save_checkpoint(model, run.checkpoint("best"))
    assert "- **calibration**: none, not calibrated: 6 held-out clips\n" in _card(run.path)


def test_limits_and_use_are_told(make_run):
    card = _card(make_run().path)
    assert "a named expression is not a felt emotion" in card
    assert "dfer predict video.mp4 --checkpoint org/name\n" in card
    assert 'Predictor.from_checkpoint("org/name").predict(' in card
    assert "Biases by age, sex, skin colour or culture were not measured." in card
    assert "a single fold and a single training" in card
    assert "started from random weights" in card


def test_a_model_of_its_datasets_own_crops_needs_a_detector(make_run):
    card = _card(make_run(crop=None).path)
    assert "--checkpoint org/name --detector face-alignment\n" in card
    assert 'from_checkpoint("org/name", detector="face-alignment")' in card
    assert "- **crops**: the dataset's own\n" in card


def test_where_nothing_was_trained_no_epoch_is_told(make_run):
    card = _card(make_run(method="zero-shot").path)
    assert "### Test fold 2 of small, 8 clips\n" in card
    assert "nothing was trained: all epochs are the same model" in card
    assert "optimistic" not in card


def test_the_hub_can_read_its_front(make_run):
    front = ModelCard(_card(make_run().path)).data.to_dict()
    assert front["library_name"] == "dfer"
    assert front["pipeline_tag"] == "video-classification"
    assert front["license"] == "other"
    assert "facial-expression-recognition" in front["tags"]


def test_without_a_run_there_are_no_figures(make_run, tmp_path):
    shutil.copytree(make_run(val_fraction=0.2).checkpoint("best"), tmp_path / "alone")
    card = _card(tmp_path / "alone")
    assert "This checkpoint came without test results" in card
    assert not {"WAR", "UAR", "recall", "ECE"} & set(card.split())
    assert "- **dataset**: small\n- **test fold**: 2\n- **seed**: 5\n- **data**: comp" in card
    assert "- **calibration**: temperature 2.5, of 120 held-out clips\n" in card


def test_the_built_in_model_says_what_it_is_and_whose(make_run):
    for card in (_card("built-in"), _card(make_run(method="still-image").path)):
        front = ModelCard(card).data.to_dict()
        assert (front["license"], "clip" in front["tags"]) == ("mit", False)
        assert "(public still images that its authors do not name); how accurate" in card
        assert "not the paper's method, no motion, recalls 88/70/63/54/44/29/4 on public" in card
        assert "MIT; the weights are those of FaceExpressionNet in @vladmandic/face-api" in card
        assert "that-of-the-training-data" not in card
    assert "from the checkpoint `built-in`" in _card("built-in")


def test_a_network_without_clip_is_described_as_one(make_run):
    sizes = {"width": 0.125, "image_size": 32, "sampling": "segments", "pixels": "plain"}
    card = _card(make_run(method="former-dfer", **sizes).path)
    assert "clip" not in ModelCard(card).data.to_dict()["tags"]
    assert "- **network**: former-dfer (random), 4 frames of 32 px (segments)\n" in card
    assert "This is dfer's implementation of former-dfer, trained by the recipe above" in card
    assert "- It was trained from random weights.\n" in card
    assert "CLIP" not in card
    assert "backbone" not in card


def test_figures_of_an_unfinished_run_are_not_given(make_run):
    run = make_run()
    run.run_file.write_text(json.dumps(json.loads(run.run_file.read_text()) | {"finished": False}))
    with pytest.raises(CheckpointError, match=r"is not finished, so it has no results yet"):
        _card(run.path)


def test_predictions_that_were_changed_are_refused(make_run):
    run = make_run()
    file = run.predictions_file("best")
    file.write_text(file.read_text().replace("0.7,0.15,0.15", "0.15,0.7,0.15"))
    with pytest.raises(DataError, match=r"predictions_best.csv is not the file that the run wrote"):
        _card(run.path)
    assert "last epoch" in _card(run.checkpoint("last"))


@pytest.mark.parametrize(("name", "value"), [("seed", 6), ("fold", 1), ("dataset", "other")])
def test_another_runs_checkpoint_is_refused(name, value, make_run):
    run = make_run()
    path = run.checkpoint("best") / "config.json"
    settings = json.loads(path.read_text())
    settings["trained"][name] = value
    path.write_text(json.dumps(settings))
    seal(path, path.with_name("model.safetensors"))
    with pytest.raises(CheckpointError, match=f"not a checkpoint of its run: another {name};"):
        _card(run.path)
