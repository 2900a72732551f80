"""Predictions whose faces are searched in threads, as beside a GPU: the same ones, as soon."""

import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from colour_videos import (
    BLUE,
    FPS,
    GREEN,
    GREY,
    RED,
    ColourModel,
    CopyableTiles,
    frames_of,
    write_tiles,
)

from dfercli.media.video import Frame
from dfercli.predict import Predictor, PredictSettings
from dfercli.predict import reading as reading_module


def _predictor(threads, detector=None):
    predictor = Predictor(ColourModel(), detector or CopyableTiles(), crop_size=48)
    assert predictor.search_threads == 1  # the model is on a CPU
    predictor.search_threads = threads
    return predictor


def test_threads_give_the_same_prediction(tmp_path):
    left = frames_of((RED, 2.25), (GREEN, 1, False), (GREEN, 3.75), (BLUE, 3))
    right = frames_of((BLUE, 5), (BLUE, 0.5, False), (BLUE, 1.5), (GREY, 3, False))
    path = write_tiles(tmp_path / "tiles.mp4", left, right)
    settings = PredictSettings(window_s=1.0, stride_s=0.5)

    def read(threads):
        reading = _predictor(threads).open(path, settings, keep_paths=True)
        told = []
        reading.on_frame = told.append
        windows = [(w.track, w.start_s) for w in reading]
        return told, windows, reading.finish()

    (alone_told, alone_windows, alone), (told, windows, several) = read(1), read(4)
    assert (told, windows) == (alone_told, alone_windows)
    assert len(windows) > 20
    assert several.to_frame().equals(alone.to_frame())
    assert several.coverage == alone.coverage
    for one, other in zip(alone.windows, several.windows, strict=True):
        assert (one.face_rgb == other.face_rgb).all()
    assert {
        number: [(seen.time_s, seen.box_xyxy.tolist()) for seen in path]
        for number, path in several.paths.items()
    } == {
        number: [(seen.time_s, seen.box_xyxy.tolist()) for seen in path]
        for number, path in alone.paths.items()
    }


@pytest.mark.parametrize("video", ["rtsp://made", 0, Path("a file")])
def test_only_files_are_read_ahead_of(video, monkeypatch):
    """What is live is searched, and its windows shown, before the next frame is waited for."""

    def read(threads):
        detector, drawn = CopyableTiles(), []

        def frames(video, fps, extent, part):
            for index in range(80):
                drawn.append(detector.seen)
                yield Frame(index, index / 8, frames_of((GREY, 1 / FPS))[0])

        monkeypatch.setattr(reading_module, "read_frames", frames)
        opened = _predictor(threads, detector).open(video, PredictSettings(window_s=1.0))
        return [(window.end_s, len(drawn)) for window in opened], drawn

    assert (read(4) == read(1)) == (not isinstance(video, Path))


def test_frames_in_memory_do_not_grow_with_the_video(monkeypatch):
    threads, images, held = 4, [], []
    image = frames_of((GREY, 1 / FPS))[0]

    def frames(video, fps, extent, part):
        for index in range(8 * 120):
            new = image.copy()
            images.append(weakref.ref(new))
            held.append(sum(each() is not None for each in images[-100:]))
            yield Frame(index, index / 8, new)

    monkeypatch.setattr(reading_module, "read_frames", frames)
    reading = _predictor(threads).open(Path("a file"), PredictSettings(window_s=2.0))
    list(reading)
    assert reading.finish().num_frames == len(held) == 8 * 120
    assert 2 * threads < max(held) <= 3 * threads + 8


SCRIPT = """
import signal, sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from colour_videos import CopyableTiles
from test_threads import _predictor
from dfercli.parallel import ending_on_sigterm
from dfercli.predict import PredictSettings

class Slow(CopyableTiles):
    def copy(self):
        return Slow()
    def detect(self, image_rgb):
        time.sleep(0.2)
        return super().detect(image_rgb)

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells may ignore it
with ending_on_sigterm():
    for window in _predictor(3, Slow()).open(Path(sys.argv[1]), PredictSettings(window_s=1.0)):
        print(window.start_s, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)]
)
def test_threads_end_with_the_command(number, code, tmp_path):
    path = write_tiles(tmp_path / "long.mp4", frames_of((RED, 60)))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    call = [sys.executable, str(script), str(path), str(Path(__file__).parent)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as run:
        assert run.stdout.readline() == b"0.0\n"
        run.send_signal(number)
        said = run.communicate(timeout=60)[1].decode()
    assert run.returncode == code
    assert said.splitlines()[-1:] == (["KeyboardInterrupt"] if number == signal.SIGINT else [])
