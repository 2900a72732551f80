"""Video files and streams decoded by PyAV: upright, deinterlaced, with square pixels."""

import ctypes
import errno
import math
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.filter import Graph
from av.sidedata.sidedata import SideData
from av.stream import Disposition
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from dfercli.errors import VideoError, explain_system_error
from dfercli.media.images import MAX_PIXELS, check_pixels


def make_upright(frame: av.VideoFrame, pixel_shape: float) -> np.ndarray | None:
    """Return a frame as (H, W, 3) uint8 RGB, upright; None if FFmpeg cannot convert it.

    `pixel_shape` is the width of a pixel divided by its height.

    Raises:
        VideoError: The image would have too many pixels.
    """
    width = max(1, round(frame.width * pixel_shape))
    check_pixels("a frame", width, frame.height)
    try:
        image_rgb = frame.reformat(
            width=width, format="rgb24", interpolation=Interpolation.BICUBIC, threads=1
        ).to_ndarray()
    except av.FFmpegError:
        return None
    turns = round(frame.rotation / 90) % 4
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if isinstance(matrix, SideData):
        a, b, _, c, d = np.frombuffer(bytes(matrix), "<i4")[:5].astype(float)
        if a * d < b * c:  # mirrored first, then rotated
            image_rgb = image_rgb[:, ::-1]
            turns = -round(math.degrees(math.atan2(-b, -a)) / 90) % 4
    return np.ascontiguousarray(np.rot90(image_rgb, turns))


