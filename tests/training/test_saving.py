"""How often a run is saved, and that nothing but time is lost between two saves."""

from types import SimpleNamespace

import pytest

from dfercli.training import loop, selection
from dfercli.training.loop import train_fold
from dfercli.training.selection import SAVE_SHARE, EpochKeeper

KEPT = (
    "predictions_best.csv",
    "predictions_val.csv",
    "predictions_last.csv",
    "best/model.safetensors",
    "best/config.json",
    "val/model.safetensors",
    "val/config.json",
    "last/model.safetensors",
)

FIVE_EPOCHS = {"epochs": 5, "val_fraction": 0.25}


class _StoppedError(Exception):
    pass


@pytest.fixture
def keep_epochs(monkeypatch, tmp_path, make_model):
    """Keep epochs of so many seconds each, where a save takes so many; returns the saved ones."""

    def keep(epoch_s, save_s, epochs=40, **settings):
        now, saved = [100.0], []
        clock = SimpleNamespace(monotonic=lambda: now[0])
        monkeypatch.setattr(selection, "time", clock)
        for name in ("stage_epochs", "publish_epochs"):
            monkeypatch.setattr(selection, name, lambda *_: None)

        def save(metrics):
            now[0] += save_s
            saved.append(len(metrics))

        run = SimpleNamespace(
            path=tmp_path,
            run_file=SimpleNamespace(is_file=lambda: True),
            write_metrics=lambda _: None,
        )
        keeper, metrics = EpochKeeper(run, make_model(), save, **settings), []
        for epoch in range(epochs):
            now[0] += epoch_s
            metrics.append({"epoch": epoch + 1, "war": 0.5})
            keeper.keep(metrics, {}, last=epoch + 1 == epochs)
        return saved, len(saved) * save_s / (now[0] - 100)

    return keep


@pytest.mark.parametrize(
    ("epoch_s", "save_s", "saved"),
    [
        (10, 3, [1, 7, 13, 19, 25, 31, 37, 40]),  # of DFEW, on a GPU: every sixth, and the last
        (10, 0.5, list(range(1, 41))),  # just cheap enough for each
        (10, 0.53, [*range(1, 41, 2), 40]),
        (600, 3, list(range(1, 41))),  # on a CPU
        (1, 40, [1, 40]),
    ],
)
def test_saving_takes_a_twentieth_of_the_time_at_most(epoch_s, save_s, saved, keep_epochs):
    found, share = keep_epochs(epoch_s, save_s)
    assert found == saved
    first_and_last = 2 * save_s / (40 * epoch_s)  # the first shows what one costs
    assert share <= SAVE_SHARE + first_and_last


def test_it_can_be_said_how_often(keep_epochs):
    assert keep_epochs(1, 40, epochs=9, save_every=1)[0] == list(range(1, 10))
    assert keep_epochs(1000, 0, epochs=9, save_every=4)[0] == [4, 8, 9]
    assert keep_epochs(1000, 0, epochs=9, save_every=4, saved=3)[0] == [7, 9]


@pytest.fixture(scope="module")
def whole(make_run, tmp_path_factory):
    """A run that was saved after each of its five epochs."""
    return train_fold(make_run(**FIVE_EPOCHS), tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("stop", [2, 4])
def test_wherever_a_run_stops_between_two_saves_it_ends_the_same(
    stop, whole, make_run, tmp_path, monkeypatch
):
    seldom = make_run(compute={"save_every": 3}, **FIVE_EPOCHS)
    seed_epoch = loop.seed_epoch
    with monkeypatch.context() as patched:

        def stop_once(seed, epoch, rank):
            if epoch == stop:
                raise _StoppedError
            seed_epoch(seed, epoch, rank)

        patched.setattr(loop, "seed_epoch", stop_once)
        with pytest.raises(_StoppedError):
            train_fold(seldom, tmp_path / "stopped")
    run = train_fold(seldom, tmp_path / "stopped")
    for name in KEPT:
        assert (run.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    resumed = [call.after_epoch for call in run.read().resumed]
    assert resumed == ([3] if stop >= 3 else [])


def test_what_waits_is_the_epoch_that_was_chosen_not_the_one_that_is_saved(
    make_run, tmp_path, monkeypatch
):
    """The best epoch comes before the one at which the run is written."""
    monkeypatch.setattr(loop, "score", lambda _: {"war": next(wars), "uar": 0.5})
    saved = {}
    for save_every in (1, 100):
        wars = iter([0.9, 0.2])
        config = make_run(epochs=2, compute={"save_every": save_every})
        run = train_fold(config, tmp_path / str(save_every))
        weights = {name: run.checkpoint(name) / "model.safetensors" for name in ("best", "last")}
        saved[save_every] = {name: path.read_bytes() for name, path in weights.items()}
    assert saved[1] == saved[100]
    assert saved[1]["best"] != saved[1]["last"]


def test_how_often_a_run_was_saved_makes_no_other_run(trained, make_run):
    other = make_run(compute={"save_every": 7, "steps": "compiled"})
    run = train_fold(other, trained.path.parents[2])
    assert run.read().config == make_run()  # it was finished, and stays as it is
