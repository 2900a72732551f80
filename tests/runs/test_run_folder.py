"""The folder of a run: its record, finding finished runs, and refusing to mix two runs."""

import json
import os
import platform
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch

from dfercli import __version__
from dfercli.config import AugmentConfig, to_dict
from dfercli.data.manifest import read_manifest
from dfercli.errors import CheckpointError, ConfigError
from dfercli.runs.lookup import find_folds, find_runs, find_variant_folds
from dfercli.runs.record import ClipSet, DataRecord
from dfercli.runs.run_folder import RunFolder, list_deviations, run_folder
from dfercli.training.device import describe_device

FINGERPRINT = "0123456789ab"
DATA = DataRecord(FINGERPRINT)


@pytest.fixture
def begin(tmp_path, make_run):
    """Return a function that begins runs below one folder, and finishes them at a given time."""

    def begin_run(fold=1, finished_at=None, dataset="colours", deviations=(), **model):
        config = make_run(fold=fold, model=model)
        config = replace(config, data=replace(config.data, dataset=dataset))
        run = run_folder(tmp_path, config)
        run.path.mkdir(parents=True)
        data = DataRecord(FINGERPRINT, deviations)
        run.start(config, data, "dfer train", "a device")
        if finished_at is not None:
            run.finish()
            os.utime(run.run_file, (finished_at, finished_at))
        return run

    return begin_run


def test_a_run_writes_down_how_it_came_about(trained, make_run, colours):
    entries = json.loads(trained.run_file.read_text(encoding="utf-8"))
    assert list(entries) == [
        "config",
        "data_fingerprint",
        "deviations",
        "drawn",
        "class_names",
        "crop",
        "folds",
        "grouped",
        "learnt",
        "tested",
        "steps",
        "command",
        "device",
        "processes",
        "versions",
        "commit",
        "finished",
        "sealed",
    ]
    assert entries["config"] == json.loads(json.dumps(to_dict(make_run())))
    assert trained.read().config == make_run()
    assert entries["data_fingerprint"] == read_manifest(colours).fingerprint
    assert entries["deviations"] == []
    assert entries["command"] == "dfer train --folds 1"
    assert entries["device"] == describe_device(torch.device("cpu")) != ""
    assert entries["versions"]["dfer"] == __version__
    assert entries["versions"]["torch"] == version("torch")
    assert entries["versions"]["python"] == platform.python_version()
    assert {"torchvision", "open_clip_torch", "numpy"} < entries["versions"].keys()
    assert entries["finished"] is True


