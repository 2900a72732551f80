"""The sound of a video, put beside another picture: copied where it is AAC, else encoded anew."""

import heapq
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from dfercli.container import find_start_s, opened_file
from dfercli.errors import VideoError
from dfercli.system_errors import first_line

NO_SOUND = "the video has none"

AAC_RATE = 192_000
"""Bits a second of sound that is encoded anew: a loss that is not heard (our choice)."""


class _Timed(NamedTuple):
    """A packet of a file that is being written, in the order of its time."""

    time_s: float
    order: int
    packet: Packet


def add_sound(picture: Path, source: Path, whole: Path) -> str | None:
    """Write the picture with the first sound of a video.

    The sound keeps its place in time to the video's first frame.

    Args:
        picture: An MP4 file, whose frames are taken as they are.
        source: The video; a folder of frames has no sound.
        whole: The MP4 file to write; there is none where the sound cannot be had.

    Returns:
        Why there is no sound; None where there is.
    """
    if source.is_dir():
        return NO_SOUND
    said = ""
    for copy in (True, False):
        try:
            with opened_file(source) as container, av.open(str(picture)) as frames:
                if not container.streams.audio:
                    return NO_SOUND
                sound = container.streams.audio[0]
                if copy and sound.codec_context.name != "aac":
                    continue
                _write(frames, container, sound, whole, copy)
                return None
        except (av.FFmpegError, OSError, VideoError, AttributeError) as error:
            whole.unlink(missing_ok=True)
            said = first_line(error)
    return f"it cannot be taken over: {said}"


def _write(
    frames: InputContainer, source: InputContainer, sound: AudioStream, whole: Path, copy: bool
) -> None:
    start = Fraction(source.start_time or 0, av.time_base)
    delay = max(Fraction(0), Fraction(find_start_s(source)) - start)
    picture = frames.streams.video[0]
    with av.open(str(whole), "w", format="mp4", options={"movflags": "+faststart"}) as output:
        shown = output.add_stream_from_template(picture)
        if copy:
            heard = output.add_stream_from_template(sound)
            sounds = _shift(_packets(source, sound), heard, -start)
        else:
            heard = output.add_stream("aac", rate=sound.codec_context.sample_rate)
            heard.bit_rate = AAC_RATE
            heard.layout = "mono" if sound.codec_context.channels == 1 else "stereo"
            sounds = _encode(source, sound, heard, start)
        pictures = _shift(_packets(frames, picture), shown, delay)
        for each in heapq.merge(_timed(pictures, 0), _timed(sounds, 1)):
            output.mux(each.packet)


def _timed(packets: Iterator[Packet], order: int) -> Iterator[_Timed]:
    for packet in packets:
        yield _Timed(float((packet.dts or 0) * (packet.time_base or 0)), order, packet)


def _packets(container: InputContainer, stream: Stream) -> Iterator[Packet]:
    """Give the packets of a stream but the last, which is empty."""
    return (packet for packet in container.demux(stream) if packet.dts is not None)


def _shift(packets: Iterator[Packet], stream: Stream, by: Fraction) -> Iterator[Packet]:
    """Move packets by seconds, into another stream."""
    for packet in packets:
        assert packet.time_base is not None  # of a stream
        steps = round(by / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + steps
        packet.dts = None if packet.dts is None else packet.dts + steps
        packet.stream = stream
        yield packet


def _encode(
    container: InputContainer, sound: AudioStream, stream: AudioStream, start: Fraction
) -> Iterator[Packet]:
    """Encode sound anew; packets that are damaged are passed over."""
    any_decoded = False
    for packet in container.demux(sound):
        try:
            decoded = packet.decode()
        except av.FFmpegError:
            continue
        for frame in decoded:
            any_decoded = True
            if frame.pts is not None and frame.time_base is not None:
                frame.pts -= round(start / frame.time_base)
            yield from stream.encode(frame)
    if not any_decoded:
        raise VideoError("none of it can be decoded")
    yield from stream.encode(None)
