"""What is read beside plain files: cameras, streams, images, and files of any name."""

import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest

from dfercli.errors import VideoError
from dfercli.media import video as video_module
from dfercli.media.images import write_image
from dfercli.media.video import count_declared, declared_duration_s, is_live, read_frames
from dfercli.media.video_writer import write_video


@pytest.fixture
def video(tmp_path):
    """60 frames at 30 a second."""
    path = tmp_path / "two seconds.mp4"
    write_video(path, (np.full((32, 32, 3), 4 * i, np.uint8) for i in range(60)), fps=30.0)
    return path


class _Camera:
    """A camera that shows three frames and is unplugged."""

    def __init__(self, source, *backend):
        self.source, self.left = source, 3

    def isOpened(self):  # noqa: N802
        return self.source == 0

    def get(self, prop):
        return 8.0  # its width and its height

    def grab(self):
        self.left -= 1
        return self.left >= 0

    def retrieve(self):
        return True, np.full((8, 8, 3), (255, 0, 0), dtype=np.uint8)

    def release(self):
        self.left = -1


def test_a_camera_is_read_until_it_ends_by_the_clock(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", _Camera)
    ticks = iter([100.0, 100.5, 101.5])
    monkeypatch.setattr(video_module.time, "monotonic", lambda: next(ticks))
    frames = list(read_frames(0))
    assert [frame.time_s for frame in frames] == [0.0, 0.5, 1.5]
    assert frames[0].image_rgb[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (7, "camera 7 does not answer; check that it is connected and not in use"),
        (
            "rtsp://none",
            "stream rtsp://none does not answer; check the address, and that it is not in use",
        ),
    ],
)
def test_what_does_not_answer_is_an_error(source, said, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", _Camera)
    with pytest.raises(VideoError) as caught:
        list(read_frames(source))
    assert str(caught.value) == said
    assert is_live(source)


def test_a_stream_is_read_over_http(video):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = partial(Quiet, directory=str(video.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{video.name}"
        streamed = list(read_frames(address, max_fps=5))
        server.shutdown()
    from_disk = list(read_frames(video, max_fps=5))
    assert [frame.time_s for frame in streamed] == [frame.time_s for frame in from_disk]
    assert (streamed[-1].image_rgb == from_disk[-1].image_rgb).all()


@pytest.mark.parametrize(
    "name", ["ä 😀.mp4", "a\nb.mp4", "%03d.mp4", "http:x.mp4", "-i.mp4", "q'\".mp4"]
)
def test_any_name_is_a_file(video, name, monkeypatch):
    path = video.rename(video.with_name(name))
    monkeypatch.chdir(path.parent)
    assert len(list(read_frames(Path(name)))) == 60
    assert count_declared(Path(name)) == 60
    assert declared_duration_s(Path(name)) == pytest.approx(2.0)


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode on Windows")
def test_names_that_are_no_utf8_are_files_and_images(video):
    folder = video.parent / os.fsdecode(b"\xff\xfe")
    folder.mkdir()
    path = video.rename(folder / os.fsdecode(b"\xe4.mp4"))
    frames = list(read_frames(path))
    assert len(frames) == count_declared(path) == 60
    write_image(folder / "1.png", frames[0].image_rgb)
    (folder / "1.png").rename(folder / os.fsdecode(b"\xe4.png"))
    (frame,) = read_frames(folder / os.fsdecode(b"\xe4.png"))
    assert (frame.image_rgb == frames[0].image_rgb).all()


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(VideoError, match=r"no image at .*gone\.png; check the path"):
        list(read_frames(tmp_path / "gone.png"))
    assert not is_live(tmp_path / "gone.png")


_HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n"
_DASH = '<?xml version="1.0"?>\n<MPD profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"></MPD>'


@pytest.fixture
def other(video):
    """A video that is not the one that is asked for."""
    capture, path = next(read_frames(video)), video.with_name("other.ts")
    size = capture.image_rgb.shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 25.0, size)
    for _ in range(10):
        writer.write(capture.image_rgb)
    writer.release()
    assert len(list(read_frames(path))) == 10
    return path


@pytest.mark.parametrize("name", ["list.m3u8", "list.ts", "list.mp4", "list"])
@pytest.mark.parametrize(
    ("before", "text"),
    [
        (b"", _HLS),
        (b"ID3\x03\0\0\0\0\0\x14" + bytes(20), _HLS),
        (b"ID3\x04\0\x10\0\0\1\0" + bytes(128) + b"3DI" + bytes(7), _HLS),
        (b"", "ffconcat version 1.0\nfile other.ts\n"),
        (b"", _DASH),
    ],
    ids=["hls", "hls behind a tag", "hls behind a tag with a footer", "concat", "dash"],
)
def test_a_list_of_other_files_is_no_video(before, text, name, other):
    """FFmpeg would read the files that it names, of which a server may have any."""
    path = other.with_name(name)
    path.write_bytes(before + text.format(other=other).encode())
    with pytest.raises(VideoError, match=r"a playlist; use the files that it lists$"):
        list(read_frames(path))
    assert count_declared(path) == declared_duration_s(path) == 0


def test_a_tag_before_a_video_does_not_make_it_a_list(other):
    tagged = other.with_name("tagged.ts")
    tagged.write_bytes(b"ID3\x03\0\0\0\0\0\x14" + bytes(20) + other.read_bytes())
    assert len(list(read_frames(tagged))) == 10
