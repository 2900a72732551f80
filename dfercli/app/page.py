"""The gradio page: the upload, the settings, and the results of a video."""

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
from dfercli.app.html import (
    name_model,
    render_done,
    render_error,
    render_faces,
    render_model,
    render_stopped,
    render_timeline,
)
from dfercli.errors import DferError, VideoError
from dfercli.media.find_videos import VIDEO_SUFFIXES
from dfercli.predict import PredictSettings
from dfercli.predict.settings import FACES

INTRODUCTION = (
    "Upload or record a video with faces in it. Each face is followed, and its expression is "
    "classified every few seconds, with the model's confidence."
)
NO_DIAGNOSIS = "Not for diagnosis: a predicted expression is not a felt emotion."
UNPLAYABLE = (
    "If this browser cannot play a video (“Video not playable”), dfer can often still read it."
)

MIN_LENGTH_S, MAX_LENGTH_S = 0.5, 10.0
"""Range of the sliders for window and stride in seconds (our choice)."""

FACE_CHOICES = {"all": "all", "largest": "only the largest"}
"""Label of each setting of `faces`."""


class Page:
    """The page of one model; `blocks` is what gradio serves.

    Args:
        examiner: Predicts the videos.
        limits: Limits on videos and visitors; None for the defaults.
        folder: Folder for temporary files; None for that of the system.
    """

    def __init__(
        self, examiner: Examiner, limits: Limits | None = None, folder: Path | None = None
    ) -> None:
        self._examiner = examiner
        self._limits = limits or Limits()
        self._folder = folder
        self._stops: dict[str | None, Event] = {}  # by browser tab, while its video is read
        self._model = name_model(examiner.predictor)
        title = "dfer: expressions in a video"
        with gr.Blocks(title=title, analytics_enabled=False) as self.blocks:
            gr.Markdown(f"# Expressions in a video\n\n{INTRODUCTION}")
            gr.HTML(f'<div class="dfer-notice">{NO_DIAGNOSIS}</div>')
            with gr.Row():
                with gr.Column():
                    inputs = self._add_inputs()
                    button = gr.Button(
                        "Classify expressions", variant="primary", elem_id="dfer-press"
                    )
                    self._stop = gr.Button("Stop", visible=False, elem_id="dfer-stop")
                with gr.Column():
                    self._status = gr.HTML(min_height=72, elem_id="dfer-status")
                    with gr.Column(visible=False) as self._beside:
                        self._video = gr.Video(show_label=False, interactive=False, buttons=[])
            with gr.Column(visible=False) as self._below:
                gr.Markdown("## Faces")
                self._cards = gr.HTML(elem_id="dfer-faces")
                gr.Markdown("## Over time")
                self._timeline = gr.HTML(elem_id="dfer-timeline")
                gr.Markdown("## Downloads")
                with gr.Row():
                    self._annotated = gr.DownloadButton("Video, MP4")
                    self._picture = gr.DownloadButton("Timeline, PNG")
                    self._document = gr.DownloadButton("All numbers, JSON")
                    self._table = gr.DownloadButton("Windows, CSV")
            with gr.Accordion("About the model, and its limits", open=True):
                gr.HTML(render_model(examiner.predictor))
                gr.Markdown(
                    "Videos are sent only to the computer that runs this page. They and their "
                    f"results are deleted after {self._limits.keep_s // 60:.0f} minutes, and when "
                    "the page is stopped."
                )
            # The order of outputs is that of the answers to scripts that call the page.
            outputs = [
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
            button.click(
                self._answer,
                inputs,
                outputs,
                api_name="examine",
                concurrency_limit=1,
                show_progress_on=self._status,
            )
            self._stop.click(self._end, queue=False, api_name="stop")
            self.blocks.unload(self._end)  # the tab was closed
        self.blocks.queue(api_open=False, default_concurrency_limit=1, max_size=self._limits.queue)

    def _add_inputs(self) -> list[Any]:
        """Add the upload and the settings; return them in the order of `_answer`'s arguments."""
        defaults = self._examiner.predictor.resolve(PredictSettings())
        video = gr.Video(label="Your video", sources=["upload", "webcam"], include_audio=True)
        gr.HTML(f'<div class="dfer-small">{UNPLAYABLE}</div>')
        with gr.Accordion("Settings", open=False):
            window, stride = (
                gr.Slider(MIN_LENGTH_S, MAX_LENGTH_S, value=seconds, step=0.5, label=label)
                for label, seconds in (
                    ("Window: seconds of video per classification", defaults.window_s),
                    ("Stride: seconds from one window to the next", defaults.stride_s),
                )
            )
            choices = [(FACE_CHOICES[name], name) for name in FACES]
            faces = gr.Radio(choices, value=defaults.faces, label="Faces")
        return [video, window, stride, faces]

    def _answer(
        self,
        video: str | None,
        window_s: float,
        stride_s: float,
        faces: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (gradio finds it by its default)
    ) -> Iterator[dict[Any, Any]]:
        """Predict a video, and show the results, or an error as a message."""
        if video is None:
            yield self._show_message(render_error("Choose a video first, or record one."))
            return
        path = Path(video)
        stop = self._stops[request.session_hash] = Event()
        yield self._show_message("") | {self._stop: gr.Button(visible=True)}
        began_s = time.monotonic()

        def report_progress(activity: str, at_s: float, of_s: float) -> None:
            if time.monotonic() - began_s > self._limits.job_s:
                raise TooLongError(
                    f"stopped at {describe_time(at_s, of_s)}, while {activity}: the time limit is "
                    f"{self._limits.job_s:.0f} s; use a shorter video, or `dfer predict`"
                )
            if stop.is_set():
                raise StoppedError(f"stopped at {describe_time(at_s, of_s)}, while {activity}")
            _keep(path, self._limits.keep_s)
            share = min(1.0, at_s / of_s) if of_s else (int(at_s), None)  # a webcam's file
            progress(share, desc=f"{activity}: {describe_time(at_s, of_s)}", unit="s of the video")

        settings = PredictSettings(window_s, stride_s, faces)
        try:
            _check_suffix(path)
            _keep(path, self._limits.keep_s)
            with TemporaryDirectory(prefix="work-", dir=self._folder) as folder:
                result = self._examiner.examine(path, settings, Path(folder), report_progress)
                yield self._show_result(result)  # gradio copies the files before it resumes here
        except StoppedError as error:
            yield self._show_message(render_stopped(error.line))
        except DferError as error:
            yield self._show_message(render_error(error.line.replace(str(path), path.name)))
        except Exception as error:  # a bug must not leave an empty page
            logging.getLogger(__name__).exception("while examining %s", path.name)
            line = (
                f"internal error on this video ({type(error).__name__}); see the terminal of dfer"
            )
            yield self._show_message(render_error(line))
        finally:
            self._stops.pop(request.session_hash, None)

    def _end(self, request: gr.Request) -> None:
        """Stop the video of the tab that sent the request or was closed."""
        if stop := self._stops.get(request.session_hash):
            stop.set()

    def _show_message(self, html: str) -> dict[Any, Any]:
        """Show a message instead of results."""
        hidden = gr.Column(visible=False)
        stop = gr.Button(visible=False)
        return {self._status: html, self._stop: stop, self._beside: hidden, self._below: hidden}

    def _show_result(self, result: Examined) -> dict[Any, Any]:
        prediction = result.prediction
        return {
            self._status: render_done(prediction, self._model),
            self._stop: gr.Button(visible=False),
            self._beside: gr.Column(visible=True),
            self._below: gr.Column(visible=True),
            self._video: str(result.video),
            self._cards: render_faces(prediction),
            self._timeline: render_timeline(prediction, result.picture.read_bytes()),
            self._annotated: str(result.video),
            self._picture: str(result.picture),
            self._document: str(result.document),
            self._table: str(result.table),
        }


def _check_suffix(video: Path) -> None:
    if video.suffix.lower() not in VIDEO_SUFFIXES:
        kind = f"files that end in {video.suffix}" if video.suffix else "files without a suffix"
        raise VideoError(f"cannot read {video.name}: {kind} are not videos")


def _keep(video: Path, keep_s: float) -> None:
    """Update the time of an upload, so that it is kept for another `keep_s`."""
    try:
        os.utime(video)
    except FileNotFoundError:
        minutes = f"{keep_s // 60:.0f} minutes"
        raise VideoError(
            f"{video.name} has expired (videos are kept for {minutes}); upload it again"
        ) from None


def describe_time(at_s: float, of_s: float) -> str:
    """Return a position in a video in words, with the length of the video if it is known."""
    at_s = min(at_s, of_s) if of_s else at_s
    length = f" of {of_s:.1f}" if of_s and math.isfinite(of_s) else ""
    return f"{at_s:.1f}{length} s of the video"
