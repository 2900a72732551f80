"""Freq-HD: frequencies, energies and weights of small cases by hand, and their cache."""

import math
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import sleep

import numpy as np
import pytest

from dfercli.data.frames import open_cache
from dfercli.data.manifest import read_manifest
from dfercli.data.motion import (
    RADIUS,
    WindowWeights,
    measure_change,
    split_frequencies,
    weigh_windows,
)
from dfercli.errors import DataError


def test_a_wave_is_split_by_its_frequency():
    size, periods = 64, 20
    wave = np.cos(2 * np.pi * periods * np.arange(size) / size)
    low, high = split_frequencies(np.tile(wave, (1, size, 1)))
    kept = math.exp(-(periods**2) / (2 * RADIUS**2))  # of the Gaussian, at one deviation: 0.607
    np.testing.assert_allclose(low[0, 0], kept * wave, atol=1e-9)
    np.testing.assert_allclose(high[0, 0], (1 - kept) * wave, atol=1e-9)


def test_the_energy_of_a_window_is_that_of_the_discrete_fourier_transform():
    frames = np.random.default_rng(0).normal(size=(6, 3, 2))
    spectra = [np.fft.fft(frames[start : start + 4], axis=0) for start in range(3)]
    expected = [(np.abs(spectrum[2:]) ** 2).mean() for spectrum in spectra]
    np.testing.assert_allclose(measure_change(frames), expected)


def test_the_window_that_flickers_weighs_most():
    rng = np.random.default_rng(0)
    still = np.tile(rng.integers(0, 256, (1, 3, 32, 32), dtype=np.uint8), (24, 1, 1, 1))
    still[12:16:2] = 255 - still[12]
    weights = weigh_windows(still)
    assert weights.shape == (21,)
    assert np.isfinite(weights).all()
    assert 9 <= weights.argmax() <= 15
    assert weights[0] == 0


@pytest.mark.parametrize("num_frames", [1, 3, 4, 5])
def test_short_and_constant_videos_have_finite_weights(num_frames):
    weights = weigh_windows(np.full((num_frames, 3, 8, 8), 7, dtype=np.uint8))
    assert weights.shape == (max(1, num_frames - 3),)
    assert np.isfinite(weights).all()


def test_weights_are_computed_once_and_kept(tmp_path):
    calls = []

    def read(path):
        calls.append(path)
        return np.random.default_rng(len(path)).integers(0, 256, (9, 3, 8, 8), dtype=np.uint8)

    paths = ["a", "file", "b/c", "a"]
    file = tmp_path / "weights.npz"
    first = WindowWeights(read, file, paths)
    assert calls == ["a", "file", "b/c"]
    again = WindowWeights(read, file, paths)
    for path in paths:
        assert np.array_equal(again.find(path), weigh_windows(read(path)))
        assert np.array_equal(first.find(path), again.find(path))
    assert len(calls) == 3 + len(paths)


def test_weights_that_two_processes_need_are_computed_by_one(tmp_path):
    file, started, calls = tmp_path / "weights.npz", Event(), []

    def read(path):
        calls.append(path)
        started.set()
        sleep(0.05)
        return np.random.default_rng(0).integers(0, 256, (9, 3, 8, 8), dtype=np.uint8)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(WindowWeights, read, file, ["a", "b"])
        assert started.wait(10)
        second = pool.submit(WindowWeights, read, file, ["a", "b"])
        assert np.array_equal(first.result().find("b"), second.result().find("b"))
    assert calls == ["a", "b"]


def test_a_damaged_file_of_weights_is_named(tmp_path):
    file = tmp_path / "weights.npz"
    for content in (b"", b"PK\3\4" + bytes(20), b"text"):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"weights.npz .*; remove it to compute it again"):
            WindowWeights(lambda path: None, file, ["a"])


def test_weights_that_cannot_be_written_are_an_error_of_one_line(tmp_path):
    (tmp_path / "file").touch()
    frames = np.zeros((9, 3, 8, 8), dtype=np.uint8)
    with pytest.raises(DataError, match=r"cannot write .*; use another --cache-dir, or --no-cache"):
        WindowWeights(lambda path: frames, tmp_path / "file" / "weights.npz", ["a"])


def test_cached_frames_that_are_built_again_lose_their_weights(colours, tmp_path):
    manifest, root = read_manifest(colours), colours.parent
    cache = open_cache(manifest, root, 16, tmp_path)
    cache.motion_file.touch()
    assert open_cache(manifest, root, 16, tmp_path).motion_file.exists()
    cache.file.unlink()
    assert not open_cache(manifest, root, 16, tmp_path).motion_file.exists()


@pytest.mark.filterwarnings("error")
def test_a_line_through_a_single_window_causes_no_warning():
    frames = np.random.default_rng(0).integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)
    frames[:8] = frames[0]
    assert np.isfinite(weigh_windows(frames)).all()
