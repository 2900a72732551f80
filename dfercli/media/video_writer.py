"""Write videos frame by frame: H.264 with sound, or OpenCV's MPEG-4 for the demo."""

import heapq
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

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

from dfercli.errors import VideoError, explain_system_error, find_system_error, first_line
from dfercli.files import replacing, scratch_folder
from dfercli.media.container import count_packets, find_picture, find_start_s, opened_file
from dfercli.media.video import WHOLE, Part

NO_SOUND = "the video has none"
"""Reason for a silent video."""

AAC_BITS = 192_000
"""Bits per second of re-encoded sound (our choice: no audible loss)."""

AAC_RATES = (
    *(96000, 88200, 64000, 48000, 44100, 32000),
    *(24000, 22050, 16000, 12000, 11025, 8000, 7350),
)
"""Sample rates of AAC. Source: ISO 14496-3, table 1.18."""


def add_sound(picture: Path, source: Path, output: Path, part: Part = WHOLE) -> str | None:
    """Write an MP4 file with the picture of one video and the first sound track of another.

    The sound keeps its offset from the first frame of its own video. AAC is copied, other codecs
    are re-encoded, and so is AAC that cannot be copied. The frames of `picture`, an MP4 file, are
    copied; they are those of a part of the video. `output` does not exist afterwards if the sound
    cannot be used; the result is the reason, or None.
    """
    if source.is_dir():
        return NO_SOUND
    reason = ""
    for copy in (True, False):
        try:
            with opened_file(source) as container, av.open(str(picture.absolute())) as frames:
                if not container.streams.audio:
                    return NO_SOUND
                sound = container.streams.audio[0]
                if copy and sound.codec_context.name != "aac":
                    continue
                _write(frames, container, sound, output, copy, part)
                return None
        except (av.FFmpegError, OSError, ValueError, VideoError, AttributeError) as error:
            output.unlink(missing_ok=True)
            reason = first_line(error)
    return f"it cannot be used: {reason}"


def _write(
    frames: InputContainer,
    source: InputContainer,
    sound: AudioStream,
    path: Path,
    copy: bool,
    part: Part,
) -> None:
    start = Fraction(source.start_time or 0, av.time_base)
    picture_start = Fraction(find_start_s(find_picture(source)))
    delay = max(Fraction(0), picture_start - start)
    packets = source.demux(sound)
    if not part.is_whole:
        start, delay = picture_start + Fraction(part.start_s), Fraction(0)
        packets = _cut(packets, start, float(picture_start) + part.end_s)
    picture = frames.streams.video[0]
    with av.open(
        str(path.absolute()), "w", format="mp4", options={"movflags": "+faststart"}
    ) as output:
        picture_out = output.add_stream_from_template(picture)
        if copy:
            sound_out = output.add_stream_from_template(sound)
            sounds = _shift(_drop_empty(packets), sound_out, -start)
        else:
            own_rate = sound.codec_context.sample_rate
            rate = min(AAC_RATES, key=lambda rate: abs(rate - own_rate))
            sound_out = output.add_stream("aac", rate=rate)
            sound_out.bit_rate = AAC_BITS
            sound_out.layout = "mono" if sound.codec_context.channels == 1 else "stereo"
            sounds = _encode(packets, sound_out, start)
        pictures = _shift(_drop_empty(frames.demux(picture)), picture_out, delay)
        in_order = heapq.merge(
            pictures, sounds, key=lambda packet: float((packet.dts or 0) * (packet.time_base or 0))
        )
        for packet in in_order:
            output.mux(packet)


def _drop_empty(packets: Iterator[Packet]) -> Iterator[Packet]:
    """Return the packets of a stream without the last, empty one."""
    return (packet for packet in packets if packet.dts is not None)


def _cut(
    packets: "Iterator[Packet[AudioStream]]", start: Fraction, end_s: float
) -> "Iterator[Packet[AudioStream]]":
    """Yield the packets from a start to an end, by the container's clock, and empty ones."""
    for packet in packets:
        time = None if packet.pts is None else packet.pts * (packet.time_base or 0)
        if time is not None and time >= end_s:
            return
        if time is None or time >= start:
            yield packet


