"""Frames with times, in RGB, uint8, HWC: the only file that opens videos, streams and cameras."""

import ctypes
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np

from dfercli.errors import DataError, VideoError
from dfercli.images import IMAGE_SUFFIXES, MAX_PIXELS, check_pixels, list_frames, read_image
from dfercli.system_errors import explain_system_error

Source = Path | str | int
"""What frames come from: a path of a video file, an image or a folder of frames; the address of a
stream; the number of a camera."""

FALLBACK_FPS = 25.0
"""Frames a second assumed when a container names none (our choice: the PAL rate)."""

SHORTEST_STEP_S = 0.001
"""Time from frame to frame where a container's own times stand still (our choice)."""

PLAYLISTS = (b"#extm3u", b"ffconcat", b"<mpd", b"<compositionplaylist", b"c=in ip", b"# vobsub")
"""What the texts say, in small letters, that FFmpeg takes for videos and that name other files or
addresses. Source: its `read_probe` functions in hls, concatdec, dashdec, imfdec, rtsp, mpeg."""

ID3_HEADER = 10
"""Bytes before an ID3 tag, and behind one that has a footer. Source: id3.org, id3v2.4.0, 3.1."""

PROBED = 1 << 20
"""Bytes that FFmpeg tells the kind of a file from. Source: `PROBE_BUF_MAX`."""

MAX_ALLOCATION = 4 * MAX_PIXELS
"""Bytes that FFmpeg may allocate at a time (our choice: the largest frame, and some to spare)."""

STREAM_WAIT_MS = 10_000
"""Longest wait for a stream to open, and for its next frame (our choice)."""


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


def read_frames(source: Source, max_fps: float | None = None) -> Iterator[Frame]:
    """Decode a video frame by frame, so that memory does not grow with its length.

    Frames come upright, as the container says how they were filmed. Frames that are not given are
    not converted.

    Args:
        source: A video file; an image, which is a video of one frame; a folder of all frames of a
            video, which are taken to be `FALLBACK_FPS` a second; a stream's address; a camera's
            number. Times of cameras are those of this machine's clock.
        max_fps: Give at most this many frames a second, evenly spread; None gives all.

    Raises:
        VideoError: The file is missing or empty, no frame of it can be decoded, the folder has no
            images or one that cannot be read, or the stream or the camera does not answer.
    """
    step_s = 1.0 / max_fps if max_fps else 0.0
    due_s = 0.0
    any_decoded = False
    with closing(_open(source)) as moments:
        for index, (time_s, decode) in enumerate(moments):
            if time_s < due_s - 1e-6:
                continue
            image_rgb = decode()
            if image_rgb is not None:
                any_decoded = True
                yield Frame(index, time_s, image_rgb)
                due_s = max(due_s + step_s, time_s if step_s else 0.0)
    if not any_decoded:
        hint = "is it a video, and whole?" if isinstance(source, Path) else "does it send any?"
        raise VideoError(f"cannot read {source}: no frame can be decoded; {hint}")


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
    return int(_ask(path, cv2.CAP_PROP_FRAME_COUNT)[0])


def declared_duration_s(path: Path) -> float:
    """Give the length that a container promises, for progress; 0 where nothing is known."""
    if path.is_dir():
        return len(_list_images(path)) / FALLBACK_FPS
    count, fps = _ask(path, cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS)
    return count / fps if fps else 0.0


def _ask(path: Path, *properties: int) -> list[float]:
    """Read numbers from a container's header; 0 for what it does not tell."""
    if not path.is_file() or _is_playlist(path):
        return [0.0 for _ in properties]
    _bound_decoder()
    with _plain_name(path) as name:
        capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        try:
            told = [capture.get(each) for each in properties]
        finally:
            capture.release()
    return [value if 0 < value < float("inf") else 0.0 for value in told]


Moment = tuple[float, Callable[[], np.ndarray | None]]
"""Time of a frame in seconds, and what decodes it: (H, W, 3) uint8 RGB, None where it cannot."""


def _open(source: Source) -> Generator[Moment, None, None]:
    if not isinstance(source, Path):
        return _open_live(source)
    if source.is_dir():
        return _open_folder(source)
    return _open_image(source) if source.suffix.lower() in IMAGE_SUFFIXES else _open_file(source)


