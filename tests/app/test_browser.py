"""The page in a browser: a video goes in through the page, and its faces are seen on it."""

import shutil

import pytest
from devtools import Chromium

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium to show the page in"),
]
PRESS = "document.querySelector('#dfer-press').click()"
STATUS = "document.querySelector('#dfer-status').innerText"
ANSWERED = "!!document.querySelector('#dfer-status .dfer-done, #dfer-status .dfer-error')"


@pytest.fixture
def browser(served, tmp_path):
    with Chromium(PROGRAM, tmp_path / "profile") as chromium:
        chromium.open(served)
        chromium.wait_for("!!document.querySelector('#dfer-press')")
        chromium.wait_for("!!document.querySelector('input[type=file]')")
        yield chromium


def _give(browser, video):
    browser.give_file("input[type=file]", video)
    browser.wait_for("!!document.querySelector('video')")


@pytest.mark.slow
def test_a_video_goes_in_and_its_faces_come_out(browser, footage):
    assert "Not for diagnosis" in browser.run("document.body.innerText")
    _give(browser, footage / "face.mp4")
    browser.run(PRESS)
    browser.wait_for(ANSWERED)
    assert browser.run(STATUS).startswith("face.mp4: ")
    cards = browser.wait_for("document.querySelector('#dfer-faces')?.innerText")
    assert "Face 1: on average" in cards
    browser.wait_for("document.querySelector('#dfer-timeline img')?.naturalWidth > 500")
    seen = "document.querySelectorAll('video')[1]"
    browser.wait_for(f"{seen}?.readyState >= 2 && {seen}.videoWidth > 100")
    text = browser.run("document.body.innerText")
    for name in ("Video, MP4", "Timeline, PNG", "All numbers, JSON", "Windows, CSV"):
        assert name in text
    assert browser.hosts() == {"127.0.0.1"}
    assert browser.failures == []


@pytest.mark.slow
def test_what_goes_wrong_is_read_on_the_page(browser, footage):
    browser.run(PRESS)
    browser.wait_for(ANSWERED)
    assert browser.run(STATUS) == "Choose a video first, or record one."
    _give(browser, footage / "text.mp4")
    browser.run(PRESS)
    browser.wait_for(f"{STATUS}.includes('text.mp4')")
    assert "no frame can be decoded" in browser.run(STATUS)
    assert "Traceback" not in browser.run("document.body.innerText")


@pytest.mark.slow
def test_a_phone_shows_all_of_its_width(browser, footage):
    browser.resize(390, 844)
    _give(browser, footage / "face.mp4")
    browser.run(PRESS)
    browser.wait_for("!!document.querySelector('#dfer-timeline img')")
    assert browser.run("document.documentElement.scrollWidth") <= 390
    # The picture is wider than that; lines take its place, and nothing of them is cut off.
    part = "[...document.querySelectorAll('#dfer-timeline .dfer-narrow *')]"
    assert browser.run(f"{part}.length") > 5
    assert browser.run(f"{part}.every(e => e.getBoundingClientRect().width > 0)")
    assert browser.run(f"Math.max(...{part}.map(e => e.getBoundingClientRect().right))") <= 390
    assert browser.run("document.querySelector('#dfer-timeline img').offsetWidth") == 0
    browser.resize(1280, 900)
    assert browser.run("document.querySelector('#dfer-timeline img').offsetWidth") > 700
    assert browser.run("document.querySelector('#dfer-timeline .dfer-narrow').offsetWidth") == 0
