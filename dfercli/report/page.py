"""A page of HTML that needs nothing but itself: no script, no font, no file, no network."""

import base64
import hashlib
import html
import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from matplotlib.figure import Figure

from dfercli.errors import DataError
from dfercli.files import replacing, write_text
from dfercli.owned import check_claim, claim_files
from dfercli.visualize.style import PIXELS_A_POINT, to_png

NUMBER = re.compile(r"[\d.,±–% -]*")
"""What a cell of a column of numbers is made of."""

POLICY = "default-src 'none'; img-src data:; style-src"
"""How the rule begins by which the page loads nothing; it tells a page of ours from others."""

HEAD = 1024
"""Bytes of a page that hold it (our choice)."""

PNG_HEAD = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A picture with its caption.

    Attributes:
        image: A figure, or the bytes of a PNG that was drawn by `to_png`.
        alt: What it shows, for those who do not see it.
        caption: Below it.
        enlarged: How many CSS pixels a point of it takes where there is room.
    """

    image: Figure | bytes
    alt: str
    caption: str
    enlarged: float = 1.5

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise ValueError("a picture needs words for those who do not see it")
        if isinstance(self.image, bytes) and not self.image.startswith(PNG_HEAD):
            raise ValueError("a picture is a figure, or a PNG")


@dataclass(frozen=True)
class Grid:
    """A table; its first column names the rows, and columns of numbers stand to the right.

    Attributes:
        headers: Of its columns.
        rows: Of cells.
        caption: Above it.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        words: Plain text.
        note: Whether it says that something is missing, or to be careful with.
    """

    words: str
    note: bool = False


@dataclass(frozen=True)
class Command:
    """What one types.

    Attributes:
        line: The command.
    """

    line: str


Part = Picture | Grid | Text | Command


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading, which the table of contents names.

    Attributes:
        title: Its heading.
        parts: In their order; pictures that follow each other stand side by side where they can.
    """

    title: str
    parts: Sequence[Part]


def write_pictures(sections: Sequence[Section], folder: Path) -> None:
    """Write each picture of a page as PNG and as PDF, named by its section and its place there.

    Args:
        sections: Of the page; pictures that are PNG already stay so.
        folder: For the files; made if it is not there.

    Raises:
        DataError: A file of such a name is there, and dfer did not write it.
    """
    images = {
        f"{re.sub('[^a-z]+', '-', section.title.lower())}-{number}": image
        for section in sections
        for number, image in enumerate(
            [part.image for part in section.parts if isinstance(part, Picture)], start=1
        )
    }
    pngs = [folder / f"{name}.png" for name in images]
    pdfs = [folder / f"{name}.pdf" for name, image in images.items() if isinstance(image, Figure)]
    check_claim([*pngs, *pdfs])
    claim_files([*pngs, *pdfs])
    for name, image in images.items():
        with replacing(folder / f"{name}.png") as partial:
            partial.write_bytes(image if isinstance(image, bytes) else to_png(image))
        if isinstance(image, Figure):
            with replacing(folder / f"{name}.pdf") as partial:
                image.savefig(partial, format="pdf", metadata={"CreationDate": None})


def write_page(
    title: str, provenance: Mapping[str, str], sections: Sequence[Section], path: Path
) -> None:
    """Write the page, as a whole.

    Args:
        title: Its heading.
        provenance: What it was made of, by the name of each thing.
        sections: In their order.
        path: An `.html` file.
    """
    check_page(path)
    write_text(path, render_page(title, provenance, sections))


def check_page(path: Path) -> None:
    """Refuse to replace a page that dfer did not write.

    Raises:
        DataError: A file is there, and is none.
    """
    if not os.path.lexists(path):
        return
    try:
        with path.open("rb") as stream:
            is_page = POLICY.encode() in stream.read(HEAD)
    except OSError:  # a folder, a loop of links
        is_page = False
    if not is_page:
        raise DataError(f"{path} is there, and dfer did not write it; name another with --out")


