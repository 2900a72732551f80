"""The lines of a journal on disk: where those of each finished video are, and what made them."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from dfercli.bulk.document import Record, Recorded
from dfercli.errors import ConfigError

SEAL = "seal"
"""Entry of a closing line: see `Sealer`."""

Place = tuple[int, int]
"""First byte and length of a line."""


@dataclass(frozen=True)
class Finished:
    """Where the lines of one video are."""

    windows: list[Place]
    closing: Place
    status: str


class Index:
    """Where the lines of videos are; one that is read again counts once it is closed again.

    Attributes:
        closed: By title.
    """

    def __init__(self) -> None:
        self.closed: dict[str, Finished] = {}
        self._windows: dict[str, list[Place]] = {}

    def begin(self) -> None:
        """Begin the lines of another call: what the one before was reading is broken off."""
        self._windows.clear()

    def enter(self, values: Record, place: Place) -> None:
        """Take note of a line."""
        video = str(values.get("video"))
        if values["type"] == "window":
            self._windows.setdefault(video, []).append(place)
        else:
            windows = self._windows.pop(video, [])
            self.closed[video] = Finished(windows, place, str(values.get("status")))


@dataclass
class Scan:
    """What earlier calls have left.

    Attributes:
        ours: Lines that were made as now.
        others: Status of the videos that were read otherwise, by title.
        end: Bytes up to the first line that is cut off or damaged.
    """

    ours: Index = field(default_factory=Index)
    others: dict[str, str] = field(default_factory=dict)
    end: int = 0

    @property
    def statuses(self) -> dict[str, str]:
        """Status of all videos, by title."""
        return self.others | {title: each.status for title, each in self.ours.closed.items()}


def scan(path: Path, origin: Record) -> Scan:
    """Read where the lines of each video are, up to the first that is cut off or damaged.

    Args:
        path: The journal, which need not be there.
        origin: What makes predictions now.

    Raises:
        ConfigError: The file is there, and not ours.
    """
    found = Scan()
    if not os.path.lexists(path):
        return found
    if not path.is_file():
        raise ConfigError(f"{path} was not written by dfer; name another file than it")
    is_ours = False
    with path.open("rb") as stream:
        for line in stream:
            values = _parse(line)
            if found.end == 0 and not line.strip(b"\0\n"):
                raise ConfigError(
                    f"{path} is damaged: it holds nothing but zeros, as after a power failure; "
                    f"remove it, and all videos are predicted again"
                )
            if found.end == 0 and (values is None or "checkpoint" not in values):
                raise ConfigError(f"{path} was not written by dfer; name another file than it")
            if values is None:
                break
            if values["type"] == "settings":
                is_ours = _is_same_origin(values, origin)
                found.ours.begin()
            elif is_ours:
                found.ours.enter(values, (found.end, len(line)))
            elif values["type"] == "video":
                found.others[str(values.get("video"))] = str(values.get("status"))
            found.end += len(line)
    return found


def read_video(stream: BinaryIO, lines: Finished) -> Recorded:
    """Read a video as its closing line has it, and its windows in order of time.

    Windows of a face that was not named in the end are left out.
    """
    record = _without(read_line(stream, lines.closing), "type", SEAL)
    told = {track["track"] for track in record["tracks"]}
    windows = [_without(read_line(stream, place), "type", "video") for place in lines.windows]
    shown = [window for window in windows if window["track"] in told]
    return record, sorted(shown, key=lambda window: (window["start_s"], window["track"]))


def read_line(stream: BinaryIO, place: Place) -> Record:
    """Read the values of a line."""
    values: Record = json.loads(read_bytes(stream, place))
    return values


def read_bytes(stream: BinaryIO, place: Place) -> bytes:
    """Read a line as it is."""
    stream.seek(place[0])
    return stream.read(place[1])


class Sealer:
    """Hashes all lines of a video, so that a number that somebody changed in one is noticed."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, line: bytes) -> None:
        """Add the line of a window, exactly as written to the file."""
        self._digest.update(line)

    def close(self, closing: Record) -> str:
        """Add the closing line without its seal, and return the seal."""
        values = _without(closing, "type", SEAL)
        self._digest.update(json.dumps(values, sort_keys=True).encode())
        return self._digest.hexdigest()


def make_seal(windows: Iterable[bytes], closing: Record) -> str:
    """Return the seal of a video, of the lines of its windows and the values of its closing one."""
    sealer = Sealer()
    for line in windows:
        sealer.add(line)
    return sealer.close(closing)


def is_sealed(stream: BinaryIO, lines: Finished) -> bool:
    """Return whether the lines of a video are as they were written."""
    closing = read_line(stream, lines.closing)
    windows = (read_bytes(stream, place) for place in lines.windows)
    return bool(closing.get(SEAL) == make_seal(windows, closing))


def _is_same_origin(head: Record, origin: Record) -> bool:
    """Whether predictions are made alike: a checkpoint whose content is known may be moved."""
    if "checkpoint" not in head:
        return False
    one, other = (
        {**each, "type": "", "checkpoint": each["checkpoint"]["sha256"] or each["checkpoint"]}
        for each in (head, origin)
    )
    return one == other


def _parse(line: bytes) -> Record | None:
    """Give a line's values; None where it is cut off or none of ours."""
    try:
        values: Any = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return values if isinstance(values, dict) and "type" in values else None


def _without(record: Record, *names: str) -> Record:
    return {name: value for name, value in record.items() if name not in names}
