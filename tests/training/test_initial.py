"""`dfer train --init`: a run starts from a checkpoint, with other classes or on other data."""

import json
from dataclasses import replace

import pytest
import torch
from run_outcomes import outcome_of, stop_after

from dfercli.config import InitConfig, RunConfig, from_dict, to_dict
from dfercli.data.folds import open_manifest
from dfercli.errors import CheckpointError, ConfigError
from dfercli.jobs.run import run_jobs, train_folds
from dfercli.models.base import build_model
from dfercli.models.initial import take_weights
from dfercli.runs.checkpoint import find_initial, load_checkpoint, unseen_folds
from dfercli.runs.predictions import read_predictions
from dfercli.training.initial import load_initial
from dfercli.training.loop import train_fold

CLASSES = ("anger", "happiness", "contempt")
"""Two classes of the dataset of colours in another order, and a new one."""


@pytest.fixture
def init(trained):
    return find_initial(str(trained.path), trained.path.parents[2])


@pytest.fixture
def go_on(make_run, other_data, colours, init):
    """Make the settings of a run on the other data that starts from the finished run."""

    def make(**settings):
        run = make_run(**settings)
        data = replace(
            run.data, dataset="other", manifest=str(other_data), root=str(colours.parent)
        )
        return replace(run, data=data, init=init)

    return make


METHODS = [
    {},
    {"biehpro": False, "text": False},
    {"method": "coop"},
    {"method": "cocoop"},
    {"method": "dfer-clip"},
]


@pytest.mark.parametrize("settings", METHODS)
def test_classes_of_both_keep_their_logits(settings, make_config, make_clips):
    config = make_config(num_frames=8, **settings)
    torch.manual_seed(1)
    trained = build_model(config, ("happiness", "sadness", "anger")).eval()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    torch.manual_seed(2)
    model = build_model(config, CLASSES).eval()
    clips = make_clips()
    with torch.no_grad():
        new = model.state_dict()
        own_rows = {name: new[name][2].clone() for name in model.class_parameters if name in new}
        assert not torch.allclose(model(clips)[:, :2], trained(clips)[:, [2, 0]], atol=1e-3)
        assert take_weights(model, trained) == ["anger", "happiness"]
        torch.testing.assert_close(model(clips)[:, :2], trained(clips)[:, [2, 0]])
        for name, row in own_rows.items():
            assert torch.equal(model.state_dict()[name][2], row), "a new class starts afresh"


def test_another_template_gives_new_texts(make_config):
    torch.manual_seed(1)
    trained = build_model(make_config(), ("happiness", "anger"))
    torch.manual_seed(1)
    model = build_model(make_config(prompt_template="a face of {}"), ("happiness", "anger"))
    texts = model.text_features.clone()
    take_weights(model, trained)
    assert torch.equal(model.text_features, texts)
    assert not torch.allclose(texts, trained.text_features)
    assert torch.equal(model.backbone.visual.proj, trained.backbone.visual.proj)


def test_longer_prompts_of_the_checkpoint_are_kept_and_read_back(make_config, make_clips, tmp_path):
    config = make_config(method="dfer-clip", num_frames=8)
    torch.manual_seed(1)
    trained = build_model(config, ("calm", "happiness")).eval()
    torch.manual_seed(2)
    model = build_model(config, ("joy", "calm")).eval()
    assert model.prompts.words.shape[1] < trained.prompts.words.shape[1]
    take_weights(model, trained)
    model.save_pretrained(tmp_path / "saved")
    clips = make_clips()
    with torch.no_grad():
        torch.testing.assert_close(model(clips)[:, 1], trained(clips)[:, 0])
        torch.testing.assert_close(load_checkpoint(str(tmp_path / "saved"))(clips), model(clips))


