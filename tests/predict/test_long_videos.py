"""Long videos: what is held of them, and what a moment costs, does not grow."""

import numpy as np
from colour_videos import FPS, GREY, ColourModel, TileDetector, frames_of

from dfercli.media.video import Frame
from dfercli.predict import Predictor
from dfercli.predict import reading as reading_module
from dfercli.predict.reading import MAX_KEPT, SEARCH_FPS, VideoReading


def _predictor():
    return Predictor(ColourModel(), TileDetector(), crop_size=48)


def test_what_is_held_does_not_grow(monkeypatch):
    times_s = np.arange(8 * 600) / 8
    image = frames_of((GREY, 1 / FPS))[0]
    largest = []
    predictor = _predictor()

    def frames(video, fps, extent, part):
        for i, time_s in enumerate(times_s):
            held = sum(map(len, reading._crops.values())) + len(reading._times_s)
            largest.append(held)
            yield Frame(i, time_s, image)

    monkeypatch.setattr(reading_module, "read_frames", frames)
    reading = VideoReading(predictor, "made", 2.0, 1.0)
    list(reading)
    assert max(largest) <= 2 * 2 * (2 * SEARCH_FPS)
    shown = [w for w in reading.finish().windows if w.face_rgb is not None]
    assert MAX_KEPT / 4 < len(shown) <= MAX_KEPT
    gaps = np.diff([w.start_s for w in shown])
    assert gaps.min() == gaps.max()


def test_nothing_piles_up_where_nobody_is_for_long(monkeypatch):
    nobody = frames_of((GREY, 1 / FPS, False))[0]
    waiting = []

    def frames(video, fps, extent, part):
        for i in range(8 * 300):
            waiting.append(len(reading._waiting))
            yield Frame(i, i / 8, nobody)

    monkeypatch.setattr(reading_module, "read_frames", frames)
    reading = VideoReading(_predictor(), "rtsp://made", 2.0, 2.0)
    assert list(reading) == []
    assert max(waiting) <= 1
