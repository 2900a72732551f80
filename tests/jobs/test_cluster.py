"""Jobs on a cluster of two machines, of which one is lost in the middle."""

import errno
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dfercli.errors import ConfigError, DataError, JobsError
from dfercli.jobs import ray
from dfercli.jobs.job import Job
from dfercli.jobs.ray import Need, Place, need_of_job
from dfercli.jobs.run import run_jobs, train_folds

LONG = 20
"""Epochs of a run that is not finished before its machine is lost; the test checks it."""

pytest.importorskip("ray", reason="Ray has no wheel for this Python")


@pytest.fixture(scope="module")
def machines():
    """A cluster whose head takes no jobs, and two machines of one CPU each."""
    from ray.cluster_utils import Cluster

    soon = {"health_check_period_ms": 500, "health_check_initial_delay_ms": 500}
    head = {"num_cpus": 0, "_system_config": soon}  # a loss is noticed in seconds
    started = Cluster(initialize_head=True, head_node_args=head)
    workers = [started.add_node(num_cpus=1) for _ in range(2)]
    yield started, workers
    started.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_machine_that_is_lost_in_the_middle_loses_no_run(
    machines, make_job, results_of, tmp_path, monkeypatch
):
    started, workers = machines
    monkeypatch.chdir(tmp_path)
    config, folds, runs = make_job(epochs=LONG, warmup_epochs=1), [1, 2], Path("runs")
    here = train_folds(config, folds, Path("here"))
    both = [Job(replace(config, fold=fold), tmp_path / "runs").run for fold in folds]
    unfinished = []

    def lose_one():
        while not all(run.metrics_file.is_file() for run in both):
            time.sleep(0.01)
        started.remove_node(workers.pop(), allow_graceful=False)
        unfinished.extend(run for run in both if not run.finished)

    watcher = threading.Thread(target=lose_one, daemon=True)
    watcher.start()
    there = train_folds(config, folds, runs, "dfer train", cluster=started.address)
    watcher.join()
    assert len(unfinished) == 2  # one of them was on that machine: each holds one
    for fold in folds:
        assert there[fold].finished
        assert there[fold].read().config == here[fold].read().config
        assert results_of(there[fold]) == results_of(here[fold])
    assert [path.name for path in runs.iterdir()] == ["colours"]  # nothing is left beside the runs


@pytest.mark.slow
def test_a_job_that_fails_on_a_cluster_is_reported(machines, make_job, tmp_path, capsys):
    started, _ = machines
    configs = [make_job(1, lr=1e30, min_lr=0.0), make_job(2)]
    outcome = run_jobs(configs, tmp_path, cluster=started.address)
    assert [job.run.finished for job in outcome.jobs] == [False, True]
    said = capsys.readouterr().err
    assert said.startswith("failed: colours full fold 1: the loss is nan in epoch 1; lower --lr")
    assert run_jobs(configs[1:], tmp_path, cluster="nowhere:1").failures == {}  # all is there


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_head_that_is_lost_is_one_line_and_tells_what_is_finished(
    make_job, tmp_path, monkeypatch
):
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(ray, "SILENT_S", 2.0)
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    started.add_node(num_cpus=1)
    short, long = make_job(1, epochs=1, warmup_epochs=0), make_job(2, epochs=10_000)
    runs = tmp_path / "runs"
    done = Job(short, runs).run

    def lose_head():
        until_s = time.monotonic() + 120
        while not (done.run_file.is_file() and done.finished) and time.monotonic() < until_s:
            time.sleep(0.05)
        started.head_node.kill_all_processes(check_alive=False, allow_graceful=False)

    watcher = threading.Thread(target=lose_head, daemon=True)
    watcher.start()
    try:
        with pytest.raises(JobsError) as caught:
            run_jobs([short, long], runs, cluster=started.address)
    finally:
        watcher.join()
        for node in started.worker_nodes:
            node.kill_all_processes(check_alive=False, allow_graceful=False)
    assert str(caught.value) == (
        f"lost the head of the Ray cluster at {started.address}; 1 of 2 runs are finished "
        f"(colours full fold 1); restart the cluster and run the same command again to train the "
        f"others"
    )