@pytest.mark.slow
def test_fine_tuning_starts_above_chance_on_shared_classes_and_records_the_source(
    go_on, init, trained, tmp_path
):
    run = train_fold(go_on(epochs=2, lr=1e-7, min_lr=0.0), tmp_path)
    assert run.path == tmp_path / "other" / "full-init" / "fold1"
    table = read_predictions(run.predictions_file("last"))
    shared = table[table["label"] != "contempt"]
    names = ["contempt", "happiness", "anger"]
    right = shared[names].idxmax(axis=1) == shared["label"]
    assert right.mean() > 0.75, "chance is a third"

    config = run.read().config
    assert config.init == init == from_dict(RunConfig, json.loads(json.dumps(to_dict(config)))).init
    settings = load_checkpoint(str(run.path)).settings
    assert settings["trained"]["init"] == [
        {
            "name": "colours/full/fold1/best",
            "sha256": init.sha256,
            "dataset": "colours",
            "fold": 1,
            "folds_by": "official",
            "data_fingerprint": trained.read().data.fingerprint,
        }
    ]
    assert settings["trained"]["recipe"].endswith("starting from colours/full/fold1/best")


@pytest.mark.slow
def test_an_interrupted_run_ends_the_same(go_on, tmp_path, monkeypatch):
    config = go_on(epochs=2)
    undisturbed = outcome_of(train_fold(config, tmp_path / "undisturbed").path)
    stop_after(1, monkeypatch, config, tmp_path / "stopped")
    assert outcome_of(train_fold(config, tmp_path / "stopped").path) == undisturbed


@pytest.mark.slow
def test_another_checkpoint_is_another_run(go_on, trained, tmp_path):
    config = go_on(epochs=1, warmup_epochs=0)
    train_folds(config, [1], tmp_path)
    moved = replace(config.init, where=str(trained.path), name="elsewhere")
    train_folds(replace(config, init=moved), [1], tmp_path)  # the same weights: finished
    other = find_initial(str(trained.path / "last"), tmp_path)
    other = replace(other, sha256="0" * 64)
    with pytest.raises(ConfigError, match=r"other settings \(init.sha256 [0-9a-f]{64} -> 0000"):
        train_folds(replace(config, init=other), [1], tmp_path)


def test_clips_that_the_checkpoint_was_trained_on_are_not_tested(make_run, init, tmp_path):
    with pytest.raises(ConfigError) as caught:
        run_jobs([replace(make_run(fold=2), init=init)], tmp_path)
    assert str(caught.value) == (
        "cannot start from colours/full/fold1/best and test fold 2: the checkpoint was trained on "
        "the clips of fold 2; test it on fold 1"
    )
    with pytest.raises(ConfigError, match="may have been trained on the clips that --val-fraction"):
        run_jobs([replace(make_run(val_fraction=0.3), init=init)], tmp_path)
    assert not (tmp_path / "colours").exists()


def test_what_the_checkpoints_before_it_were_trained_on_counts_too(trained, make_run):
    manifest = open_manifest(make_run().data)
    settings = load_checkpoint(str(trained.path)).settings
    earlier = {"dataset": "colours", "fold": 2, "folds_by": "official"}
    elsewhere = {**settings["trained"], "dataset": "other", "data_fingerprint": "x"}
    onward = {**settings, "trained": {**elsewhere, "init": [earlier]}}
    assert unseen_folds(onward, manifest) == [2]
    with pytest.raises(CheckpointError, match="trained on the clips of fold 1; test it on fold 2"):
        unseen_folds(onward, manifest, folds=[1])
    both = {**settings, "trained": {**settings["trained"], "init": [earlier]}}
    with pytest.raises(CheckpointError, match="left out different folds of colours"):
        unseen_folds(both, manifest)


def test_another_model_is_refused(make_run, init, tmp_path):
    config = replace(make_run(model={"num_blocks": 1}), init=init)
    with pytest.raises(ConfigError) as caught:
        run_jobs([config], tmp_path)
    assert str(caught.value) == (
        "colours/full/fold1/best is another model than the one to train (num_blocks 2 -> 1); "
        "use the settings of the checkpoint"
    )


def test_what_was_not_trained_or_has_changed_is_refused(make_model, init, tmp_path):
    with pytest.raises(ConfigError, match="cannot start from built-in: still-image trains nothing"):
        find_initial("built-in", tmp_path)
    with pytest.raises(CheckpointError, match="has changed since the run was configured"):
        load_initial(make_model(), InitConfig(where=init.where, name=init.name, sha256="0"))