def test_a_run_records_what_is_not_installed_as_null(make_run, tmp_path, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    run = run_folder(tmp_path, make_run())
    run.start(make_run(), DataRecord(), "dfer train", "a device")
    run.resume(1, "dfer train", "a device")
    began, resumed = run.read().calls
    versions = began.versions
    assert versions == resumed.versions
    assert versions["dfer"] == __version__
    assert versions["torch"] is None
    assert versions["opencv-python"] is None


def test_the_folder_says_dataset_variant_and_fold(tmp_path, make_run):
    run = run_folder(tmp_path, make_run(fold=12, model={"msta": False, "biehpro": False}))
    assert run.path == tmp_path / "colours" / "interfit" / "fold12"
    assert run.fold == 12
    assert run.checkpoint("best") == run.path / "best"
    assert run.predictions_file("last") == run.path / "predictions_last.csv"


def test_a_run_is_finished_only_when_it_says_so(begin, tmp_path):
    assert not RunFolder(tmp_path / "fold1").finished
    run = begin()
    assert not run.finished
    before = run.read()
    run.finish()
    assert run.finished
    assert run.read() == replace(before, seals={}, finished=True)


def test_a_new_start_forgets_the_old_metrics(begin, make_run):
    run = begin()
    run.write_metrics([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    assert run.read_metrics() == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
    run.start(make_run(), DATA, "dfer train", "a device")
    assert not run.metrics_file.exists()


@pytest.mark.parametrize("content", [None, "", "{"])
def test_a_folder_without_a_run_says_so(content, tmp_path):
    run = RunFolder(tmp_path / "fold1")
    if content is not None:
        run.path.mkdir()
        run.run_file.write_text(content)
    with pytest.raises(CheckpointError) as caught:
        run.read()
    missing = f"no run in {run.path}; train one with `dfer train`"
    said = str(caught.value)
    if content is None:
        assert said == missing
    else:
        assert said.startswith(f"{run.run_file} is damaged (Expecting ")
        assert said.endswith(f"); remove {run.path} and train it again")


def test_only_finished_runs_are_found(begin, tmp_path):
    done = [begin(1, 100), begin(2, 100, msta=False), begin(1, 100, "other")]
    begin(2)
    begin(3, dataset="other")
    assert {run.path for run in find_runs(tmp_path)} == {run.path for run in done}
    assert [run.path for run in find_runs(tmp_path, "other")] == [done[2].path]
    assert [run.path for run in find_runs(tmp_path, variant="interfit-biehpro")] == [done[1].path]


def test_the_newest_run_is_the_one_finished_last(begin, tmp_path):
    begin(1, 100)
    newest = begin(2, 300)
    other = begin(1, 200, "other")
    begin(3)
    assert find_variant_folds(tmp_path)[0][2].path == newest.path
    assert find_variant_folds(tmp_path, "other")[0][1].path == other.path


def test_no_finished_run_says_where(begin, tmp_path):
    begin(1)
    with pytest.raises(CheckpointError) as caught:
        find_variant_folds(tmp_path)
    assert str(caught.value) == f"no finished run in {tmp_path}; train one with `dfer train`"
    with pytest.raises(CheckpointError, match=r"no finished run in .*colours.full; train one"):
        find_variant_folds(tmp_path, "colours", "full")


def test_folds_are_found_in_the_order_of_their_numbers(begin, tmp_path):
    for fold in (10, 2, 1):
        begin(fold, 100)
    begin(3)
    begin(4, 100, msta=False)
    folds = find_folds(tmp_path / "colours" / "full")
    assert list(folds) == [1, 2, 10]
    assert folds[10].path.name == "fold10"


def test_a_copy_that_was_set_aside_is_no_fold(begin, tmp_path):
    run = begin(1, 100)
    aside = begin(2, 200)
    aside.path.rename(run.path.with_name("fold1-old"))
    assert list(find_folds(run.path.parent)) == [1]
    assert find_variant_folds(tmp_path)[0][1].path == run.path


def test_the_same_settings_go_on_wherever_the_data_lies(begin, make_run):
    run, config = begin(), make_run()
    moved = replace(
        config.data, manifest="elsewhere.csv", root="/elsewhere", workers=7, kind="dfew", cache="k"
    )
    computed = replace(config.compute, device="cuda", accumulate=2, batch="auto", steps="compiled")
    run.check_same(replace(config, data=moved, compute=computed), DATA)
    run.check_same(replace(config, preset="strong"), DATA)  # of the same values
    RunFolder(run.path.with_name("fold9")).check_same(config, DATA)
    with pytest.raises(ConfigError, match="seed 0 -> 1"):
        run.check_same(replace(config, data=moved, seed=1), DATA)


def test_a_precision_that_is_left_to_the_machine_is_no_difference(begin, make_run):
    begin().check_same(make_run(compute={"precision": "auto"}), DATA)


@pytest.mark.parametrize(
    ("changed", "fingerprint", "said"),
    [
        ({"seed": 3}, FINGERPRINT, "(seed 0 -> 3)"),
        ({}, "ba9876543210", "(data 0123456789ab -> ba9876543210)"),
        ({"mixup": 0.8}, FINGERPRINT, "(train.mixup 0.0 -> 0.8)"),
        ({"augment": {"hue": 0.2}}, FINGERPRINT, "(augment.hue 0.1 -> 0.2)"),
        ({"compute": {"precision": "bf16"}}, FINGERPRINT, "(compute.precision fp32 -> bf16)"),
        (
            {"model": {"num_blocks": 3}, "batch_size": 2},
            FINGERPRINT,
            "(model.num_blocks 2 -> 3; train.batch_size 4 -> 2)",
        ),
        (
            {
                "epochs": 9,
                "lr": 1.0,
                "seed": 1,
                "batch_size": 2,
                "min_lr": 0.1,
                "weight_decay": 0.1,
            },
            FINGERPRINT,
            "(seed 0 -> 1; train.batch_size 4 -> 2; train.epochs 3 -> 9; train.lr 0.001 -> 1.0"
            "; 2 more)",
        ),
    ],
)
def test_other_settings_are_named_before_and_after(changed, fingerprint, said, begin, make_run):
    run = begin()
    with pytest.raises(ConfigError) as caught:
        run.check_same(make_run(**changed), DataRecord(fingerprint))
    assert str(caught.value) == (
        f"{run.path} contains a run with other settings {said}; "
        "use another --runs folder, or --overwrite to replace it"
    )


def test_other_clips_that_are_held_out_are_another_run(begin, make_run):
    run = begin()
    data = replace(DATA, held_out=ClipSet(3, "0" * 12))
    with pytest.raises(
        ConfigError, match="other clips are held out; the column group of the manif"
    ):
        run.check_same(make_run(), data)


def test_a_setting_that_an_older_run_did_not_have_is_a_difference(begin, make_run):
    run = begin()
    entries = json.loads(run.run_file.read_text())
    del entries["config"]["augment"]["flip"]
    run.run_file.write_text(json.dumps(entries))
    with pytest.raises(ConfigError, match=r"\(augment\.flip None -> 0\.5\)"):
        run.check_same(make_run(), DATA)
    assert run.read().config.augment == AugmentConfig()


def _forget_msta_fc(run):
    """Remove the setting from a record, as in older versions."""
    entries = json.loads(run.run_file.read_text())
    del entries["config"]["model"]["msta_fc"]
    run.run_file.write_text(json.dumps(entries))


def test_a_run_of_before_msta_fc_mixed_channels(begin, make_run):
    run = begin()
    _forget_msta_fc(run)
    assert run.read().config == make_run(model={"msta_fc": "channels"})
    run.check_same(make_run(model={"msta_fc": "channels"}), DATA)
    with pytest.raises(ConfigError, match=r"\(model\.msta_fc channels -> positions\)"):
        run.check_same(make_run(), DATA)


def test_a_run_of_before_msta_fc_without_msta_is_the_same_as_now(begin, make_run):
    run = begin(msta=False)
    _forget_msta_fc(run)
    run.check_same(make_run(model={"msta": False}), DATA)


def test_what_the_data_of_runs_lacks_is_listed_once(begin):
    older = begin(1, 1)
    runs = begin(2, 1, deviations=("a", "b")), begin(3, 1, deviations=("b", "c"))
    entries = json.loads(older.run_file.read_text())
    del entries["deviations"]
    older.run_file.write_text(json.dumps(entries))
    assert list_deviations([run.load() for run in (older, *runs)]) == ["a", "b", "c"]
    assert list_deviations([older.load()]) == []
