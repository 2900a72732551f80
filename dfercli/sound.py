"""The sound of a video, put beside another picture: copied where it is AAC, else encoded anew."""

import heapq
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from dfercli.container import opened_file
from dfercli.errors import VideoError
from dfercli.picture_stream import find_start_s
from dfercli.system_errors import first_line

NO_SOUND = "the video has none"

AAC_BITS = 192_000
"""Bits a second of sound that is encoded anew: a loss that is not heard (our choice)."""

AAC_RATES = (
    *(96000, 88200, 64000, 48000, 44100, 32000),
    *(24000, 22050, 16000, 12000, 11025, 8000, 7350),
)
"""Samples a second that AAC knows. Source: ISO 14496-3, table 1.18."""


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
            with opened_file(source) as container, av.open(str(picture.absolute())) as frames:
                if not container.streams.audio:
                    return NO_SOUND
                sound = container.streams.audio[0]
                if copy and sound.codec_context.name != "aac":
                    continue
                _write(frames, container, sound, whole, copy)
                return None
        except (av.FFmpegError, OSError, ValueError, VideoError, AttributeError) as error:
            whole.unlink(missing_ok=True)
            said = first_line(error)
    return f"it cannot be taken over: {said}"


def _write(
    frames: InputContainer, source: InputContainer, sound: AudioStream, whole: Path, copy: bool
) -> None:
    start = Fraction(source.start_time or 0, av.time_base)
    delay = max(Fraction(0), Fraction(find_start_s(source)) - start)
    picture = frames.streams.video[0]
    with av.open(
        str(whole.absolute()), "w", format="mp4", options={"movflags": "+faststart"}
    ) as output:
        shown = output.add_stream_from_template(picture)
        if copy:
            heard = output.add_stream_from_template(sound)
            sounds = _shift(_packets(source, sound), heard, -start)
        else:
            heard = output.add_stream("aac", rate=_find_rate(sound))
            heard.bit_rate = AAC_BITS
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
    position = 0
    for piece in _resample(container, sound, stream, start):
        # A file that was joined of two may go back a little.
        piece.pts = position if piece.pts is None else max(position, piece.pts)
        piece.time_base = Fraction(1, stream.rate)
        position = piece.pts + piece.samples
        yield from stream.encode(piece)
    if position == 0:
        raise VideoError("none of it can be decoded")
    yield from stream.encode(None)


def _resample(
    container: InputContainer, sound: AudioStream, stream: AudioStream, start: Fraction
) -> Iterator[av.AudioFrame]:
    """Decode sound, and bring it to the form of a stream that is written."""
    resampler, form = None, None
    for packet in container.demux(sound):
        try:
            decoded = packet.decode()
        except av.FFmpegError:
            continue
        for frame in decoded:
            now = (frame.format.name, frame.layout.name, frame.sample_rate)
            if resampler is None or now != form:  # broadcasters change it in the middle
                if resampler is not None:
                    yield from resampler.resample(None)
                resampler, form = AudioResampler("fltp", stream.layout, stream.rate), now
            if frame.pts is not None and frame.time_base is not None:
                # In samples: containers such as AVI count packets, which are longer than a frame.
                frame.pts = round((frame.pts * frame.time_base - start) * frame.sample_rate)
                frame.time_base = Fraction(1, frame.sample_rate)
            yield from resampler.resample(frame)
    if resampler is not None:
        yield from resampler.resample(None)


def _find_rate(sound: AudioStream) -> int:
    """Return the rate that is nearest to a sound's own among those that AAC has."""
    own = sound.codec_context.sample_rate
    return min(AAC_RATES, key=lambda rate: abs(rate - own))