def render_page(title: str, provenance: Mapping[str, str], sections: Sequence[Section]) -> str:
    """Give the page's HTML; see `write_page`."""
    widths: set[tuple[int, int]] = set()
    body = [_render_section(number, section, widths) for number, section in enumerate(sections, 1)]
    rules = "".join(
        f".w{least}-{most}{{min-width:{least}px;max-width:{most}px}}\n"
        for least, most in sorted(widths)
    )
    css = "\n" + (Path(__file__).parent / "page.css").read_text(encoding="utf-8") + rules
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"{POLICY} 'sha256-{digest}'; base-uri 'none'"
    contents = "\n".join(
        f'<li><a href="#section-{number}">{_escape(section.title)}</a></li>'
        for number, section in enumerate(sections, 1)
    )
    facts = "\n".join(
        f"<div><dt>{_escape(name)}</dt><dd>{_escape(value)}</dd></div>"
        for name, value in provenance.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{_escape(title)}</title>
<style>{css}</style>
</head>
<body>
<header>
<h1>{_escape(title)}</h1>
<dl>
{facts}
</dl>
</header>
<nav aria-labelledby="contents">
<h2 id="contents">Contents</h2>
<ol>
{contents}
</ol>
</nav>
<main>
{"".join(body)}</main>
</body>
</html>
"""


def _render_section(number: int, section: Section, widths: set[tuple[int, int]]) -> str:
    parts = "\n".join(_render_parts(section.parts, widths))
    return (
        f'<section id="section-{number}" aria-labelledby="heading-{number}">\n'
        f'<h2 id="heading-{number}">{_escape(section.title)}</h2>\n{parts}\n</section>\n'
    )


def _render_parts(parts: Sequence[Part], widths: set[tuple[int, int]]) -> Iterator[str]:
    for kind, group in groupby(parts, type):
        lines = _lines([_render_part(part, widths) for part in group])
        yield f'<div class="side">\n{lines}\n</div>' if kind is Picture else lines


def _render_part(part: Part, widths: set[tuple[int, int]]) -> str:
    if isinstance(part, Picture):
        return _render_picture(part, widths)
    if isinstance(part, Grid):
        return _render_grid(part)
    if isinstance(part, Text):
        kind = ' class="note"' if part.note else ""
        return f"<p{kind}>{_escape(part.words)}</p>"
    words = " ".join(f"<span>{_escape(word)}</span>" for word in part.line.split(" "))
    return f'<pre tabindex="0"><code>{words}</code></pre>'


def _render_picture(picture: Picture, widths: set[tuple[int, int]]) -> str:
    png = to_png(picture.image) if isinstance(picture.image, Figure) else picture.image
    width, height = (side // PIXELS_A_POINT for side in struct.unpack(">II", png[16:24]))
    most = round(picture.enlarged * width)
    widths.add((width, most))
    data = base64.b64encode(png).decode()
    return (
        f'<figure>\n<div class="scroll" tabindex="0">'
        f'<img class="w{width}-{most}" width="{width}" height="{height}" '
        f'alt="{_escape(picture.alt)}" src="data:image/png;base64,{data}"></div>\n'
        f"<figcaption>{_escape(picture.caption)}</figcaption>\n</figure>"
    )


def _render_grid(grid: Grid) -> str:
    columns = list(zip(*grid.rows, strict=True)) or [()] * len(grid.headers)
    kinds = [' class="number"' if all(map(NUMBER.fullmatch, column)) else "" for column in columns]
    kinds[0] = ""
    heads = "".join(
        f'<th scope="col"{kind}>{_escape(header)}</th>'
        for kind, header in zip(kinds, grid.headers, strict=True)
    )
    lines = [
        f'<tr><th scope="row">{_escape(row[0])}</th>'
        + "".join(
            f"<td{kind}>{_escape(cell)}</td>" for kind, cell in zip(kinds[1:], row[1:], strict=True)
        )
        + "</tr>"
        for row in grid.rows
    ]
    return (
        f"<figure>\n<figcaption>{_escape(grid.caption)}</figcaption>\n"
        f'<div class="scroll" tabindex="0">\n<table>\n<thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{_lines(lines)}\n</tbody>\n</table>\n</div>\n</figure>"
    )


def _lines(texts: Sequence[str]) -> str:
    return "\n".join(texts)


def _escape(text: str) -> str:
    """Write any text so that it is text also in an attribute, on a page that is UTF-8."""
    sound = text.encode("utf-8", "replace").decode("utf-8")
    return html.escape("".join(c if c.isprintable() or c.isspace() else "�" for c in sound))
