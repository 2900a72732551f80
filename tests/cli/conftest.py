"""The command line as it is typed."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import pytest


@pytest.fixture
def dfer(tmp_path, monkeypatch):
    """Type a command in an empty folder; gives its exit code, and what it printed."""
    from dfercli.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DFER_DATA", raising=False)

    def run(line):
        monkeypatch.setattr(sys, "argv", ["dfer", *line.split()])
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
        return SimpleNamespace(code=ended.value.code or 0, out=out.getvalue(), err=err.getvalue())

    return run
