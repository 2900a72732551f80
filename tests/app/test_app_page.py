"""The page, asked as its own script asks it."""

import socket
import tempfile
import time
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file

from dfercli.app.guard import Limits
from dfercli.app.page import Page, describe_time
from dfercli.app.server import Server, check_address
from dfercli.errors import ConfigError


@pytest.fixture
def ask(served, tmp_path):
    """Give the page a video; gives what it says, and the files it offers."""
    client = Client(served, verbose=False, download_files=str(tmp_path / "got"))

    def examine(video, window_s=1.0, stride_s=1.0, faces="all"):
        given = None if video is None else handle_file(str(video))
        status, *shown = client.predict(given, window_s, stride_s, faces, api_name="/examine")
        return status, [value for value in shown if value and value != {"__type__": "update"}]

    return examine


@pytest.mark.slow
def test_a_video_is_answered_with_faces_and_files(ask, footage, tmp_path):
    status, shown = ask(footage / "face.mp4")
    assert "face.mp4: " in status
    assert "1 face, classified by " in status
    texts = [value for value in shown if isinstance(value, str) and "<div" in value]
    assert any("Face 1: on average" in text for text in texts)
    assert {path.suffix for path in (tmp_path / "got").rglob("face*")} == {
        ".mp4",
        ".png",
        ".json",
        ".csv",
    }
    made = [path for path in Path(tempfile.gettempdir()).glob("dfer-*") if path.is_dir()]
    assert [path for path in made if list(path.glob("face*"))] == []


@pytest.mark.slow
def test_what_goes_wrong_is_one_line_and_the_server_goes_on(ask, footage, monkeypatch):
    for video, said in [
        (None, "Choose a video first, or record one."),
        (footage / "text.mp4", "Cannot read text.mp4: no frame can be decoded"),
        (footage / "list.m3u8", "Cannot read list.m3u8: files that end in .m3u8 are not videos"),
        (footage / "list.mp4", "Cannot read list.mp4: a playlist; use the files that it lists"),
        (footage / "wall.mp4", "No face was found in wall.mp4: 16 frames were searched for faces"),
    ]:
        status, shown = ask(video)
        assert said in status
        assert 'role="alert"' in status
        assert "/" not in status.replace("</div>", "")
        assert "\n" not in status
        assert shown == [{"props": {"__type__": "update"}, "__type__": "update"}] * 2  # unchanged
    with monkeypatch.context() as patch:
        patch.setattr("dfercli.app.examine.predict_videos", lambda *given, **options: 1 / 0)
        status, _ = ask(footage / "face.mp4")
        assert "Internal error on this video (ZeroDivisionError)" in status
    assert "1 face" in ask(footage / "face.mp4", faces="largest")[0]


def test_files_that_nobody_uploaded_are_not_read(served):
    """As a page that was tampered with might ask for them."""
    assert httpx.get(f"{served}gradio_api/file=/etc/hostname").status_code == 403
    for path in ("/etc/hostname", __file__):
        given = {"path": path, "meta": {"_type": "gradio.FileData"}}
        asked = httpx.post(f"{served}gradio_api/call/examine", json={"data": [given, 1, 1, "all"]})
        event = asked.json()["event_id"]
        got = httpx.get(f"{served}gradio_api/call/examine/{event}", timeout=20).text
        assert got == 'event: error\ndata: {"error": null}\n\n'


@pytest.fixture
def slow(examiner, monkeypatch):
    """An examiner that takes minutes for each video; and a set in which it is said to be at it."""
    at_it, examine = set(), type(examiner).examine

    def take_long(video, settings, folder, on_progress):
        at_it.add(video.name)
        try:
            for second in range(6000):
                on_progress("waiting", second / 10, 60.0)
                time.sleep(0.05)
        finally:
            at_it.clear()
        return examine(examiner, video, settings, folder, on_progress)

    monkeypatch.setattr(examiner, "examine", take_long)
    return at_it


