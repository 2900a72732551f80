"""Uploading a checkpoint to the Hugging Face Hub, with a model card."""

import json
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError
from huggingface_hub.utils import validate_repo_id

from dfercli.errors import CheckpointError, ConfigError, explain_system_error, find_local_error
from dfercli.models.settings import CONFIG_FILE, SEAL, WEIGHTS_FILE, make_seal
from dfercli.publish import PublishError
from dfercli.publish.card import write_card
from dfercli.runs.checkpoint import load_checkpoint
from dfercli.runs.lookup import find_source
from dfercli.runs.provenance import name_weights

CARD_FILE = "README.md"
"""File that the Hub reads the model card from."""

ANSWERS = {
    401: "the Hub rejected the token; create one with write access, then run `hf auth login`",
    403: "no write access; check that you are a member and that the token has write access",
    404: "the organisation does not exist or is not visible to you; check the name",
}
"""Explanations of the most common refusals of the Hub, by HTTP status."""


@dataclass(frozen=True)
class Publication:
    """A model that is ready for upload: its name on the Hub, card, and folder."""

    repo_id: str
    card: str
    folder: Path

    @property
    def sizes(self) -> dict[str, int]:
        """Size of each file in bytes, by its name on the Hub."""
        files = {name: (self.folder / name).stat().st_size for name in (CONFIG_FILE, WEIGHTS_FILE)}
        return files | {CARD_FILE: len(self.card.encode())}


def prepare(where: str, repo_id: str) -> Publication:
    """Write the card of a checkpoint, and load it, so that no broken one is published.

    `where` is the folder of a checkpoint or of a run (its best epoch); `repo_id` is
    `organisation/name`.

    Raises:
        ConfigError: The Hub does not accept the name.
        CheckpointError: There is no such checkpoint, it is incomplete, or another run wrote it.
        DataError: The run's predictions are missing, damaged, or belong to another run.
    """
    _check_name(repo_id)
    source = find_source(where)
    if source.folder is None:
        raise CheckpointError(f"no folder {where}; use the folder of a checkpoint or of a run")
    model = load_checkpoint(str(source.folder))
    return Publication(repo_id, write_card(model, source, repo_id), source.folder)


def push(publication: Publication, private: bool = False) -> str:
    """Upload a model in one commit, and return its address; the repository is created if needed.

    A private model is shown to its owner only; an existing public repository is then refused.

    Raises:
        PublishError: Nobody is logged in, the Hub refuses the upload, or it cannot be reached.
    """
    repo_id = publication.repo_id
    if get_token() is None:
        raise PublishError(
            "not logged in to the Hub; create a token there, then run `hf auth login`"
        )
    try:
        api = HfApi(library_name="dfer")
        _make_repository(api, repo_id, private)
        additions = [
            CommitOperationAdd(CONFIG_FILE, _read_config(publication.folder)),
            CommitOperationAdd(WEIGHTS_FILE, publication.folder / WEIGHTS_FILE),
            CommitOperationAdd(CARD_FILE, publication.card.encode()),
        ]
        return api.create_commit(repo_id, additions, commit_message="A model of dfer").commit_url
    # Uploads are done by other libraries, which raise RuntimeError.
    except (HTTPError, OSError, RuntimeError) as error:
        raise PublishError(f"nothing was uploaded to {repo_id}: {_explain(error)}") from error


def _read_config(folder: Path) -> bytes:
    """Read a checkpoint's configuration, without the folders of this machine."""
    content = (folder / CONFIG_FILE).read_bytes()
    settings = json.loads(content)
    weights = str(settings["model"].get("weights", ""))
    if name_weights(weights) == weights:
        return content
    settings["model"]["weights"] = name_weights(weights)
    settings[SEAL] = make_seal(settings, folder / WEIGHTS_FILE)
    return (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode()


def _make_repository(api: HfApi, repo_id: str, private: bool) -> None:
    """Create the repository if needed, and check that it is private if it has to be."""
    if not private:
        api.create_repo(repo_id, exist_ok=True)
        return
    api.create_repo(repo_id, private=True, exist_ok=True)
    if not api.repo_info(repo_id).private:
        raise PublishError(
            f"{repo_id} already exists on the Hub and is public, so nothing was uploaded; make it "
            f"private there, or omit --private"
        )


def _check_name(repo_id: str) -> None:
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"the Hub does not accept the name {repo_id!r}: {reason}") from error
    if "/" not in repo_id:
        raise ConfigError(f"{repo_id!r} has no owner; use a name such as organisation/{repo_id}")


def _explain(error: Exception) -> str:
    """Return why the Hub did not accept a model, and what to do."""
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        message = error.server_message or str(error).partition("\n")[0]
        return ANSWERS.get(
            status, f"the Hub responded with status {status}: {' '.join(message.split())}"
        )
    cause = error if isinstance(error, FileNotFoundError) else find_local_error(error)
    if cause is not None:
        where = f"{cause.filename}: " if cause.filename else ""
        return where + explain_system_error(cause)
    if isinstance(error, RuntimeError):
        return f"{' '.join(str(error).split())}; try again"
    return f"the Hub cannot be reached ({type(error).__name__}); check the network and try again"
