"""Freq-HD: frequencies, energies and weights of small cases by hand, and their cache."""

import math

import numpy as np
import pytest

from dfercli.data.motion import (
    RADIUS,
    WindowWeights,
    measure_change,
    split_frequencies,
    weigh_windows,
)


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

    file = tmp_path / "weights.npz"
    first = WindowWeights(read, file, ["a", "b/c", "a"])
    assert calls == ["a", "b/c"]
    again = WindowWeights(read, file, ["a", "b/c"])
    assert np.array_equal(first.find("b/c"), again.find("b/c"))
    assert calls == ["a", "b/c"]
