"""The model on all clips, and which checkpoint a name means."""

import json
import os
import shutil

import pytest

from dfercli.config import ALL_DATA, UNTRAINED
from dfercli.data.folds import open_manifest, select_rows
from dfercli.errors import CheckpointError, ConfigError
from dfercli.jobs.run import train_folds
from dfercli.publish.hub import prepare
from dfercli.runs.checkpoint import load_checkpoint, unseen_folds
from dfercli.runs.lookup import find_checkpoint, find_runs
from dfercli.runs.run_folder import RunFolder
from dfercli.training.final import carry_calibration, plan_final


@pytest.fixture(scope="module")
def folds(make_run, tmp_path_factory):
    """Folder of all runs with two finished folds, which chose the epochs 1 and 3."""
    runs = tmp_path_factory.mktemp("runs")
    for fold, wars in ((1, [0.9, 0.1, 0.2]), (2, [0.1, 0.2, 0.9])):
        (run,) = train_folds(make_run(), [fold], runs).values()
        lines = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
        for line, war in zip(lines, wars, strict=True):
            line["war"] = war
        run.write_metrics(lines)
        run.finish()
    return runs


@pytest.fixture(scope="module")
def final(folds, make_run):
    """The finished run on all clips, beside those folds."""
    config = plan_final(make_run(), folds, open_manifest(make_run().data)).config
    return train_folds(config, [ALL_DATA], folds)[ALL_DATA]


@pytest.mark.slow
def test_it_stops_after_the_median_of_the_epochs_that_the_folds_chose(folds, make_run):
    plan = plan_final(make_run(), folds, open_manifest(make_run().data))
    config = plan.config
    assert plan.folds == (1, 2)
    assert config.fold == ALL_DATA
    assert (config.train.epochs, config.train.stop_epoch) == (3, 3)  # of two the later


def test_without_folds_it_trains_all_epochs(make_run, tmp_path):
    plan = plan_final(make_run(), tmp_path, open_manifest(make_run().data))
    assert (plan.folds, plan.config.train.last_epoch) == ((), 3)


def test_folds_of_other_settings_do_not_say_how_long(folds, make_run):
    with pytest.raises(
        ConfigError, match=r"fold1 was trained with other settings \(train.lr 0.001 -> 0.5\)"
    ):
        plan_final(make_run(lr=0.5), folds, open_manifest(make_run().data))


