"""Downloaded weights: whether a server answers, and whether a file is the published one."""

import re
import ssl
from functools import cache
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from dfercli.errors import first_line
from dfercli.files import hash_file

ANSWER_S = 4.0
"""Seconds after which a server counts as unreachable (our choice)."""

PUBLISHED = {
    "vit_base_patch32_clip_224.openai/open_clip_model.safetensors": (
        "e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31"
    )
}
"""SHA-256 of files, by repository on the Hub and file name. Source: three public projects that pin
this file of OpenAI's ViT-B/32 record the same hash; it was not downloaded to check it."""

HASH_IN_NAME = re.compile(r"-(?=[0-9]*[a-f])([0-9a-f]{8,64})\.")
"""First digits of the SHA-256 in a file name, as PyTorch's hub writes them; dates do not match."""


def find_damage(path: Path, repository: str = "") -> str | None:
    """Return how a file differs from the published one; None if it is intact.

    The expected hash is in `PUBLISHED` under the repository on the Hub (without its owner), in the
    file's name, or in the name of the file that a link in the Hub's cache points to. A file without
    any of them cannot be checked and counts as intact.
    """
    target = path.resolve().name
    expected = PUBLISHED.get(f"{repository}/{path.name}", "")
    if not expected and re.fullmatch("[0-9a-f]{64}", target):
        expected = target
    if not expected and (match := HASH_IN_NAME.search(path.name)):
        expected = match[1]
    actual = hash_file(path) if expected else ""
    if actual.startswith(expected):
        return None
    return f"{path} has the SHA-256 {actual[:12]}..., not {expected[:12]}..."


def hub_answers() -> bool:
    """Return whether the Hugging Face Hub can be reached.

    This is much faster than the Hub's own library, which retries for half a minute.
    """
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE and answers(constants.ENDPOINT)


@cache
def answers(url: str) -> bool:
    """Return whether a server answers within `ANSWER_S` seconds; asked once per process."""
    try:
        request = Request(url, method="HEAD", headers={"User-Agent": "dfer"})
        urlopen(request, timeout=ANSWER_S).close()
    except HTTPError:
        return True
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # it answers, and other clients may trust it
    except (OSError, ValueError, HTTPException):  # timeout, broken connection, or invalid address
        return False
    return True


def explain_failed_fetch(error: BaseException) -> str:
    """Return why a file could not be downloaded from the Hub, in a few words."""
    return first_line(error) if hub_answers() else explain_offline()


def explain_offline() -> str:
    """Return why the Hub does not answer: there is no network, or it must not be used."""
    from huggingface_hub import constants

    return "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "no network"
