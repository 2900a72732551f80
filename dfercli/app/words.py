"""What the page says, as HTML: the faces of a video, the model, and what went wrong.

Colours of letters and lines are the page's own, so that it is read in the dark too.
"""

import base64
import io
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from dfercli.app.narrow import show_lines
from dfercli.predict import Predictor, TrackSummary, VideoPrediction
from dfercli.text import printable
from dfercli.visualize.class_colors import class_color, ink_on

MAX_CARDS = 12
"""Faces that are shown, in the order they come (our choice: a crowd does not fit a page)."""

FACE_SIDE = 96
"""Side of a face in pixels (our choice)."""

NO_DIAGNOSIS = "Not for diagnosis: a named expression is not a felt emotion."

INTRODUCTION = (
    "Give a video with faces in it. Each face is followed, and the expression it shows is named "
    "every few seconds, with how sure the model is."
)

UNPLAYABLE = (
    "A video that this browser cannot play (“Video not playable”) can often be read all the same."
)

STYLE = """
.html-container { padding: 0 !important; }
.dfer-error { border-left: 4px solid #c0392b; padding: .6em .9em; border-radius: 4px;
  background: rgba(192, 57, 43, .1); overflow-wrap: anywhere; }
.dfer-done { padding: .2em 0; overflow-wrap: anywhere; }
.dfer-notice { border-left: 4px solid #b7791f; padding: .5em .9em; border-radius: 4px;
  background: rgba(183, 121, 31, .1); }
.dfer-cards { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); }
.dfer-card { display: flex; gap: 14px; padding: 14px; border-radius: 8px;
  border: 1px solid var(--border-color-primary); background: var(--background-fill-secondary); }
.dfer-card img { width: 84px; height: 84px; border-radius: 8px; object-fit: cover; flex: none; }
.dfer-card > div { flex: 1; min-width: 0; }
.dfer-card h3 { margin: 0 0 4px; font-size: 1.05em; }
.dfer-chip { padding: 1px 9px; border-radius: 10px; font-weight: 600; white-space: nowrap; }
.dfer-bar { display: flex; height: 14px; border-radius: 7px; overflow: hidden; margin: 8px 0; }
.dfer-small { font-size: .92em; opacity: .8; }
.dfer-wide { overflow-x: auto; border: 1px solid var(--border-color-primary); border-radius: 8px;
  background: white; padding: 8px; }
.dfer-wide img { width: 100%; min-width: 760px; }
.dfer-share { display: inline-flex; align-items: center; gap: 5px; margin-right: 12px; }
.dfer-dot { width: 10px; height: 10px; border-radius: 50%; flex: none; }
"""


def say_error(line: str) -> str:
    """Give a line that tells what went wrong."""
    return f'<div class="dfer-error" role="alert">{escape(_begin(printable(line)))}</div>'


def say_stopped(line: str) -> str:
    """Give a line that tells where somebody stopped it."""
    return _say(_begin(line))


def _begin(line: str) -> str:
    return line[:1].upper() + line[1:]


def say_done(prediction: VideoPrediction, model: str) -> str:
    """Give a line that tells that a video was read, and by what."""
    count = len(prediction.tracks)
    faces = "1 face" if count == 1 else f"{count} faces"
    return _say(f"{prediction.video}: {prediction.duration_s:.1f} s, {faces}, named by {model}.")


def _say(line: str) -> str:
    """Give a line that tells how it went."""
    return f'<div class="dfer-done">{escape(printable(line))}</div>'


def show_faces(prediction: VideoPrediction) -> str:
    """Give a card a face: what it shows on the whole, how surely, and how much of each class."""
    tracks = prediction.tracks
    cards = "".join(_show_face(track, prediction) for track in tracks[:MAX_CARDS])
    rest = len(tracks) - MAX_CARDS
    more = f"<p>{rest} more are in the JSON document and the table.</p>" if rest > 0 else ""
    return f'<div class="dfer-cards">{cards}</div>{more}'


