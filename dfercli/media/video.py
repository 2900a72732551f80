"""Read frames with their times from video files, streams, cameras and images."""

import math
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote
from typing import BinaryIO

import cv2
import numpy as np

from dfercli.errors import DataError, VideoError, explain_system_error
from dfercli.media.container import (
    FALLBACK_FPS,
    Header,
    Moment,
    describe_undecodable,
    read_file,
    read_header,
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

PLAYLISTS = (b"#extm3u", b"ffconcat", b"<mpd", b"<compositionplaylist", b"c=in ip", b"# vobsub")
"""Marks, in small letters, of texts that FFmpeg takes for videos and that name other files or
addresses. Source: its `read_probe` functions in hls, concatdec, dashdec, imfdec, rtsp, mpeg."""

ID3_HEADER = 10
"""Bytes of the header, and of the optional footer, of an ID3 tag. Source: id3v2.4.0, 3.1."""

PROBED = 1 << 20
"""Bytes from which FFmpeg recognises the format of a file. Source: `PROBE_BUF_MAX`."""

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
"""First bytes of archives, in which FFmpeg would read a photo. Source: their specifications."""

TAR, TAR_AT = b"ustar", 257
"""Mark of a tar archive, and its offset. Source: POSIX.1-2008, pax."""

PDF = b"%PDF-"
"""First bytes of a PDF document. Source: ISO 32000-1, 7.5.2."""

PHOTOS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"avif": "AVIF"}
"""Brands of photos in ISO containers. Source: ISO 23008-12, annex B; AVIF, section 6."""

TILED = b"grid"
"""Item type of a photo in tiles, which FFmpeg decodes one by one. Source: ISO 23008-12, 6.6.2.3."""


def describe_other_kind(path: Path) -> str | None:
    """Return what a file is, and what to do with it, if it is not a video; None otherwise.

    Raises:
        VideoError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(PROBED)
            is_playlist = _is_playlist(file, head)
    except OSError as error:
        raise VideoError(f"cannot read {path}: {explain_system_error(error)}") from error
    kind = next((name for magic, name in ARCHIVES.items() if head.startswith(magic)), None)
    if head[TAR_AT:].startswith(TAR):
        kind = "a tar archive"
    if kind is not None:
        return f"{kind}; unpack it and use the files in it"
    if head.startswith(PDF):
        return "a PDF document; save its pages as images and use those"
    photo = PHOTOS.get(head[8:12]) if head[4:8] == b"ftyp" else None
    if photo is not None and TILED in head.partition(b"mdat")[0]:
        converted = f"magick {quote(path.name)} {quote(path.stem)}.jpg"
        return f"a photo in {photo}, stored in tiles; convert it, for example: {converted}"
    return "a playlist; use the files that it lists" if is_playlist else None


def _is_playlist(file: BinaryIO, head: bytes) -> bool:
    """Return whether FFmpeg would read other files than this one.

    Containers have a zero byte before any such mark; playlists do not, whatever their suffix.
    FFmpeg skips ID3 tags, and so does this.
    """
    while head.startswith(b"ID3") and len(head) > ID3_HEADER:
        seven_bits = head[6:ID3_HEADER]
        size = sum((byte & 127) << 7 * place for place, byte in enumerate(seven_bits[::-1]))
        footer = ID3_HEADER if head[5] & 16 else 0
        file.seek(size + footer - len(head) + ID3_HEADER, 1)
        head = file.read(PROBED)
    text = head.partition(b"\0")[0].lower()
    return any(mark in text for mark in PLAYLISTS)


ROUNDING_S = 1e-6
"""Tolerance for sums of times."""

Source = Path | str | int
"""Path of a video file, an image or a folder of frames; address of a stream; or number of a
camera."""


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Attributes:
        index: Position among all frames of the video, from 0.
        time_s: Presentation time in seconds from the start.
        image_rgb: (H, W, 3) uint8.
    """

    index: int
    time_s: float
    image_rgb: np.ndarray


