"""Images on disk, and folders of them: read whole, written whole, listed in their order.

Images are RGB, uint8, HWC. BGR, which OpenCV encodes, does not leave this file.
"""

import os
import re
import stat
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from dfercli.decoding import BROKEN, decode_image, describe_strange_tiff, is_cut_tiff, is_whole_tiff
from dfercli.errors import DataError, VideoError
from dfercli.system_errors import describe_system_error, explain_system_error, find_system_error

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
ENDINGS = {
    ".jpg": b"\xff\xd9",
    ".jpeg": b"\xff\xd9",
    ".png": b"IEND\xaeB`\x82",
}
"""Last bytes of a whole file. Source: ITU T.81, marker EOI; the PNG specification, chunk IEND."""

MAX_PIXELS = 8192 * 6144
"""Pixels of the largest image and frame that is decoded (our choice: a photo of 50 megapixels; 8K
has 33. It takes 150 MB in RGB)."""

TOO_LARGE = f"more than the {MAX_PIXELS:,} pixels that dfer decodes; make it smaller"

MAX_BYTES = 1 << 29
"""Bytes of the largest image file that is read (our choice: 8 for each pixel)."""


def read_image(path: Path) -> np.ndarray:
    """Decode an image file to (H, W, 3) uint8 RGB.

    Raises:
        VideoError: The file is missing, cut off, too large, or no image.
    """
    fault = find_fault(path)  # OpenCV decodes half a JPEG, and paints the rest grey
    if fault is None:
        fault = _find_size_fault(path)
    image_rgb = None if fault else decode_image(path)
    if image_rgb is None:
        fault = fault or describe_strange_tiff(path) or "no image"
        raise VideoError(f"cannot read {path}: {fault}")
    return image_rgb


def check_pixels(source: object, width: float, height: float) -> None:
    """Refuse to decode an image or a frame that would fill the memory.

    Args:
        source: Names it.
        width: In pixels, as the header says.
        height: In pixels.

    Raises:
        VideoError: It has more than `MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        raise VideoError(f"cannot read {source}: {width:.0f} x {height:.0f} pixels, {TOO_LARGE}")


def _find_size_fault(path: Path) -> str | None:
    """Return `no image` for an image without a header.

    Raises:
        VideoError: It has too many pixels.
    """
    try:
        with Image.open(path) as image:
            check_pixels(path, *image.size)
    except Image.DecompressionBombError:
        raise VideoError(f"cannot read {path}: {TOO_LARGE}") from None
    except BROKEN:
        return "no image"
    return None


def find_fault(path: Path) -> str | None:
    """Say what keeps an image file from being whole.

    Or `not to be read` and why, where the system refuses it.

    Costs a look at the file's end; only a file that ends oddly is decoded.

    Returns:
        `missing`, `no file` (such as a pipe, which might never end), `empty`, `too large`,
        `cut off`, `no image` or `STRANGE_TIFF`; None for a whole one.
    """
    ending = ENDINGS.get(path.suffix.lower(), b"")
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            return "missing" if stat.S_ISDIR(state.st_mode) else "no file"
        if state.st_size > MAX_BYTES:
            return "too large"
        with path.open("rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            if not size:
                return "empty"
            stream.seek(max(0, size - len(ending)))
            if ending and stream.read() == ending:
                return None
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return "missing"
    except OSError as error:
        return f"not to be read, {describe_system_error(error)}"
    return _decode_for_fault(path)


def _decode_for_fault(path: Path) -> str | None:
    """Decode an image that may be whole, and say why it is not."""
    if is_cut_tiff(path):  # libtiff would complain on stderr
        return "cut off"
    is_sized = False
    try:  # bytes after the end are harmless, and some programs write them
        with Image.open(path) as image:
            check_pixels(path, *image.size)
            is_sized = True
            image.load()
            is_png = image.format == "PNG"
    except UnidentifiedImageError:
        return describe_strange_tiff(path) or "no image"
    except (VideoError, Image.DecompressionBombError):
        return "too large"
    except BROKEN as error:
        broken = find_system_error(error)  # Pillow's own complaints have no number
        if broken:
            return f"not to be read, {describe_system_error(broken)}"
        return None if is_sized and is_whole_tiff(path) else "cut off"
    # Pillow does not miss the end of a PNG whose pixels are there; OpenCV does.
    return "cut off" if is_png and ENDINGS[".png"] not in path.read_bytes() else None


def image_size(path: Path) -> tuple[int, int]:
    """Read width and height of an image from its header.

    Raises:
        VideoError: The file is missing, or no image.
    """
    try:
        if not path.is_file():  # a pipe might never end
            raise FileNotFoundError(path)
        with Image.open(path) as image:
            return image.size
    except BROKEN as error:
        cause = find_system_error(error)
        if cause is not None and not isinstance(cause, FileNotFoundError):
            raise VideoError(f"cannot read {path}: {explain_system_error(cause)}") from error
        raise VideoError(f"cannot read {path}: missing, or no image") from error


def write_image(path: Path, image_rgb: np.ndarray, quality: int = 95) -> None:
    """Encode a (H, W, 3) uint8 RGB image by the suffix of its path.

    Raises:
        DataError: The file cannot be written, or the suffix names no image format.
    """
    ending = path.suffix.lower()
    if not ending.isascii() or not cv2.haveImageWriter(f"image{ending}"):
        raise DataError(f"cannot write {path}: no image format of this suffix; use .jpg or .png")
    image_bgr = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR)
    is_jpeg = ending in (".jpg", ".jpeg")
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality] if is_jpeg else []  # others complain about it
    encoded, data = cv2.imencode(ending, image_bgr, settings)
    if not encoded:
        raise DataError(f"cannot write {path}: OpenCV does not encode this image")
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise DataError(f"cannot write {path}: {explain_system_error(error)}") from error


def list_frames(*folders: Path) -> list[Path]:
    """List the images of a video in the order of the last number in their names.

    Args:
        folders: The folder that holds them, or several that hold a part of them each. An image
            that is in several counts once, in the first of them.

    Raises:
        DataError: A folder holds no image, or is missing.
    """
    images: dict[str, Path] = {}
    for folder in folders:
        names = list_image_names(folder) if folder.is_dir() else []
        if not names:
            raise DataError(f"no frames in {folder}; run `dfer preprocess` again")
        for name in names:
            images.setdefault(name, folder / name)
    return sorted(images.values(), key=_frame_order)


def list_image_names(folder: Path) -> list[str]:
    """List the names of a folder's images, hidden ones aside, in no order."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    return [
        name for name in names if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
    ]


def _frame_order(path: Path) -> tuple[int, str]:
    numbers = re.findall(r"\d+", path.stem)
    return (int(numbers[-1]) if numbers else -1, path.name)
