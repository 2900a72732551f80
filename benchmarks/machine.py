"""What benchmarks of several kinds say about the machine, and where they write their figures."""

import argparse
import os
import platform
from datetime import date
from pathlib import Path
from typing import Any

import torch

from dfercli.device import name_gpu
from dfercli.versions import find_commit, find_versions

RESULTS = Path(__file__).with_name("results")
CPU_INFO = Path("/proc/cpuinfo")
MACHINE = f"{platform.machine()}-{os.cpu_count()}cpu"


def add_output_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the folder of the figures."""
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder to write the figures to")


def describe_machine(*packages: str) -> dict[str, Any]:
    """Say what figures were measured on, and with what."""
    return {
        "cpu": name_cpu(),
        "cores": os.cpu_count(),
        "device": name_gpu() if torch.cuda.is_available() else "none",
        "commit": find_commit(),
        "versions": find_versions(*packages),
        "date": date.today().isoformat(),
    }


def name_cpu() -> str:
    """Return the name of the processor, or of its architecture where nothing says more."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
