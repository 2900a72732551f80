"""The page as somebody who means harm would ask it; all of it over the loopback."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file

from dfercli.app.guard import Guard, Limits, find_names
from dfercli.app.server import Server

EVIL = "evil.example"

CLOSED = (
    ("POST", "process_recording"),
    ("GET", "proxy=https://evil.example/"),
    ("GET", "stream/a/1/2/playlist.m3u8"),
    ("GET", "stream/a/1/2/playlist-file"),
    ("POST", "stream/1"),
    ("GET", "custom_component/a/b/c/d"),
    ("GET", "dev/reload"),
    ("GET", "runs"),
    ("GET", "openapi.json"),
    ("POST", "vibe-edit/"),
    ("GET", "vibe-code/"),
    ("POST", "api/examine"),
    ("GET", "file=https://evil.example/"),
    ("GET", "file/etc/hostname"),
    ("GET", "profiling/traces"),
)


@pytest.fixture
def serve(examiner, free_port, tmp_path, monkeypatch):
    """Serve the page with other limits; what is uploaded lies in `tmp_path / "uploads"`."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    Path(tmp_path, "uploads").mkdir()
    servers = []

    def start(host="127.0.0.1", password=None, **limits):
        servers.append(Server(examiner, host, free_port, password, Limits(**limits)))
        return f"http://127.0.0.1:{free_port}/"

    yield start
    for server in servers:
        server.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": EVIL},
        {"Host": f"{EVIL}:7860"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Host": "[::1"},
        {"Host": "8.8.8.8"},
        {"Origin": f"http://{EVIL}"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ],
)
def test_a_foreign_host_or_origin_is_refused(served, headers):
    for method, path in (("GET", ""), ("GET", "config"), ("POST", "gradio_api/upload")):
        got = httpx.request(method, f"{served}{path}", headers=headers)
        assert got.status_code == 403, (path, headers)
        assert "\n" not in got.text


def test_the_page_itself_and_a_link_to_it_are_answered(served):
    port = served.rstrip("/").rpartition(":")[2]
    for headers in (
        {},
        {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
    ):
        assert httpx.get(served, headers=headers).status_code == 200, headers


def test_at_all_addresses_the_page_takes_its_own_names_and_no_other(tmp_path):
    guard = Guard(None, "0.0.0.0", tmp_path, Limits())
    for host in ("192.168.0.7:7860", "[fe80::1]:7860", "localhost", *find_names("0.0.0.0")):
        assert guard._is_own_name(f"[{host}]" if host == "::1" else host), host
    assert not guard._is_own_name(EVIL)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_routes_that_the_page_does_not_use_are_closed(served, method, path):
    for prefix in ("gradio_api/", ""):
        got = httpx.request(method, f"{served}{prefix}{path}", content=b"")
        assert (got.status_code, got.text) == (
            403,
            "not available: the page does not use this address",
        )


def test_the_queue_cannot_be_gone_round(served):
    asked = {"data": [None, 1, 1, "all"]}
    assert httpx.post(f"{served}gradio_api/run/examine", json=asked).status_code >= 400


def _take_long(examiner, monkeypatch, began):
    def take_long(video, settings, folder, on_progress):
        began.set()
        for second in range(6000):
            on_progress("waiting", second / 10, 60.0)
            time.sleep(0.02)

    monkeypatch.setattr(examiner, "examine", take_long)


@pytest.mark.slow
def test_four_hundred_jobs_do_not_fill_the_queue(serve, examiner, footage, monkeypatch):
    began = threading.Event()
    _take_long(examiner, monkeypatch, began)
    url = serve(queue=5)
    client = Client(url, verbose=False, download_files=False)
    client.submit(handle_file(str(footage / "wall.mp4")), 1, 1, "all", api_name="/examine")
    assert began.wait(20)
    asked = {"data": [None, 1, 1, "all"]}

    def ask(number):
        return httpx.post(f"{url}gradio_api/call/examine", json=asked, timeout=60).status_code

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(ask, range(400)))
    assert codes.count(200) <= 5
    assert codes.count(200) + codes.count(503) == 400


def test_a_video_that_takes_too_long_is_ended(serve, examiner, footage, monkeypatch):
    _take_long(examiner, monkeypatch, threading.Event())
    client = Client(serve(job_s=1), verbose=False, download_files=False)
    began_s = time.monotonic()
    given = handle_file(str(footage / "wall.mp4"))
    status, *_ = client.predict(given, 1, 1, "all", api_name="/examine")
    assert time.monotonic() - began_s < 15
    assert "the time limit is 1 s; use a shorter video, or `dfer predict`" in status


def _upload(url, size, **more):
    files = {"files": ("a.mp4", bytes(size))}
    return httpx.post(f"{url}gradio_api/upload", files=files, **more).status_code


def test_what_one_visitor_and_all_may_send_is_bounded(serve, tmp_path):
    url = serve(file_bytes=100_000, visitor_bytes=350_000, total_bytes=10_000_000)
    assert _upload(url, 3_000_000) == 413
    assert [_upload(url, 90_000) for _ in range(5)] == [200, 200, 200, 429, 429]
    kept = sum(p.stat().st_size for p in Path(tmp_path, "uploads").rglob("*") if p.is_file())
    assert kept <= 350_000


@pytest.mark.slow
def test_the_disk_is_bounded(serve):
    url = serve(file_bytes=100_000, total_bytes=250_000)
    answers = [_upload(url, 90_000 + number) for number in range(4)]  # each another file
    assert answers[:2] == [200, 200]
    assert answers[2:] == [507, 507]


def test_requests_without_a_length_or_of_absurd_length_are_refused(served):
    def trickle():
        yield b"x"

    assert httpx.post(f"{served}gradio_api/upload", content=trickle()).status_code == 411
    much = b" " * (2 << 20)
    assert httpx.post(f"{served}gradio_api/queue/join", content=much).status_code == 413


def test_a_password_keeps_others_out(serve):
    url = serve(password="secret words")
    assert httpx.get(f"{url}config").status_code == 401
    assert _upload(url, 1000) == 401
    wrong = {"username": "dfer", "password": "secret"}
    assert httpx.post(f"{url}login", data=wrong).status_code == 400
    with httpx.Client(base_url=url) as client:
        right = {"username": "dfer", "password": "secret words"}
        assert client.post("login", data=right).status_code == 200
        assert client.get("config").status_code == 200


PAGE = """
import sys
from pathlib import Path
from dfercli.cli.deploy import _serve
from dfercli.predict import Predictor
_serve(Predictor.from_checkpoint(sys.argv[1], device="cpu"), "127.0.0.1", int(sys.argv[2]), None, 9)
"""


def _start(checkpoint, port, temporary):
    environment = os.environ | {"TMPDIR": str(temporary)}
    environment.pop("GRADIO_TEMP_DIR", None)
    command = [sys.executable, "-c", PAGE, checkpoint, str(port)]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline().startswith("open http://127.0.0.1")
    return process


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_nothing_is_left_after_a_kill_and_a_new_start_nor_after_a_hangup(
    checkpoint, free_port, tmp_path, footage
):
    other = tmp_path / "gradio"  # as another user of this machine owns it
    other.mkdir(mode=0o500)
    url = f"http://127.0.0.1:{free_port}/"
    process = _start(checkpoint, free_port, tmp_path)
    content = (footage / "face.mp4").read_bytes()
    sent = httpx.post(f"{url}gradio_api/upload", files={"files": ("face.mp4", content)})
    (kept,) = map(Path, json.loads(sent.text))
    assert kept.read_bytes() == content
    (folder,) = tmp_path.glob("dfer-app-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    assert kept.exists()
    process = _start(checkpoint, free_port, tmp_path)
    assert not kept.exists()
    assert len(list(tmp_path.glob("dfer-app-*"))) == 1
    process.send_signal(signal.SIGHUP)
    process.wait(20)
    assert [path.name for path in tmp_path.iterdir()] == ["gradio"]
    assert list(other.iterdir()) == []
