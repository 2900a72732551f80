"""What temperature a perfectly calibrated model gets: simulated held-out clips.

    python benchmarks/temperature.py

Each epoch of a run sees the same clips through noise of its own: a class's direction and normal
noise, whose posterior the model says exactly, so its true temperature is 1. The epoch of the most
correct clips is chosen, and the temperature fitted on the very clips that chose it, as for the val
epoch of `dfer train --val-fraction`. That the epochs are independent makes the choice matter more
than in a training, where they are alike. `likeliest` is plain maximum likelihood; `dfer` has the
prior, and refuses too few clips or errors.
"""

import argparse
from typing import Any

import numpy as np
from machine import add_output_option

from dfercli.files import write_json
from dfercli.metrics.calibration import fit_calibration, fit_temperature

NUM_CLASSES, NUM_EPOCHS = 7, 20
COUNTS = (6, 21, 40, 100, 150, 450, 1870)
"""Held-out clips; 1,870 are a fifth of the training clips of a fold of DFEW."""

SIGNALS = (1.0, 1.5, 2.2, 3.0)
"""Length of a class's direction in deviations of the noise: about 38, 58, 80 and 94 % correct."""

NEAR = (0.7, 1.4)


def choose_epoch(
    clips: int, signal: float, epochs: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities (N, K) of the best of some epochs, and the labels (N,)."""
    labels = rng.integers(0, NUM_CLASSES, clips)
    best, chosen = -1, np.empty(0)
    for _ in range(epochs):
        seen = rng.normal(size=(clips, NUM_CLASSES))
        seen[np.arange(clips), labels] += signal
        right = int((seen.argmax(axis=1) == labels).sum())
        if right > best:
            best, chosen = right, seen
    powers = np.exp(signal * (chosen - chosen.max(axis=1, keepdims=True)))
    return powers / powers.sum(axis=1, keepdims=True), labels


def measure(clips: int, signal: float, runs: int, epochs: int = NUM_EPOCHS) -> dict[str, float]:
    """Return what becomes of the temperature in some runs; nan where all are refused."""
    likeliest, fitted = [], []
    for seed in range(runs):
        rng = np.random.default_rng([seed, clips, epochs])
        probs, labels = choose_epoch(clips, signal, epochs, rng)
        likeliest.append(fit_temperature(probs, labels))
        temperature = fit_calibration(probs, labels).temperature
        fitted += [] if temperature is None else [temperature]
    kept = np.array(fitted)
    ends = np.quantile(kept, [0.025, 0.5, 0.975]) if len(kept) else np.full(3, np.nan)
    near = int(((kept >= NEAR[0]) & (kept <= NEAR[1])).sum())
    refused = runs - len(kept)
    return {
        "likeliest": float(np.median(likeliest)),
        "low": float(ends[0]),
        "median": float(ends[1]),
        "high": float(ends[2]),
        "refused": refused / runs,
        "near_or_refused": (near + refused) / runs,
    }


def main() -> None:
    """Print a line for each number of clips, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="simulated runs")
    add_output_option(parser)
    asked = parser.parse_args()
    print(
        "epochs signal  clips  likeliest   dfer: median (95 %)     refused   0.7 to 1.4, or refused"
    )
    results: list[dict[str, Any]] = []
    for epochs in (NUM_EPOCHS, 1):
        for signal in SIGNALS:
            for clips in COUNTS:
                found = measure(clips, signal, asked.runs, epochs)
                results.append({"epochs": epochs, "signal": signal, "clips": clips, **found})
                told = "-"
                if found["refused"] < 1:
                    told = f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
                print(
                    f"{epochs:6}{signal:7}{clips:7}{found['likeliest']:11.2f}{told:>25}"
                    f"{100 * found['refused']:9.1f} %{100 * found['near_or_refused']:15.1f} %",
                    flush=True,
                )
    values = [{k: None if v != v else v for k, v in each.items()} for each in results]
    write_json(asked.out / "temperature.json", {"runs": asked.runs, "results": values})


if __name__ == "__main__":
    main()
