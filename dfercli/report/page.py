"""An HTML page in one file: no script, no font, no other file, no network."""

import base64
import hashlib
import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from dfercli.errors import DataError
from dfercli.files import check_claim, claim_files, replacing, write_text
from dfercli.media.figure_style import PIXELS_PER_POINT, to_png

NUMBER = re.compile(r"[\d.,±–% -]*")
"""A cell of a numeric column."""

POLICY = "default-src 'none'; img-src data:; style-src"
"""Start of the page's content security policy; it identifies a page that dfer wrote."""

POLICY_BYTES = 1024
"""Bytes at the start of a page that contain the policy (our choice)."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A figure or a PNG written by `to_png`, with its caption.

    `alt` describes it to people who cannot see it; `enlarged` is the CSS pixels per point where
    there is room.
    """

    image: Figure | bytes
    alt: str
    caption: str
    enlarged: float = 1.5
    kind: ClassVar[str] = "picture"

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise ValueError("a picture needs a description for people who cannot see it")
        if isinstance(self.image, bytes) and not self.image.startswith(PNG_SIGNATURE):
            raise ValueError("a picture must be a figure or a PNG")

    @cached_property
    def png(self) -> bytes:
        """The picture as PNG."""
        return to_png(self.image) if isinstance(self.image, Figure) else self.image

    @property
    def base64(self) -> Markup:
        """The PNG in base64."""
        return Markup(base64.b64encode(self.png).decode())

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height in CSS pixels at one pixel per point."""
        width, height = struct.unpack(">II", self.png[16:24])
        return width // PIXELS_PER_POINT, height // PIXELS_PER_POINT

    @property
    def width_range_px(self) -> tuple[int, int]:
        """Least and greatest width on the page, in CSS pixels."""
        width = self.size_px[0]
        return width, round(self.enlarged * width)


@dataclass(frozen=True)
class Grid:
    """A table; its first column names the rows, and numeric columns are aligned to the right."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    kind: ClassVar[str] = "grid"

    @property
    def is_numeric(self) -> list[bool]:
        """Whether each column contains only numbers; never the first."""
        return [
            index > 0 and all(NUMBER.fullmatch(row[index]) for row in self.rows)
            for index in range(len(self.headers))
        ]


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text; a note warns, or says that something is missing."""

    words: str
    note: bool = False
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Command:
    """A command line."""

    line: str
    kind: ClassVar[str] = "command"


Part = Picture | Grid | Text | Command


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading, listed in the contents."""

    title: str
    parts: Sequence[Part]

    @property
    def groups(self) -> list[list[Part]]:
        """Consecutive parts of one kind; pictures of a group stand side by side if they fit."""
        return [list(group) for _, group in groupby(self.parts, type)]

    @property
    def pictures(self) -> list[Picture]:
        """The section's pictures."""
        return [part for part in self.parts if isinstance(part, Picture)]


def write_pictures(sections: Sequence[Section], folder: Path) -> None:
    """Write each picture of a page as PNG and, if it is a figure, as PDF.

    The files are named after the section and the picture's number in it.

    Raises:
        DataError: A file of such a name exists that dfer did not write.
    """
    pictures = {
        f"{re.sub('[^a-z]+', '-', section.title.lower())}-{number}": picture
        for section in sections
        for number, picture in enumerate(section.pictures, start=1)
    }
    pngs = {folder / f"{name}.png": picture.png for name, picture in pictures.items()}
    pdfs = {
        folder / f"{name}.pdf": picture.image
        for name, picture in pictures.items()
        if isinstance(picture.image, Figure)
    }
    check_claim([*pngs, *pdfs])
    claim_files([*pngs, *pdfs])
    for path, png in pngs.items():
        with replacing(path) as partial:
            partial.write_bytes(png)
    for path, figure in pdfs.items():
        with replacing(path) as partial:
            figure.savefig(partial, format="pdf", metadata={"CreationDate": None})


def write_page(
    title: str, provenance: Mapping[str, str], sections: Sequence[Section], path: Path
) -> None:
    """Write the page to an `.html` file that `check_page` accepts, atomically.

    `provenance` says where the contents come from, by name; it is shown below the heading.
    """
    check_page(path)
    write_text(path, render_page(title, provenance, sections))


def check_page(path: Path) -> None:
    """Check that a page can be written without replacing a file that dfer did not write.

    Raises:
        DataError: The path exists and is not a page of dfer's.
    """
    if not os.path.lexists(path):
        return
    try:
        with path.open("rb") as stream:
            is_page = POLICY.encode() in stream.read(POLICY_BYTES)
    except OSError:  # a folder, or a loop of links
        is_page = False
    if not is_page:
        raise DataError(
            f"{path} exists and was not written by dfer; choose another file with --out"
        )


def render_page(title: str, provenance: Mapping[str, str], sections: Sequence[Section]) -> str:
    """Return the page's HTML; see `write_page` for the arguments."""
    folder = Path(__file__).parent
    ranges = {picture.width_range_px for section in sections for picture in section.pictures}
    rules = "".join(
        f".w{least}-{most}{{min-width:{least}px;max-width:{most}px}}\n"
        for least, most in sorted(ranges)
    )
    css = "\n" + (folder / "page.css").read_text(encoding="utf-8") + rules
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        finalize=_replace_unprintable,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(
        title=title,
        policy=Markup(f"{POLICY} 'sha256-{digest}'; base-uri 'none'; form-action 'none'"),
        css=Markup(css),
        provenance=provenance,
        sections=sections,
    )


def _replace_unprintable(value: Any) -> str:
    """Replace lone surrogates and control characters, which are not text on a UTF-8 page."""
    if isinstance(value, Markup):
        return value
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return "".join(char if char.isprintable() or char.isspace() else "\ufffd" for char in text)
