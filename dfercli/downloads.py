"""Weights from the network: asked for once, and held against a hash before they are loaded."""

import re
import ssl
from functools import cache
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from dfercli.files import hash_file
from dfercli.system_errors import first_line

ANSWER_S = 4.0
"""Seconds that a server gets to answer before there counts as no network (our choice)."""

PUBLISHED = {
    "vit_base_patch32_clip_224.openai/open_clip_model.safetensors": (
        "e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31"
    ),
}
"""SHA-256 of files, by repository on the Hub and file name. Source: three public projects that pin
this file of OpenAI's ViT-B/32 record the same hash; it was not downloaded to check it."""

NAMED = re.compile(r"-(?=[0-9]*[a-f])([0-9a-f]{8,64})\.")
"""The first digits of its SHA-256 in a file's name, as PyTorch's hub has it; a date is none."""


def find_damage(path: Path, repository: str = "") -> str | None:
    """Return what is wrong with the content of a file; None where it is as it was published.

    A file of the Hub's cache is a link to one that has its SHA-256 for a name, but where the system
    has no links. One that neither `PUBLISHED` nor its name tells a hash of cannot be checked.

    Args:
        path: The file.
        repository: On the Hub, without its owner.
    """
    target = path.resolve().name
    expected = PUBLISHED.get(f"{repository}/{path.name}", "")
    if not expected and re.fullmatch("[0-9a-f]{64}", target):
        expected = target
    if not expected and (named := NAMED.search(path.name)):
        expected = named[1]
    found = hash_file(path) if expected else ""
    if found.startswith(expected):
        return None
    return f"{path} has the SHA-256 {found[:12]}..., not {expected[:12]}..."


def hub_answers() -> bool:
    """Return whether the Hugging Face Hub can be reached.

    The Hub's own library tries again for half a minute before it says that there is no network.
    """
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE and answers(constants.ENDPOINT)


@cache
def answers(url: str) -> bool:
    """Return whether a server answers at all, within `ANSWER_S` seconds; asked once per process."""
    try:
        request = Request(url, method="HEAD", headers={"User-Agent": "dfer"})
        urlopen(request, timeout=ANSWER_S).close()
    except HTTPError:
        return True
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # somebody is there, whom others may trust
    except (OSError, ValueError, HTTPException):  # too slow, hung up, or no address of a web server
        return False
    return True


def explain_failed_fetch(error: BaseException) -> str:
    """Return why a file could not be fetched from the Hub, in a few words."""
    return first_line(error) if hub_answers() else describe_silence()


def describe_silence() -> str:
    """Return why the Hub does not answer: there is no network, or it must not be asked."""
    from huggingface_hub import constants

    return "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "no network"