@dataclass(frozen=True)
class Part:
    """A part of a video in seconds of its own time: from `start_s` to before `end_s`."""

    start_s: float = 0.0
    end_s: float = math.inf

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole video."""
        return self == WHOLE


WHOLE = Part()


@dataclass
class Extent:
    """How much of a video has been decoded so far.

    Attributes:
        num_frames: Frames that were decoded, yielded or not.
        end_s: End of the last of them in seconds.
    """

    num_frames: int = 0
    end_s: float = 0.0


def read_frames(
    source: Source,
    max_fps: float | None = None,
    extent: Extent | None = None,
    part: Part = WHOLE,
) -> Iterator[Frame]:
    """Yield the frames of a video one by one, so that memory does not grow with its length.

    Frames are upright, deinterlaced and have square pixels. Frames that are not yielded are not
    converted.

    Args:
        source: A video file; an image, which is a video of one frame; a folder with all frames of
            a video, at `FALLBACK_FPS` frames per second; the address of a stream; or the number of
            a camera, whose times are those of this machine's clock.
        max_fps: Most frames per second to yield, evenly spaced; None yields all.
        extent: Updated with every decoded frame.
        part: Part of a file to read. Its times are those of the whole video, and its indices count
            from the key frame before it.

    Raises:
        VideoError: The file is missing or empty, no frame can be decoded, the folder has no images
            or an unreadable one, the stream or camera does not answer, or the part has no frame.
    """
    step_s = 1.0 / max_fps if max_fps else 0.0
    due_s = part.start_s
    any_decoded = False
    extent = Extent() if extent is None else extent
    with closing(_open(source, part.start_s)) as moments:
        for index, (time_s, length_s, decode) in enumerate(moments):
            if time_s >= part.end_s - ROUNDING_S:
                break
            extent.num_frames, extent.end_s = index + 1, time_s + length_s
            if time_s < due_s - ROUNDING_S:
                continue
            image_rgb = decode()
            if image_rgb is not None:
                any_decoded = True
                yield Frame(index, time_s, image_rgb)
                due_s = max(due_s + step_s, time_s if step_s else 0.0)
    if not any_decoded and extent.num_frames and not part.is_whole:
        if extent.end_s <= part.start_s:
            raise VideoError(
                f"{source} ends at {extent.end_s:.2f} s, before the start at {part.start_s:g} s; "
                f"choose an earlier start"
            )
        raise VideoError(f"{source} has no frame from {part.start_s:g} to {part.end_s:g} s")
    if not any_decoded:
        undecodable = source if isinstance(source, Path) else str(source)
        raise VideoError(describe_undecodable(undecodable))


def is_live(source: Source) -> bool:
    """Return whether a source is a stream or a camera, which cannot be read twice."""
    return not isinstance(source, Path)


def count_declared(path: Path) -> int:
    """Return the number of frames that a container declares, or of images in a folder.

    It is 0 if unknown, and estimated from the duration if the container has no count, as in
    Matroska. If fewer frames can be decoded, the video is truncated.
    """
    if path.is_dir():
        return len(_list_images(path))
    header = read_header(path) if _is_file(path) else Header()
    return header.listed_frames or round(header.duration_s * header.fps)


def declared_duration_s(path: Path) -> float:
    """Return the duration that a container declares, for progress; 0 if unknown."""
    if path.is_dir():
        return len(_list_images(path)) / FALLBACK_FPS
    return read_header(path).duration_s if _is_file(path) and not _is_image(path) else 0.0


def count_listed(path: Path) -> int:
    """Return the number of frames that a video file lists one by one; 0 if it does not.

    If fewer frames can be decoded, the file is truncated.
    """
    return read_header(path).listed_frames if _is_file(path) and not _is_image(path) else 0


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _is_file(path: Path) -> bool:
    return path.is_file() and describe_other_kind(path) is None


def _open(source: Source, start_s: float) -> Generator[Moment, None, None]:
    if isinstance(source, int):
        return _open_camera(source)
    if isinstance(source, str):
        return read_stream(source)
    if source.is_dir():
        return _open_folder(source)
    return _open_image(source) if _is_image(source) else _open_file(source, start_s)


def _open_image(path: Path) -> Generator[Moment, None, None]:
    """Yield the frame of an image, or the frames of an animated one."""
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
    """Yield the frames of a folder."""
    images = _list_images(folder)
    if not images:
        raise VideoError(f"no frames in {folder}; a video is a file, or a folder of its frames")
    if len(images) == 1 and count_pictures(images[0]) > 1:
        yield from _open_animation(images[0])
        return
    for index, path in enumerate(images):
        yield index / FALLBACK_FPS, 1 / FALLBACK_FPS, partial(read_image, path)


def _list_images(folder: Path) -> list[Path]:
    """Return the images of a folder in order; there may be none."""
    try:
        return list_frames(folder)
    except DataError:
        return []


def _open_file(path: Path, start_s: float) -> Generator[Moment, None, None]:
    """Yield the frames of a video file from the key frame before a time."""
    if not path.is_file():
        raise VideoError(f"no video at {path}; check the path")
    other = describe_other_kind(path)
    if other is not None:
        raise VideoError(f"cannot read {path}: {other}")
    yield from read_file(path, start_s)


def _open_camera(number: int) -> Generator[Moment, None, None]:
    """Yield the frames of a camera, with times of this machine's clock."""
    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise VideoError(
                f"camera {number} does not answer; check that it is connected and not in use"
            )
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
