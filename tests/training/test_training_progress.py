"""Progress of a run: its bar, its curves, its trackers, and its warnings."""

import io
from itertools import chain

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from dfercli.errors import ConfigError
from dfercli.runs.curves import draw_curves
from dfercli.runs.predictions import classes_of, find_missed
from dfercli.training import device, loop
from dfercli.training.loop import train_fold
from dfercli.training.progress import Progress

CLASSES = ("happiness", "sadness", "anger")


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def _line(epoch):
    return {"epoch": epoch, "loss": 1 / epoch, "lr": 1e-4 / epoch, "war": 0.1 * epoch, "uar": 0.1}


def test_the_bar_counts_clips_of_all_runs_and_names_epoch_war_and_loss(monkeypatch):
    monkeypatch.setattr("sys.stderr", terminal := _Terminal())
    with Progress(clips=100, shown=True) as progress:
        progress.begin_run("mine full fold 1", epochs=3, done=0)
        progress.begin_epoch(1)
        progress.step(25, torch.tensor(0.5))
        assert progress._bar.postfix == "epoch 2/3, loss 0.500"
        progress.end_epoch(_line(2))
        assert progress._bar.postfix == "epoch 2/3, WAR 20.0%, loss 0.500"
        progress.begin_run("mine full fold 2", epochs=3, done=25)
        progress.step(10, torch.tensor(0.25))
        assert progress._bar.format_dict["n"] == 60
        assert progress._bar.format_dict["initial"] == 25  # what was done before is no speed
    shown = terminal.getvalue()
    for part in ("fold 1:   0%|", "fold 2:  60%|", " left, epoch 2/3", "clip/s"):
        assert part in shown


def test_at_80_columns_the_bar_shows_the_time_left_and_the_figures(monkeypatch):
    monkeypatch.setattr("sys.stderr", _Terminal())
    with Progress(clips=935_600, shown=True) as progress:
        progress.begin_run("ferv39k full-val20 fold 1", epochs=100, done=0)
        progress.begin_epoch(41)
        progress.step(25_000, torch.tensor(0.5))
        progress.end_epoch(_line(2))
        state = progress._bar.format_dict | {"ncols": 80, "elapsed": 1000.0, "rate": 25.0}
        line = progress._bar.format_meter(**state)
    assert len(line) <= 80
    assert line.startswith("ferv39k full-val20 fold 1:   3%|")
    assert " 10:07:04 left, epoch 42/100, WAR 20.0%" in line


@pytest.mark.slow
def test_curves_are_a_picture_also_of_one_epoch(tmp_path):
    for epochs in (1, 5):
        path = tmp_path / f"{epochs}.png"
        draw_curves([_line(epoch) for epoch in range(1, epochs + 1)], "a run", epochs, path)
        image = cv2.imread(str(path))
        assert image.shape[0] > 300
        assert np.unique(image.reshape(-1, 3), axis=0).shape[0] > 20


def test_a_finished_run_has_its_curves(trained):
    assert cv2.imread(str(trained.curves_file)) is not None


def test_classes_with_clips_that_are_never_predicted():
    # Three are a and named so, two are b and named a, none is c, five are d and one is missed.
    pairs = [("a", "a")] * 3 + [("b", "a")] * 2 + [("d", "a")] + [("d", "d")] * 4
    table = pd.DataFrame({"clip_id": range(10), "label": [label for label, _ in pairs]})
    probs = {name: [float(named == name) for _, named in pairs] for name in "abcd"}
    assert find_missed(table.assign(**probs)) == ["b"]


def test_a_class_that_is_never_predicted_is_reported(make_run, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(loop, "find_missed", lambda predictions: classes_of(predictions)[1:])
    train_fold(make_run(epochs=1, warmup_epochs=0), tmp_path)
    *_, last = capfd.readouterr().err.splitlines()
    assert last == "colours full fold 1: never predicted: sadness, anger"


def test_metrics_go_to_tensorboard_too(make_run, tmp_path):
    from tensorboard.backend.event_processing import event_accumulator as events

    run = train_fold(make_run(compute={"track": "tensorboard"}), tmp_path)
    read = events.EventAccumulator(str(run.logs_folder / "dfer"))
    read.Reload()
    for name in ("loss", "lr", "war", "uar"):
        values = [(event.step, event.value) for event in read.Scalars(name)]
        expected = [(line["epoch"], line[name]) for line in run.read_metrics()]
        assert list(chain(*values)) == pytest.approx(list(chain(*expected)))


def test_a_tracker_that_is_not_installed_is_one_line(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        train_fold(make_run(compute={"track": "wandb"}), tmp_path)
    assert str(caught.value) == "wandb is not installed; `pip install '.[track]'` in the clone"
