"""Read, check, write and list image files."""

import os
import re
import stat
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from dfercli.errors import (
    DataError,
    VideoError,
    describe_system_error,
    explain_system_error,
    find_system_error,
)

# `check_pixels` refuses the image sizes that Pillow warns about. Damaged TIFFs are errors of ours,
# or harmless.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")

ORIENTATION = 0x0112
"""Orientation tag of EXIF and TIFF. Source: TIFF 6.0, section 8."""

TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: np.rot90(image, 2),
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image.transpose(1, 0, 2), 2),
    8: lambda image: np.rot90(image),
}
"""How to turn an image of each orientation upright; 1 is upright."""

TWELVE_BITS = 1 << 12
"""Bound of the values of 12-bit cameras, which are stored in 16 bits."""

ANIMATED = ("WEBP", "PNG")
"""Image formats that may be animated; animated GIF and AVIF files are read as videos."""

UNTIMED_S = 0.1
"""Duration of an animation's frame that has none. Source: behaviour of browsers."""

STRIPS, TILES = (273, 279), (324, 325)
"""TIFF tags of the offsets and lengths of the data. Source: TIFF 6.0."""

BROKEN = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""Exceptions of Pillow for damaged or absurd images."""

TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF files, in both byte orders; `+` marks BigTIFF."""

TIFF_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8, 18: 8}
"""Bytes of a value by its type; other types have 1. Source: TIFF 6.0, section 2; BigTIFF."""

STRANGE_TIFF = "an unsupported kind of TIFF; save it with 8 bits per channel"

EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB")
"""Modes that Pillow converts to RGB without losing range."""


def decode_image(path: Path) -> np.ndarray | None:
    """Return an image file as (H, W, 3) uint8, upright; None if it cannot be decoded.

    OpenCV gets the bytes, because it crashes on names that are not UTF-8. Pillow decodes what
    OpenCV cannot, and reads the orientation, which OpenCV misses in some WebP files.
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
    except cv2.error:  # too many pixels
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
    """Return the EXIF orientation that the decoder has not applied; 1 is upright."""
    try:
        with Image.open(path) as image:
            if image.format == "TIFF":  # OpenCV and Pillow turn these themselves
                return 1
            # Pillow would decode the whole PNG to look for an orientation after its pixels.
            if image.format == "PNG" and "exif" not in image.info:
                return 1
            return int(image.getexif().get(ORIENTATION, 1))
    except (*BROKEN, TypeError):
        return 1


def count_pictures(path: Path) -> int:
    """Return the number of frames of an image; 1 unless it is animated."""
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1) if image.format in ANIMATED else 1
    except BROKEN:
        return 1


def read_animation(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Decode an animated image frame by frame.

    Yields:
        The duration of the frame in seconds, and the frame as (H, W, 3) uint8.

    Raises:
        OSError, ValueError, SyntaxError: The file is truncated.
    """
    with Image.open(path) as image:
        # The default image is for viewers without animation.
        first = 1 if getattr(image, "default_image", False) else 0
        for index in range(first, getattr(image, "n_frames", 1)):
            image.seek(index)
            image.load()
            length_s = image.info.get("duration", 0) / 1000
            yield length_s or UNTIMED_S, np.asarray(image.convert("RGB"))


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) in TIFF_HEADS


def _is_tiff_cut(path: Path) -> bool:
    """Return whether the directory or the data of a TIFF reach beyond the end of the file."""
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
        num_bytes = values * TIFF_SIZES.get(value_kind, 1)
        if num_bytes > inline and place + num_bytes > size:
            return True
    return _data_end(path) > size


def _data_end(path: Path) -> int:
    """Return the end of the data of a TIFF according to its directory; 0 if that cannot be read."""
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


IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
ENDINGS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}
"""Last bytes of a complete file. Source: ITU T.81, marker EOI; PNG specification, chunk IEND."""

MAX_PIXELS = 8192 * 6144
"""Most pixels of an image or frame that is decoded (our choice: a photo of 50 megapixels, which
takes 150 MB in RGB; 8K video has 33)."""

TOO_LARGE = f"more than the limit of {MAX_PIXELS:,} pixels; make it smaller"

MAX_BYTES = 1 << 29
"""Largest image file that is read, in bytes (our choice: 8 per pixel)."""


