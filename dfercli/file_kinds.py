"""Files that FFmpeg would take for videos though they are none: what they are instead."""

from pathlib import Path
from shlex import quote

from dfercli.errors import VideoError
from dfercli.system_errors import explain_system_error

PLAYLISTS = (b"#extm3u", b"ffconcat", b"<mpd", b"<compositionplaylist", b"c=in ip", b"# vobsub")
"""What the texts say, in small letters, that FFmpeg takes for videos and that name other files or
addresses. Source: its `read_probe` functions in hls, concatdec, dashdec, imfdec, rtsp, mpeg."""

ID3_HEADER = 10
"""Bytes before an ID3 tag, and behind one that has a footer. Source: id3.org, id3v2.4.0, 3.1."""

PROBED = 1 << 20
"""Bytes that FFmpeg tells the kind of a file from. Source: `PROBE_BUF_MAX`."""

ARCHIVES = {
    b"PK\x03\x04": "a ZIP archive",
    b"PK\x05\x06": "a ZIP archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x1f\x8b": "packed by gzip",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ\x00": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by Zstandard",
}
"""How archives begin: FFmpeg reads the first photo in them. Source: their specifications."""

TAR, TAR_AT = b"ustar", 257
"""What a tar archive says, and where. Source: POSIX.1-2008, pax."""

PDF = b"%PDF-"
"""How a PDF document begins. Source: ISO 32000-1, 7.5.2."""

PHOTOS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"avif": "AVIF"}
"""Brands of photos in boxes. Source: ISO 23008-12, annex B; AVIF, section 6."""

TILED = b"grid"
"""Kind of a photo that is put together of tiles, which FFmpeg gives one by one. Source: ISO
23008-12, 6.6.2.3."""


def describe_other_kind(path: Path) -> str | None:
    """Return the kind of a file that contains or names pictures but is no video, else None.

    Raises:
        VideoError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(PROBED)
    except OSError as error:
        raise VideoError(f"cannot read {path}: {explain_system_error(error)}") from error
    kind = next((name for magic, name in ARCHIVES.items() if head.startswith(magic)), None)
    if head[TAR_AT:].startswith(TAR):
        kind = "a tar archive"
    if kind is not None:
        return f"{kind}; unpack it, and name what is in it"
    if head.startswith(PDF):
        return "a PDF document; save its pictures, and name these"
    photo = PHOTOS.get(head[8:12]) if head[4:8] == b"ftyp" else None
    if photo is not None and TILED in head.partition(b"mdat")[0]:
        converted = f"magick {quote(path.name)} {quote(path.stem)}.jpg"
        return f"a photo in {photo}, stored in tiles; convert it, for example: {converted}"
    return "a playlist, which names other files; give these" if _is_playlist(path) else None


def _is_playlist(path: Path) -> bool:
    """Return whether FFmpeg would read other files than this one.

    No container begins with so much text that a mark stands in it before the first zero byte, but
    what names others does, whatever its suffix. FFmpeg looks behind ID3 tags, and so do we.
    """
    try:
        with path.open("rb") as file:
            head = file.read(PROBED)
            while head.startswith(b"ID3") and len(head) > ID3_HEADER:
                seven_bits = head[6:ID3_HEADER]
                size = sum((byte & 127) << 7 * place for place, byte in enumerate(seven_bits[::-1]))
                footer = ID3_HEADER if head[5] & 16 else 0
                file.seek(size + footer - len(head) + ID3_HEADER, 1)
                head = file.read(PROBED)
    except OSError as error:
        raise VideoError(f"cannot read {path}: {explain_system_error(error)}") from error
    text = head.partition(b"\0")[0].lower()
    return any(mark in text for mark in PLAYLISTS)
