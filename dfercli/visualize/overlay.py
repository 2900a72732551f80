"""Drawing on frames: boxes and labels of the faces, and a panel with the bars of one face."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dfercli.media.contact_sheet import FONT
from dfercli.predict.prediction import Window
from dfercli.text import printable, shorten
from dfercli.visualize.class_colors import Color, class_color, fade, ink_on

LINES_PER_SIDE = 30
"""Lines of text that fit in the shorter side of a frame (our choice)."""

LEAST_PX = 10
"""Minimum font size in pixels (our choice)."""

MAX_NAME = 20
"""Maximum length of a class name (our choice)."""

SMALL = 0.7
"""Font size of the model's name relative to other text (our choice)."""

MODEL_LINES = 5
"""Maximum number of lines for the model's name (our choice)."""

BAR = 5
"""Length of a full bar beside a frame, in font sizes (our choice)."""

PAPER = (245, 245, 245)
INK = (30, 30, 30)
GREY = (150, 150, 150)
MUTED = (104, 110, 118)
WHITE = (255, 255, 255)

Size = tuple[int, int]


@dataclass(frozen=True)
class ShownFace:
    """A face in one frame.

    Attributes:
        track: Number of the face.
        box_xyxy: (4,) in pixels of the frame.
        window: Window of this frame, if any.
        uncertain: Whether the expression is uncertain.
    """

    track: int
    box_xyxy: np.ndarray
    window: Window | None
    uncertain: bool

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        left, top, right, bottom = self.box_xyxy
        return float((right - left) * (bottom - top))

    @property
    def probs(self) -> np.ndarray | None:
        """(K,) probabilities of the window, if any."""
        return None if self.window is None else self.window.probs

    @property
    def rank(self) -> int:
        """2 with probabilities, 1 with a window that has none, 0 without a window."""
        return (self.window is not None) + (self.probs is not None)


