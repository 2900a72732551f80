"""How the bytes of an image file become pixels: their depth, orientation, and animation.

Images are RGB, uint8, HWC. BGR, which OpenCV decodes to, does not leave this file.
"""

import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

# Pillow warns of sizes on stderr before it refuses larger ones; `check_pixels` refuses both.
# Its warnings about damaged TIFFs are errors of ours, or harmless.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")

ORIENTATION = 0x0112
"""Tag of EXIF and TIFF. Source: TIFF 6.0, section 8."""

TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: np.rot90(image, 2),
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image.transpose(1, 0, 2), 2),
    8: lambda image: np.rot90(image),
}
"""What makes an image of each orientation upright; 1 is upright already."""

TWELVE_BITS = 1 << 12
"""Below this are all values of cameras with 12 bits, which store them in 16."""

ANIMATED = ("WEBP", "PNG")
"""Formats of images that may be animated; animated GIF and AVIF files are read as videos."""

UNTIMED_S = 0.1
"""How long a frame of an animation is shown that names no time. Source: what browsers do."""

STRIPS, TILES = (273, 279), (324, 325)
"""Tags of TIFF that say where its data begin and how long they are. Source: TIFF 6.0."""

BROKEN = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises for images that are not whole, or absurd."""

TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How TIFF files begin, in either order of bytes; with `+` those of more than 4 GB."""

TIFF_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8, 18: 8}
"""Bytes of a value by its type; of all others one. Source: TIFF 6.0, section 2; BigTIFF."""

STRANGE_TIFF = "a TIFF of a kind that dfer does not read; save it with 8 bits per channel"

EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB")
"""Pillow's modes that it can convert to RGB without a loss of range."""


def decode_image(path: Path) -> np.ndarray | None:
    """Decode an image file to (H, W, 3) uint8, upright; None where nothing can.

    By its bytes: OpenCV crashes on names that are no UTF-8. Pillow decodes what OpenCV cannot, and
    tells the orientation: OpenCV misses that of some WebP files.
    """
    image_rgb = _decode_by_opencv(np.frombuffer(path.read_bytes(), np.uint8))
    if image_rgb is None:
        image_rgb = _decode_by_pillow(path)
    if image_rgb is None:
        return None
    turn = TURNS.get(_find_orientation(path))
    return image_rgb if turn is None else np.ascontiguousarray(turn(image_rgb))


def _decode_by_opencv(data: np.ndarray) -> np.ndarray | None:
    colour = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image_bgr = cv2.imdecode(data, colour | cv2.IMREAD_ANYDEPTH)
        if image_bgr is not None and image_bgr.dtype == np.uint16:
            if image_bgr.max() < TWELVE_BITS:
                image_bgr = (image_bgr // 16).astype(np.uint8)
            else:
                image_bgr = cv2.imdecode(data, colour)
    except cv2.error:  # more pixels than it wants to hold
        return None
    if image_bgr is None or image_bgr.dtype != np.uint8:
        return None
    return cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)


def _decode_by_pillow(path: Path) -> np.ndarray | None:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB")) if image.mode in EIGHT_BITS else None
    except BROKEN:
        return None


def _find_orientation(path: Path) -> int:
    """Return the orientation of an image that its decoder leaves as it is."""
    try:
        with Image.open(path) as image:
            if image.format == "TIFF":  # OpenCV and Pillow turn these themselves
                return 1
            # Pillow decodes a whole PNG to look for an orientation behind its pixels.
            if image.format == "PNG" and "exif" not in image.info:
                return 1
            return int(image.getexif().get(ORIENTATION, 1))
    except (*BROKEN, TypeError):
        return 1


def count_pictures(path: Path) -> int:
    """Return how many pictures an image shows one after the other; 1 unless it is animated."""
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1) if image.format in ANIMATED else 1
    except BROKEN:
        return 1


def read_animation(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Decode an animated image, picture by picture.

    Yields:
        How long each is shown, in seconds, and (H, W, 3) uint8.

    Raises:
        OSError, ValueError, SyntaxError: It is cut off.
    """
    with Image.open(path) as image:
        first = 1 if getattr(image, "default_image", False) else 0  # shown where nothing moves
        for index in range(first, getattr(image, "n_frames", 1)):
            image.seek(index)
            image.load()
            length_s = image.info.get("duration", 0) / 1000
            yield length_s or UNTIMED_S, np.asarray(image.convert("RGB"))


def describe_strange_tiff(path: Path) -> str | None:
    """Return why a complete TIFF cannot be read; None for other files."""
    return STRANGE_TIFF if _is_tiff(path) else None


def is_whole_tiff(path: Path) -> bool:
    """Return whether a TIFF that is not cut off is whole, though Pillow stumbles over it.

    It is decoded: its size must have been checked.
    """
    return _is_tiff(path) and decode_image(path) is not None


def is_cut_tiff(path: Path) -> bool:
    """Return whether a file is a TIFF that is cut off; nothing of it is decoded."""
    return _is_tiff(path) and _is_tiff_cut(path)


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) in TIFF_HEADS


def _is_tiff_cut(path: Path) -> bool:
    """Whether the directory of a TIFF, or its data, would lie behind the end of the file."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(16).ljust(16, b"\0")
        order = "<" if head[:2] == b"II" else ">"
        is_big = b"+" in head[2:4]
        place, kind = (8, "Q") if is_big else (4, "I")
        (start,) = struct.unpack_from(order + kind, head, place)
        stream.seek(min(size, start))
        number = stream.read(8 if is_big else 2)
        count = int.from_bytes(number, "little" if order == "<" else "big")
        length = count * (20 if is_big else 12)
        if start + len(number) + length > size:
            return True
        entries = struct.iter_unpack(f"{order}HH{kind}{kind}", stream.read(length))
    inline = 8 if is_big else 4
    for _, value_kind, values, place in entries:
        taken = values * TIFF_SIZES.get(value_kind, 1)
        if taken > inline and place + taken > size:
            return True
    return _data_end(path) > size


def _data_end(path: Path) -> int:
    """Return where the data of a TIFF end, by its directory; 0 where that cannot be read."""
    try:
        with Image.open(path) as image:
            tags = getattr(image, "tag_v2", {})
            ends = [
                start + length
                for starts, lengths in (STRIPS, TILES)
                for start, length in zip(tags.get(starts, ()), tags.get(lengths, ()), strict=False)
            ]
    except BROKEN:
        return 0
    return max(ends, default=0)
