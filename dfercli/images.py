"""Images on disk, and folders of them: read whole, written whole, listed in their order.

Images are RGB, uint8, HWC. BGR, which OpenCV decodes to, does not leave this file.
"""

import os
import re
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from dfercli.errors import DataError, VideoError
from dfercli.system_errors import describe_system_error, explain_system_error, find_system_error

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
ENDINGS = {
    ".jpg": b"\xff\xd9",
    ".jpeg": b"\xff\xd9",
    ".png": b"IEND\xaeB`\x82",
}
"""Last bytes of a whole file. Source: ITU T.81, marker EOI; the PNG specification, chunk IEND."""

BROKEN = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises for images that are not whole, or absurd."""


def read_image(path: Path) -> np.ndarray:
    """Decode an image file to (H, W, 3) uint8 RGB.

    Raises:
        VideoError: The file is missing, cut off, or no image.
    """
    fault = find_fault(path)  # OpenCV decodes half a JPEG, and paints the rest grey
    try:
        image_bgr = None if fault else _decode(path)
    except cv2.error:  # more pixels than it wants to hold
        image_bgr = None
    if image_bgr is None:
        raise VideoError(f"cannot read {path}: {fault or 'no image'}")
    return cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)


def _decode(path: Path) -> np.ndarray | None:
    """Decode an image file to BGR. By its bytes: OpenCV crashes on names that are no UTF-8."""
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)


def find_fault(path: Path) -> str | None:
    """Say what keeps an image file from being whole: `missing`, `empty`, `cut off`, `no image`.

    Or `not to be read` and why, where the system refuses it.

    Costs a look at the file's end; only a file that ends oddly is decoded.
    """
    ending = ENDINGS.get(path.suffix.lower(), b"")
    try:
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
    try:  # bytes after the end are harmless, and some programs write them
        with Image.open(path) as image:
            image.load()
            is_png = image.format == "PNG"
    except UnidentifiedImageError:
        return "no image"
    except BROKEN as error:
        broken = find_system_error(error)  # Pillow's own complaints have no number
        return f"not to be read, {describe_system_error(broken)}" if broken else "cut off"
    # Pillow does not miss the end of a PNG whose pixels are there; OpenCV does.
    return "cut off" if is_png and ENDINGS[".png"] not in path.read_bytes() else None


def image_size(path: Path) -> tuple[int, int]:
    """Read width and height of an image from its header.

    Raises:
        VideoError: The file is missing, or no image.
    """
    try:
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


def list_frames(folder: Path) -> list[Path]:
    """List the images of a folder in the order of the last number in their names.

    Raises:
        DataError: There is none.
    """
    images = [
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    if not images:
        raise DataError(f"no frames in {folder}; run `dfer preprocess` again")
    return sorted(images, key=_frame_order)


def _frame_order(path: Path) -> tuple[int, str]:
    numbers = re.findall(r"\d+", path.stem)
    return (int(numbers[-1]) if numbers else -1, path.name)
