"""Frames with their times, in RGB, uint8, HWC: from videos, streams, cameras and images."""

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote

import cv2
import numpy as np

from dfercli.errors import DataError, VideoError
from dfercli.media.container import (
    FALLBACK_FPS,
    Moment,
    count_declared_frames,
    count_listed_frames,
    describe_undecodable,
    find_declared_duration_s,
    read_file,
    read_stream,
)
from dfercli.media.images import (
    BROKEN,
    IMAGE_SUFFIXES,
    check_pixels,
    count_pictures,
    find_fault,
    image_size,
    list_frames,
    read_animation,
    read_image,
)
from dfercli.system_errors import explain_system_error

PLAYLISTS = (b"#extm3u", b"ffconcat", b"<mpd", b"<compositionplaylist", b"c=in ip", b"# vobsub")
"""What the texts say, in small letters, that FFmpeg takes for videos and that name other files or
addresses. Source: its `read_probe` functions in hls, concatdec, dashdec, imfdec, rtsp, mpeg."""

ID3_HEADER = 10
"""Bytes before an ID3 tag, and behind one that has a footer. Source: id3.org, id3v2.4.0, 3.1."""

PROBED = 1 << 20
"""Bytes that FFmpeg tells the kind of a file from. Source: `PROBE_BUF_MAX`."""

ARCHIVES = {
    b"PK\x03\x04": "a ZIP archive",
    b"PK\x05\x06": "a ZIP archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x1f\x8b": "packed by gzip",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ\x00": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by Zstandard",
}
"""How archives begin: FFmpeg reads the first photo in them. Source: their specifications."""

TAR, TAR_AT = b"ustar", 257
"""What a tar archive says, and where. Source: POSIX.1-2008, pax."""

PDF = b"%PDF-"
"""How a PDF document begins. Source: ISO 32000-1, 7.5.2."""

PHOTOS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"avif": "AVIF"}
"""Brands of photos in boxes. Source: ISO 23008-12, annex B; AVIF, section 6."""

TILED = b"grid"
"""Kind of a photo that is put together of tiles, which FFmpeg gives one by one. Source: ISO
23008-12, 6.6.2.3."""


def describe_other_kind(path: Path) -> str | None:
    """Return the kind of a file that contains or names pictures but is no video, else None.

    Raises:
        VideoError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(PROBED)
    except OSError as error:
        raise VideoError(f"cannot read {path}: {explain_system_error(error)}") from error
    kind = next((name for magic, name in ARCHIVES.items() if head.startswith(magic)), None)
    if head[TAR_AT:].startswith(TAR):
        kind = "a tar archive"
    if kind is not None:
        return f"{kind}; unpack it, and name what is in it"
    if head.startswith(PDF):
        return "a PDF document; save its pictures, and name these"
    photo = PHOTOS.get(head[8:12]) if head[4:8] == b"ftyp" else None
    if photo is not None and TILED in head.partition(b"mdat")[0]:
        converted = f"magick {quote(path.name)} {quote(path.stem)}.jpg"
        return f"a photo in {photo}, stored in tiles; convert it, for example: {converted}"
    return "a playlist, which names other files; give these" if _is_playlist(path) else None


def _is_playlist(path: Path) -> bool:
    """Return whether FFmpeg would read other files than this one.

    No container begins with so much text that a mark stands in it before the first zero byte, but
    what names others does, whatever its suffix. FFmpeg looks behind ID3 tags, and so do we.
    """
    try:
        with path.open("rb") as file:
            head = file.read(PROBED)
            while head.startswith(b"ID3") and len(head) > ID3_HEADER:
                seven_bits = head[6:ID3_HEADER]
                size = sum((byte & 127) << 7 * place for place, byte in enumerate(seven_bits[::-1]))
                footer = ID3_HEADER if head[5] & 16 else 0
                file.seek(size + footer - len(head) + ID3_HEADER, 1)
                head = file.read(PROBED)
    except OSError as error:
        raise VideoError(f"cannot read {path}: {explain_system_error(error)}") from error
    text = head.partition(b"\0")[0].lower()
    return any(mark in text for mark in PLAYLISTS)


Source = Path | str | int
"""What frames come from: a path of a video file, an image or a folder of frames; the address of a
stream; the number of a camera."""


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Attributes:
        index: Position in the video, from 0, counted over all its frames.
        time_s: Presentation time in seconds from the start.
        image_rgb: (H, W, 3) uint8.
    """

    index: int
    time_s: float
    image_rgb: np.ndarray


@dataclass
class Extent:
    """How much of a video has been decoded so far.

    Attributes:
        num_frames: All frames, whether they were given or left out.
        end_s: Time at which the last of them ends.
    """

    num_frames: int = 0
    end_s: float = 0.0