def read_image(path: Path) -> np.ndarray:
    """Return an image file as (H, W, 3) uint8 RGB.

    Raises:
        VideoError: The file is missing, truncated, too large, or not an image.
    """
    # OpenCV decodes half a JPEG and paints the rest grey.
    fault = find_fault(path) or _find_size_fault(path)
    image_rgb = None if fault else decode_image(path)
    if image_rgb is None:
        raise VideoError(f"cannot read {path}: {fault or _describe_unreadable(path)}")
    return image_rgb


def _describe_unreadable(path: Path) -> str:
    """Return why an intact file cannot be decoded."""
    return STRANGE_TIFF if _is_tiff(path) else "not an image"


def check_pixels(source: object, width: float, height: float) -> None:
    """Raise a VideoError if an image or a frame has more than `MAX_PIXELS` pixels.

    `source` is its name in the message; width and height are those of its header.
    """
    if width * height > MAX_PIXELS:
        raise VideoError(f"cannot read {source}: {width:.0f} x {height:.0f} pixels, {TOO_LARGE}")


def _find_size_fault(path: Path) -> str | None:
    """Return `not an image` if there is no header; raise a VideoError if it has too many pixels."""
    try:
        with Image.open(path) as image:
            check_pixels(path, *image.size)
    except Image.DecompressionBombError:
        raise VideoError(f"cannot read {path}: {TOO_LARGE}") from None
    except BROKEN:
        return "not an image"
    return None


def find_fault(path: Path) -> str | None:
    """Return what is wrong with an image file; None if it is intact.

    Usually only the last bytes are read; a file with an unusual end is decoded.

    Returns:
        `missing`, `not a regular file` (such as a pipe), `empty`, `too large`,
        `cut off`, `not an image`, `STRANGE_TIFF`, or `unreadable` with the system's reason.
    """
    ending = ENDINGS.get(path.suffix.lower(), b"")
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            return "missing" if stat.S_ISDIR(state.st_mode) else "not a regular file"
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
        return f"unreadable ({describe_system_error(error)})"
    return _decode_for_fault(path)


def _decode_for_fault(path: Path) -> str | None:
    """Decode an image with an unusual end and return what is wrong with it."""
    if _is_tiff(path) and _is_tiff_cut(path):  # libtiff would print to stderr
        return "cut off"
    is_sized = False
    try:  # some programs write harmless bytes after the end
        with Image.open(path) as image:
            check_pixels(path, *image.size)
            is_sized = True
            image.load()
            is_png = image.format == "PNG"
    except UnidentifiedImageError:
        return _describe_unreadable(path)
    except (VideoError, Image.DecompressionBombError):
        return "too large"
    except BROKEN as error:
        cause = find_system_error(error)  # Pillow's own errors have no number
        if cause:
            return f"unreadable ({describe_system_error(cause)})"
        # OpenCV decodes some TIFFs that Pillow does not.
        is_intact = is_sized and _is_tiff(path) and decode_image(path) is not None
        return None if is_intact else "cut off"
    # Pillow accepts a PNG with all pixels but without its end; OpenCV does not.
    return "cut off" if is_png and ENDINGS[".png"] not in path.read_bytes() else None


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height of an image, read from its header.

    Raises:
        VideoError: The file is missing, or not an image.
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
        raise VideoError(f"cannot read {path}: missing, or not an image") from error


def write_image(path: Path, image_rgb: np.ndarray, quality: int = 95) -> None:
    """Write a (H, W, 3) uint8 RGB image in the format of the path's suffix.

    Raises:
        DataError: The file cannot be written, or the suffix names no image format.
    """
    ending = path.suffix.lower()
    if not ending.isascii() or not cv2.haveImageWriter(f"image{ending}"):
        raise DataError(f"cannot write {path}: unknown image format; use .jpg or .png")
    image_bgr = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR)
    is_jpeg = ending in (".jpg", ".jpeg")
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality] if is_jpeg else []  # other encoders reject it
    encoded, data = cv2.imencode(ending, image_bgr, settings)
    if not encoded:
        raise DataError(f"cannot write {path}: OpenCV cannot encode this image")
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise DataError(f"cannot write {path}: {explain_system_error(error)}") from error


def list_frames(*folders: Path) -> list[Path]:
    """Return the frames of a video, ordered by the last number in their names.

    Several folders may have a part of the frames each. Of frames with the same name, the one in the
    first folder counts.

    Raises:
        DataError: A folder is missing or holds no image.
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
    """Return the names of the images in a folder except hidden ones, in no particular order."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    return [
        name for name in names if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
    ]


def _frame_order(path: Path) -> tuple[int, str]:
    numbers = re.findall(r"\d+", path.stem)
    return (int(numbers[-1]) if numbers else -1, path.name)
