"""The ffmpeg program, where it is installed: how it is run, and how it puts sound to a picture."""

import json
import os
import shutil
import subprocess
from pathlib import Path

AAC = ("-c:a", "aac", "-b:a", "192k")
"""Sound that every player knows, at a rate that is not heard (our choice)."""

NO_FFMPEG = "ffmpeg is not installed"
NO_SOUND = "the video has none"


def add_sound(picture: Path, source: Path, whole: Path) -> str | None:
    """Write the picture with the first sound of a video; say why not where that cannot be."""
    if source.is_dir():
        return NO_SOUND
    if not shutil.which("ffmpeg"):
        return NO_FFMPEG
    codec, delay_s = _probe_sound(source)
    if codec == "":
        return NO_SOUND
    failure = ""
    for encoder in [("-c:a", "copy"), AAC] if codec == "aac" else [AAC]:
        done = run(
            *("ffmpeg", "-v", "error", "-nostdin", "-y"),
            *("-itsoffset", f"{delay_s:.6f}", "-i", literal_name(picture)),
            *("-i", literal_name(source)),
            *("-map", "0:v:0", "-map", "1:a:0", "-map_chapters", "-1", "-c:v", "copy", *encoder),
            *("-movflags", "+faststart", literal_name(whole)),
        )
        if done.returncode == 0:
            return None
        whole.unlink(missing_ok=True)
        failure = last_line(done.stderr)
    return f"ffmpeg could not take it over: {failure}"


def _probe_sound(source: Path) -> tuple[str | None, float]:
    """Give the codec of a video's first sound, and the seconds that its picture begins later.

    The codec is "" where there is no sound, and None where that is not known.
    """
    if not shutil.which("ffprobe"):
        return None, 0.0
    entries = "stream=codec_type,codec_name,start_time:format=start_time"
    done = run(
        "ffprobe", "-v", "error", "-of", "json", "-show_entries", entries, literal_name(source)
    )
    try:
        found = json.loads(done.stdout)
        sounds = [each for each in found["streams"] if each.get("codec_type") == "audio"]
        pictures = [each for each in found["streams"] if each.get("codec_type") == "video"]
        starts = [float(each.get("start_time", 0)) for each in (*pictures[:1], found["format"])]
    except (ValueError, KeyError, AttributeError):
        return None, 0.0
    delay_s = max(0.0, starts[0] - starts[-1])
    return (sounds[0].get("codec_name") if sounds else ""), delay_s


def run(*command: str) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, out of reach of Ctrl-C, which ends it through us."""
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True, check=False
    )


def literal_name(path: Path) -> str:
    """Give a path as ffmpeg takes it literally, whatever letters it has."""
    return f"file:{os.fspath(path)}"


def last_line(said: bytes) -> str:
    """Give what a program said last, which is mostly why it failed."""
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it did not say why"
