"""HTML of the results: status, one card per face, the timeline, and information on the model."""

import base64
import io
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from dfercli.models.settings import BUILT_IN_TRAINING
from dfercli.predict import Predictor, TrackSummary, VideoPrediction
from dfercli.predict.prediction import drawn_stretches
from dfercli.text import count_of, printable
from dfercli.visualize.class_colors import PALE, class_color, class_letters, fade, ink_on

MAX_CARDS = 12
"""Maximum number of cards, in the order of the faces' numbers (our choice)."""

MAX_LINES = 6
"""Maximum number of timelines on a narrow screen (our choice, as in the picture)."""

LETTER_WIDTH = 0.06
"""Minimum width of a block with a letter, as a fraction of a phone's 390 px (our choice)."""

FACE_PX = 96
"""Side of a face on a card in pixels (our choice)."""


def render_error(line: str) -> str:
    """Return an error message."""
    return _render("error", _capitalise(line))


def render_stopped(line: str) -> str:
    """Return the message that a video was stopped."""
    return _render("status", _capitalise(line))


def render_done(prediction: VideoPrediction, model: str) -> str:
    """Return the message with the length of a video, its number of faces and the model's name."""
    faces = count_of(len(prediction.tracks), "face")
    return _render(
        "status",
        f"{prediction.video}: {prediction.duration_s:.1f} s, {faces}, classified by {model}.",
    )


def render_faces(prediction: VideoPrediction) -> str:
    """Return one card per face with its mean expression, confidence, and share of each class."""
    tracks = prediction.tracks
    cards = [_describe_face(track, prediction) for track in tracks[:MAX_CARDS]]
    return _render("faces", cards, prediction.class_names, len(tracks) - MAX_CARDS)


def render_timeline(prediction: VideoPrediction, png: bytes) -> str:
    """Return the picture of the timelines, and coloured blocks for narrow screens."""
    tracks, names = prediction.tracks, prediction.class_names
    lines = [(track.track, _describe_blocks(track, prediction)) for track in tracks[:MAX_LINES]]
    tops = sorted({window.top for window in prediction.windows if window.top is not None})
    letters = class_letters(names)
    return _render(
        "timeline",
        png=_base64(png),
        lines=lines,
        legend=[(index, f"{letters[index]} {names[index]}") for index in tops],
        end_s=prediction.shown_s,
        calibrated=prediction.calibrated,
        num_hidden=len(tracks) - MAX_LINES,
    )


def render_model(predictor: Predictor) -> str:
    """Return a description of a model: its name, training data and limits."""
    names = predictor.class_names
    classes = (
        f"It distinguishes {count_of(len(names), 'expression')} and assigns one of them to each "
        f"face, even if none fits: {', '.join(names)}."
    )
    if predictor.calibrated:
        certainty = (
            "Its probabilities are calibrated on clips it had not seen; below 50% an expression "
            "counts as uncertain."
        )
    else:
        certainty = (
            "Its probabilities are not calibrated: of predictions with 90%, fewer than 9 in 10 may "
            "be correct."
        )
    return _render("paragraphs", [_describe_origin(predictor), classes, certainty])


def name_model(predictor: Predictor) -> str:
    """Return a short name of the model, without folders of the server."""
    return "CLIP without training" if predictor.checkpoint is None else predictor.name


def _describe_origin(predictor: Predictor) -> str:
    if predictor.checkpoint is None:
        return (
            "Model: CLIP (zero-shot). It was never trained on expressions, so its predictions are "
            "weak."
        )
    if predictor.built_in:
        return (
            f"Model: {predictor.describe()}. These are the shares of happiness, neutral, anger, "
            f"surprise, sadness, fear and disgust that it recognises, in percent. It was trained "
            f"on {BUILT_IN_TRAINING}."
        )
    if predictor.trained.dataset is None:
        return f"Model: {predictor.name}. Its training data is unknown."
    return (
        f"Model: {predictor.name}, {predictor.training}. It is wrong more often on people, "
        f"lighting and cameras that differ from its training data."
    )


def _describe_face(track: TrackSummary, prediction: VideoPrediction) -> dict[str, Any]:
    windows = [window for window in track.windows if window.probs is not None]
    uncertain = [bool(prediction.is_uncertain(window)) for window in windows]
    order = np.argsort(-track.shares, kind="stable")
    return {
        "track": track,
        "jpeg": _encode_face(track),
        "confidence": np.mean(
            [window.probs.max() for window in windows if window.probs is not None]
        ),
        "uncertain": np.mean(uncertain) if prediction.calibrated else None,
        "windows": count_of(len(windows), "window"),
        "shares": [(int(index), track.shares[index]) for index in order if track.shares[index]],
    }


def _encode_face(track: TrackSummary) -> Markup:
    """Return the middle image of a face as JPEG in base64; empty without an image."""
    faces = [window.face_rgb for window in track.windows if window.face_rgb is not None]
    if not faces:
        return Markup()
    stream = io.BytesIO()
    image = Image.fromarray(faces[len(faces) // 2]).resize((FACE_PX, FACE_PX))
    image.save(stream, "JPEG", quality=90)
    return _base64(stream.getvalue())


def _describe_blocks(track: TrackSummary, prediction: VideoPrediction) -> Iterable[dict[str, Any]]:
    letters = class_letters(prediction.class_names)
    for stretch in drawn_stretches(prediction, track.windows):
        top = stretch.window.top
        if top is None:
            continue
        width = (stretch.end_s - stretch.start_s) / prediction.shown_s
        yield {
            "left": stretch.start_s / prediction.shown_s,
            "width": width,
            "color": fade(class_color(top), PALE if prediction.is_uncertain(stretch.window) else 1),
            "letter": letters[top] if width >= LETTER_WIDTH else "",
        }


def _render(macro: str, *arguments: Any, **keywords: Any) -> str:
    """Render a macro of the template, with all texts escaped."""
    return str(getattr(_load_macros(), macro)(*arguments, **keywords)).strip()


@cache
def _load_macros() -> Any:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else printable(value),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {
        "class_color": class_color,
        "ink_on": ink_on,
        "percent": "{:.0%}".format,
        "rgb": lambda color: "rgb({}, {}, {})".format(*color),
    }
    return environment.get_template("parts.html.jinja").module


def _base64(content: bytes) -> Markup:
    return Markup(base64.b64encode(content).decode())


def _capitalise(line: str) -> str:
    return line[:1].upper() + line[1:]