def _shift(packets: Iterator[Packet], stream: Stream, by: Fraction) -> Iterator[Packet]:
    """Delay packets by some seconds and assign them to another stream."""
    for packet in packets:
        assert packet.time_base is not None  # of a stream
        steps = round(by / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + steps
        packet.dts = None if packet.dts is None else packet.dts + steps
        packet.stream = stream
        yield packet


def _encode(
    packets: "Iterator[Packet[AudioStream]]", stream: AudioStream, start: Fraction
) -> Iterator[Packet]:
    """Re-encode sound; damaged packets are skipped."""
    position = 0
    for piece in _resample(packets, stream, start):
        # Times may step back where two files were joined.
        piece.pts = position if piece.pts is None else max(position, piece.pts)
        piece.time_base = Fraction(1, stream.rate)
        position = piece.pts + piece.samples
        yield from stream.encode(piece)
    if position == 0:
        raise VideoError("none of it can be decoded")
    yield from stream.encode(None)


def _resample(
    packets: "Iterator[Packet[AudioStream]]", stream: AudioStream, start: Fraction
) -> Iterator[av.AudioFrame]:
    """Decode sound and convert it to the format of an output stream."""
    resampler, form = None, None
    for packet in packets:
        try:
            decoded = packet.decode()
        except av.FFmpegError:
            continue
        for frame in decoded:
            frame_form = (frame.format.name, frame.layout.name, frame.sample_rate)
            if resampler is None or frame_form != form:  # broadcasts change it midway
                if resampler is not None:
                    yield from resampler.resample(None)
                resampler = AudioResampler("fltp", stream.layout, stream.rate)
                form = frame_form
            if frame.pts is not None and frame.time_base is not None:
                # Count samples: containers such as AVI count packets, which span several frames.
                frame.pts = round((frame.pts * frame.time_base - start) * frame.sample_rate)
                frame.time_base = Fraction(1, frame.sample_rate)
            yield from resampler.resample(frame)
    if resampler is not None:
        yield from resampler.resample(None)


H264 = {"preset": "veryfast", "crf": "20"}
"""Fast, of moderate size and hardly distinguishable from the source (our choice)."""

MPEG4 = {"qscale": "3"}
"""Similar quality, for an FFmpeg without H.264 (our choice)."""

MAX_DENOMINATOR = 1001
"""Largest denominator of a frame rate. Source: SMPTE's rates, such as 30000/1001."""


@dataclass(frozen=True)
class WrittenVideo:
    """A video that was written; `why_silent` is None if it has sound."""

    path: Path
    num_frames: int
    why_silent: str | None


class VideoWriter:
    """Encoder for the frames of one video; made by `open_writer`.

    Attributes:
        num_frames: Frames written so far.
        why_silent: Why there is no sound; None if there is. Known after the block.
        left_out: Set it to a reason to leave the sound out.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.num_frames = 0
        self.why_silent: str | None = NO_SOUND
        self.left_out: str | None = None
        self._path, self._fps = path, fps
        self._shape: tuple[int, ...] = ()
        self._encoder: _H264 | None = None

    def write(self, image_rgb: np.ndarray, times: int = 1) -> None:
        """Add a (H, W, 3) uint8 frame, `times` times.

        The last row or column of an odd side is repeated, since encoders need even sides.

        Raises:
            VideoError: The encoder cannot be started or stopped, or the size has changed.
        """
        image_rgb = _make_even(image_rgb)
        if self._encoder is None:
            self._shape = image_rgb.shape
            self._encoder = _H264(self._path, (self._shape[1], self._shape[0]), self._fps)
        if image_rgb.shape != self._shape:
            raise VideoError(
                f"all frames must have the same size: {image_rgb.shape} follows {self._shape}"
            )
        for _ in range(times):
            self._encoder.write(image_rgb)
            self.num_frames += 1

    def _finish(self) -> None:
        if self._encoder is None:
            raise VideoError("it has no frames")
        self._encoder.finish()
        count = count_packets(self._path)
        if count != self.num_frames:
            raise VideoError(
                f"it has only {count} of {self.num_frames} frames; check the free disk space"
            )


@contextmanager
def open_writer(
    path: Path, fps: float, sound_of: Path | None = None, part: Part = WHOLE
) -> Iterator[VideoWriter]:
    """Write an MP4 file atomically: it appears when the block ends without an error.

    The first sound track of `sound_of`, or this part of it, is added after the picture is complete,
    so that broken sound cannot spoil it. The packets of the result are counted. Memory does not
    grow with the length.

    Raises:
        VideoError: No frame was written, or the file cannot be written.
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
        with_sound = folder / "whole.mp4"
        if sound_of is not None:
            writer.why_silent = writer.left_out or add_sound(picture, sound_of, with_sound, part)
            if with_sound.exists() and count_packets(with_sound) != writer.num_frames:
                raise VideoError(f"cannot write {path}: it is truncated; check the free disk space")
        shutil.move(with_sound if with_sound.exists() else picture, partial)


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Add the name of the file to errors."""
    try:
        yield
    except VideoError as error:
        raise VideoError(f"cannot write {path}: {error}") from error
    except av.FFmpegError as error:
        cause = find_system_error(error)
        reason = first_line(error) if cause is None else explain_system_error(cause)
        raise VideoError(f"cannot write {path}: {reason}") from error


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """Provide a folder beside the file, or elsewhere if OpenCV cannot open its name."""
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
    """An MP4 file with one H.264 stream in the colours of HD video (BT.709)."""

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


def write_video(path: Path, images_rgb: Iterable[np.ndarray], fps: float) -> None:
    """Write frames of one size by OpenCV: small MPEG-4 files without sound, for the demo.

    The file is replaced atomically. An odd side loses its last row or column, since MPEG-4 needs
    even sides.

    Raises:
        VideoError: OpenCV was built without an MPEG-4 encoder, or there is no frame.
    """
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    with replacing(path) as partial, _scratch(path.parent) as folder:
        scratch = folder / f"video{path.suffix}"
        writer: cv2.VideoWriter | None = None
        for image_rgb in images_rgb:
            if writer is None:
                size = (image_rgb.shape[1], image_rgb.shape[0])
                writer = cv2.VideoWriter(str(scratch), cv2.CAP_FFMPEG, codec, fps, size)
                if not writer.isOpened():
                    raise VideoError(f"cannot write {path}: OpenCV has no MPEG-4 encoder for it")
            writer.write(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))
        if writer is None:
            raise VideoError(f"cannot write {path}: it has no frames")
        writer.release()
        shutil.move(scratch, partial)
