"""A state that several processes on CPUs left: their device is `cpu:0`."""

import pytest
import torch
from accelerate import Accelerator

from dfercli.cli.options import note_processes
from dfercli.runs.run_folder import RunFolder
from dfercli.training import loop
from dfercli.training.loop import train_fold


class _StoppedError(Exception):
    pass


def test_a_run_of_several_processes_on_cpus_goes_on(make_run, tmp_path, monkeypatch):
    config = make_run(epochs=2)
    whole = train_fold(config, tmp_path / "whole")
    seed_epoch = loop.seed_epoch

    def stop(seed, epoch, rank):
        if epoch == 1:
            raise _StoppedError
        seed_epoch(seed, epoch, rank)

    monkeypatch.setattr(Accelerator, "device", property(lambda self: torch.device("cpu", 0)))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "seed_epoch", stop)
        with pytest.raises(_StoppedError):
            train_fold(config, tmp_path)
    run = train_fold(config, tmp_path)
    name = "last/model.safetensors"
    assert (run.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert RunFolder(run.path).read().processes == 1


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, ""),
        ({"WORLD_SIZE": "2"}, "processes that train together: 2\n"),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, "processes that train together: 1\n"),
    ],
)
def test_it_is_said_how_many_processes_a_launcher_started(environment, said, monkeypatch, capsys):
    for name in ("WORLD_SIZE", "ACCELERATE_MIXED_PRECISION", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    note_processes()
    assert capsys.readouterr().err == said
