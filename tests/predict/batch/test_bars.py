"""Bars of progress: each thing that is done with a video has its own way through it."""

import io
from contextlib import closing, redirect_stderr
from pathlib import Path
from types import SimpleNamespace

import by_hand

from dfercli.cli.predict import Bars
from dfercli.predict import PredictSettings
from dfercli.predict.batch import read_video as read_video_module
from dfercli.predict.batch.artifacts import Artifacts
from dfercli.predict.batch.inputs import Input
from dfercli.predict.batch.read_video import read_video


class Terminal(io.StringIO):
    """A terminal that keeps all that was shown."""

    def isatty(self):
        return True


def test_each_phase_is_named_and_begins_at_nothing():
    terminal, film = Terminal(), Input("film.mp4")
    with redirect_stderr(terminal), closing(Bars(1)) as bars:
        bars.on_progress(film, "reading", 4.0, 4.0)
        bars._bar.refresh()
        assert "film.mp4: 100%" in terminal.getvalue()
        bars.on_progress(film, "annotating", 0.0, 4.0)
        assert "film.mp4: annotating:   0%" in terminal.getvalue()
        bars.on_progress(film, "annotating", 2.0, 4.0)
        bars._bar.refresh()
        assert "film.mp4: annotating:  50%" in terminal.getvalue()
        bars.step()
        bars.on_progress(Input("next.mp4"), "reading", 1.0, 4.0)
        assert "next.mp4:   0%" in terminal.getvalue()


def test_without_a_terminal_nothing_is_shown():
    plain = io.StringIO()
    with redirect_stderr(plain), closing(Bars(2)) as bars:
        bars.on_progress(Input("film.mp4"), "reading", 1.0, 4.0)
        bars.step()
    assert plain.getvalue() == ""


def test_reading_then_what_follows_is_told(tmp_path, monkeypatch):
    """Of a picture and an annotated video: each by its name, and how far it is."""
    told = []
    monkeypatch.chdir(tmp_path)
    artifacts = Artifacts({"v": Path("v.png")}, {"v": Path("v.mp4")})

    def annotate(prediction, video, out, blur, on_frame):
        on_frame(1.5)
        out.write_bytes(b"x")
        return SimpleNamespace(why_silent=None)

    monkeypatch.setattr("dfercli.visualize.annotated_video.annotate_video", annotate)
    monkeypatch.setattr(
        "dfercli.visualize.timeline.plot_prediction", lambda prediction, out: out.touch()
    )
    monkeypatch.setattr(read_video_module, "declared_duration_s", lambda path: 4.0)
    by_hand.write_fake("v")
    list(
        read_video(
            by_hand.make_fake(),
            Input("v"),
            PredictSettings(),
            artifacts,
            lambda video, *values: told.append((video.name, *values)),
        )
    )
    assert told == [
        ("v", "reading", 2.0, 4.0),
        ("v", "reading", 4.0, 4.0),
        ("v", "drawing", 0.0, 4.00004),
        ("v", "annotating", 1.5, 4.00004),
    ]
