"""Time lines as HTML for screens that are narrower than the picture of them, such as a phone's."""

from html import escape

from dfercli.predict import TrackSummary, VideoPrediction
from dfercli.predict.segments import drawn_stretches
from dfercli.text import printable
from dfercli.visualize.class_colors import PALE, Color, class_color, class_letters, fade, ink_on

MAX_TRACKS = 6
"""Faces whose time lines are shown (our choice, as in the picture)."""

LETTER_SHARE = 0.06
"""Share of the width from which a letter fits into a block (our choice: a phone's 390 px)."""

STYLE = """
.dfer-narrow { display: none; }
@media (max-width: 800px) { .dfer-wide { display: none; } .dfer-narrow { display: block; } }
.dfer-line { position: relative; height: 28px; background: #f2f2f2; border-radius: 4px;
  overflow: hidden; margin: 4px 0; }
.dfer-line span { position: absolute; top: 0; bottom: 0; text-align: center; line-height: 28px;
  font-size: .85em; overflow: hidden; }
.dfer-ends { display: flex; justify-content: space-between; }
"""


def show_lines(prediction: VideoPrediction) -> str:
    """Return a line of coloured blocks for each face, as wide as the screen, and the legend."""
    tracks = prediction.tracks[:MAX_TRACKS]
    lines = "".join(_show_line(prediction, track) for track in tracks)
    rest = len(prediction.tracks) - len(tracks)
    more = f"<p>{rest} more are in the JSON document and the table.</p>" if rest else ""
    pale = " Pale: uncertain." if prediction.calibrated else ""
    ends = (
        f'<div class="dfer-ends dfer-small"><span>0 s</span><span>{prediction.shown_s:.1f} s</span>'
        f"</div>"
    )
    return f'{lines}{ends}<p class="dfer-small">{_show_legend(prediction)}{pale}</p>{more}'


def _show_line(prediction: VideoPrediction, track: TrackSummary) -> str:
    letters = class_letters(prediction.class_names)
    blocks = []
    for stretch in drawn_stretches(prediction, track.windows):
        top = stretch.window.top
        if top is None:
            continue
        left = stretch.start_s / prediction.shown_s
        width = (stretch.end_s - stretch.start_s) / prediction.shown_s
        doubtful = bool(prediction.is_uncertain(stretch.window))
        color = fade(class_color(top), PALE if doubtful else 1.0)
        letter = escape(letters[top]) if width >= LETTER_SHARE else ""
        style = (
            f"left: {left:.2%}; width: {width:.2%}; background: {_css(color)}; "
            f"color: {_css(ink_on(color))}"
        )
        blocks.append(f'<span style="{style}">{letter}</span>')
    return f'<div>Face {track.track}</div><div class="dfer-line">{"".join(blocks)}</div>'


def _show_legend(prediction: VideoPrediction) -> str:
    letters = class_letters(prediction.class_names)
    tops = {window.top for window in prediction.windows if window.top is not None}
    return "".join(
        f'<span class="dfer-share"><span class="dfer-dot" style="background: '
        f'{_css(class_color(index))}"></span>{escape(letters[index])} '
        f"{escape(printable(prediction.class_names[index]))}</span>"
        for index in sorted(tops)
    )


def _css(color: Color) -> str:
    return "rgb({}, {}, {})".format(*color)