def _show_face(track: TrackSummary, prediction: VideoPrediction) -> str:
    named = [window for window in track.windows if window.probs is not None]
    confidence = np.mean([window.probs.max() for window in named if window.probs is not None])
    surely = f"mean confidence {confidence:.0%}"
    if prediction.calibrated:
        uncertain = np.mean([bool(prediction.is_uncertain(window)) for window in named])
        surely += f", uncertain in {uncertain:.0%} of its windows"
    where = (
        f"{track.start_s:.1f} to {track.end_s:.1f} s, seen in {track.coverage:.0%} of the frames"
    )
    return (
        f'<div class="dfer-card">{_show_picture(track)}<div>'
        f"<h3>Face {track.track}: on average {_chip(track.top, prediction.class_names)}</h3>"
        f'<div class="dfer-small">{where}<br>{surely}</div>'
        f"{_show_shares(track, len(named), prediction.class_names)}</div></div>"
    )


def _show_picture(track: TrackSummary) -> str:
    """Give the face in the middle of those that were kept; nothing where none was."""
    kept = [window.face_rgb for window in track.windows if window.face_rgb is not None]
    if not kept:
        return ""
    stream = io.BytesIO()
    face = Image.fromarray(kept[len(kept) // 2]).resize((FACE_SIDE, FACE_SIDE))
    face.save(stream, "JPEG", quality=90)
    return _img(f"Face {track.track}", "jpeg", stream.getvalue())


def show_times(prediction: VideoPrediction, picture: Path) -> str:
    """Return the picture of the time lines, and lines that take its place on a narrow screen."""
    image = _img("Time line of each face", "png", picture.read_bytes())
    return (
        f'<div class="dfer-wide">{image}</div>'
        f'<div class="dfer-narrow">{show_lines(prediction)}</div>'
    )


def _img(alt: str, kind: str, content: bytes) -> str:
    data = base64.b64encode(content).decode("ascii")
    return f'<img alt="{alt}" src="data:image/{kind};base64,{data}">'


def _show_shares(track: TrackSummary, number: int, class_names: tuple[str, ...]) -> str:
    """Give a bar of the share of windows that each class is the top of, and its legend."""
    there = [index for index in np.argsort(-track.shares, kind="stable") if track.shares[index]]
    parts = "".join(
        f'<span style="flex: {track.shares[i]:.4f}; background: {_css(i)}"></span>' for i in there
    )
    legend = "".join(
        f'<span class="dfer-share"><span class="dfer-dot" style="background: {_css(i)}"></span>'
        f"{escape(printable(class_names[i]))} {track.shares[i]:.0%}</span>"
        for i in there
    )
    of = f'<span class="dfer-share">Of {_count(number, "window")}:</span>'
    return f'<div class="dfer-bar">{parts}</div><div>{of}{legend}</div>'


def _chip(index: int, class_names: tuple[str, ...]) -> str:
    red, green, blue = ink_on(class_color(index))
    style = f"background: {_css(index)}; color: rgb({red}, {green}, {blue})"
    return f'<span class="dfer-chip" style="{style}">{escape(printable(class_names[index]))}</span>'


def _css(index: int) -> str:
    red, green, blue = class_color(int(index))
    return f"rgb({red}, {green}, {blue})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def describe_model(predictor: Predictor) -> str:
    """Give what is known of a model: where it comes from, what it learnt from, and its limits."""
    lines = [_tell_origin(predictor)]
    lines.append(
        f"It knows {_count(len(predictor.class_names), 'expression')} and gives each "
        f"face one of them, also where none fits: {', '.join(predictor.class_names)}."
    )
    if predictor.calibrated:
        lines.append(
            "Its probabilities are calibrated on clips it had not seen; below 50% an "
            "expression is called uncertain."
        )
    else:
        lines.append(
            "Its probabilities are not calibrated: 90% does not mean right 9 times of "
            "10, and it is often surer than it should be."
        )
    return "".join(f"<p>{escape(printable(line))}</p>" for line in lines)


def name_model(predictor: Predictor) -> str:
    """Give the few words that a model is named by."""
    if predictor.checkpoint is None:
        return "CLIP, never trained on expressions"
    return predictor.name


def _tell_origin(predictor: Predictor) -> str:
    if predictor.checkpoint is None:
        return (
            "Model: CLIP as it is (zero-shot). It was never trained on expressions, so expect "
            "weak answers."
        )
    if "dataset" not in predictor.trained:
        return f"Model: {predictor.name}. It does not say what it was trained on."
    return (
        f"Model: {predictor.name}, {predictor.training}. It knows no other faces: people, light "
        f"and cameras unlike those are named wrong more often."
    )
