"""What is drawn on the frames of a video: boxes, labels, and beside them the bars of one face."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dfercli.media.contact_sheet import FONT
from dfercli.predict.prediction import Window
from dfercli.text import printable
from dfercli.visualize.class_colors import Color, class_color, fade, ink_on

LETTERS_A_SIDE = 30
"""Heights of a letter in the shorter side of a frame (our choice)."""

LEAST_PX = 10
"""Height of a letter that can be read in the smallest frame (our choice)."""

LONGEST = 20
"""Letters of a class's name that are drawn (our choice)."""

SMALL = 0.7
"""Height of the letters that name the model, in those of all others (our choice)."""

MODEL_LINES = 5
"""Lines that name the model at most (our choice)."""

BAR = 5
"""Length of a full bar beside a frame, in heights of a letter (our choice)."""

PAPER = (245, 245, 245)
INK = (30, 30, 30)
GREY = (150, 150, 150)
MUTED = (104, 110, 118)
WHITE = (255, 255, 255)

Size = tuple[int, int]


@dataclass(frozen=True)
class ShownFace:
    """A face in one frame, and what is told of it.

    Attributes:
        track: Its number.
        box_xyxy: (4,) in pixels of the frame.
        window: What speaks of this moment; None where the face is not read then.
        uncertain: Whether its expression is.
    """

    track: int
    box_xyxy: np.ndarray
    window: Window | None
    uncertain: bool

    @property
    def area(self) -> float:
        """Of its box, in square pixels."""
        left, top, right, bottom = self.box_xyxy
        return float((right - left) * (bottom - top))

    @property
    def told(self) -> int:
        """How much is told of it: 2 with probabilities, 1 of a window without, 0 without any."""
        return 0 if self.window is None else 1 if self.window.probs is None else 2


class Overlay:
    """Draws on frames of one size; letters and lines grow with it.

    The bars stand right of a wide frame and below a high one, on a canvas that is as much larger,
    so that nothing of the frame is covered by them.

    Attributes:
        size: Width and height of the canvas; both even.
    """

    def __init__(self, frame_size: Size, class_names: Sequence[str], model: str = "") -> None:
        width, height = frame_size
        self._frame_size = frame_size
        self._names = [printable(name)[:LONGEST] for name in class_names]
        self._px = max(LEAST_PX, round(min(frame_size) / LETTERS_A_SIDE))
        self._small_px = max(LEAST_PX, round(SMALL * self._px))
        self._model = printable(model)
        self._model_lines: list[str] = []
        self._bar_px = BAR * self._px
        self._panel_size = self._measure_panel()
        self._panel_face: ShownFace | None = None
        self._panel = np.empty(0, np.uint8)
        panel_width, panel_height = self._panel_size
        if width >= height:
            self._panel_at, whole = (width, 0), (width + panel_width, max(height, panel_height))
        else:
            self._panel_at, whole = (0, height), (max(width, panel_width), height + panel_height)
        self.size = (whole[0] + whole[0] % 2, whole[1] + whole[1] % 2)

    def draw(
        self, image_rgb: np.ndarray, faces: Sequence[ShownFace], main: ShownFace | None
    ) -> np.ndarray:
        """Give a frame with its faces on a canvas of `size`.

        Args:
            image_rgb: (H, W, 3) uint8; brought to the size of the first where it has another.
            faces: All that are shown in it.
            main: The one whose bars are shown; None shows empty ones.
        """
        if image_rgb.shape[1::-1] != self._frame_size:
            image_rgb = np.asarray(Image.fromarray(image_rgb).resize(self._frame_size))
        width, height = self._frame_size
        canvas = np.full((self.size[1], self.size[0], 3), PAPER, np.uint8)
        canvas[:height, :width] = image_rgb
        for face in faces:
            self._draw_box(canvas[:height, :width], face)
        for face in faces:  # after all boxes: no line crosses a label
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
        tags = [_draw_tag(text, self._px, _color_of(face)) for text in self._label_texts(face)]
        room = image.shape[1]
        tag = next((tag for tag in tags if tag.shape[1] <= room), tags[-1][:, :room])
        height, width = tag.shape[:2]
        box_left, box_top, _, box_bottom = (round(float(value)) for value in face.box_xyxy)
        if box_top >= height:
            top = box_top - height
        elif box_bottom + height <= image.shape[0]:
            top = box_bottom
        else:
            top = max(0, box_top)
        left = min(max(0, box_left), room - width)
        place = image[top : top + height, left : left + width]
        place[:] = tag[: place.shape[0], : place.shape[1]]

    def _label_texts(self, face: ShownFace) -> list[str]:
        """Give what stands at a face, from all of it to what fits anywhere."""
        number, window = str(face.track), face.window
        if window is None or window.probs is None or window.top is None:
            return [number]
        if face.uncertain:
            return [f"{number} uncertain", f"{number} ?"]
        name = self._names[window.top]
        return [f"{number} {name} {100 * window.probs.max():.0f} %", f"{number} {name}", number]

    def _measure_panel(self) -> Size:
        names_px = max(_measure(name, self._px) for name in self._names)
        row_px = names_px + self._bar_px + _measure("100 %", self._px) + self._px
        width = max(row_px, _measure("face 99: not seen enough", self._px)) + 2 * self._px
        frame_width, frame_height = self._frame_size
        if frame_width < frame_height:  # the bars stand below, and there is room
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
        """Give the bars, drawn anew only where another window speaks."""
        if not self._panel.size or not _speak_alike(self._panel_face, main):
            self._panel_face, self._panel = main, self._draw_panel(main)
        return self._panel

    def _draw_panel(self, main: ShownFace | None) -> np.ndarray:
        image = Image.new("RGB", self._panel_size, PAPER)
        draw, font = ImageDraw.Draw(image), _load_font(self._px)
        draw.text((self._px, self._px / 2), _headline(main), INK, font)
        for number, line in enumerate(reversed(self._model_lines)):
            bottom = image.height - self._px / 2 - number * round(1.3 * self._small_px)
            draw.text((self._px, bottom), line, MUTED, _load_font(self._small_px), "ls")
        probs = None if main is None or main.window is None else main.window.probs
        strength = 0.45 if main is not None and main.uncertain else 1.0
        begin = self._px + max(_measure(name, self._px) for name in self._names) + self._px / 2
        for index, name in enumerate(self._names):
            top = self._px / 2 + (index + 1) * self._row_px
            draw.text((self._px, top), name, INK, font)
            bottom = top + 1.1 * self._px
            draw.rectangle((begin, top, begin + self._bar_px, bottom), (225, 225, 225))
            if probs is None:
                continue
            color, share = fade(class_color(index), strength), float(probs[index])
            draw.rectangle((begin, top, begin + share * self._bar_px, bottom), color)
            draw.text((begin + self._bar_px + self._px / 2, top), f"{100 * share:.0f} %", INK, font)
        return np.asarray(image)


