"""The page itself: where a video goes in, and what is shown of it."""

import logging
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import gradio as gr

from dfercli.app.examine import Examined, Examiner, StoppedError, TooLongError
from dfercli.app.guard import Limits
from dfercli.app.words import (
    INTRODUCTION,
    NO_DIAGNOSIS,
    UNPLAYABLE,
    describe_model,
    name_model,
    say_done,
    say_error,
    say_stopped,
    show_faces,
    show_times,
)
from dfercli.errors import DferError, VideoError
from dfercli.predict import PredictSettings
from dfercli.predict.batch.inputs import VIDEO_SUFFIXES
from dfercli.predict.settings import FACES

LENGTHS_S = (0.5, 10.0)
"""Shortest and longest window and stride that the page offers (our choice)."""

PRESS, STOP = "Name the expressions", "Stop"

_FACES_SHOWN = {"all": "all", "largest": "only the largest"}


class Page:
    """A page for one model. `blocks` is what is served.

    Args:
        examiner: Does what the button does.
        limits: What visitors may take up.
        folder: Where a video is worked on; None for the system's own.
    """

    def __init__(
        self, examiner: Examiner, limits: Limits | None = None, folder: Path | None = None
    ) -> None:
        self._examiner = examiner
        self._limits = limits or Limits()
        self._folder = folder
        self._stops: dict[str | None, Event] = {}  # of each tab whose video is being read
        self._model = name_model(examiner.predictor)
        usual = examiner.predictor.resolve(PredictSettings())
        title = "dfer: expressions in a video"
        with gr.Blocks(title=title, analytics_enabled=False) as self.blocks:
            gr.Markdown(f"# Expressions in a video\n\n{INTRODUCTION}")
            gr.HTML(f'<div class="dfer-notice">{NO_DIAGNOSIS}</div>')
            with gr.Row():
                with gr.Column():
                    video = gr.Video(
                        label="Your video", sources=["upload", "webcam"], include_audio=True
                    )
                    gr.HTML(f'<div class="dfer-small">{UNPLAYABLE}</div>')
                    with gr.Accordion("Settings", open=False):
                        lengths = self._add_lengths(usual)
                        faces = gr.Radio(
                            [(_FACES_SHOWN[name], name) for name in FACES],
                            value=usual.faces,
                            label="Faces",
                        )
                    button = gr.Button(PRESS, variant="primary", elem_id="dfer-press")
                    self._stop = gr.Button(STOP, visible=False, elem_id="dfer-stop")
                with gr.Column():
                    self._status = gr.HTML(min_height=72, elem_id="dfer-status")
                    with gr.Column(visible=False) as self._beside:
                        self._video = gr.Video(show_label=False, interactive=False, buttons=[])
            with gr.Column(visible=False) as self._below:
                gr.Markdown("## Faces")
                self._cards = gr.HTML(elem_id="dfer-faces")
                gr.Markdown("## Over time")
                self._timeline = gr.HTML(elem_id="dfer-timeline")
                gr.Markdown("## To keep")
                with gr.Row():
                    self._annotated = gr.DownloadButton("Video, MP4")
                    self._picture = gr.DownloadButton("Time line, PNG")
                    self._document = gr.DownloadButton("All numbers, JSON")
                    self._table = gr.DownloadButton("Windows, CSV")
            with gr.Accordion("About the model, and what it cannot do", open=True):
                gr.HTML(describe_model(examiner.predictor))
                gr.Markdown(
                    "Videos go to the computer that runs this page and to no other; it deletes "
                    "them, and what was made of them, after "
                    f"{self._limits.keep_s // 60:.0f} minutes, and when the page ends."
                )
            button.click(
                self._answer,
                [video, *lengths, faces],
                self._outputs,
                api_name="examine",
                concurrency_limit=1,
                show_progress_on=self._status,
            )
            self._stop.click(self._end, queue=False, api_name="stop")
            self.blocks.unload(self._end)  # the tab was closed
        self.blocks.queue(api_open=False, default_concurrency_limit=1, max_size=self._limits.queue)

    def _add_lengths(self, usual: PredictSettings) -> list[gr.Slider]:
        shortest_s, longest_s = LENGTHS_S
        told = (
            ("Window: an expression is named from so many seconds", usual.window_s),
            ("Stride: seconds from one window to the next", usual.stride_s),
        )
        return [
            gr.Slider(shortest_s, longest_s, value=seconds, step=0.5, label=label)
            for label, seconds in told
        ]

    @property
    def _outputs(self) -> list[Any]:
        return [
            self._status,
            self._stop,
            self._beside,
            self._below,
            self._video,
            self._cards,
            self._timeline,
            self._annotated,
            self._picture,
            self._document,
            self._table,
        ]

    def _answer(
        self,
        video: str | None,
        window_s: float,
        stride_s: float,
        faces: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (gradio finds it by its default)
    ) -> Iterator[dict[Any, Any]]:
        """Examine a video. What goes wrong becomes a line on the page, and the server goes on."""
        if video is None:
            yield self._say(say_error("Choose a video first, or record one."))
            return
        stop = self._stops[request.session_hash] = Event()
        yield self._say("") | {self._stop: gr.Button(visible=True)}

        began_s = time.monotonic()

        def tell(doing: str, at_s: float, of_s: float) -> None:
            if time.monotonic() - began_s > self._limits.job_s:
                raise TooLongError(
                    f"stopped at {describe_time(at_s, of_s)}, while {doing}: a video may take "
                    f"{self._limits.job_s:.0f} s here; cut it, or use `dfer predict`"
                )
            if stop.is_set():
                raise StoppedError(f"stopped at {describe_time(at_s, of_s)}, while {doing}")
            _keep(Path(video), self._limits.keep_s)
            share = min(1.0, at_s / of_s) if of_s else (int(at_s), None)  # as of a webcam
            progress(share, desc=f"{doing}: {describe_time(at_s, of_s)}", unit="s of the video")

        settings = PredictSettings(window_s, stride_s, faces)
        try:
            _check_suffix(Path(video))
            _keep(Path(video), self._limits.keep_s)
            with TemporaryDirectory(prefix="work-", dir=self._folder) as folder:
                found = self._examiner.examine(Path(video), settings, Path(folder), tell)
                yield self._show(found)  # gradio copies the files before it comes back
        except StoppedError as error:
            yield self._say(say_stopped(error.line))
        except DferError as error:
            yield self._say(say_error(error.line.replace(str(Path(video)), Path(video).name)))
        except Exception as error:  # a fault of ours must not be an empty page
            logging.getLogger(__name__).exception("while examining %s", Path(video).name)
            line = f"dfer failed on this video ({type(error).__name__}); its terminal tells where"
            yield self._say(say_error(line))
        finally:
            self._stops.pop(request.session_hash, None)

    def _end(self, request: gr.Request) -> None:
        """Stop what is read for the tab that asks, or is closed."""
        if stop := self._stops.get(request.session_hash):
            stop.set()

    def _say(self, text: str) -> dict[Any, Any]:
        hidden = gr.Column(visible=False)
        stop = gr.Button(visible=False)
        return {self._status: text, self._stop: stop, self._beside: hidden, self._below: hidden}

    def _show(self, found: Examined) -> dict[Any, Any]:
        return {
            self._status: say_done(found.prediction, self._model),
            self._stop: gr.Button(visible=False),
            self._beside: gr.Column(visible=True),
            self._below: gr.Column(visible=True),
            self._video: str(found.video),
            self._cards: show_faces(found.prediction),
            self._timeline: show_times(found.prediction, found.picture),
            self._annotated: str(found.video),
            self._picture: str(found.picture),
            self._document: str(found.document),
            self._table: str(found.table),
        }


def _check_suffix(video: Path) -> None:
    if video.suffix.lower() not in VIDEO_SUFFIXES:
        what = f"files that end in {video.suffix}" if video.suffix else "files of such a name"
        raise VideoError(f"cannot read {video.name}: {what} are no videos")


def _keep(video: Path, keep_s: float) -> None:
    """Have an upload that is used, or is about to be, kept for `keep_s` from now."""
    try:
        os.utime(video)
    except FileNotFoundError:
        kept = f"videos are kept for {keep_s // 60:.0f} minutes"
        raise VideoError(f"{video.name} has expired ({kept}); give it again") from None


def describe_time(at_s: float, of_s: float) -> str:
    """Give a moment of a video, and its length where that is known."""
    at_s = min(at_s, of_s) if of_s else at_s
    whole = f" of {of_s:.1f}" if of_s and math.isfinite(of_s) else ""
    return f"{at_s:.1f}{whole} s of the video"
