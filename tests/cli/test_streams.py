"""Standard streams that are closed or full: the work is done, and lost output is reported."""

import errno
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import hostile
import pytest

from dfercli.cli import streams
from dfercli.config import ModelConfig
from dfercli.errors import naming
from dfercli.faces.align import CropRecipe
from dfercli.files import FolderKind, replacing, replacing_folder
from dfercli.models.base import build_model
from dfercli.predict.batch.formats import write_json_document
from dfercli.runs.checkpoint import save_checkpoint

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="only Linux has /dev/full")
MODEL = "checkpoint: model\nmodel: model, trained on unknown data; not calibrated\n"
LOST = "error: standard output is incomplete: No space left on device; free some space\n"


@pytest.fixture
def shell(dfer):
    """Run a line in a shell beside a video and a checkpoint, with output buffered or not."""
    config = ModelConfig(backbone="demo-ViT-tiny", weights="random")
    crop = asdict(CropRecipe("mtcnn", 48))
    save_checkpoint(build_model(config, ("happiness", "sadness"), crop), Path("model"))
    hostile.write(Path("a.mp4"), hostile.draw_faces(), "mp4v")

    def run(line, **options):
        env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        env |= {"PYTHONPATH": os.pathsep.join(sys.path), **options}
        line = line.replace("dfer ", f"'{sys.executable}' -m dfercli ")
        return subprocess.run(line, shell=True, env=env, capture_output=True, text=True)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_predict_writes_its_files_where_streams_are_closed(shell, closed):
    made = "--out r.json --annotate r.mp4 --plot r.png"
    done = shell(f"dfer predict a.mp4 --checkpoint model {made} {closed}")
    assert done.returncode == 0, done.stderr
    assert {"r.json", "r.mp4", "r.png"} <= {path.name for path in Path().iterdir()}
    assert done.stderr == "" or "2>" not in closed
    assert done.stdout == "" or ">&-" not in closed.split()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_processes_that_are_started_have_all_three_streams(tmp_path, closed):
    """Those of `--jobs` use their own."""
    child = "import os, sys; [os.fstat(number) for number in range(3)]; sys.stderr.buffer"
    code = (
        "import subprocess, sys; from dfercli.cli.streams import open_closed_streams\n"
        "open_closed_streams()\n"
        f"sys.exit(subprocess.run([sys.executable, '-c', {child!r}]).returncode)"
    )
    (tmp_path / "parent.py").write_text(code)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    line = f"'{sys.executable}' '{tmp_path / 'parent.py'}' {closed}"
    assert subprocess.run(line, shell=True, env=env).returncode == 0


@pytest.mark.slow
@needs_full
@pytest.mark.parametrize("options", [{}, {"PYTHONUNBUFFERED": "1"}])
def test_output_on_a_full_disk_is_one_line_and_the_files_are_written(shell, options):
    done = shell("dfer predict a.mp4 --checkpoint model --out r.json > /dev/full", **options)
    assert done.returncode == 1
    assert done.stderr == f"{MODEL}written: r.json\n{LOST}"
    assert Path("r.json").is_file()


@pytest.mark.slow
@needs_full
@pytest.mark.parametrize("line", ["dfer --help", "dfer --version", "dfer doctor"])
def test_every_command_says_that_its_output_is_lost(shell, line):
    done = shell(f"{line} > /dev/full")
    assert done.returncode == 1
    assert done.stderr.endswith(LOST)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@needs_full
def test_errors_that_cannot_be_printed_keep_nothing_from_being_done(shell):
    done = shell("dfer predict a.mp4 --checkpoint model --out r.json 2> /dev/full")
    assert done.returncode == 0
    assert Path("r.json").is_file()


@pytest.mark.slow
def test_an_exit_code_that_says_more_is_kept(shell):
    """Of a video that cannot be read: 4."""
    done = shell("dfer predict a.mp4 no.mp4 --checkpoint model > /dev/full")
    assert done.returncode == 4
    assert done.stderr.endswith(LOST)


def test_what_a_file_has_not_taken_is_remembered(tmp_path):
    file = streams.TolerantFile(tmp_path / "a", "w")
    assert file.write(memoryview(b"12345")) == 5
    assert file.failure is None
    file.close()
    if FULL.exists():
        with streams.TolerantFile(FULL, "w") as full:
            assert [full.write(b"123"), full.write(b"4567")] == [3, 4]
            assert full.failure.errno == errno.ENOSPC


def test_a_reader_that_has_gone_ends_the_command():
    reader, writer = os.pipe()
    os.close(reader)
    with streams.TolerantFile(writer, "w") as file, pytest.raises(BrokenPipeError):
        file.write(b"x")


KIND = FolderKind("letters", r".+\.txt", "letters.txt", ())


@needs_full
@pytest.mark.parametrize("what", ["file", "folder", "document"])
def test_an_error_of_a_full_disk_names_the_file(tmp_path, what, monkeypatch):
    """The system names it only where a file is opened."""
    path = tmp_path / "r.json"
    monkeypatch.setattr("dfercli.files._temporary_name", lambda name: name)
    with pytest.raises(OSError, match="No space left") as caught:
        if what == "file":
            with replacing(path) as partial:
                partial.symlink_to(FULL)
                partial.write_text("a")
        elif what == "folder":
            with replacing_folder(path, KIND) as partial:
                partial.mkdir()
                (partial / "letters.txt").symlink_to(FULL)
                (partial / "letters.txt").write_text("a")
        else:
            monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
            path.with_name(".r.json.partial").symlink_to(FULL)
            write_json_document(path, {"a": 1}, [])
    assert caught.value.filename == str(path)


def test_only_errors_of_disks_are_named_after_a_file(tmp_path):
    for number, name in [(errno.EPIPE, None), (errno.ENOSPC, "other"), (errno.ECONNRESET, None)]:
        with pytest.raises(OSError, match="x") as caught, naming(tmp_path):
            raise OSError(number, "x", name)
        assert caught.value.filename == name


@pytest.mark.parametrize("name", ["labels.csv", None])
def test_a_command_names_the_file_that_it_cannot_write(dfer, monkeypatch, name):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device", name)

    monkeypatch.setattr("dfercli.demo.videos.make_demo", fail)
    done = dfer("demo drawn")
    assert done.code == 1
    where = f"{name}: " if name else ""
    assert done.err == f"error: {where}No space left on device; free some space\n"
