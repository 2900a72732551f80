"""Which stream of a container is its picture, and what the container says of it."""

import re
from pathlib import Path

from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from dfercli.errors import VideoError
from dfercli.images import check_pixels

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
        _find_length_s(stream),
        0 if codec is None else codec.bit_rate or 0,
    )


def _find_length_s(stream: VideoStream) -> float:
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
