"""README and the pages of the site: short, complete, and true where a test can tell."""

import ast
import inspect
import re
import runpy
import shutil
import subprocess
import sys
from functools import reduce
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

import dfercli
from dfercli.cli import app

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES]
MAX_README_LINES = 150
MAX_PARAGRAPH_LINES = 6
COMMANDS = tuple(typer.main.get_command(app).commands)
ELSEWHERE = r"(?:src|href)=[\"']?(https?://\S+)"
GENERATED = ("commands.md", "changelog.md")


def _without_code(text):
    """Return Markdown without its fenced blocks and its inline code."""
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def _blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def _anchors(path):
    """Return the anchors of a page's headings, as GitHub and the site spell them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    words = [re.sub(r"[^\w\s-]", "", title.lower()).strip() for title in titles]
    return {re.sub(r"[\s]+", "-", title) for title in words}


def _paragraphs(path):
    """Return the paragraphs and list items of a page, which tables and code are not."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text)
    return [block.strip() for block in blocks if not block.strip().startswith("|")]


def _nav_pages():
    """Return the file names of all pages in the navigation."""
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    return re.findall(r"^ +- [^:\n]+: (\S+\.md)$", config, flags=re.MULTILINE)


def test_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) < MAX_README_LINES


@pytest.mark.parametrize(
    "path", [p for p in (README, *PAGES) if p.name not in GENERATED], ids=lambda path: path.name
)
def test_no_paragraph_is_a_wall_of_text(path):
    long = [p for p in _paragraphs(path) if len(p.splitlines()) > MAX_PARAGRAPH_LINES]
    assert long == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_relative_link_resolves(path):
    links = re.findall(r"\]\(([^)\s]+)\)", _without_code(path.read_text(encoding="utf-8")))
    for link in links:
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link


def test_a_broken_anchor_would_be_noticed():
    assert "training" in _anchors(ROOT / "docs" / "training.md")
    assert "no-such-heading" not in _anchors(ROOT / "docs" / "training.md")


def test_every_page_is_in_the_navigation_once():
    assert sorted(_nav_pages()) == sorted(page.name for page in PAGES)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_reference_and_on_a_page_of_the_navigation(name):
    assert f"dfer-{name}" in _anchors(ROOT / "docs" / "commands.md")
    guides = [page for page in _nav_pages() if page not in GENERATED]
    texts = [(ROOT / "docs" / page).read_text(encoding="utf-8") for page in guides]
    assert any(re.search(rf"\bdfer {name}\b", text) for text in texts)


@pytest.mark.parametrize("name", dfercli.__all__)
def test_every_public_name_is_on_the_page_of_the_api(name):
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert f"::: dfercli.{name}\n" in text or f"`dfercli.{name}`" in text


def test_what_the_page_of_the_api_names_is_there():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    names = re.findall(r"^::: (\S+)$", text, flags=re.MULTILINE)
    assert len(names) >= 8
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(module), attribute) or find_spec(name), name


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_examples_in_python_import_what_is_there(path):
    for block in _blocks(path.read_text(encoding="utf-8"), "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("dfercli"):
                module = import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)


def _find_code(name):
    """Return the object of a dotted name of the package, and the module that defines it."""
    parts = name.split(".")
    count = max(n for n in range(1, len(parts) + 1) if _is_module(".".join(parts[:n])))
    module = import_module(".".join(parts[:count]))
    return reduce(getattr, parts[count:], module), module


def _is_module(name):
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the parent is a module, not a package
        return False


def test_what_the_page_of_the_architecture_names_is_there():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = re.findall(r"`(dfercli\.[\w.]+)`", text)
    assert len(names) > 40
    for name in names:
        _find_code(name)


@pytest.mark.parametrize("command", ["train", "predict", "eval"])
def test_each_step_of_a_walk_is_called_by_an_earlier_one(command):
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    walk = text.split(f"### `dfer {command}`\n")[1].split("\n##")[0]
    names = re.findall(r"^\d+\. `(dfercli\.[\w.]+)`", walk, flags=re.MULTILINE)
    assert len(names) >= 10
    callers = inspect.getsource(_find_code(names[0])[1])
    for name in names[1:]:
        short = name.rpartition(".")[2]
        assert re.search(rf"\b{short}\b[(,]", callers), name
        callers += inspect.getsource(_find_code(name)[1])


def test_the_picture_of_the_architecture_has_every_package():
    picture = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    drawn = set(re.findall(r'class="name">(\w+)<', picture))
    packages = {path.parent.name for path in (ROOT / "dfercli").glob("*/__init__.py")}
    assert packages <= drawn


def test_readme_and_getting_started_show_the_same_list():
    pages = (README, ROOT / "docs" / "getting-started.md")
    texts = [page.read_text(encoding="utf-8").split("## Your own videos\n")[1] for page in pages]
    assert _blocks(texts[0], "")[0] == _blocks(texts[1], "")[0]


def test_the_extra_for_the_site_is_part_of_the_tools_for_development():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    docs = re.search(r"^docs = \[(.*?)\]$", text, flags=re.MULTILINE)[1]
    dev = re.search(r"^dev = \[(.*?)^\]$", text, flags=re.DOTALL | re.MULTILINE)[1]
    assert all(f'"{name}"' in dev for name in re.findall(r'"([^"]+)"', docs))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as `make docs` builds it."""
    missing = [name for name in ("mkdocs", "material", "mkdocstrings") if find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed; `pip install '.[docs]'`")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
def test_the_site_builds_strictly_and_has_every_page(site):
    for page in _nav_pages():
        name = "" if page == "index.md" else page.removesuffix(".md")
        assert (site / name / "index.html").is_file(), page
    assert not list(site.glob("*.py"))


def test_the_built_page_of_the_api_documents_every_public_name(site):
    html = (site / "api" / "index.html").read_text(encoding="utf-8")
    for name in dfercli.__all__:
        assert f'id="dfercli.{name}"' in html or f"dfercli.{name}</code>" in html
    assert 'id="dfercli.Predictor.from_checkpoint"' in html


def test_pages_of_the_site_load_nothing_from_other_hosts(site):
    for page in site.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        assert re.findall(rf"<(?:script|link|img|iframe)[^>]+{ELSEWHERE}", html) == [], page


def test_the_included_texts_are_in_the_site(site):
    assert "0.1.0" in (site / "changelog" / "index.html").read_text(encoding="utf-8")
    assert "urn:dfer:predictions" in (site / "predictions" / "index.html").read_text("utf-8")
    assert "Junliang Zhang" in (site / "index.html").read_text(encoding="utf-8")


def test_the_page_of_commands_has_a_row_for_every_option():
    page = runpy.run_path(str(ROOT / "docs" / "write_commands.py"))["commands_page"]()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    options = sum(len(c.params) for c in typer.main.get_command(app).commands.values())
    assert len(rows) == options
