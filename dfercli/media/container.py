"""Video files and streams, decoded by PyAV: upright, with square pixels, deinterlaced."""

import ctypes
import errno
import math
import re
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
from av.filter import Graph
from av.sidedata.sidedata import SideData
from av.stream import Disposition
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from dfercli.errors import VideoError
from dfercli.media.images import MAX_PIXELS, check_pixels
from dfercli.system_errors import explain_system_error


def make_upright(frame: av.VideoFrame, pixel_shape: float) -> np.ndarray | None:
    """Return a frame as (H, W, 3) uint8 RGB; None where FFmpeg cannot convert it.

    Args:
        frame: As it was decoded.
        pixel_shape: Width of a pixel over its height.

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
        if a * d < b * c:  # mirrored first, and turned then
            image_rgb = image_rgb[:, ::-1]
            turns = -round(math.degrees(math.atan2(-b, -a)) / 90) % 4
    return np.ascontiguousarray(np.rot90(image_rgb, turns))


FILTER = ("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
"""FFmpeg's filter: one frame of the two fields, frames that are not interlaced as they are."""


def deinterlace(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Yield frames unchanged until the first interlaced one, and filtered ones from there on."""
    graph: Graph | None = None
    form: tuple[int, int, str] | None = None
    for frame in frames:
        now = (frame.width, frame.height, frame.format.name)
        if graph is not None and now != form:
            yield from _drain(graph)
            graph = None
        if graph is None:
            if not frame.interlaced_frame:
                yield frame
                continue
            graph, form = _make_graph(frame), now
        graph.push(frame)
        yield from _pull(graph)
    if graph is not None:
        yield from _drain(graph)


def _make_graph(frame: av.VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    graph.link_nodes(source, graph.add(*FILTER), graph.add("buffersink")).configure()
    return graph


def _drain(graph: Graph) -> Iterator[av.VideoFrame]:
    """Yield the frames that the filter still buffers."""
    graph.push(None)
    yield from _pull(graph)


def _pull(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        yield frame


FALLBACK_FPS = 25.0
"""Frames a second assumed when a container names none (our choice: the PAL rate)."""

WIDEST_PIXEL = 16
"""Width of a pixel over its height, or the other way round, above which a container is taken to be
damaged (our choice: the widest in use are 2:1)."""

COVERS = Disposition.attached_pic | Disposition.timed_thumbnails
"""Pictures that are no video: a cover, or a row of previews."""


def choose_picture(container: InputContainer, source: Path | str) -> VideoStream:
    """Return the stream that is the picture; a cover is none.

    Of several it is the one that the container marks as default, then the largest, then the
    longest; one that cannot be decoded only where no other can.

    Args:
        container: An open file or stream.
        source: Names it.

    Raises:
        VideoError: There is none, or FFmpeg cannot decode it.
    """
    stream = find_picture(container)
    if stream is None and container.streams.audio:
        raise VideoError(f"cannot read {source}: it has sound, but no picture")
    if stream is None:
        raise VideoError(describe_undecodable(source))
    if stream.codec_context is None:
        raise VideoError(
            f"cannot read {source}: FFmpeg has no decoder for its codec; convert it where it was "
            f"made, to H.264 for example"
        )
    check_pixels(source, stream.codec_context.width, stream.codec_context.height)
    return stream


def find_picture(container: InputContainer) -> VideoStream | None:
    """Return the stream of `choose_picture`; None where there is none."""
    streams = [s for s in container.streams.video if not s.disposition & COVERS]
    return max(streams, key=_rank, default=None)


def _rank(stream: VideoStream) -> tuple[bool, bool, int, float, int]:
    """Return what is compared to choose among streams; the greater is chosen."""
    codec = stream.codec_context
    return (
        codec is not None,
        bool(stream.disposition & Disposition.default),
        0 if codec is None else codec.width * codec.height,
        _find_stream_length_s(stream),
        0 if codec is None else codec.bit_rate or 0,
    )


def _find_stream_length_s(stream: VideoStream) -> float:
    """Return how long a stream is, as its container or, in Matroska's files, its tag says."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3]) if tag else 0.0


def describe_undecodable(source: Path | str) -> str:
    """Return the error text for a source without a single decodable frame."""
    hint = "is it a video, and whole?" if isinstance(source, Path) else "does it send any?"
    return f"cannot read {source}: no frame can be decoded; {hint}"


def find_start_s(container: InputContainer) -> float:
    """Return the time of the first frame of a container's picture, by the container's clock."""
    picture = find_picture(container)
    return 0.0 if picture is None else find_first_s(picture)


def find_first_s(stream: VideoStream) -> float:
    """Return the time of a stream's first frame, by the container's clock."""
    return float((stream.start_time or 0) * (stream.time_base or 0))


def find_fps(stream: VideoStream) -> float:
    """Return a stream's frames per second, as the container says or FFmpeg guesses."""
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    return rate if 0 < rate < 1000 else FALLBACK_FPS


def find_pixel_shape(stream: VideoStream) -> float:
    """Return the width of a pixel over its height."""
    shape = float(stream.sample_aspect_ratio or 1)
    return shape if 1 / WIDEST_PIXEL <= shape <= WIDEST_PIXEL else 1.0


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
