"""Video files and streams, decoded by PyAV: upright, with square pixels, and without interlacing.

Rotation, the shape of pixels, times and interlacing are the container's and the codec's own. A file
is handed to FFmpeg as an open file, so that its name is never taken for a pattern or an address,
and what it names is never opened.
"""

import ctypes
import errno
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from fractions import Fraction
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from dfercli.deinterlace import deinterlace
from dfercli.errors import VideoError
from dfercli.images import MAX_PIXELS, check_pixels
from dfercli.picture_stream import (
    choose_picture,
    describe_undecodable,
    find_first_s,
    find_fps,
    find_pixel_shape,
)
from dfercli.system_errors import explain_system_error
from dfercli.upright import make_upright

Moment = tuple[float, float, Callable[[], np.ndarray | None]]
"""Time of a frame and how long it is shown, in seconds, and what decodes it: (H, W, 3) uint8 RGB,
None where it cannot."""

SHORTEST_STEP_S = 0.001
"""Time from frame to frame where a container's own times stand still (our choice)."""

LONGEST_FRAME_S = 10.0
"""Longest time that one frame is shown (our choice: a slide). Damaged files say hours."""

STREAM_WAIT_S = 10.0
"""Longest wait for a stream to open, and for its next frame (our choice)."""

DISK_ERRORS = (errno.EIO, getattr(errno, "ESTALE", errno.EIO))
"""What the system says of a disk that fails, or that is no longer there."""

MAX_ALLOCATION = 4 * MAX_PIXELS
"""Bytes that FFmpeg may allocate at a time (our choice: the largest frame, and some to spare)."""

LIBRARIES = ("av.libs/libavutil*", "av/.dylibs/libavutil*", "av.libs/avutil*")
"""Where PyAV's wheels keep FFmpeg's libavutil: on Linux, macOS and Windows."""


def read_file(path: Path) -> Generator[Moment, None, None]:
    """Go through a video file; a frame that is not asked for is not converted.

    Raises:
        VideoError: FFmpeg knows no such container or codec, it has no picture, or its frames are
            too large.
    """
    with opened_file(path) as container:
        stream = choose_picture(container, path)
        yield from _read(container, stream, path)


def read_stream(address: str) -> Generator[Moment, None, None]:
    """Go through what a stream sends, from the moment it answers.

    Raises:
        VideoError: It does not answer, or sends no picture.
    """
    try:
        container = av.open(address, "r", options=bound_decoder(), timeout=STREAM_WAIT_S)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(
            f"stream {address} does not answer; is it there, and not in use?"
        ) from error
    with container:
        stream = choose_picture(container, address)
        start_s = None
        with closing(_read(container, stream, address)) as moments:
            for time_s, length_s, decode in moments:
                start_s = time_s if start_s is None else start_s
                yield time_s - start_s, length_s, decode


def count_packets(path: Path) -> int:
    """Return how many packets of a file's picture can be read; none is decoded."""
    try:
        with opened_file(path) as container:
            stream = choose_picture(container, path)
            return sum(packet.size > 0 for packet in container.demux(stream))
    except (VideoError, av.FFmpegError):
        return 0


def count_declared_frames(path: Path) -> int:
    """Return how many frames a container promises; 0 where nothing is known."""
    return int(_ask(path)[0])


def count_listed_frames(path: Path) -> int:
    """Return how many frames a container lists one by one, as MP4 and AVI do; 0 for others."""
    try:
        with opened_file(path) as container:
            return max(0, choose_picture(container, path).frames)
    except VideoError:
        return 0


def find_declared_duration_s(path: Path) -> float:
    """Return the length that a container promises; 0 where nothing is known."""
    return _ask(path)[1]


def _ask(path: Path) -> tuple[int, float]:
    try:
        with opened_file(path) as container:
            stream = choose_picture(container, path)
            duration_s = float(_duration_s(container, stream))
            count = stream.frames or round(duration_s * find_fps(stream))
    except VideoError:
        return 0, 0.0
    return max(0, count), max(0.0, duration_s)


def _duration_s(container: InputContainer, stream: VideoStream) -> Fraction | float:
    if stream.duration is not None and stream.time_base is not None:
        return stream.duration * stream.time_base
    return 0.0 if container.duration is None else container.duration / av.time_base


