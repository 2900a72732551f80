"""The seal of a checkpoint: a hash in `config.json` over all that the checkpoint consists of.

It tells a damaged copy from a whole one; it is no signature, for who changes the weights on purpose
can seal them again.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEAL = "seal"
"""Entry of `config.json`; checkpoints of earlier versions have none."""

BLOCK = 1 << 20
"""Bytes that are hashed at a time (our choice)."""


def make_seal(settings: Mapping[str, Any], weights: Path) -> str:
    """Hash the entries of a configuration and a file of weights; takes a second per gigabyte.

    Args:
        settings: Entries of `config.json`; a seal among them does not count.
        weights: The file.
    """
    entries = {name: value for name, value in settings.items() if name != SEAL}
    digest = hashlib.sha256(json.dumps(entries, sort_keys=True).encode() + b"\0")
    with weights.open("rb", buffering=0) as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def seal(config: Path, weights: Path) -> None:
    """Write the seal of a checkpoint into its configuration."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings[SEAL] = make_seal(settings, weights)
    config.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