FILTER = ("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
"""FFmpeg's filter: one frame from two fields; progressive frames pass unchanged."""


def deinterlace(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Yield frames unchanged until the first interlaced one, and filtered from there on."""
    graph: Graph | None = None
    graph_form: tuple[int, int, str] | None = None
    for frame in frames:
        form = (frame.width, frame.height, frame.format.name)
        if graph is not None and form != graph_form:
            yield from _filter(graph, None)
            graph = None
        if graph is None:
            if not frame.interlaced_frame:
                yield frame
                continue
            graph, graph_form = _make_graph(frame), form
        yield from _filter(graph, frame)
    if graph is not None:
        yield from _filter(graph, None)


def _make_graph(frame: av.VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    graph.link_nodes(source, graph.add(*FILTER), graph.add("buffersink")).configure()
    return graph


def _filter(graph: Graph, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
    """Push a frame, or None at the end, and yield the frames that are ready."""
    graph.push(frame)
    with suppress(av.BlockingIOError, av.EOFError):
        while True:
            yield graph.vpull()


FALLBACK_FPS = 25.0
"""Frame rate assumed if a container declares none (our choice: the PAL rate)."""

WIDEST_PIXEL = 16
"""Largest ratio of a pixel's sides that is not taken for an error (our choice: 2:1 is in use)."""

COVERS = Disposition.attached_pic | Disposition.timed_thumbnails
"""Streams that are not the video: cover art and rows of previews."""


def choose_picture(container: InputContainer, source: Path | str) -> VideoStream:
    """Return the video stream of a container; cover art does not count.

    Of several streams, those that can be decoded come first, then the one marked as default, the
    largest, and the longest. `source` is the name in error messages.

    Raises:
        VideoError: There is no video stream, or FFmpeg cannot decode it.
    """
    stream = find_picture(container)
    if stream is None and container.streams.audio:
        raise VideoError(f"cannot read {source}: it has audio but no video")
    if stream is None:
        raise VideoError(describe_undecodable(source))
    if stream.codec_context is None:
        raise VideoError(
            f"cannot read {source}: FFmpeg has no decoder for its codec; convert it to H.264, for "
            f"example"
        )
    check_pixels(source, stream.codec_context.width, stream.codec_context.height)
    return stream


def find_picture(container: InputContainer) -> VideoStream | None:
    """Return the stream of `choose_picture`; None if there is none."""
    streams = [s for s in container.streams.video if not s.disposition & COVERS]
    return max(streams, key=_rank, default=None)


def _rank(stream: VideoStream) -> tuple[bool, bool, int, float, int]:
    """Return the sort key of a stream; the greatest is chosen."""
    codec = stream.codec_context
    return (
        codec is not None,
        bool(stream.disposition & Disposition.default),
        0 if codec is None else codec.width * codec.height,
        _find_stream_length_s(stream),
        0 if codec is None else codec.bit_rate or 0,
    )


def _find_stream_length_s(stream: VideoStream) -> float:
    """Return the length of a stream according to its container or, in Matroska, its tag."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3]) if tag else 0.0


def describe_undecodable(source: Path | str) -> str:
    """Return the error message for a source without any decodable frame."""
    hint = (
        "it may be incomplete, or not a video"
        if isinstance(source, Path)
        else "check that it sends video"
    )
    return f"cannot read {source}: no frame can be decoded; {hint}"


def find_start_s(stream: VideoStream | None) -> float:
    """Return the start of a stream in seconds, by the container's clock; 0 for None."""
    return 0.0 if stream is None else float((stream.start_time or 0) * (stream.time_base or 0))


def find_fps(stream: VideoStream) -> float:
    """Return the frame rate that the container declares or FFmpeg guesses."""
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    return rate if 0 < rate < 1000 else FALLBACK_FPS


def find_pixel_shape(stream: VideoStream) -> float:
    """Return the width of a pixel divided by its height."""
    shape = float(stream.sample_aspect_ratio or 1)
    return shape if 1 / WIDEST_PIXEL <= shape <= WIDEST_PIXEL else 1.0


Moment = tuple[float, float, Callable[[], np.ndarray | None]]
"""Time and duration of a frame in seconds, and a function that returns it as (H, W, 3) uint8 RGB,
or None if it cannot be converted."""

SHORTEST_STEP_S = 0.001
"""Step between frames whose times in the container do not increase (our choice)."""

LONGEST_FRAME_S = 10.0
"""Longest duration of a frame (our choice: a slide); damaged files declare hours."""

STREAM_WAIT_S = 10.0
"""Longest wait for a stream to open and for each frame (our choice)."""

DISK_ERRORS = (errno.EIO, getattr(errno, "ESTALE", errno.EIO))
"""System errors of a failing or missing disk."""

MAX_ALLOCATION = 4 * MAX_PIXELS
"""Most bytes that FFmpeg may allocate at once (our choice: the largest frame, and a reserve)."""

LIBRARIES = ("av.libs/libavutil*", "av/.dylibs/libavutil*", "av.libs/avutil*")
"""Paths of FFmpeg's libavutil in PyAV's wheels for Linux, macOS and Windows."""


def read_file(path: Path, start_s: float = 0.0) -> Generator[Moment, None, None]:
    """Yield the frames of a video file; only requested ones are converted.

    The first frame is a key frame at or before `start_s`, or that of the whole video if the file
    has no such frame or cannot be searched.

    Raises:
        VideoError: FFmpeg does not know the container or codec, there is no video stream, or its
            frames are too large.
    """
    if start_s > 0:
        with opened_file(path) as container:
            stream = choose_picture(container, path)
            moments = _read(container, stream, path)
            first = next(moments, None) if _seek(container, stream, start_s) else None
            if first is not None and 0 < first[0] <= start_s:  # 0 also if frames have no times
                yield first
                yield from moments
                return
    with opened_file(path) as container:
        stream = choose_picture(container, path)
        yield from _read(container, stream, path)


def _seek(container: InputContainer, stream: VideoStream, start_s: float) -> bool:
    """Go to the last key frame before a time; return whether the container can do so."""
    if not stream.time_base:
        return False
    try:
        container.seek(int((find_start_s(stream) + start_s) / stream.time_base), stream=stream)
    except (av.FFmpegError, OSError):
        return False
    return True


def read_stream(address: str) -> Generator[Moment, None, None]:
    """Yield the frames of a network stream.

    Raises:
        VideoError: The stream does not answer, or sends no video.
    """
    try:
        container = av.open(address, "r", options=bound_decoder(), timeout=STREAM_WAIT_S)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(
            f"stream {address} does not answer; check the address, and that it is not in use"
        ) from error
    with container:
        stream = choose_picture(container, address)
        start_s = None
        with closing(_read(container, stream, address)) as moments:
            for time_s, length_s, decode in moments:
                start_s = time_s if start_s is None else start_s
                yield time_s - start_s, length_s, decode


def count_packets(path: Path) -> int:
    """Return the number of readable packets of the video stream, without decoding them."""
    try:
        with opened_file(path) as container:
            stream = choose_picture(container, path)
            return sum(packet.size > 0 for packet in container.demux(stream))
    except (VideoError, av.FFmpegError):
        return 0


class Header(NamedTuple):
    """What a container declares about its video.

    Attributes:
        listed_frames: Frames that it lists one by one, as MP4 and AVI do; 0 in others.
        duration_s: Duration; 0 if unknown.
        fps: Frame rate.
    """

    listed_frames: int = 0
    duration_s: float = 0.0
    fps: float = FALLBACK_FPS


def read_header(path: Path) -> Header:
    """Return what a container declares; an empty header if the file cannot be read."""
    try:
        with opened_file(path) as container:
            stream = choose_picture(container, path)
            duration_s = (container.duration or 0) / av.time_base
            if stream.duration is not None and stream.time_base is not None:
                duration_s = float(stream.duration * stream.time_base)
            return Header(max(0, stream.frames), max(0.0, duration_s), find_fps(stream))
    except VideoError:
        return Header()


class _PlainNamedFile:
    """An open file with a plain name, which FFmpeg does not take for a pattern of several files."""

    def __init__(self, file: BinaryIO, suffix: str) -> None:
        self.name = f"video{suffix}" if suffix.isascii() and "%" not in suffix else "video"
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


@contextmanager
def opened_file(path: Path) -> Iterator[InputContainer]:
    """Open a file by PyAV, without access to any other file.

    Raises:
        VideoError: It cannot be read, or is not a video.
    """

    def refuse(*arguments: Any) -> None:
        raise PermissionError(f"{path} refers to another file")

    try:
        file = path.open("rb")
    except OSError as error:
        raise VideoError(f"cannot read {path}: {explain_system_error(error)}") from error
    with file:
        try:
            container = av.open(
                _PlainNamedFile(file, path.suffix),
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
    """Bound the memory that FFmpeg allocates, and return the options that decoders need for it.

    FFmpeg allocates a frame before its size is known here, and containers may declare another one.
    With a bound on bytes, FFmpeg still reports the size of a frame that it refuses. There is no
    option for it; it is set in the library of PyAV's wheel. Any other FFmpeg gets the option that
    bounds pixels.
    """
    bounded = False
    root = Path(av.__file__).parents[1]
    for path in chain.from_iterable(root.glob(pattern) for pattern in LIBRARIES):
        with suppress(OSError, AttributeError):
            limit = ctypes.CDLL(str(path)).av_max_alloc
            limit.argtypes, limit.restype = [ctypes.c_size_t], None
            limit(MAX_ALLOCATION)
            bounded = True
    return {} if bounded else {"max_pixels": str(MAX_PIXELS)}


def _check_disk(error: Exception, source: Path | str) -> None:
    """Raise a VideoError if an error is one of a failing or missing disk."""
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        raise VideoError(f"cannot read {source}: {explain_system_error(error)}") from error


def _read(
    container: InputContainer, stream: VideoStream, source: Path | str
) -> Generator[Moment, None, None]:
    stream.codec_context.options = bound_decoder()
    # Frame threads would delay streams and lose frames of damaged files, more with more cores.
    stream.thread_type = "SLICE"
    start_s = find_start_s(stream)
    step_s = 1.0 / find_fps(stream)
    shape = find_pixel_shape(stream)
    last_s = -1.0
    for index, frame in enumerate(deinterlace(_decode(container, stream, source))):
        check_pixels(source, frame.width, frame.height)  # later frames may be larger
        time_s = -1.0 if frame.time is None else frame.time - start_s
        rises = time_s > last_s and (index == 0 or time_s > 0)
        last_s = max(0.0, time_s) if rises else max(index * step_s, last_s + SHORTEST_STEP_S)
        yield last_s, _find_length_s(frame, step_s), partial(make_upright, frame, shape)


def _find_length_s(frame: av.VideoFrame, usual_s: float) -> float:
    """Return the duration of a frame as declared, within bounds."""
    length_s = float(frame.duration * frame.time_base) if frame.time_base else 0.0
    return min(length_s, LONGEST_FRAME_S) if length_s > 0 else usual_s


def _decode(
    container: InputContainer, stream: VideoStream, source: Path | str
) -> Iterator[av.VideoFrame]:
    """Yield all frames that can be decoded; a truncated file ends early."""
    packets, any_left = container.demux(stream), True
    while any_left:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError) as error:
            if isinstance(source, Path):  # a broken stream has ended
                _check_disk(error, source)
            packet = None
        any_left = packet is not None
        try:
            frames = stream.decode(packet)  # None flushes the decoder
        except av.FFmpegError:  # damaged or too large; later packets may be intact
            check_pixels(source, stream.codec_context.width, stream.codec_context.height)
            continue
        yield from frames