def _wait_until(holds, limit_s=20):
    end_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def test_what_is_read_can_be_stopped_by_its_own_tab(slow, served, footage):
    mine, other = (Client(served, verbose=False, download_files=False) for _ in range(2))
    given = handle_file(str(footage / "wall.mp4"))
    job = mine.submit(given, 1, 1, "all", api_name="/examine")
    _wait_until(lambda: slow)
    other.predict(api_name="/stop")
    time.sleep(0.3)
    assert slow
    mine.predict(api_name="/stop")
    status = job.result(timeout=20)[0]
    assert ">Stopped at " in status
    assert " of 60.0 s of the video, while waiting" in status
    assert "alert" not in status
    assert not slow
    mine.predict(api_name="/stop")  # nothing is left to stop


def test_a_closed_tab_ends_its_reading(slow, served, footage):
    client = Client(served, verbose=False, download_files=False)
    with httpx.stream("GET", f"{served}gradio_api/heartbeat/{client.session_hash}") as heart:
        beats = heart.iter_lines()
        next(beats)
        client.submit(handle_file(str(footage / "wall.mp4")), 1, 1, "all", api_name="/examine")
        _wait_until(lambda: slow)
    _wait_until(lambda: not slow)


def test_too_large_a_file_is_refused(examiner, free_port, footage):
    server = Server(examiner, "127.0.0.1", free_port, limits=Limits(file_bytes=1000))
    try:
        content = (footage / "face.mp4").read_bytes()
        sent = httpx.post(f"{server.url}gradio_api/upload", files={"files": ("a.mp4", content)})
        assert sent.status_code == 413
    finally:
        server.close()


def test_nothing_is_told_to_others(served, checkpoint):
    page = httpx.get(f"{served}config")
    assert checkpoint not in page.text
    config = page.json()
    assert config["analytics_enabled"] is False
    assert config["run_history"] is False
    assert config["footer_links"] == []
    assert httpx.get(f"{served}monitoring").status_code == 403


def test_one_video_is_read_at_a_time(examiner):
    functions = Page(examiner).blocks.fns.values()
    assert [fn.concurrency_limit for fn in functions if fn.api_name == "examine"] == [1]


@pytest.mark.slow
def test_uploads_and_what_was_made_of_them_are_deleted(
    examiner, free_port, footage, tmp_path, monkeypatch
):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr("dfercli.app.server.SWEEP_S", 0.2)
    server = Server(examiner, "127.0.0.1", free_port, limits=Limits(keep_s=2))
    try:
        client = Client(server.url, verbose=False, download_files=False)
        client.predict(handle_file(str(footage / "face.mp4")), 1, 1, "all", api_name="/examine")
        end_s = time.monotonic() + 10
        assert len(list(tmp_path.rglob("face*"))) >= 4
        while left := [path for path in tmp_path.rglob("[!.]*") if path.is_file()]:
            assert time.monotonic() < end_s, left
            time.sleep(0.2)
    finally:
        server.close()


def test_an_upload_that_waited_too_long_is_told_and_not_made_anew(
    ask, footage, tmp_path, monkeypatch
):
    monkeypatch.setattr("dfercli.app.page._check_suffix", Path.unlink)  # as the sweep might
    status, _ = ask(footage / "wall.mp4")
    assert "Wall.mp4 has expired (videos are kept for 60 minutes); upload it again" in status
    assert list((tmp_path / "uploads").rglob("wall.mp4")) == []


def test_a_port_that_is_taken_is_told_with_the_option():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            check_address("127.0.0.1", port)
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1, port {port}: Address already in use; "
        "choose another port with --port"
    )
    check_address("127.0.0.1", port)


def test_an_address_that_is_none_is_told():
    with pytest.raises(ConfigError, match=r"unknown address 'no\.where'; use --host"):
        check_address("no.where", 7860)


@pytest.mark.parametrize(
    ("at_s", "of_s", "said"),
    [
        (0.0, 2.5, "0.0 of 2.5 s of the video"),
        (2.6, 2.5, "2.5 of 2.5 s of the video"),
        (7.25, 0.0, "7.2 s of the video"),  # a webcam's file does not tell its length
    ],
)
def test_moments_are_told_in_seconds(at_s, of_s, said):
    assert describe_time(at_s, of_s) == said
