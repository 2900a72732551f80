"""What runs leave, so that two of them can be compared to the byte."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest

from dfercli.errors import CheckpointError
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.runs.run_folder import RunFolder, run_folder
from dfercli.training import loop
from dfercli.training.loop import train_fold

STRONG = {"layer_decay": 0.75, "label_smoothing": 0.1, "mixup": 0.8, "drop_path": 0.5}
"""What `--preset strong` adds to the recipe and draws from, with more dropped than there."""


def outcome_of(folder):
    """Every byte that a run leaves, without how long it took and that it was interrupted."""
    outcome = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            outcome[name] = [line | {"seconds": 0, "clips_per_s": 0} for line in lines]
        elif name == "run.json":
            entries = json.loads(path.read_text())
            entries.get("sealed", {}).pop("metrics.jsonl", None)  # which has times in it
            outcome[name] = {**entries, "resumed": None, "command": None, "commit": None}
        elif path.is_file():
            outcome[name] = path.read_bytes()
    return outcome


def check_readable(folder):
    """Open all that a user may open, at whatever moment.

    A checkpoint that is just being replaced, file by file, says what to do.
    """
    run = RunFolder(folder)
    if run.run_file.exists():
        _ = run.read().config
    if run.metrics_file.exists():
        run.read_metrics()
    for path in folder.rglob("model.safetensors"):
        if run.resume_folder in path.parents:
            continue  # what waits there is nobody's to open
        if [*run.resume_folder.glob(f"epoch*-{path.parent.name}")]:
            with suppress_replaced():
                load_checkpoint(str(path.parent))
        else:
            load_checkpoint(str(path.parent))


@contextmanager
def suppress_replaced():
    try:
        yield
    except CheckpointError as error:
        assert "if its training was interrupted, run the same command again" in str(error)


class StoppedError(BaseException):
    """Stops a run where no handler of errors sees it, as a kill does."""


def stop_at(monkeypatch, call):
    """Stop at the n-th time that a file or folder gets its name."""
    calls = iter(range(call))

    def stopping(function):
        def replace(path, target):
            if next(calls, None) is None:
                raise StoppedError
            return function(path, target)

        return replace

    for name in ("replace", "rename"):
        monkeypatch.setattr(Path, name, stopping(getattr(Path, name)))


def stop_after(epochs, monkeypatch, config, runs):
    """Leave a run of fold 1 that was stopped after so many epochs."""
    seed_epoch = loop.seed_epoch

    def stop(seed, epoch, rank):
        if epoch == epochs:
            raise StoppedError
        seed_epoch(seed, epoch, rank)

    with monkeypatch.context() as patched, pytest.raises(StoppedError):
        patched.setattr(loop, "seed_epoch", stop)
        train_fold(config, runs)
    return run_folder(runs, config)
