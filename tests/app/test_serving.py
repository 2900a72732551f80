"""`dfer app` as it is typed, and ended."""

import os
import signal
import subprocess
import sys

import httpx
import pytest

from dfercli.cli import main


def _type(line, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dfer", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().err


def test_without_gradio_its_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr("dfercli.cli.deploy.find_spec", lambda name: None)
    code, err = _type("app", monkeypatch, capsys)
    said = "error: the page needs gradio: pip install '.[app]' in the clone\n"
    assert (code, err) == (1, said)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("app --zero-shot --checkpoint x", "--zero-shot and --checkpoint both choose the model; "),
        ("app --runs none --checkpoint x", "no checkpoint 'x': "),
        ("app --host no.where", "unknown address 'no.where'; use --host"),
    ],
)
def test_what_cannot_be_served_is_one_line(line, said, free_port, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, err = _type(f"{line} --port {free_port}", monkeypatch, capsys)
    assert code == 1
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_ctrl_c_ends_it_and_nothing_is_left(checkpoint, free_port, tmp_path):
    line = f"app --checkpoint {checkpoint} --device cpu --host 0.0.0.0 --port {free_port}"
    code = "import signal, dfercli.cli as c; signal.signal(2, signal.default_int_handler); c.main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *line.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"GRADIO_TEMP_DIR": str(tmp_path), "TMPDIR": str(tmp_path)},
    ) as process:
        told = process.stdout.readline()
        assert told == f"open http://localhost:{free_port}/ in a browser; press Ctrl-C to stop\n"
        assert "Expressions in a video" in httpx.get(f"http://127.0.0.1:{free_port}/").text
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out == ""
    said = err.splitlines()
    assert said[0] == f"checkpoint: {checkpoint}"
    assert said[1].startswith("--host 0.0.0.0: anyone who can reach this machine can use the page")
    assert said[-1] == "stopped"
    assert "Traceback" not in err
    assert list(tmp_path.glob("dfer-app-*")) == []
