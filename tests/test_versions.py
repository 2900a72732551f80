"""Records of versions, commit and GPU never stop a run."""

import os
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest
import torch

import dfercli
from dfercli import versions
from dfercli.doctor import inspect_machine
from dfercli.runs.run_folder import PACKAGES
from dfercli.training.device import describe_device
from dfercli.versions import describe_versions, find_commit, find_version, find_versions


@pytest.fixture
def installed(monkeypatch):
    """Let these distributions, by version, be all that is installed."""

    def install(**numbers):
        def version(name):
            if name.replace("-", "_") not in numbers:
                raise metadata.PackageNotFoundError(name)
            return numbers[name.replace("-", "_")]

        monkeypatch.setattr(metadata, "version", version)

    return install


def test_packages_without_metadata_are_recorded_as_unknown(installed):
    installed()
    found = find_versions(*PACKAGES)
    assert found.pop("dfer") == dfercli.__version__
    assert found.pop("python") == sys.version.split()[0]
    assert found == dict.fromkeys(set(PACKAGES) - {"dfer"})


def test_opencv_is_recorded_under_the_name_it_is_installed_by(installed):
    installed(opencv_python_headless="4.10", torch="2.6")
    found = find_versions("torch", "opencv-python")
    assert found == {
        "torch": "2.6",
        "opencv-python-headless": "4.10",
        "python": found["python"],
    }


@pytest.mark.parametrize("error", [KeyError("Version"), OSError("gone"), ValueError("a name")])
def test_damaged_metadata_are_no_error(error, monkeypatch):
    def fail(name):
        raise error

    monkeypatch.setattr(metadata, "version", fail)
    assert find_version("torch") is None
    monkeypatch.setattr(metadata, "version", lambda name: None)  # no line of it in the metadata
    assert find_version("torch") is None


def test_versions_are_one_line():
    known = {"torch": "2.6", "wandb": None}
    assert describe_versions(known) == "torch 2.6, wandb not installed"
    assert describe_versions({}) == ""


@pytest.fixture
def fake_git(tmp_path, monkeypatch):
    """Put a program called git first on the path, and a checkout around the package."""
    monkeypatch.setattr(versions, "__file__", str(tmp_path / "dfercli" / "versions.py"))
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    def write(script):
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "git").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / "git").chmod(0o755)

    return write


@pytest.mark.parametrize(
    ("script", "commit"),
    [
        ("echo v1-3-gabc-dirty", "v1-3-gabc-dirty"),
        ("exit 128", None),
        ("kill -9 $$", None),
        ("printf ''", None),
        (r"printf '\377'", "�"),
    ],
)
def test_whatever_git_answers_is_no_error(script, commit, fake_git):
    fake_git(script)
    assert find_commit() == commit


def test_git_that_hangs_is_not_waited_for(fake_git, monkeypatch):
    fake_git("exec sleep 60")
    monkeypatch.setattr(versions, "GIT_WAIT_S", 0.2)
    started = time.monotonic()
    assert find_commit() is None
    assert time.monotonic() - started < 10


def test_a_machine_without_git_knows_no_commit(tmp_path, fake_git, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_commit() is None


def test_an_installed_package_knows_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(versions, "__file__", str(tmp_path / "dfercli" / "versions.py"))
    assert find_commit() is None


def test_a_gpu_that_does_not_say_its_name_is_described(monkeypatch):
    def fail(*device):
        raise RuntimeError("CUDA driver error: unknown error")

    monkeypatch.setattr(torch.cuda, "get_device_name", fail)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert describe_device(torch.device("cuda", 0)) == "CUDA GPU of unknown name"
    monkeypatch.setattr("dfercli.doctor.DETECTORS", {})
    findings = {finding.topic: finding for finding in inspect_machine()}
    assert findings["device"].text == "CUDA GPU of unknown name; fp16, bf16"
    assert findings["device"].state == "ok"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", fail)
    findings = {finding.topic: finding for finding in inspect_machine()}
    text = "CUDA GPU of unknown name does not work: CUDA driver error: unknown error"
    assert (findings["device"].state, findings["device"].text) == ("wrong", text)


def test_the_doctor_does_without_metadata_and_without_a_working_folder(installed, monkeypatch):
    def fail():
        raise FileNotFoundError(2, "No such file or directory")

    installed(torch="2.6")
    monkeypatch.setattr("dfercli.doctor.DETECTORS", {})
    monkeypatch.setattr(Path, "cwd", fail)
    findings = {finding.topic: finding.text for finding in inspect_machine()}
    assert findings["python"].endswith(
        f"; dfer {dfercli.__version__}, torch 2.6, open_clip_torch not installed, "
        "opencv-python not installed"
    )
    assert findings["disk"] == "cannot read the working folder: No such file or directory"