class _Named:
    """An open file under a plain name, which FFmpeg takes for no pattern of several files."""

    def __init__(self, file: BinaryIO, suffix: str) -> None:
        self.name = f"video{suffix}" if suffix.isascii() and "%" not in suffix else "video"
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


@contextmanager
def opened_file(path: Path) -> Iterator[InputContainer]:
    """Open a file by PyAV.

    Raises:
        VideoError: It cannot be read, or is no video.
    """

    def refuse(*named: Any) -> None:
        raise PermissionError(f"{path} names another file")

    try:
        file = path.open("rb")
    except OSError as error:
        raise VideoError(f"cannot read {path}: {explain_system_error(error)}") from error
    with file:
        try:
            container = av.open(
                _Named(file, path.suffix),
                "r",
                options={**bound_decoder(), "protocol_whitelist": "none"},
                metadata_errors="replace",
                io_open=refuse,
            )
        except (av.FFmpegError, OSError) as error:
            _check_disk(error, path)
            raise VideoError(describe_undecodable(path)) from error
        with container:
            yield container


@cache
def bound_decoder() -> dict[str, str]:
    """Bound what FFmpeg allocates; returns options of FFmpeg that do, where nothing else does.

    A frame is allocated before its size is told, and the container may say any other. A bound on
    bytes lets FFmpeg tell the size of a frame that it refuses, but has no option; PyAV's own FFmpeg
    is told where its wheel brings one. Another FFmpeg gets a bound on pixels, which is an option.
    """
    bounded = False
    for path in chain.from_iterable(Path(av.__file__).parents[1].glob(each) for each in LIBRARIES):
        with suppress(OSError, AttributeError):
            limit = ctypes.CDLL(str(path)).av_max_alloc
            limit.argtypes, limit.restype = [ctypes.c_size_t], None
            limit(MAX_ALLOCATION)
            bounded = True
    return {} if bounded else {"max_pixels": str(MAX_PIXELS)}


def _check_disk(error: Exception, source: Path | str) -> None:
    """Raise if an error comes from the disk rather than from the file's content.

    Raises:
        VideoError: The disk is to blame.
    """
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        raise VideoError(f"cannot read {source}: {explain_system_error(error)}") from error


def _read(
    container: InputContainer, stream: VideoStream, source: Path | str
) -> Generator[Moment, None, None]:
    stream.codec_context.options = bound_decoder()
    # Threads that decode a frame each would show those of streams late, and lose some of a damaged
    # file: more on a machine with more cores.
    stream.thread_type = "SLICE"
    start_s = find_first_s(stream)
    step_s = 1.0 / find_fps(stream)
    shape = find_pixel_shape(stream)
    last_s = -1.0
    for index, frame in enumerate(deinterlace(_decode(container, stream, source))):
        check_pixels(source, frame.width, frame.height)  # later frames may be larger
        named_s = -1.0 if frame.time is None else frame.time - start_s
        rises = named_s > last_s and (index == 0 or named_s > 0)
        last_s = max(0.0, named_s) if rises else max(index * step_s, last_s + SHORTEST_STEP_S)
        yield last_s, _find_length_s(frame, step_s), partial(make_upright, frame, shape)


def _find_length_s(frame: av.VideoFrame, usual_s: float) -> float:
    """Return how long a frame is shown, as the container says, in bounds."""
    length_s = float(frame.duration * frame.time_base) if frame.time_base else 0.0
    return min(length_s, LONGEST_FRAME_S) if length_s > 0 else usual_s


def _decode(
    container: InputContainer, stream: VideoStream, source: Path | str
) -> Iterator[av.VideoFrame]:
    """Decode what can be decoded; where the file ends early, so do the frames."""
    packets, any_left = container.demux(stream), True
    while any_left:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError) as error:
            if isinstance(source, Path):  # a stream that breaks off has ended
                _check_disk(error, source)
            packet = None
        any_left = packet is not None
        try:
            frames = stream.decode(packet)  # of None: what the decoder still holds
        except av.FFmpegError:  # a damaged packet, or one too large; those after it may be whole
            check_pixels(source, stream.codec_context.width, stream.codec_context.height)
            continue
        yield from frames
