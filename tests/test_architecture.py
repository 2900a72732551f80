"""What holds the project together: imports, sizes, registries, and that documented calls parse."""

import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import grimp
import pytest
import typer

import dfercli
from dfercli.cli import app
from dfercli.config import NETWORKS
from dfercli.data import DATASETS, load_dataset
from dfercli.errors import UnknownNameError
from dfercli.faces import DETECTORS, load_detector
from dfercli.faces.types import Face
from dfercli.models import load_method

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dfercli"
MAX_LINES = 500
TORCH_FREE = (
    "dfercli",
    "dfercli.ablation",
    "dfercli.ablation.paper_tables",
    "dfercli.app",
    "dfercli.cli",
    "dfercli.cli.checkpoints",
    "dfercli.cli.data",
    "dfercli.cli.deploy",
    "dfercli.cli.options",
    "dfercli.cli.predict",
    "dfercli.cli.prediction_screen",
    "dfercli.cli.printing",
    "dfercli.cli.results",
    "dfercli.cli.training",
    "dfercli.config",
    "dfercli.config.presets",
    "dfercli.data",
    "dfercli.data.folds",
    "dfercli.data.frame_checks",
    "dfercli.data.manifest",
    "dfercli.data.sources",
    "dfercli.data.sources.base",
    "dfercli.data.sources.find_media",
    "dfercli.data.sources.folder",
    "dfercli.data.sources.official_lists",
    "dfercli.demo",
    "dfercli.demo.drawing",
    "dfercli.demo.videos",
    "dfercli.doctor",
    "dfercli.doctor.dataset",
    "dfercli.downloads",
    "dfercli.errors",
    "dfercli.evaluation",
    "dfercli.evaluation.compare",
    "dfercli.evaluation.results",
    "dfercli.evaluation.tables",
    "dfercli.faces",
    "dfercli.faces.align",
    "dfercli.faces.crop_files",
    "dfercli.faces.detectors",
    "dfercli.faces.main_face",
    "dfercli.faces.search",
    "dfercli.faces.tracking",
    "dfercli.faces.types",
    "dfercli.files",
    "dfercli.jobs",
    "dfercli.media",
    "dfercli.media.contact_sheet",
    "dfercli.media.find_videos",
    "dfercli.media.container",
    "dfercli.media.figure_style",
    "dfercli.media.images",
    "dfercli.media.video",
    "dfercli.media.video_writer",
    "dfercli.metrics",
    "dfercli.metrics.calibration",
    "dfercli.metrics.scores",
    "dfercli.metrics.intervals",
    "dfercli.models",
    "dfercli.parallel",
    "dfercli.predict",
    "dfercli.predict.batch",
    "dfercli.predict.batch.artifacts",
    "dfercli.predict.batch.formats",
    "dfercli.predict.batch.inputs",
    "dfercli.predict.batch.journal",
    "dfercli.predict.hashes",
    "dfercli.predict.prediction",
    "dfercli.predict.settings",
    "dfercli.preprocess",
    "dfercli.preprocess.crops",
    "dfercli.preprocess.plan",
    "dfercli.preprocess.review",
    "dfercli.preprocess.run",
    "dfercli.progress",
    "dfercli.publish",
    "dfercli.report",
    "dfercli.report.figures",
    "dfercli.report.page",
    "dfercli.runs",
    "dfercli.runs.lookup",
    "dfercli.runs.predictions",
    "dfercli.runs.provenance",
    "dfercli.runs.record",
    "dfercli.runs.run_folder",
    "dfercli.tables",
    "dfercli.training",
    "dfercli.versions",
    "dfercli.visualize",
    "dfercli.visualize.annotated_video",
    "dfercli.visualize.class_colors",
    "dfercli.visualize.overlay",
    "dfercli.visualize.timeline",
    *DATASETS.values(),
)


