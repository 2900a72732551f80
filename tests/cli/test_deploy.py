"""The commands `dfer export` and `dfer push`."""

from pathlib import Path

import pytest

from dfercli.publish.onnx_file import OnnxFile, ProbDifference
from dfercli.runs.checkpoint import save_checkpoint

FILES = ["config.json: ", "model.safetensors: ", "README.md: "]


@pytest.fixture
def model(dfer, make_model):
    """A checkpoint in the folder `model`."""
    save_checkpoint(make_model(interfit=False, msta=False, num_frames=2), Path("model"))


@pytest.mark.slow
@pytest.mark.usefixtures("model")
def test_export_tells_what_it_wrote_and_nothing_else(dfer, caplog):
    done = dfer("export model --onnx model.onnx")
    assert (done.code, done.err) == (0, "")
    assert [each.message for each in caplog.records if each.levelname == "WARNING"] == []
    megabytes = Path("model.onnx").stat().st_size / 1e6
    lines = done.out.splitlines()
    assert lines[0] == f"written: model.onnx, {megabytes:,.1f} MB, ONNX opset 20"
    assert lines[1] == "input faces: uint8 (batch, 2, 32, 32, 3)"
    assert lines[2:4] == ["output logits: float (batch, 5)", "output probs: float (batch, 5)"]
    assert lines[4].startswith("ONNX and PyTorch in fp32 on 20 synthetic clips: largest differ")
    assert lines[4].endswith(" (limit 0.001)")
    assert len(lines) == 5


@pytest.mark.parametrize(("same", "warned"), [(20, False), (18, True)])
def test_int8_tells_its_loss_and_warns_where_classes_change(same, warned, dfer, monkeypatch):
    Path("model").mkdir(exist_ok=True)
    small = ProbDifference(1e-7, 1e-8, 20, 20)
    file = OnnxFile(Path("m.onnx"), 2_500_000, {}, {}, small, ProbDifference(0.04, 0.003, 20, same))
    monkeypatch.setattr("dfercli.publish.onnx_file.export_onnx", lambda *args: file)
    done = dfer("export model --onnx m.onnx --int8")
    told = "largest difference 4.0e-02, mean 3.0e-03, same top class for"
    assert f"int8 and PyTorch on the same clips: {told} {same} of 20 clips\n" in done.out
    assert ("warning: int8 classifies 2 of 20 synthetic clips differently" in done.err) is warned


@pytest.mark.usefixtures("model")
def test_a_dry_run_prints_the_card_and_the_files(dfer, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", None)  # nothing may be asked
    done = dfer("push model org/name --dry-run")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("---\nlibrary_name: dfer\n")
    assert "This checkpoint came without test results" in done.out
    files = done.out.splitlines()[-3:]
    assert [line[: len(name)] for line, name in zip(files, FILES, strict=True)] == FILES
    size = Path("model/model.safetensors").stat().st_size
    assert files[1] == f"model.safetensors: {size:,} bytes"


@pytest.mark.usefixtures("model")
def test_a_push_tells_the_address(dfer, monkeypatch):
    asked = []

    def push(publication, private):
        asked.append((publication.repo_id, private))
        return "https://huggingface.co/org/name/commit/abc"

    monkeypatch.setattr("dfercli.publish.hub.push", push)
    done = dfer("push model org/name --private")
    assert done.out.endswith("published: https://huggingface.co/org/name/commit/abc\n")
    assert asked == [("org/name", True)]
    assert "library_name" not in done.out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("export model --onnx model", "--onnx model is a folder; use the path of a file"),
        ("push model name --dry-run", "'name' has no owner; use a name such as organisation/name"),
        (
            "push other org/name --dry-run",
            "no checkpoint 'other': there is no such folder, no such finished run in runs "
            "(available: none), and it is not OWNER/NAME as on the Hugging Face Hub",
        ),
    ],
)
@pytest.mark.usefixtures("model")
def test_an_error_is_one_line(line, said, dfer):
    done = dfer(line)
    assert (done.code, done.out, done.err) == (1, "", f"error: {said}\n")


def test_the_file_has_to_be_named(dfer):
    done = dfer("export model")
    assert done.code == 2
    assert "--onnx" in done.err