class Overlay:
    """Draws on frames of one size; text and lines scale with it.

    The panel with the bars is to the right of a landscape frame and below a portrait one.

    Attributes:
        size: Width and height of the canvas, both even.
    """

    def __init__(self, frame_size: Size, class_names: Sequence[str], model: str = "") -> None:
        width, height = frame_size
        self._frame_size = frame_size
        self._names = [shorten(printable(name), MAX_NAME) for name in class_names]
        self._px = max(LEAST_PX, round(min(frame_size) / LINES_PER_SIDE))
        self._small_px = max(LEAST_PX, round(SMALL * self._px))
        self._model = printable(model)
        self._model_lines: list[str] = []
        self._bar_px = BAR * self._px
        self._panel_size = self._measure_panel()
        self._panel_face: ShownFace | None = None
        self._panel = np.empty(0, np.uint8)
        panel_width, panel_height = self._panel_size
        if width >= height:
            self._panel_at, size = (width, 0), (width + panel_width, max(height, panel_height))
        else:
            self._panel_at, size = (0, height), (max(width, panel_width), height + panel_height)
        self.size = (size[0] + size[0] % 2, size[1] + size[1] % 2)

    def draw(
        self, image_rgb: np.ndarray, faces: Sequence[ShownFace], main: ShownFace | None
    ) -> np.ndarray:
        """Return a canvas of `size` with a frame, its faces, and the panel.

        Args:
            image_rgb: (H, W, 3) uint8; resized if its size is not that of the first frame.
            faces: All faces in it.
            main: Face whose bars are shown; None for empty bars.
        """
        if image_rgb.shape[1::-1] != self._frame_size:
            image_rgb = np.asarray(Image.fromarray(image_rgb).resize(self._frame_size))
        width, height = self._frame_size
        canvas = np.full((self.size[1], self.size[0], 3), PAPER, np.uint8)
        canvas[:height, :width] = image_rgb
        for face in faces:
            self._draw_box(canvas[:height, :width], face)
        for face in faces:  # after all boxes, so that no line crosses a label
            self._draw_label(canvas[:height, :width], face)
        left, top = self._panel_at
        panel = self._panel_of(main)
        canvas[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
        return canvas

    def _draw_box(self, image: np.ndarray, face: ShownFace) -> None:
        line = max(1, round(min(self._frame_size) / 180))
        dash = 4 * line if face.uncertain else 0
        _draw_frame(image, face.box_xyxy, line + 1, line + 2, WHITE, 0)
        _draw_frame(image, face.box_xyxy, line, line, _color_of(face), dash)

    def _draw_label(self, image: np.ndarray, face: ShownFace) -> None:
        color, width = _color_of(face), image.shape[1]
        tags = [_draw_tag(text, self._px, color) for text in self._label_texts(face)]
        tag = next((tag for tag in tags if tag.shape[1] <= width), tags[-1][:, :width])
        box_left, box_top, _, box_bottom = (round(float(value)) for value in face.box_xyxy)
        if box_top >= len(tag):
            top = box_top - len(tag)
        elif box_bottom + len(tag) <= len(image):
            top = box_bottom
        else:
            top = max(0, box_top)
        left = min(max(0, box_left), width - tag.shape[1])
        target = image[top : top + len(tag), left : left + tag.shape[1]]
        target[:] = tag[: target.shape[0], : target.shape[1]]

    def _label_texts(self, face: ShownFace) -> list[str]:
        """Return the label of a face, followed by shorter ones for small frames."""
        number, probs = str(face.track), face.probs
        if probs is None:
            return [number]
        if face.uncertain:
            return [f"{number} uncertain", f"{number} ?"]
        name = self._names[probs.argmax()]
        return [f"{number} {name} {100 * probs.max():.0f} %", f"{number} {name}", number]

    def _measure_panel(self) -> Size:
        names_px = max(_measure(name, self._px) for name in self._names)
        row_px = names_px + self._bar_px + _measure("100 %", self._px) + self._px
        width = max(row_px, _measure("face 99: seen too briefly", self._px)) + 2 * self._px
        frame_width, frame_height = self._frame_size
        if frame_width < frame_height:  # the panel below is as wide as the frame
            self._bar_px += max(0, frame_width - int(width))
            width = max(frame_width, width)
        self._model_lines = _wrap(self._model, self._small_px, width - 2 * self._px)
        height = (len(self._names) + 1) * self._row_px + self._px
        height += len(self._model_lines) * round(1.3 * self._small_px)
        return int(width), height

    @property
    def _row_px(self) -> int:
        return round(1.5 * self._px)

    def _panel_of(self, main: ShownFace | None) -> np.ndarray:
        """Return the panel, which is drawn again only if the window changes."""
        if not self._panel.size or not _has_same_panel(self._panel_face, main):
            self._panel_face, self._panel = main, self._draw_panel(main)
        return self._panel

    def _draw_panel(self, main: ShownFace | None) -> np.ndarray:
        image = Image.new("RGB", self._panel_size, PAPER)
        draw, font = ImageDraw.Draw(image), _load_font(self._px)
        draw.text((self._px, self._px / 2), _headline(main), INK, font)
        for number, line in enumerate(reversed(self._model_lines)):
            bottom = image.height - self._px / 2 - number * round(1.3 * self._small_px)
            draw.text((self._px, bottom), line, MUTED, _load_font(self._small_px), "ls")
        probs = None if main is None else main.probs
        strength = 0.45 if main is not None and main.uncertain else 1.0
        start = self._px + max(_measure(name, self._px) for name in self._names) + self._px / 2
        for index, name in enumerate(self._names):
            top = self._px / 2 + (index + 1) * self._row_px
            draw.text((self._px, top), name, INK, font)
            bottom = top + 1.1 * self._px
            draw.rectangle((start, top, start + self._bar_px, bottom), (225, 225, 225))
            if probs is None:
                continue
            color, share = fade(class_color(index), strength), float(probs[index])
            draw.rectangle((start, top, start + share * self._bar_px, bottom), color)
            draw.text((start + self._bar_px + self._px / 2, top), f"{100 * share:.0f} %", INK, font)
        return np.asarray(image)


def _has_same_panel(one: ShownFace | None, other: ShownFace | None) -> bool:
    """Return whether two faces have the same panel: the same track, window and certainty."""
    if one is None or other is None:
        return one is other
    same_face = (one.track, one.uncertain) == (other.track, other.uncertain)
    return same_face and one.window is other.window


def _headline(main: ShownFace | None) -> str:
    if main is None:
        return "no face"
    if main.uncertain:
        return f"face {main.track}: uncertain"
    return f"face {main.track}" + (": not classified", ": seen too briefly", "")[main.rank]


def _color_of(face: ShownFace) -> Color:
    if face.probs is None or face.uncertain:
        return GREY
    return class_color(int(face.probs.argmax()))


def _draw_frame(
    image: np.ndarray, box_xyxy: np.ndarray, out_px: int, line: int, color: Color, dash: int
) -> None:
    """Draw a box, enlarged by `out_px`, with lines of width `line`; dashed if `dash` is not 0."""
    height, width = image.shape[:2]
    left, top, right, bottom = (round(float(value)) for value in box_xyxy)
    left, top, right, bottom = left - out_px, top - out_px, right + out_px, bottom + out_px
    columns = _dashes(left, right, width, dash)
    rows = _dashes(top, bottom, height, dash)
    for start in (top, bottom - line):
        image[max(0, start) : max(0, start + line), columns] = color
    for start in (left, right - line):
        image[rows, max(0, start) : max(0, start + line)] = color


def _dashes(first: int, last: int, length: int, dash: int) -> np.ndarray:
    pixels = np.arange(max(0, first), max(0, min(last, length)))
    return pixels[(pixels - first) // dash % 2 == 0] if dash else pixels


@lru_cache(maxsize=64)
def _draw_tag(text: str, px: int, color: Color) -> np.ndarray:
    """Return text on a coloured background, (H, W, 3)."""
    size = int(_measure(text, px)) + px, round(1.5 * px)
    image = Image.new("RGB", size, color)
    ImageDraw.Draw(image).text((px / 2, size[1] / 2), text, ink_on(color), _load_font(px), "lm")
    return np.asarray(image)


def _wrap(text: str, px: int, width: float) -> list[str]:
    """Wrap text at spaces and slashes to at most `MODEL_LINES` lines."""
    lines: list[str] = [""] if text else []
    for word in re.findall(r"[^ /]+[ /]?|[ /]", text):
        if lines[-1] and _measure((lines[-1] + word).rstrip(), px) > width:
            lines.append("")
        lines[-1] += word
    lines = [line.rstrip() for line in lines]
    if len(lines) > MODEL_LINES:  # the end says whether it is calibrated
        lines = [*lines[: MODEL_LINES - 2], "…", lines[-1]]
    return lines


def _measure(text: str, px: int) -> float:
    return float(_load_font(px).getlength(text))


@lru_cache(maxsize=4)
def _load_font(px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT, px)
