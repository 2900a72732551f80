"""Records of runs and checkpoints: read as they were written, with defaults, or refused."""

import json

import pytest

from dfercli.config import to_dict
from dfercli.errors import CheckpointError
from dfercli.runs.record import (
    ADDED,
    CheckpointInfo,
    ClipSet,
    DataRecord,
    RunRecord,
    TrainingRecord,
    name_differences,
)
from dfercli.runs.run_folder import RunFolder

DATA = DataRecord(
    fingerprint="0123456789ab",
    deviations=("fold 1 lacks a clip",),
    drawn=False,
    class_names=("happiness", "sadness"),
    crop={"detector": "mtcnn", "size": 224},
    folds=(1, 2),
    grouped=True,
    train_clips=7,
    tested=ClipSet(3, "a" * 12),
    held_out=ClipSet(2, "b" * 12),
)

OLDEST = {
    "model": (
        *("method", "backbone", "weights", "num_frames", "interfit", "msta", "biehpro", "text"),
        *("text_prompt", "visual_prompt", "num_blocks", "cross_attention", "msta_fc"),
        *("msta_pools", "near_clip_init", "prompt_scale", "prompt_template"),
    ),
    "train": (
        *("epochs", "warmup_epochs", "batch_size", "lr", "min_lr", "weight_decay"),
        *("new_layers_lr", "layer_decay", "label_smoothing", "mixup", "drop_path"),
        *("val_fraction", "stop_epoch", "balance"),
    ),
}
"""Settings that the oldest runs have, which can still be resumed."""


@pytest.mark.parametrize("data", [DATA, DataRecord("0" * 12)])
def test_data_comes_back_as_it_was_written(data):
    entries = json.loads(json.dumps(data.to_entries())) | {"config": {"data": {}}}
    assert RunRecord.from_entries(entries).data == data


def test_a_run_comes_back_as_it_was_written(make_run, tmp_path):
    run = RunFolder(tmp_path / "fold1")
    run.path.mkdir()
    run.start(make_run(), DATA, "dfer train", "a device", processes=2, steps="captured")
    run.resume(3, "dfer train --resume", "another device")
    record = run.read()
    assert record.config == make_run()
    assert (record.data, record.processes, record.steps) == (DATA, 2, "captured")
    assert [call.command for call in record.calls] == ["dfer train", "dfer train --resume"]
    assert [call.after_epoch for call in record.calls] == [0, 3]
    assert [call.device for call in record.resumed] == ["another device"]
    assert (record.finished, record.seals) == (False, None)
    with pytest.raises(CheckpointError, match="is not finished, so it has no results yet"):
        run.load()
    run.finish()
    finished = run.load()
    assert (finished.path, finished.record.finished, finished.record.seals) == (run.path, True, {})
    run.run_file.unlink()
    assert finished.read() is finished.record


FIRST_SETTINGS = {
    "model": "method backbone weights num_frames interfit msta biehpro text text_prompt "
    "visual_prompt num_blocks cross_attention msta_fc msta_pools near_clip_init prompt_scale "
    "prompt_template",
    "train": "epochs warmup_epochs batch_size lr min_lr weight_decay new_layers_lr layer_decay "
    "label_smoothing mixup drop_path balance val_fraction stop_epoch",
    "augment": "crop_scale brightness contrast saturation hue flip",
}
"""Settings that all records have."""


@pytest.mark.parametrize("part", FIRST_SETTINGS)
def test_a_run_that_lacks_a_later_setting_is_the_same_run(part, make_run):
    """A new setting belongs into ADDED: without it, no run of an older version could go on."""
    now = RunRecord(to_dict(make_run()), DataRecord())
    later = now.settings[part].keys() - set(FIRST_SETTINGS[part].split())
    assert later == ADDED[part].keys()
    kept = {name: now.settings[part][name] for name in FIRST_SETTINGS[part].split()}
    before = RunRecord({**now.settings, part: kept}, DataRecord())
    assert name_differences(before, now) == ""


def test_entries_that_an_old_run_lacks_have_defaults(make_run):
    settings = json.loads(json.dumps(to_dict(make_run())))
    record = RunRecord.from_entries({"config": settings, "data_fingerprint": "ab"})
    assert record == RunRecord(settings, DataRecord("ab"))
    assert record.config == make_run()
    assert not record.drawn
    for part, names in OLDEST.items():
        settings[part] = {name: settings[part][name] for name in names}
    del settings["init"]
    now = RunRecord(to_dict(make_run()), DataRecord("ab"))
    assert name_differences(RunRecord(settings, DataRecord("ab")), now) == ""
    settings["data"]["dataset"] = "demo"
    assert record.drawn


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [("manifest", None, "data.manifest is None"), ("workers", "two", "data.workers is 'two'")],
)
def test_a_damaged_entry_of_the_data_is_named(entry, value, said, make_run, tmp_path):
    run = RunFolder(tmp_path / "fold1")
    run.path.mkdir()
    run.start(make_run(), DATA, "dfer train", "a device")
    entries = json.loads(run.run_file.read_text())
    entries["config"]["data"][entry] = value
    run.run_file.write_text(json.dumps(entries))
    with pytest.raises(CheckpointError) as caught:
        run.read()
    assert str(caught.value).startswith(f"{run.run_file} is damaged ({said}); remove {run.path}")


@pytest.mark.parametrize(
    "damage",
    [
        {"deviations": 3},
        {"deviations": [3]},
        {"class_names": "happiness"},
        {"crop": []},
        {"folds": ["1"]},
        {"tested": 6},
        {"tested": {"clips": "6"}},
        {"resumed": [1]},
        {"versions": []},
        {"sealed": []},
        {"finished": "yes"},
        {"config": {"data": 1}},
        {"config": {"data": {}, "fold": "1"}},
        {"config": {"data": {}, "model": None}},
        {"config": {"data": {}, "train": [1]}},
    ],
)
def test_an_entry_of_another_type_is_damage(damage, make_run, tmp_path):
    run = RunFolder(tmp_path / "fold1")
    run.path.mkdir()
    run.start(make_run(), DATA, "dfer train", "a device")
    run.run_file.write_text(json.dumps(json.loads(run.run_file.read_text()) | damage))
    with pytest.raises(CheckpointError) as caught:
        run.read()
    assert str(caught.value).startswith(f"{run.run_file} is damaged (")
    assert str(caught.value).endswith(f"); remove {run.path} and train it again")


def test_a_checkpoint_says_what_it_was_trained_on():
    trained = {"dataset": "own", "fold": 1, "deviations": ["a"], "clips": 9, "of_later": 1}
    calibration = {"clips": 20, "temperature": 1.5}
    settings = {"class_names": ["a", "b"], "trained": trained, "calibration": calibration}
    info = CheckpointInfo.from_settings(settings)
    assert info.class_names == ("a", "b")
    assert info.trained == TrainingRecord(dataset="own", fold=1, deviations=("a",))
    assert (info.temperature, info.calibration_clips, info.calibration_refused) == (1.5, 20, "")
    plain = CheckpointInfo.from_settings({"class_names": ["a", "b"], "trained": None})
    assert (plain.trained, plain.temperature) == (TrainingRecord(), None)


def test_records_wait_for_neither_torch_nor_pandas():
    import subprocess
    import sys

    code = (
        "import sys, dfercli.runs.lookup, dfercli.runs.record\n"
        "sys.exit(' '.join({'torch', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).stderr == b"\n"
