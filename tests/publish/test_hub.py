"""Models come back from the Hub as they were uploaded, and refusals are one line."""

import errno
import shutil

import pytest
import torch

from dfercli.errors import CheckpointError, ConfigError
from dfercli.publish import PublishError
from dfercli.publish.hub import prepare, push
from dfercli.runs.checkpoint import load_checkpoint

REFUSED = "nothing was uploaded to org/name: "


def test_what_was_pushed_loads_back_with_the_same_logits(hub, make_run, make_clips):
    run = make_run()
    address = push(prepare(str(run.path), "org/name"))
    assert address == f"https://huggingface.co/org/name/commit/{'a' * 40}"
    assert set(hub.files) == {"config.json", "model.safetensors", "README.md"}
    assert (hub.commits, hub.private) == (1, False)
    assert hub.tokens == {"Bearer hf_of_a_test"}
    assert hub.files["README.md"].decode().startswith("---\nlibrary_name: dfer\n")
    ours = load_checkpoint(str(run.path))
    shutil.rmtree(run.path)  # it comes from nowhere else
    theirs, clips = load_checkpoint("org/name"), make_clips(frames=4)
    assert theirs.settings == ours.settings
    assert theirs.state_dict().keys() == ours.state_dict().keys()
    for name, values in theirs.state_dict().items():
        assert torch.equal(values, ours.state_dict()[name]), name
    with torch.inference_mode():  # where weights lie in memory changes the last digit
        torch.testing.assert_close(theirs(clips), ours(clips), atol=1e-6, rtol=0)


def test_a_second_push_is_a_second_commit_to_the_same_place(hub, make_run):
    run = make_run()
    for which in ("best", "last"):
        push(prepare(str(run.checkpoint(which)), "org/name"))
    assert hub.commits == 2
    assert "/fold2/last`" in hub.files["README.md"].decode()


def test_private_makes_a_private_one_and_refuses_a_public_one(hub, make_run):
    publication = prepare(str(make_run().path), "org/name")
    push(publication, private=True)
    assert (hub.commits, hub.private) == (1, True)
    push(publication, private=True)
    hub.private = False
    with pytest.raises(
        PublishError, match=r"org/name already exists on the Hub and is public, so nothing"
    ):
        push(publication, private=True)
    assert hub.commits == 2


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            401,
            r"the Hub rejected the token; .*`hf auth login`",
        ),
        (
            403,
            r"no write access; check that you are a member",
        ),
        (404, r"the organisation does not exist or is not visible"),
        (500, r"the Hub responded with status 500: no"),
    ],
)
def test_a_refusal_is_one_line(status, said, hub, make_run):
    hub.refusal = status
    with pytest.raises(PublishError, match=REFUSED + said) as caught:
        push(prepare(str(make_run().path), "org/name"))
    assert len(str(caught.value).splitlines()) == 1
    assert hub.files == {}


def test_a_broken_upload_is_one_line(hub, make_run, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("Error while uploading\n'model.safetensors'")

    monkeypatch.setattr("dfercli.publish.hub.HfApi.create_commit", fail)
    said = r"Error while uploading 'model.safetensors'; try again"
    with pytest.raises(PublishError, match=REFUSED + said):
        push(prepare(str(make_run().path), "org/name"))
    assert hub.commits == 0


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "best/config.json"), "Permission d"),
        (FileNotFoundError(errno.ENOENT, "No such file", "best/config.json"), "No such file; "),
    ],
)
def test_a_file_that_cannot_be_sent_is_not_blamed_on_the_network(
    error, said, hub, make_run, monkeypatch
):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("dfercli.publish.hub.HfApi.create_commit", fail)
    with pytest.raises(PublishError, match=f"{REFUSED}best/config.json: {said}"):
        push(prepare(str(make_run().path), "org/name"))
    assert hub.commits == 0


def test_who_is_not_logged_in_is_told_how(hub, make_run, monkeypatch):
    monkeypatch.setattr("dfercli.publish.hub.get_token", lambda: None)
    with pytest.raises(PublishError, match=r"not logged in to the Hub; .*`hf auth login`"):
        push(prepare(str(make_run().path), "org/name"))
    assert hub.tokens == set()


@pytest.mark.usefixtures("no_network")
def test_without_a_network_it_is_one_line_too(make_run):
    with pytest.raises(PublishError, match=r"the Hub cannot be reached \("):
        push(prepare(str(make_run().path), "org/name"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("or g/name", r"the Hub does not accept the name 'or g/name': Repo id must"),
        ("a/b/c", r"the Hub does not accept the name 'a/b/c': Repo id must be in the form"),
        ("name", r"'name' has no owner; use a name such as organisation/name"),
    ],
)
def test_a_name_that_the_hub_does_not_take_is_refused_first(name, said, make_run):
    with pytest.raises(ConfigError, match=said) as caught:
        prepare("nowhere", name)
    assert len(str(caught.value).splitlines()) == 1


def test_a_broken_checkpoint_is_not_published(make_run, tmp_path):
    run = make_run()
    (run.checkpoint("best") / "model.safetensors").write_bytes(b"half")
    with pytest.raises(
        CheckpointError, match=r"cannot read model.safetensors of .*it may be incomplete"
    ):
        prepare(str(run.path), "org/name")
    with pytest.raises(
        CheckpointError, match=r"no folder other/model; use the folder of a checkpoint"
    ):
        prepare("other/model", "org/name")
