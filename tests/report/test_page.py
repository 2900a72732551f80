"""The page is sound HTML that loads nothing, says all in words too, and takes no text for code."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from dfercli.media.figure_style import to_png
from dfercli.report.figures import per_class_bars
from dfercli.report.page import Command, Grid, Picture, Section, Text, render_page, write_page

VOID = {"meta", "img", "link", "br", "hr", "input"}
HOSTILE = '<script>alert("1")</script>&amp;\'"><img src=x onerror=alert(1)>'


class Reader(HTMLParser):
    """Reads a page, and checks that each element that is opened is closed in its place."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts, self.css = [], [], [], ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.css += data
        elif data.strip():
            self.texts.append(data)

    def find(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def figure():
    return per_class_bars({"recall": [0.5, np.nan]}, ("$x", "<b>"))


@pytest.fixture
def page(figure):
    parts = [
        Text(HOSTILE),
        Text("take care", note=True),
        Picture(figure, HOSTILE, HOSTILE),
        Picture(to_png(figure), "bars again", "twice", enlarged=2.0),
        Grid(["", HOSTILE, "n"], [[HOSTILE, "word", "1,234"], ["b", "–", "2.5 ± 0.1"]], HOSTILE),
        Command(f"dfer train --dataset {HOSTILE}"),
    ]
    sections = [Section(HOSTILE, parts), Section("Empty", [])]
    return render_page(HOSTILE, {HOSTILE: HOSTILE, "seed": "0"}, sections)


def test_what_is_said_is_never_code(page):
    reader = Reader(page)
    tags = {tag for tag, _ in reader.elements}
    assert not tags & {"script", "iframe", "object", "embed", "link", "form", "base", "svg"}
    assert len(reader.find("img")) == 2
    assert all(not name.startswith("on") for _, attrs in reader.elements for name in attrs)
    assert all("style" not in attrs for _, attrs in reader.elements)
    # title, heading, fact twice, contents, section, paragraph, caption, head, row, table's caption
    assert reader.texts.count(HOSTILE) == 11
    assert reader.find("img")[0]["alt"] == HOSTILE


def test_nothing_is_loaded_from_anywhere(page):
    reader = Reader(page)
    for image in reader.find("img"):
        assert image["src"].startswith("data:image/png;base64,")
    addresses = [
        value
        for tag, attrs in reader.elements
        for name, value in attrs.items()
        if name in ("href", "src", "srcset", "action", "poster", "background", "data", "xlink:href")
    ]
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in addresses)
    assert not re.search(r"https?:|//\w|url\(|@import|@font-face", reader.css)
    assert "://" not in page


def test_the_policy_forbids_what_the_page_does_not_have(page):
    reader = Reader(page)
    (policy,) = [
        meta["content"]
        for meta in reader.find("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digest = base64.b64encode(hashlib.sha256(reader.css.encode()).digest()).decode()
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    before = page.index("Content-Security-Policy")
    assert before < page.index("<style") < page.index("<body")


def test_pictures_keep_their_size_and_say_what_they_show(page, figure):
    reader = Reader(page)
    one, two = reader.find("img")
    for image in (one, two):
        assert image["alt"].strip()
        png = base64.b64decode(image["src"].partition(",")[2])
        with Image.open(io.BytesIO(png)) as opened:
            assert opened.width // 3 == int(image["width"])
            assert opened.height // 3 == int(image["height"])
    assert int(one["width"]) == int(72 * figure.get_figwidth()) <= 346
    assert f".{one['class']}{{min-width:345px;max-width:518px}}" in reader.css
    assert f".{two['class']}{{min-width:345px;max-width:690px}}" in reader.css


def test_headings_and_contents_lead_through_the_page(page):
    reader = Reader(page)
    tags = [tag for tag, _ in reader.elements]
    assert tags.count("h1") == tags.count("main") == tags.count("nav") == 1
    targets = [attrs["href"].removeprefix("#") for attrs in reader.find("a")]
    sections = reader.find("section")
    assert targets == [section["id"] for section in sections] == ["section-1", "section-2"]
    headings = [heading.get("id") for heading in reader.find("h2")]
    assert [section["aria-labelledby"] for section in sections] == headings[1:]
    ids = [attrs["id"] for _, attrs in reader.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert reader.find("html")[0]["lang"] == "en"
    assert {"viewport", "color-scheme"} <= {meta.get("name") for meta in reader.find("meta")}
    assert "prefers-color-scheme: dark" in reader.css


def test_tables_have_heads_and_numbers_to_the_right(page):
    reader = Reader(page)
    heads = [(attrs["scope"], attrs.get("class")) for attrs in reader.find("th")]
    assert heads == [("col", None), ("col", None), ("col", "number"), ("row", None), ("row", None)]
    assert [cell.get("class") for cell in reader.find("td")] == [None, "number"] * 2
    assert len(reader.find("figcaption")) == 3  # of two pictures and the table


def test_a_command_is_whole_when_copied(page):
    inside = re.search(r"<pre[^>]*><code>(.*?)</code></pre>", page, flags=re.DOTALL)[1]
    assert "".join(Reader(f"<p>{inside}</p>").texts).replace(" ", "") == (
        f"dfer train --dataset {HOSTILE}".replace(" ", "")
    )
    assert re.sub(r"</?span>", "", inside).startswith("dfer train --dataset &lt;script&gt;")


def test_letters_that_would_turn_or_break_the_page_are_marked():
    page = render_page("a\u202eb\x00c\ud800 é 怒", {}, [])
    assert "<h1>a\ufffdb\ufffdc? é 怒</h1>" in page


def test_the_page_is_written_whole_and_the_same_each_time(tmp_path, figure):
    sections = [Section("One", [Picture(figure, "bars", "")])]
    for name in ("a", "b"):
        write_page("t", {}, sections, tmp_path / "new" / f"{name}.html")
    one, other = ((tmp_path / "new" / f"{name}.html").read_bytes() for name in "ab")
    assert one == other
    assert one.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("image", "alt", "said"),
    [
        (Figure(), " ", "a picture needs a description for people who cannot see it"),
        (b"GIF89a", "a gif", "a picture must be a figure or a PNG"),
    ],
)
def test_a_picture_without_words_or_of_another_kind_is_refused(image, alt, said):
    with pytest.raises(ValueError, match=said):
        Picture(image, alt, "caption")