def read_frames(
    source: Source, max_fps: float | None = None, extent: Extent | None = None
) -> Iterator[Frame]:
    """Decode a video frame by frame, so that memory does not grow with its length.

    Frames come upright, with square pixels and without interlacing, as the container says how they
    were filmed. Frames that are not given are not converted.

    Args:
        source: A video file; an image, which is a video of one frame; a folder of all frames of a
            video, which are taken to be `FALLBACK_FPS` a second; a stream's address; a camera's
            number. Times of cameras are those of this machine's clock.
        max_fps: Give at most this many frames a second, evenly spread; None gives all.
        extent: Is kept up to date with what was decoded.

    Raises:
        VideoError: The file is missing or empty, no frame of it can be decoded, the folder has no
            images or one that cannot be read, or the stream or the camera does not answer.
    """
    step_s = 1.0 / max_fps if max_fps else 0.0
    due_s = 0.0
    any_decoded = False
    extent = Extent() if extent is None else extent
    with closing(_open(source)) as moments:
        for index, (time_s, length_s, decode) in enumerate(moments):
            extent.num_frames, extent.end_s = index + 1, time_s + length_s
            if time_s < due_s - 1e-6:
                continue
            image_rgb = decode()
            if image_rgb is not None:
                any_decoded = True
                yield Frame(index, time_s, image_rgb)
                due_s = max(due_s + step_s, time_s if step_s else 0.0)
    if not any_decoded:
        undecodable = source if isinstance(source, Path) else str(source)
        raise VideoError(describe_undecodable(undecodable))


def is_live(source: Source) -> bool:
    """Whether a source cannot be read a second time: a stream or a camera."""
    return not isinstance(source, Path)


def count_declared(path: Path) -> int:
    """Give the number of frames that a container promises, or of a folder's images.

    A video of which fewer can be decoded is cut off. 0 where nothing is known; containers that hold
    no count, such as Matroska's, give an estimate from their duration.
    """
    if path.is_dir():
        return len(_list_images(path))
    return count_declared_frames(path) if _is_file(path) else 0


def declared_duration_s(path: Path) -> float:
    """Give the length that a container promises, for progress; 0 where nothing is known."""
    if path.is_dir():
        return len(_list_images(path)) / FALLBACK_FPS
    is_still = path.suffix.lower() in IMAGE_SUFFIXES
    return find_declared_duration_s(path) if _is_file(path) and not is_still else 0.0


def count_listed(path: Path) -> int:
    """Return the number of frames that a video file lists one by one; 0 where it does not.

    A file of which fewer can be decoded is cut off.
    """
    is_still = path.suffix.lower() in IMAGE_SUFFIXES
    return count_listed_frames(path) if _is_file(path) and not is_still else 0


def _is_file(path: Path) -> bool:
    return path.is_file() and describe_other_kind(path) is None


def _open(source: Source) -> Generator[Moment, None, None]:
    if not isinstance(source, Path):
        return _open_live(source)
    if source.is_dir():
        return _open_folder(source)
    return _open_image(source) if source.suffix.lower() in IMAGE_SUFFIXES else _open_file(source)


def _open_image(path: Path) -> Generator[Moment, None, None]:
    """Take an image for a video of one frame, or of as many as it shows if it is animated."""
    if not path.is_file():
        raise VideoError(f"no image at {path}; check the path")
    if count_pictures(path) > 1:
        yield from _open_animation(path)
    else:
        yield 0.0, 0.0, partial(read_image, path)


def _open_animation(path: Path) -> Generator[Moment, None, None]:
    width, height = image_size(path)
    check_pixels(path, width, height)
    if find_fault(path) is not None:
        raise VideoError(f"cannot read {path}: {find_fault(path)}")
    time_s = 0.0
    try:
        for length_s, image_rgb in read_animation(path):
            yield time_s, length_s, partial(np.copy, image_rgb)
            time_s += length_s
    except BROKEN as error:
        raise VideoError(f"cannot read {path}: cut off after {time_s:.1f} s") from error


def _open_folder(folder: Path) -> Generator[Moment, None, None]:
    """Go through a folder of frames."""
    images = _list_images(folder)
    if not images:
        raise VideoError(f"no frames in {folder}; a video is a file, or a folder of its frames")
    if len(images) == 1 and count_pictures(images[0]) > 1:
        yield from _open_animation(images[0])
        return
    for index, path in enumerate(images):
        yield index / FALLBACK_FPS, 1 / FALLBACK_FPS, partial(read_image, path)


def _list_images(folder: Path) -> list[Path]:
    """List a folder's images in their order; none is no error here."""
    try:
        return list_frames(folder)
    except DataError:
        return []


def _open_file(path: Path) -> Generator[Moment, None, None]:
    """Go through a video file; a frame that is not asked for is not converted."""
    if not path.is_file():
        raise VideoError(f"no video at {path}; check the path")
    other = describe_other_kind(path)
    if other is not None:
        raise VideoError(f"cannot read {path}: {other}")
    yield from read_file(path)


def _open_live(source: str | int) -> Generator[Moment, None, None]:
    return _open_camera(source) if isinstance(source, int) else read_stream(source)


def _open_camera(number: int) -> Generator[Moment, None, None]:
    """Go through what a camera shows, by the clock of this machine."""
    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise VideoError(f"camera {number} does not answer; is it there, and not in use?")
        start_s = None
        while capture.grab():
            now_s = time.monotonic()
            start_s = now_s if start_s is None else start_s
            yield now_s - start_s, 0.0, partial(_retrieve, capture)
    finally:
        capture.release()


def _retrieve(capture: cv2.VideoCapture) -> np.ndarray | None:
    decoded, image_bgr = capture.retrieve()
    if not decoded:
        return None
    check_pixels("the camera", image_bgr.shape[1], image_bgr.shape[0])
    return cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)