def test_imports_run_one_way():
    lint = "from importlinter.cli import lint_imports as lint; exit(lint(no_cache=True))"
    # In a process of its own, for it switches off the logging of all that is imported.
    done = subprocess.run([sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "imports run one way KEPT" in done.stdout


def test_no_module_imports_itself_by_way_of_others():
    graph = grimp.build_graph("dfercli", cache_dir=None)
    modules = set(graph.modules)
    ends = modules
    while ends:  # modules that import none of the rest, or that none of the rest imports
        ends = {
            module
            for module in modules
            if not graph.find_modules_directly_imported_by(module) & modules
            or not graph.find_modules_that_directly_import(module) & modules
        }
        modules -= ends
    assert modules == set()


def test_no_function_is_an_exception_to_the_bound_on_complexity():
    sources = [*PACKAGE.rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    assert [path for path in sources if "C901" in path.read_text(encoding="utf-8")] == []


def test_every_module_is_in_a_layer():
    layers = (ROOT / "pyproject.toml").read_text().split("layers = [")[1].split("]")[0]
    named = set(re.findall(r"dfercli\.(\w+)", layers))
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    others = {"__init__", "__main__", "__pycache__", "py"}  # `__main__` only calls the command line
    assert {name.partition(".")[0] for name in modules} - named - others == set()


@pytest.mark.slow
def test_modules_that_need_no_torch_do_not_import_it():
    code = (
        "import importlib, sys\n"
        f"for name in {TORCH_FREE!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
        "    assert 'open_clip' not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("package", "owner"),
    [
        ("open_clip", "models/pretrained.py"),
        ("typer", "cli/"),
        ("rich", "cli/"),
        ("gradio", "app/"),
    ],
)
def test_only_its_owner_imports_a_package(package, owner):
    importing = re.compile(rf"^\s*(?:import|from) {package}\b", re.MULTILINE)
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if importing.search(path.read_text(encoding="utf-8"))
    }
    assert found
    assert {name for name in found if not name.startswith(owner)} == set()


def test_the_package_gives_its_classes_on_first_use():
    from dfercli.models.dfer import DFERModel
    from dfercli.predict import Predictor

    assert dfercli.DFERModel is DFERModel
    assert dfercli.Predictor is Predictor
    with pytest.raises(AttributeError, match="module 'dfercli' has no attribute 'Nothing'"):
        dfercli.Nothing  # noqa: B018


def test_no_file_is_longer_than_one_can_read():
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    lengths = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert len(lengths) > 50
    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES} == {}


def test_a_wheel_contains_every_file_of_the_package():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dfercli = \[(.*?)\]", text, flags=re.DOTALL | re.MULTILINE)[1]
    packed = {path for name in re.findall(r'"(.*?)"', listed) for path in PACKAGE.glob(name)}
    files = {path for path in PACKAGE.rglob("*") if path.is_file()}
    assert packed == {path for path in files if path.suffix not in (".py", ".pyc")}


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_finds_its_videos(name):
    assert callable(load_dataset(name).read_sources)


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_is_built_by_its_module(name, monkeypatch):
    """Built without its network, whose weights may have to be fetched."""
    module = __import__(DETECTORS[name], fromlist=["build_detector"])
    if name == "face-alignment":
        monkeypatch.setattr(module, "_fetch_weights", lambda: None)
        monkeypatch.setattr(module.face_alignment, "FaceAlignment", lambda *args, **kwargs: None)
    assert callable(load_detector(name).detect)
    assert module.Face is Face


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (
            load_dataset,
            "no dataset 'dfw'; known: dfew, ferv39k, mafw, ravdess, crema-d, enterface, folder",
        ),
        (load_detector, "no detector 'dfw'; known: face-alignment, mtcnn"),
        (
            load_method,
            "no model 'dfw'; known: dfer, zero-shot, coop, cocoop, dfer-clip, dfer-clip-no-tm, "
            "still-image, " + ", ".join(NETWORKS),
        ),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(load, said):
    with pytest.raises(UnknownNameError) as caught:
        load("dfw")
    assert str(caught.value) == said


def _parse(line):
    """Read a call as `dfer` does, without running it; gives exit code, command and settings."""
    group, seen = typer.main.get_command(app), [(None, {})]

    def keep(name, /, **settings):
        seen.append((name, settings))

    for name, command in group.commands.items():
        command.callback = partial(keep, name)
    words = shlex.split(line, comments=True)
    assert words[0] == "dfer"
    with pytest.raises(SystemExit) as ended:
        group.main(words[1:], prog_name="dfer")
    return (ended.value.code, *seen[-1])


def _documented_calls(path):
    """The calls that a page shows; a bare `dfer NAME` in its prose only has to name a command."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    bare = {f"dfer {name}" for name in typer.main.get_command(app).commands}
    shown = [*lines, *(text for text in inline if text not in bare)]
    calls = [re.sub(r"^.* -m dfercli ", "dfer ", line) for line in shown]
    return [call for call in calls if call.startswith("dfer ")]


README_CALLS = _documented_calls(ROOT / "README.md")
PAGE_CALLS = [
    pytest.param(call, id=f"{page.name}: {call}")
    for page in sorted((ROOT / "docs").glob("*.md"))
    for call in dict.fromkeys(_documented_calls(page))
]


def test_readme_shows_every_step():
    commands = {line.split()[1] for line in README_CALLS}
    assert {"preprocess", "train", "predict"} <= commands


def test_pages_show_every_command():
    shown = {param.values[0].split()[1] for param in PAGE_CALLS}
    assert set(typer.main.get_command(app).commands) <= shown


@pytest.mark.parametrize("line", [*README_CALLS, *PAGE_CALLS])
def test_every_call_in_readme_and_on_the_pages_parses(line):
    code, name, _ = _parse(line)
    command = next((word for word in line.split()[1:] if not word.startswith("-")), None)
    assert (code, name) == (0, None if "--help" in line or "--version" in line else command)


@pytest.mark.parametrize(
    "line", ["dfer fly", "dfer train --epoch-count 3", "dfer predict", "dfer ablate --table two"]
)
def test_a_call_that_is_wrong_does_not_parse(line):
    assert _parse(line) == (2, None, {})


def _makefile_calls():
    """The lines of the Makefile that call `dfer`, with its variables filled in."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    values = dict(re.findall(r"^(\w+) [:?]?= (.*)$", text, flags=re.MULTILINE))
    calls = re.findall(r"^\t@?\$\(DFER\) (.*)$", text, flags=re.MULTILINE)
    while any("$(" in call for call in calls):
        calls = [re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], call) for call in calls]
    return [f"dfer {call}" for call in calls]


def test_every_call_in_the_makefile_parses():
    calls = _makefile_calls()
    parsed = [_parse(call) for call in calls]
    assert {code for code, _, _ in parsed} == {0}
    assert {name for _, name, _ in parsed} == {
        "demo",
        "preprocess",
        "ablate",
        "train",
        "eval",
        "predict",
    }
    recipes = [settings for _, name, settings in parsed if name in ("train", "ablate")]
    assert len(recipes) >= 3
    for settings in recipes:
        assert settings["dataset"] == "demo"
        assert settings["preset"] == "small"
