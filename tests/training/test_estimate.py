"""The estimate of time and disk space for training on a CPU."""

import pytest
import torch
from small_runs import small_network

from dfercli import device
from dfercli.data.manifest import read_manifest
from dfercli.models.flops import measure_cost
from dfercli.training import estimate as module
from dfercli.training.estimate import Estimate, describe_time, estimate, measure_matrix_rate


@pytest.fixture
def manifest(colours):
    return read_manifest(colours)


@pytest.fixture
def rate(monkeypatch):
    """A CPU of a known speed, in operations per second."""
    monkeypatch.setattr(module, "measure_matrix_rate", lambda dtype: 1e9)
    return 1e9


def test_time_and_disk_follow_from_what_a_step_costs(rate, manifest, make_run, tmp_path):
    runs = [make_run(fold, epochs=10, compute={"precision": "fp32"}) for fold in (1, 2)]
    result = estimate(runs, tmp_path / "not" / "there", manifest)
    cost = measure_cost(runs[0].model, ("happiness", "sadness", "anger"))
    passes = 10 * (3 * 12 + 6)  # 12 clips are learnt from, forward and backward, and 6 tested
    assert result.seconds == pytest.approx(2 * 2 * cost.true_macs * passes / (0.8 * rate))
    assert result.final_bytes == 2 * 2 * 4 * cost.trainable  # two folds, best and last epoch
    assert result.peak_bytes == result.final_bytes + 6 * 4 * cost.trainable
    assert result.free_bytes > 0


def test_each_run_has_the_rate_of_its_precision(
    manifest, make_run, tiny_name, tmp_path, monkeypatch
):
    rates = {torch.float32: 1e9, torch.bfloat16: 1e10}
    monkeypatch.setattr(module, "measure_matrix_rate", rates.__getitem__)
    monkeypatch.setattr(device, "multiplies_in_bf16", lambda kind: True)
    models = ({}, small_network("c3d", tiny_name))
    runs = [make_run(epochs=10, model=model, compute={"precision": "auto"}) for model in models]
    ours, c3d = (measure_cost(run.model, manifest.class_names).true_macs for run in runs)
    passes = 10 * (3 * 12 + 6)
    expected = 2 * passes * (ours / (0.5 * 1e10) + c3d / (0.8 * 1e9))
    assert estimate(runs, tmp_path, manifest).seconds == pytest.approx(expected)


def test_what_is_not_trained_takes_no_time(manifest, make_run, tmp_path):
    assert estimate([make_run(model={"method": "zero-shot"})], tmp_path, manifest) is None
    assert estimate([], tmp_path, manifest) is None


def test_a_gpu_is_not_guessed(manifest, make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    config = make_run(compute={"device": "auto", "precision": "fp32"})
    assert estimate([config], tmp_path, manifest) is None


def test_this_cpu_multiplies():
    assert measure_matrix_rate(module.DTYPES["fp32"]) > 1e8


def test_a_disk_that_is_too_small_is_reported():
    assert Estimate(40 * 86400, 10_000_000_000, 16_000_000_000, 5_000_000_000).describe() == (
        "40 days on this CPU, and 16 GB of disk (10 GB at the end); only 5 GB are free"
    )


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (10, "less than a minute"),
        (70, "1 minute"),
        (3600, "60 minutes"),
        (7200, "2 hours"),
        (86400, "24 hours"),
        (864000, "10 days"),
    ],
)
def test_a_duration_is_described_in_words(seconds, expected):
    assert describe_time(seconds) == expected
