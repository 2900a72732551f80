"""Videos written frame by frame: H.264 with sound where ffmpeg is installed, else OpenCV's MPEG-4.

Frames are RGB, uint8, HWC. BGR, which OpenCV encodes, does not leave this file.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Protocol

import cv2
import numpy as np

from dfercli.errors import VideoError
from dfercli.ffmpeg import NO_SOUND, add_sound, last_line, literal_name, run
from dfercli.files import replacing, scratch_folder

H264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20")
"""Hardly to be told from the source, at a size and a speed that suit (our choice)."""

MPEG4 = ("-c:v", "mpeg4", "-q:v", "3")
"""For an ffmpeg without H.264, as some systems ship it: near the same quality (our choice)."""


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
        self._encoder: _Encoder | None = None

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
            make = _Ffmpeg if shutil.which("ffmpeg") else _OpenCV
            self._encoder = make(self._path, (self._shape[1], self._shape[0]), self._fps)
        if image_rgb.shape != self._shape:
            raise VideoError(f"a video has one size: {image_rgb.shape} came after {self._shape}")
        for _ in range(times):
            self._encoder.write(image_rgb)
            self.num_frames += 1

    def _finish(self) -> None:
        if self._encoder is None:
            raise VideoError("no frames were given")
        self._encoder.finish()


@contextmanager
def open_writer(path: Path, fps: float, sound_of: Path | None = None) -> Iterator[VideoWriter]:
    """Write an MP4 file that takes its place when the block ends well.

    The picture is written first and the sound put beside it then, so that no sound, however broken,
    costs the picture. Memory does not grow with the length. After an error, or Ctrl-C, nothing is
    left, neither file nor ffmpeg.

    Args:
        path: The file.
        fps: Frames a second.
        sound_of: A video whose first sound is taken, as it is where it is AAC; it keeps its place
            in time to that video's first frame.

    Raises:
        VideoError: No frame was given, or an encoder failed; its last line says why.
    """
    with replacing(path) as partial, _scratch(path.parent) as folder:
        picture = folder / "picture.mp4"
        writer = VideoWriter(picture, fps)
        try:
            yield writer
            writer._finish()
        except VideoError as error:
            raise VideoError(f"cannot write {path}: {error}") from error
        finally:
            if writer._encoder is not None:
                writer._encoder.abandon()
        whole = folder / "whole.mp4"
        if sound_of is not None:
            writer.why_silent = writer.left_out or add_sound(picture, sound_of, whole)
        shutil.move(whole if whole.exists() else picture, partial)


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


class _Encoder(Protocol):
    """What writes the picture."""

    def write(self, image_rgb: np.ndarray) -> None: ...

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


class _Ffmpeg:
    """An ffmpeg that is fed raw frames by a pipe.

    Neither matrix nor range of the colours is named: OpenCV decoded with the matrix that ffmpeg
    takes by itself, so the file has the values of the source.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (a pipe that nobody reads would fill)
        self._process = subprocess.Popen(
            [
                *("ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"),
                *(
                    "-s",
                    f"{size[0]}x{size[1]}",
                    "-r",
                    str(Fraction(fps).limit_denominator(1001)),
                    "-i",
                    "pipe:0",
                ),
                *(*_video_codec(), "-pix_fmt", "yuv420p", "-movflags", "+faststart"),
                literal_name(path),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            start_new_session=True,  # Ctrl-C is for us: we end it
        )

    @property
    def _pipe(self) -> IO[bytes]:
        assert self._process.stdin is not None  # it was asked for
        return self._process.stdin

    def write(self, image_rgb: np.ndarray) -> None:
        try:
            self._pipe.write(image_rgb.data)
        except BrokenPipeError:
            raise self._failure() from None

    def finish(self) -> None:
        with suppress(BrokenPipeError):
            self._pipe.close()
        if self._process.wait() != 0:
            raise self._failure()

    def abandon(self) -> None:
        self._process.kill()
        with suppress(OSError):
            self._pipe.close()
        self._process.wait()
        self._said.close()

    def _failure(self) -> VideoError:
        self._process.wait()
        self._said.seek(0)
        return VideoError(f"ffmpeg failed: {last_line(self._said.read())}")


class _OpenCV:
    """OpenCV's own encoder: MPEG-4, no sound."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, fps, size)
        if not self._writer.isOpened():
            raise VideoError("OpenCV has no MPEG-4 encoder here; install ffmpeg")

    def write(self, image_rgb: np.ndarray) -> None:
        self._writer.write(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))

    def finish(self) -> None:
        self._writer.release()

    def abandon(self) -> None:
        self._writer.release()


def _video_codec() -> Sequence[str]:
    return H264 if b"libx264" in run("ffmpeg", "-v", "error", "-encoders").stdout else MPEG4


def write_video(path: Path, images_rgb: Iterable[np.ndarray], fps: float) -> None:
    """Write frames of one size by OpenCV, so that the file is the same with ffmpeg and without.

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
