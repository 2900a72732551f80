"""Versions and commit of the running code, for records. Lookups never raise."""

import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

__version__ = "0.1.0"
"""Version of dfer."""

ALTERNATIVES = {
    "opencv-python": (
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    )
}
"""Other distributions that provide the same module."""

NOT_INSTALLED = "not installed"

GIT_WAIT_S = 10.0
"""Timeout of git in seconds (our choice)."""


def find_version(name: str) -> str | None:
    """Return the version of an installed distribution, or None; that of dfer is always known."""
    if name == "dfer":
        return __version__
    from importlib import metadata  # `dfer --help` does not wait for it

    try:
        return metadata.version(name) or None
    except Exception:  # not installed, or with damaged metadata
        return None


def find_versions(*names: str) -> dict[str, str | None]:
    """Return the versions of distributions and of Python, by their installed names."""
    versions: dict[str, str | None] = {}
    for name in names:
        candidates = (name, *ALTERNATIVES.get(name, ()))
        installed = next((candidate for candidate in candidates if find_version(candidate)), name)
        versions[installed] = find_version(installed)
    return versions | {"python": platform.python_version()}


def describe_versions(versions: Mapping[str, str | None]) -> str:
    """Return versions as one line, such as "torch 2.6.0, wandb not installed"."""
    return ", ".join(f"{name} {number or NOT_INSTALLED}" for name, number in versions.items())


def find_commit() -> str | None:
    """Return the commit of the checkout that this package runs from, or None."""
    checkout = Path(__file__).parents[1]
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    try:
        if not (checkout / ".git").exists():
            return None
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=GIT_WAIT_S
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.decode(errors="replace").strip() or None
