"""Videos written frame by frame: H.264 with sound, or OpenCV's MPEG-4 for drawn ones."""

import heapq
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, cast

import av
import cv2
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from av.video.stream import VideoStream

from dfercli.errors import VideoError
from dfercli.files import replacing, scratch_folder
from dfercli.media.container import count_packets, find_start_s, opened_file
from dfercli.system_errors import explain_system_error, find_system_error, first_line

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


H264 = {"preset": "veryfast", "crf": "20"}
"""Hardly to be told from the source, at a size and a speed that suit (our choice)."""

MPEG4 = {"qscale": "3"}
"""For an FFmpeg without H.264: near the same quality (our choice)."""

MAX_DENOMINATOR = 1001
"""Of a rate. Source: SMPTE's rates, such as 30000/1001."""


@dataclass(frozen=True)
class WrittenVideo:
    """What came of writing a video.

    Attributes:
        path: The file.
        num_frames: Frames in it.
        why_silent: Why it has no sound; None where it has.
    """

    path: Path
    num_frames: int
    why_silent: str | None


class VideoWriter:
    """Takes the frames of a video; made by `open_writer`.

    Attributes:
        num_frames: Frames that were written.
        why_silent: Why there is no sound; None where there is. Known after the block.
        left_out: Why the sound is to be left out; None, as it is unless it is set, takes it.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.num_frames = 0
        self.why_silent: str | None = NO_SOUND
        self.left_out: str | None = None
        self._path, self._fps = path, fps
        self._shape: tuple[int, ...] = ()
        self._encoder: _H264 | None = None

    def write(self, image_rgb: np.ndarray, times: int = 1) -> None:
        """Add a frame.

        Args:
            image_rgb: (H, W, 3) uint8, all of one size. A side that is odd gets its last row or
                column twice, since encoders take even ones only.
            times: How often it is shown.

        Raises:
            VideoError: The encoder cannot be started, or stopped; or the size is another one.
        """
        image_rgb = _make_even(image_rgb)
        if self._encoder is None:
            self._shape = image_rgb.shape
            self._encoder = _H264(self._path, (self._shape[1], self._shape[0]), self._fps)
        if image_rgb.shape != self._shape:
            raise VideoError(f"a video has one size: {image_rgb.shape} came after {self._shape}")
        for _ in range(times):
            self._encoder.write(image_rgb)
            self.num_frames += 1

    def _finish(self) -> None:
        if self._encoder is None:
            raise VideoError("no frames were given")
        self._encoder.finish()
        found = count_packets(self._path)
        if found != self.num_frames:
            raise VideoError(f"it holds {found} of {self.num_frames} frames; is the disk full?")


@contextmanager
def open_writer(path: Path, fps: float, sound_of: Path | None = None) -> Iterator[VideoWriter]:
    """Write an MP4 file that takes its place when the block ends well.

    The picture is written first and the sound put beside it then, so that no sound, however broken,
    costs the picture. What was written is read again, to see that it is whole. Memory does not grow
    with the length. After an error, or Ctrl-C, nothing is left.

    Args:
        path: The file.
        fps: Frames a second.
        sound_of: A video whose first sound is taken, as it is where it is AAC; it keeps its place
            in time to that video's first frame.

    Raises:
        VideoError: No frame was given, or the file cannot be written.
    """
    with replacing(path) as partial, _scratch(path.parent) as folder:
        picture = folder / "picture.mp4"
        writer = VideoWriter(picture, fps)
        try:
            with _reporting(path):
                yield writer
                writer._finish()
        finally:
            if writer._encoder is not None:
                writer._encoder.abandon()
        whole = folder / "whole.mp4"
        if sound_of is not None:
            writer.why_silent = writer.left_out or add_sound(picture, sound_of, whole)
            if whole.exists() and count_packets(whole) != writer.num_frames:
                raise VideoError(f"cannot write {path}: it is cut off; is the disk full?")
        shutil.move(whole if whole.exists() else picture, partial)


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Say of an error which file cannot be written."""
    try:
        yield
    except VideoError as error:
        raise VideoError(f"cannot write {path}: {error}") from error
    except av.FFmpegError as error:
        cause = find_system_error(error)
        said = first_line(error) if cause is None else explain_system_error(cause)
        raise VideoError(f"cannot write {path}: {said}") from error


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """Give a folder beside the file; elsewhere where OpenCV would break at its name."""
    try:
        os.fspath(parent).encode()
        beside: Path | None = parent
    except UnicodeEncodeError:
        beside = None
    with scratch_folder(".dfer-", beside) as folder:
        yield folder


def _make_even(image_rgb: np.ndarray) -> np.ndarray:
    height, width = image_rgb.shape[:2]
    if height % 2 or width % 2:
        image_rgb = np.pad(image_rgb, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    return np.ascontiguousarray(image_rgb)


class _H264:
    """An MP4 file of one H.264 stream, whose colours are those of HD video (BT.709)."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        has_h264 = "libx264" in av.codecs_available
        rate = Fraction(fps).limit_denominator(MAX_DENOMINATOR)
        self._output = av.open(
            str(path.absolute()), "w", format="mp4", options={"movflags": "+faststart"}
        )
        codec, options = ("libx264", H264) if has_h264 else ("mpeg4", MPEG4)
        self._step = 1 / rate
        self._stream = cast(VideoStream, self._output.add_stream(codec, rate=rate, options=options))
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.color_range = ColorRange.MPEG
        context.colorspace = Colorspace.ITU709
        context.color_primaries = context.color_trc = int(Colorspace.ITU709)  # 1 is BT.709 in each
        self._count = 0

    def write(self, image_rgb: np.ndarray) -> None:
        frame = av.VideoFrame.from_ndarray(image_rgb, format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            interpolation=Interpolation.BICUBIC,
            threads=1,
        )
        frame.pts, frame.time_base = self._count, self._step
        self._count += 1
        self._output.mux(self._stream.encode(frame))

    def finish(self) -> None:
        self._output.mux(self._stream.encode(None))
        self._output.close()

    def abandon(self) -> None:
        with suppress(av.FFmpegError):
            self._output.close()


class _OpenCV:
    """OpenCV's own encoder: MPEG-4, no sound."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, fps, size)
        if not self._writer.isOpened():
            raise VideoError("OpenCV has no MPEG-4 encoder for it")

    def write(self, image_rgb: np.ndarray) -> None:
        self._writer.write(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))

    def finish(self) -> None:
        self._writer.release()

    def abandon(self) -> None:
        self._writer.release()


def write_video(path: Path, images_rgb: Iterable[np.ndarray], fps: float) -> None:
    """Write frames of one size by OpenCV: small MPEG-4 files, such as the demo's.

    `path` is replaced only when it is whole. An odd side loses its last row or column: MPEG-4 has
    even ones only.

    Raises:
        VideoError: OpenCV was built without an MPEG-4 encoder, or there is no frame.
    """
    with replacing(path) as partial, _scratch(path.parent) as folder:
        encoder: _OpenCV | None = None
        for image_rgb in images_rgb:
            if encoder is None:
                size = (image_rgb.shape[1], image_rgb.shape[0])
                try:
                    encoder = _OpenCV(folder / f"video{path.suffix}", size, fps)
                except VideoError as error:
                    raise VideoError(f"cannot write {path}: {error}") from error
            encoder.write(image_rgb)
        if encoder is None:
            raise VideoError(f"cannot write {path}: no frames were given")
        encoder.finish()
        shutil.move(folder / f"video{path.suffix}", partial)
