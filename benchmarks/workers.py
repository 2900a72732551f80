"""Time until a worker process is ready: forked from the server of `dfercli.parallel`, or spawned.

Workers import what predicting needs and report at once: python benchmarks/workers.py [--workers N]
"""

import argparse
import sys
import time
from collections.abc import Callable

from dfercli import parallel
from dfercli.parallel import Emit, Share, run_in_workers
from dfercli.predict.predictor import Predictor


def start() -> Callable[[int, Emit], str]:
    """Return the work of a worker that has imported the predictor."""
    return lambda task, emit: Predictor.__name__


def measure_workers(count: int) -> list[float]:
    """Return the seconds until each of several workers, started one after another, is ready."""
    seconds = []
    for task in range(count):
        began_s = time.perf_counter()
        list(run_in_workers([task], start, [Share(threads=1)], purpose="measures"))
        seconds.append(time.perf_counter() - began_s)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=3)
    count = parser.parse_args().workers
    kinds = ["forked", "spawned"] if parallel.FORKSERVER else ["spawned"]
    for kind in kinds:
        parallel.FORKSERVER = kind == "forked"
        figures = ", ".join(f"{seconds:.2f}" for seconds in measure_workers(count))
        print(f"{kind}: ready and done after {figures} s")
    print(f"Python {sys.version.split()[0]} on {sys.platform}")


if __name__ == "__main__":
    main()
