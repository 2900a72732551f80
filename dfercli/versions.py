"""Which code runs, for the record: versions and the commit. Best effort, never an error."""

import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

__version__ = "0.1.0"
"""Of dfer. It stands here and not in the package, which may import anything."""

ALTERNATIVES = {
    "opencv-python": (
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    )
}
"""Other distributions of the same module, of which a machine may have any."""

NOT_INSTALLED = "not installed"

GIT_WAIT_S = 10.0
"""How long git may take (our choice: a record is not worth more)."""


def find_version(name: str) -> str | None:
    """Return the version of an installed distribution; None where nothing says it.

    That of dfer is its own, which it also has in a source tree that was never installed.
    """
    if name == "dfer":
        return __version__
    try:
        return metadata.version(name) or None
    except Exception:  # not installed, or its metadata are damaged in one of many ways
        return None


def find_versions(*names: str) -> dict[str, str | None]:
    """Return the version of each distribution, and of Python, by the name it is installed under."""
    versions: dict[str, str | None] = {}
    for name in names:
        candidates = (name, *ALTERNATIVES.get(name, ()))
        installed = next((each for each in candidates if find_version(each)), name)
        versions[installed] = find_version(installed)
    return versions | {"python": platform.python_version()}


def describe_versions(versions: Mapping[str, str | None]) -> str:
    """Return versions as one line, such as "torch 2.6.0, wandb not installed"."""
    return ", ".join(f"{name} {number or NOT_INSTALLED}" for name, number in versions.items())


def find_commit() -> str | None:
    """Return the commit of the checkout that this package runs from; None where nothing says it."""
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