def _speak_alike(one: ShownFace | None, other: ShownFace | None) -> bool:
    """Return whether the same window speaks of the same face, and as surely."""
    if one is None or other is None:
        return one is other
    same_face = (one.track, one.uncertain) == (other.track, other.uncertain)
    return same_face and one.window is other.window


def _headline(main: ShownFace | None) -> str:
    if main is None:
        return "no face"
    if main.window is None:
        return f"face {main.track}: not read"
    if main.window.probs is None:
        return f"face {main.track}: not seen enough"
    return f"face {main.track}" + (": uncertain" if main.uncertain else "")


def _color_of(face: ShownFace) -> Color:
    top = None if face.window is None or face.uncertain else face.window.top
    return GREY if top is None else class_color(top)


def _draw_frame(
    image: np.ndarray, box_xyxy: np.ndarray, out_px: int, line: int, color: Color, dash: int
) -> None:
    """Draw a box's four lines around it, from `out_px` outside inwards; with gaps if dashed."""
    height, width = image.shape[:2]
    left, top, right, bottom = (round(float(value)) for value in box_xyxy)
    left, top, right, bottom = left - out_px, top - out_px, right + out_px, bottom + out_px
    columns = _dashes(left, right, width, dash)
    rows = _dashes(top, bottom, height, dash)
    for start in (top, bottom - line):
        image[max(0, start) : max(0, start + line), columns] = color
    for start in (left, right - line):
        image[rows, max(0, start) : max(0, start + line)] = color


def _dashes(first: int, last: int, room: int, dash: int) -> np.ndarray:
    places = np.arange(max(0, first), max(0, min(last, room)))
    return places[(places - first) // dash % 2 == 0] if dash else places


@lru_cache(maxsize=64)
def _draw_tag(text: str, px: int, color: Color) -> np.ndarray:
    """Draw letters on a patch of a colour; (H, W, 3)."""
    size = int(_measure(text, px)) + px, round(1.5 * px)
    image = Image.new("RGB", size, color)
    ImageDraw.Draw(image).text((px / 2, size[1] / 2), text, ink_on(color), _load_font(px), "lm")
    return np.asarray(image)


def _wrap(text: str, px: int, room: float) -> list[str]:
    """Split a text into lines that fit, at spaces and slashes; a longer word is cut."""
    lines: list[str] = [""] if text else []
    for word in re.findall(r"[^ /]+[ /]?|[ /]", text):
        if lines[-1] and _measure((lines[-1] + word).rstrip(), px) > room:
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
