"""What benchmarks of several kinds say about the machine, and where they write their figures."""

import os
import platform
import subprocess
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).with_name("results")
MACHINE = f"{platform.machine()}-{os.cpu_count()}cpu"


def describe_machine(*packages: str) -> dict[str, Any]:
    """Say what figures were measured on, and with what."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line for line in lines if line.startswith("model name")]
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty"]
    return {
        "cpu": models[0].partition(": ")[2] if models else platform.processor(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "commit": subprocess.run(command, capture_output=True, text=True).stdout.strip(),
        "versions": {name: version(name) for name in packages}
        | {"python": platform.python_version()},
        "date": date.today().isoformat(),
    }
