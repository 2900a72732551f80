"""Contact sheets: many captioned thumbnails in one image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from dfercli.files import replacing

FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
"""Covers most alphabets, unlike the font of Pillow."""

FONT_PX = 11

TILE_PX = 168
CAPTION_PX = 36
PER_ROW = 8


@dataclass(frozen=True)
class Tile:
    """A (H, W, 3) uint8 picture of a contact sheet, with a caption of up to two lines below it."""

    image_rgb: np.ndarray
    caption: str


def draw_sheet(tiles: Sequence[Tile], path: Path, per_row: int = PER_ROW) -> None:
    """Write a contact sheet as PNG, filled row by row."""
    num_rows = -(-len(tiles) // per_row)
    height_px = TILE_PX + CAPTION_PX
    sheet = Image.new("RGB", (per_row * TILE_PX, num_rows * height_px), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(FONT, FONT_PX)
    for index, tile in enumerate(tiles):
        left, top = index % per_row * TILE_PX, index // per_row * height_px
        picture = ImageOps.contain(Image.fromarray(tile.image_rgb), (TILE_PX - 4, TILE_PX - 4))
        sheet.paste(picture, (left + 2, top + 2))
        lines = [_shorten(line, font) for line in tile.caption.split("\n")]
        draw.multiline_text((left + 3, top + TILE_PX), "\n".join(lines), "black", font, spacing=2)
    with replacing(path) as partial:
        sheet.save(partial, format="PNG")


def _shorten(text: str, font: ImageFont.FreeTypeFont) -> str:
    """Shorten a text at its beginning to the width of a tile, since names differ at their end."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    if font.getlength(text) <= TILE_PX - 6:
        return text
    while text and font.getlength(f"...{text}") > TILE_PX - 6:
        text = text[1:]
    return f"...{text}"
