"""Images on disk: decoded whole, written whole, listed in order."""

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

from dfercli.errors import DataError, VideoError
from dfercli.system_errors import describe_system_error, explain_system_error, find_system_error

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