@pytest.mark.parametrize(
    ("machines_of", "need"),
    [
        ([{"CPU": 8.0}, {"CPU": 4.0}, {"memory": 1.0}], Need(4, 0)),
        ([{"CPU": 16.0, "GPU": 4.0}, {"CPU": 64.0}], Need(4, 1)),
        ([{"CPU": 8.0, "GPU": 4.0}, {"CPU": 64.0, "GPU": 4.0}], Need(2, 1)),
        ([{"CPU": 2.0, "GPU": 4.0}], Need(1, 1)),
    ],
)
def test_a_job_takes_a_gpu_or_the_smallest_machine(machines_of, need):
    assert need_of_job(machines_of) == need
    assert any(map(need.fits, machines_of))


def test_a_cluster_without_cpus_is_refused():
    with pytest.raises(ConfigError, match="no machine in the cluster offers a CPU"):
        need_of_job([{"memory": 1.0}, {"CPU": 0.0}])


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("localhost", "invalid cluster address 'localhost'; use auto or HOST:PORT"),
        (
            "127.0.0.1:9",
            f"cannot connect to 127.0.0.1:9 ({os.strerror(errno.ECONNREFUSED)}); "
            "use the address that `ray start` printed",
        ),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(address, said, make_job, tmp_path):
    with pytest.raises(ConfigError) as caught:
        run_jobs([make_job()], tmp_path / "runs", cluster=address)
    assert str(caught.value) == said
    assert not (tmp_path / "runs").exists()


def test_what_ray_says_is_one_line(make_job, tmp_path, monkeypatch):
    def find_none(*args, **settings):
        raise ConnectionError("Could not find any running instance\nMore of it.")

    monkeypatch.setattr("ray.init", find_none)
    with pytest.raises(ConfigError) as caught:
        run_jobs([make_job()], tmp_path, cluster="auto")
    assert str(caught.value) == (
        "no Ray cluster at 'auto' (Could not find any running instance); start one with `ray start`"
    )


def test_a_cluster_that_cannot_be_joined_is_not_called_missing(make_job, tmp_path, monkeypatch):
    def differ(*args, **settings):
        raise RuntimeError("Version mismatch: the cluster has Ray 2.9")

    monkeypatch.setattr("ray.init", differ)
    with pytest.raises(ConfigError) as caught:
        run_jobs([make_job()], tmp_path, cluster="auto")
    assert str(caught.value) == (
        "cannot connect to the Ray cluster at 'auto': Version mismatch: the cluster has Ray 2.9"
    )


def test_without_ray_its_extra_is_named(make_job, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError) as caught:
        run_jobs([make_job()], tmp_path, cluster="auto")
    assert str(caught.value) == "--cluster needs Ray: pip install '.[ray]' in the clone"


@pytest.mark.parametrize("unseen", ["folder", "marker", "manifest"])
def test_a_machine_that_does_not_see_the_files_says_so(unseen, make_job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, marker = make_job(), tmp_path / "marker"
    marker.touch()
    monkeypatch.setattr(ray.socket, "gethostname", lambda: "node7")
    Place(str(tmp_path), marker).enter(Job(config, tmp_path))
    gone = tmp_path / "gone"
    place = Place(str(gone if unseen == "folder" else tmp_path), marker)
    if unseen == "marker":
        place = replace(place, marker=gone)
    elif unseen == "manifest":
        config = replace(config, data=replace(config.data, manifest=str(gone)))
    with pytest.raises(DataError) as caught:
        place.enter(Job(config, tmp_path))
    said = str(caught.value)
    assert said.startswith("node7 has no ")
    assert str(gone) in said
    assert said.endswith("; all machines must share one file system")