def test_a_damaged_fold_is_noticed_before_the_old_model_is_removed(folds, make_run, tmp_path):
    shutil.copytree(folds / "colours", tmp_path / "colours")
    (tmp_path / "colours" / "full" / "fold2" / "best" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config.json in .*fold2.best"):
        plan_final(make_run(), tmp_path, open_manifest(make_run().data))


def test_all_clips_are_trained_on_and_none_is_tested(make_run):
    config, manifest = make_run(fold=ALL_DATA, val_fraction=0.25), open_manifest(make_run().data)
    counts = {part: len(select_rows(manifest, part, config)) for part in ("train", "val", "test")}
    assert counts == {"train": 18, "val": 0, "test": 0}


@pytest.mark.slow
def test_its_run_leaves_one_model_and_no_predictions(final):
    files = sorted(path.relative_to(final.path).as_posix() for path in final.path.rglob("*"))
    assert files == [
        *("curves.png", "last", "last/config.json", "last/model.safetensors"),
        *("metrics.jsonl", "run.json"),
    ]
    assert final.path.name == "all"
    assert final.model == final.checkpoint("last")
    trained = load_checkpoint(str(final.path)).settings["trained"]
    assert (trained["fold"], trained["clips"], trained["epoch"]) == (ALL_DATA, 18, 3)
    assert all("war" not in line for line in final.read_metrics())


def test_its_card_has_the_figures_of_the_folds_and_says_so(folds, final):
    card = prepare(str(final.path), "org/name").card
    assert "### Test folds 1, 2 of colours, 12 clips, best epoch" in card
    assert card.count("This model was trained on all clips and tested on none.") == 2
    assert "It was trained for 3 epochs, the others for 1, 3." in card
    assert "from the checkpoint `colours/full/all/last`" in card


@pytest.fixture
def other_fold(folds, final, make_run, tmp_path):
    """The final model beside a fold that was trained later, with another learning rate."""
    shutil.copytree(folds / "colours", tmp_path / "colours")
    shutil.rmtree(tmp_path / "colours" / "full" / "fold2")
    train_folds(make_run(lr=2e-3), [1], tmp_path, overwrite=True)
    return tmp_path


@pytest.mark.slow
def test_figures_of_folds_of_other_settings_do_not_go_with_it(other_fold):
    with pytest.raises(CheckpointError) as caught:
        prepare(str(other_fold / "colours" / "full" / "all"), "org/name")
    assert str(caught.value) == (
        f"fold 1 in {other_fold}/colours/full was trained with other settings than the model on "
        f"all clips (train.lr 0.002 -> 0.001), so its results do not describe that model; train it "
        f"again with --all-data --overwrite"
    )


@pytest.mark.slow
def test_a_newer_fold_of_other_settings_is_taken_instead(other_fold):
    assert find_checkpoint(None, other_fold) == str(other_fold / "colours/full/fold1/best")
    assert find_checkpoint("full", other_fold) == str(other_fold / "colours/full/fold1/best")


def test_the_card_of_one_without_folds_has_no_figures(make_run, tmp_path):
    config = make_run(fold=ALL_DATA, epochs=1, warmup_epochs=0)
    run = train_folds(config, [ALL_DATA], tmp_path)[ALL_DATA]
    card = prepare(str(run.path), "org/name").card
    assert "This checkpoint came without test results, so there are no figures here." in card
    assert "- **test fold**: none\n" in card


def test_it_is_no_fold(folds, final, make_run):
    assert {run.path.name for run in find_runs(folds)} == {"fold1", "fold2"}
    with pytest.raises(CheckpointError, match="trained on all clips of colours, so there are no"):
        unseen_folds(load_checkpoint(str(final.path)).settings, open_manifest(make_run().data))


@pytest.mark.slow
def test_an_interrupted_one_ends_the_same(folds, final, make_run, tmp_path, monkeypatch):
    from dfercli.training import loop

    config = plan_final(make_run(), folds, open_manifest(make_run().data)).config
    seed_epoch = loop.seed_epoch

    def stop(seed, epoch, rank):
        if epoch == 2:
            raise KeyboardInterrupt
        seed_epoch(seed, epoch, rank)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "seed_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            train_folds(config, [ALL_DATA], tmp_path)
    run = train_folds(config, [ALL_DATA], tmp_path)[ALL_DATA]
    assert run.read().resumed[0].after_epoch == 2
    weights = [folder.checkpoint("last") / "model.safetensors" for folder in (run, final)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize(
    ("temperatures", "expected"),
    [([1.0, 2.0, 4.0], 2.0), ([1.0, 2.0], 1.5), ([1.0, None], None), ([], None)],
)
def test_the_folds_temperatures_carry_over(temperatures, expected, tmp_path, monkeypatch):
    from dfercli.training import final as module

    runs = {fold: RunFolder(tmp_path / f"fold{fold}") for fold in range(1, len(temperatures) + 1)}
    temperature_of = {str(run.path): t for run, t in zip(runs.values(), temperatures, strict=True)}

    def read(where):
        temperature = temperature_of[where]
        return {
            "calibration": {"clips": 100} | ({"temperature": temperature} if temperature else {})
        }

    monkeypatch.setattr(module, "_checkpoint_of", lambda run: run.path)
    monkeypatch.setattr(module, "read_settings", read)
    calibration = carry_calibration(runs)
    if expected is None:
        assert calibration is None
    else:
        assert calibration == {"clips": 100 * len(temperatures), "temperature": expected}


# Which checkpoint a name means.


def _make_run(runs, name, second, drawn=False, dataset=None, method="dfer"):
    """Leave a finished run that has no weights."""
    run = RunFolder(runs / name)
    which = "last" if run.path.name == "all" else "best"
    run.checkpoint(which).mkdir(parents=True)
    (run.checkpoint(which) / "config.json").write_text("{}")
    data = {"dataset": dataset or name.split("/")[0]}
    config = {"data": data, "model": {"method": method}}
    entries = {"config": config, "finished": True, "data_fingerprint": ""} | (
        {"drawn": True} if drawn else {}
    )
    run.run_file.write_text(json.dumps(entries))
    os.utime(run.run_file, (second, second))


@pytest.fixture
def runs(tmp_path):
    """Runs on two datasets, one with a model on all clips, and newer runs on drawn people."""
    folder = tmp_path / "runs"
    _make_run(folder, "mine/full/fold1", 10)
    _make_run(folder, "mine/full/fold2", 40)
    _make_run(folder, "mine/full/all", 20)
    _make_run(folder, "mine/baseline/fold1", 30)
    _make_run(folder, "yours/full/fold1", 35)
    _make_run(folder, "drawings/full/fold1", 90, drawn=True)
    _make_run(folder, "demo/small/fold1", 99)  # by an earlier version, which did not say
    return folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, "mine/full/all/last"),  # the newest run's variant was trained on all clips too
        ("full", "mine/full/all/last"),
        ("baseline", "mine/baseline/fold1/best"),
        ("mine/full", "mine/full/all/last"),
        ("mine/full/fold1", "mine/full/fold1/best"),
        ("yours/full", "yours/full/fold1/best"),
        ("small", "demo/small/fold1/best"),  # named, the drawn people are taken
        ("drawings/full", "drawings/full/fold1/best"),
        ("{runs}/mine/full", "mine/full/all/last"),
        ("{runs}/mine/full/fold2", "mine/full/fold2"),
        ("{runs}/mine/full/all", "mine/full/all"),
        ("{runs}/mine/full/fold2/best", "mine/full/fold2/best"),
    ],
)
def test_a_name_means_a_checkpoint(name, expected, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = name and name.format(runs=runs)
    assert find_checkpoint(name, runs) == str(runs / expected)


@pytest.mark.parametrize("name", ["/", "/tmp"])
def test_a_folder_at_the_root_of_the_disk_is_no_variant(name, runs):
    assert find_checkpoint(name, runs) == name  # loading says what it lacks


@pytest.mark.parametrize("name", ["somebody/their-model", "a.b/c_d"])
def test_a_name_of_the_hub_is_left_to_it(name, runs):
    assert find_checkpoint(name, runs) == name


@pytest.mark.parametrize("name", ["fool", "mine/full/fold7", "../gone", "*", "", "a/b/c/d"])
def test_what_is_nowhere_is_answered_with_what_there_is(name, runs):
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(name, runs)
    assert str(caught.value) == (
        f"no checkpoint {name!r}: there is no such folder, no such finished run in {runs} "
        f"(available: demo/small, drawings/full, mine/baseline, mine/full, yours/full), and it is "
        f"not OWNER/NAME as on the Hugging Face Hub"
    )


def test_drawn_people_are_never_the_default(tmp_path):
    _make_run(tmp_path, "demo/full/fold1", 1)
    _make_run(tmp_path, "own-demo/full/fold1", 2, drawn=True)
    assert find_checkpoint(None, tmp_path) == "built-in"


@pytest.mark.parametrize("method", UNTRAINED)
def test_a_run_that_trained_nothing_is_never_the_default(method, tmp_path):
    _make_run(tmp_path, f"mine/{method}/fold1", 2, method=method)
    assert find_checkpoint(None, tmp_path) == "built-in"
    _make_run(tmp_path, "mine/full/fold1", 1)
    assert find_checkpoint(None, tmp_path) == str(tmp_path / "mine/full/fold1/best")