def _open_image(path: Path) -> Generator[Moment, None, None]:
    """Take an image for a video of one frame."""
    if not path.is_file():
        raise VideoError(f"no image at {path}; check the path")
    yield 0.0, partial(read_image, path)


def _open_folder(folder: Path) -> Generator[Moment, None, None]:
    """Go through a folder of frames."""
    images = _list_images(folder)
    if not images:
        raise VideoError(f"no frames in {folder}; a video is a file, or a folder of its frames")
    for index, path in enumerate(images):
        yield index / FALLBACK_FPS, partial(read_image, path)


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
    if _is_playlist(path):
        raise VideoError(f"cannot read {path}: a playlist, which names other files; give these")
    _bound_decoder()
    with _plain_name(path) as name:
        capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        try:
            _check_frame(path, capture)
            for time_s in _grab_times(capture):
                _check_frame(path, capture)  # later frames may be larger
                yield time_s, partial(_retrieve, capture)
        finally:
            capture.release()


def _check_frame(source: Source, capture: cv2.VideoCapture) -> None:
    """Refuse a frame that is too large, before it is converted."""
    width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    check_pixels(source, width, height)


@cache
def _bound_decoder() -> None:
    """Bound what FFmpeg allocates at a time, which it does before it tells a frame's size.

    OpenCV has no setting for it, so its own FFmpeg is told, where its wheel brings one as a file;
    elsewhere opening a hostile file may take 2 GB before it is refused.
    """
    for path in Path(cv2.__file__).parents[1].glob("opencv_*.libs/libavutil*"):
        with suppress(OSError, AttributeError):
            limit = ctypes.CDLL(str(path)).av_max_alloc
            limit.argtypes, limit.restype = [ctypes.c_size_t], None
            limit(MAX_ALLOCATION)


def _is_playlist(path: Path) -> bool:
    """Tell whether FFmpeg would read other files than this one.

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


@contextmanager
def _plain_name(path: Path) -> Iterator[str]:
    """Give a name that FFmpeg takes for a file's: absolute, so that `http:` is no protocol.

    OpenCV crashes on names that are no UTF-8, and FFmpeg takes `seq%d.ppm` for a pattern of many
    files; such a file gets another name while it is read.
    """
    name = str(path.absolute())
    if "%" in name or not _is_utf8(name):
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder, f"video{path.suffix}" if path.suffix.isascii() else "video")
            link.symlink_to(path.absolute())
            yield str(link)
    else:
        yield name


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _open_live(source: str | int) -> Generator[Moment, None, None]:
    """Go through what a stream or a camera sends, from the moment it answers."""
    if isinstance(source, int):
        capture = cv2.VideoCapture(source)
        times_s = _tell_times(capture)
    else:
        waits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
        settings = [number for wait in waits for number in (wait, STREAM_WAIT_MS)]
        _bound_decoder()
        capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, settings)
        times_s = _grab_times(capture)
    try:
        _check_frame(source, capture)
        if not capture.isOpened():
            what = f"camera {source}" if isinstance(source, int) else f"stream {source}"
            raise VideoError(f"{what} does not answer; is it there, and not in use?")
        start_s = None
        for time_s in times_s:
            start_s = time_s if start_s is None else start_s
            _check_frame(source, capture)
            yield time_s - start_s, partial(_retrieve, capture)
    finally:
        capture.release()


def _tell_times(capture: cv2.VideoCapture) -> Iterator[float]:
    """Go from frame to frame as they come, and give the clock's time of each."""
    while capture.grab():
        yield time.monotonic()


def _retrieve(capture: cv2.VideoCapture) -> np.ndarray | None:
    decoded, image_bgr = capture.retrieve()
    return cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB) if decoded else None


def _grab_times(capture: cv2.VideoCapture) -> Iterator[float]:
    """Go from frame to frame and give each one's time; containers that name none are paced."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    step_s = 1.0 / (fps if 0 < fps < 1000 else FALLBACK_FPS)
    index, time_s = 0, -1.0
    while capture.grab():
        named_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        rises = named_s > time_s and (index == 0 or named_s > 0)
        time_s = max(0.0, named_s) if rises else max(index * step_s, time_s + SHORTEST_STEP_S)
        yield time_s
        index += 1
