"""Folders laid out with what somebody keeps in them, and a look whether it is still there."""

import os
import re
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dfercli.errors import DferError

THESIS = "Somebody's own words."


@contextmanager
def a_place(layout):
    """Lay out a folder and work in it; afterwards look for all that was in it."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        before = Path.cwd()
        os.chdir(folder)
        stack.callback(os.chdir, before)
        write_thesis(Path("elsewhere/thesis.txt"))
        write_thesis(Path("elsewhere/a/000001.txt"))
        write_thesis(Path("elsewhere/config.json"))
        for place, kind in sorted(layout.items()):
            put(Path(place), kind)
        yield Path(folder)


def write_thesis(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(THESIS, encoding="utf-8")


def put(path, kind):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            return
        if kind == "file":
            write_thesis(path)
        elif kind == "folder":
            write_thesis(path / "below" / "thesis.txt")
        else:
            target = {"link": "elsewhere", "link to a file": "elsewhere/thesis.txt"}
            path.symlink_to(Path(target[kind]).absolute() if kind in target else path.absolute())
    except (FileExistsError, NotADirectoryError, OSError):  # two drawn places exclude each other
        return


def find_files(folder):
    """Return the bytes of each file below a folder, real and behind links, by its path."""
    found = {}
    for parent, folders, names in os.walk(folder, followlinks=False):
        for name in (*names, *(name for name in folders if Path(parent, name).is_symlink())):
            path = Path(parent, name)
            if not re.fullmatch(r"\..+\.partial", name):  # what is named so is dfer's
                found[path] = path.readlink() if path.is_symlink() else path.read_bytes()
    return found


@contextmanager
def nothing_is_lost(folder):
    """Do something; what was there before must be there with the same bytes."""
    before = find_files(folder)
    try:
        yield
    except DferError as error:
        assert "\n" not in str(error)
    after = find_files(folder)
    for path, content in before.items():
        assert path in after, f"{path} is gone"
        assert after[path] == content, f"{path} was changed"
