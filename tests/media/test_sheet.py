"""Contact sheets: the pictures in their order, and captions that may be anything."""

import numpy as np
import pytest

from dfercli.media.contact_sheet import CAPTION_PX, PER_ROW, TILE_PX, Tile, draw_sheet
from dfercli.media.images import read_image

HEIGHT_PX = TILE_PX + CAPTION_PX


def _draw(tmp_path, tiles, **how):
    draw_sheet(tiles, tmp_path / "sheets" / "s.png", **how)
    (path,) = (tmp_path / "sheets").iterdir()
    return read_image(path)


def _plain(grey, height=32, width=32, caption="a clip\nfear"):
    return Tile(np.full((height, width, 3), grey, dtype=np.uint8), caption)


@pytest.mark.parametrize(
    ("count", "how", "rows", "columns"),
    [(1, {}, 1, 8), (8, {}, 1, 8), (9, {}, 2, 8), (24, {}, 3, 8), (6, {"per_row": 2}, 3, 2)],
)
def test_pictures_are_in_their_order_row_by_row(tmp_path, count, how, rows, columns):
    sheet = _draw(tmp_path, [_plain(10 * index) for index in range(count)], **how)
    assert PER_ROW == 8
    assert sheet.shape == (rows * HEIGHT_PX, columns * TILE_PX, 3)
    middles = sheet[TILE_PX // 2 :: HEIGHT_PX, TILE_PX // 2 :: TILE_PX, 0].ravel()
    assert middles[:count].tolist() == [10 * index for index in range(count)]
    assert (middles[count:] == 255).all()


@pytest.mark.parametrize("size", [(32, 32), (16, 32), (500, 200), (1, 1), (164, 164)])
def test_pictures_keep_their_shape_and_fill_a_tile(tmp_path, size):
    tile = _draw(tmp_path, [_plain(0, *size, caption="")], per_row=1)[:TILE_PX]
    black = np.argwhere(tile[:, :, 0] == 0)
    shown = black.max(axis=0) - black.min(axis=0) + 1
    assert shown.max() == TILE_PX - 4
    assert shown / shown.max() == pytest.approx(np.array(size) / max(size), abs=0.01)


def _ink(tmp_path, caption):
    """Where below the first of two white tiles something is written."""
    tiles = [_plain(255, caption=caption), _plain(255, caption="")]
    return np.argwhere(_draw(tmp_path, tiles, per_row=2).min(axis=2) < 128)


@pytest.mark.parametrize(
    "caption",
    [
        "00001\nfear",
        "a" * 500 + "\n" + "b" * 500,
        "a deep/folder with spaces/of somebody's own/clip 0001\nhappiness",
        "笑顔/クリップ🙂\nЭмоция é",
        "no second line",
        "tab\tand\rreturn\x00nul\n\x1b[1m",
        "[red]markup[/] <b>&amp; %s {0}\n\\n",
    ],
)
def test_any_caption_stays_below_its_picture(tmp_path, caption):
    ink = _ink(tmp_path, caption)
    assert len(ink)
    assert ink[:, 0].min() >= TILE_PX
    assert ink[:, 0].max() < HEIGHT_PX
    assert ink[:, 1].max() < TILE_PX


def test_names_of_files_that_are_no_utf_8_are_drawn_too(tmp_path):
    assert len(_ink(tmp_path, "clip \udce9\nfear"))


def test_long_names_keep_their_end(tmp_path):
    inks = [_ink(tmp_path, f"{'x' * 100} {number}").tolist() for number in (17, 18)]
    assert inks[0] != inks[1]


def test_without_a_caption_nothing_is_written(tmp_path):
    assert len(_ink(tmp_path, "")) == 0
