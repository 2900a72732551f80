"""Subtitles and annotations for ELAN, as other programs read them."""

import xml.etree.ElementTree as ET

import pympi
import pytest
import webvtt

from dfercli.errors import ConfigError
from dfercli.predict.batch.artifacts import check_out
from dfercli.predict.batch.inputs import find_inputs
from dfercli.predict.batch.subtitles import list_cues, write_eaf, write_srt, write_vtt

ORIGIN = {"checkpoint": {"name": "a", "description": "a model --> never <tested>"}}


def _window(track, start_s, end_s, expression="sadness", confidence=0.5, uncertain=False):
    return {
        "track": track,
        "start_s": start_s,
        "end_s": end_s,
        "expression": expression,
        "confidence": confidence,
        "uncertain": uncertain,
    }


WINDOWS = [
    _window(1, 0.0, 2.0, confidence=0.723),
    _window(2, 0.0, 2.0, "anger & fear", 0.4, uncertain=True),
    _window(1, 1.0, 3.0, "happiness", 1.0),
    _window(1, 3.0, 4.0, None, None, None),
    _window(1, 3661.5, 3662.0, "surprise", 0.05),
]


def _videos(windows=WINDOWS, name="my videos/clip.mp4"):
    return [({"video": name}, windows)]


def test_cues_of_a_face_never_overlap():
    cues = list_cues(WINDOWS)
    assert [(c.track, c.start_ms, c.end_ms, c.text) for c in cues] == [
        (1, 0, 1000, "sadness 72%"),
        (2, 0, 2000, "anger & fear 40% (uncertain)"),
        (1, 1000, 3000, "happiness 100%"),
        (1, 3661500, 3662000, "surprise 5%"),
    ]


@pytest.mark.parametrize(("suffix", "write"), [(".srt", write_srt), (".vtt", write_vtt)])
def test_subtitles_are_read_by_a_library(suffix, write, tmp_path):
    path = tmp_path / f"clip{suffix}"
    write(path, ORIGIN, _videos())
    read = webvtt.from_srt(path) if suffix == ".srt" else webvtt.read(path)
    assert [(c.start, c.end, c.text.splitlines()[0]) for c in read] == [
        ("00:00:00.000", "00:00:01.000", "face 1: sadness 72%"),
        ("00:00:00.000", "00:00:02.000", read[1].text),
        ("00:00:01.000", "00:00:03.000", "face 1: happiness 100%"),
        ("01:01:01.500", "01:01:02.000", "face 1: surprise 5%"),
    ]
    text = path.read_text(encoding="utf-8")
    assert "(dfer, a model" in text if suffix == ".srt" else "NOTE dfer, a model -> never" in text


def test_faces_of_one_time_share_a_subtitle(tmp_path):
    write_srt(tmp_path / "a.srt", ORIGIN, _videos([_window(1, 0, 1), _window(2, 0, 1, "fear", 1)]))
    (caption,) = webvtt.from_srt(tmp_path / "a.srt")
    assert caption.text.splitlines()[:2] == ["face 1: sadness 50%", "face 2: fear 100%"]


def test_a_single_face_has_no_number(tmp_path):
    write_vtt(tmp_path / "a.vtt", ORIGIN, _videos([_window(3, 0, 1)]))
    (caption,) = webvtt.read(tmp_path / "a.vtt")
    assert caption.text == "sadness 50%"


def test_elan_has_a_tier_per_face(tmp_path):
    write_eaf(tmp_path / "clip.eaf", ORIGIN, _videos())
    eaf = pympi.Elan.Eaf(str(tmp_path / "clip.eaf"))
    assert sorted(eaf.get_tier_names()) == ["face 1", "face 2"]
    assert sorted(eaf.get_annotation_data_for_tier("face 1")) == [
        (0, 1000, "sadness 72%"),
        (1000, 3000, "happiness 100%"),
        (3661500, 3662000, "surprise 5%"),
    ]
    assert eaf.get_annotation_data_for_tier("face 2") == [(0, 2000, "anger & fear 40% (uncertain)")]
    (media,) = eaf.media_descriptors
    assert media["MEDIA_URL"].endswith("/my%20videos/clip.mp4")
    assert media["MIME_TYPE"] == "video/mp4"
    assert ("model", "a model --> never <tested>") in eaf.properties


def test_elan_has_its_elements_in_the_order_of_the_schema(tmp_path):
    write_eaf(tmp_path / "a.eaf", ORIGIN, _videos())
    root = ET.parse(tmp_path / "a.eaf").getroot()
    assert [element.tag for element in root] == [
        "HEADER",
        "TIME_ORDER",
        *["TIER"] * 2,
        "LINGUISTIC_TYPE",
    ]
    assert root.attrib["FORMAT"] == "3.0"
    identifiers = [e.attrib["ANNOTATION_ID"] for e in root.iter("ALIGNABLE_ANNOTATION")]
    assert len(set(identifiers)) == len(identifiers) == 4
    slots = [int(slot.attrib["TIME_VALUE"]) for slot in root.iter("TIME_SLOT")]
    assert slots == sorted(set(slots))


@pytest.mark.parametrize(
    ("suffix", "write"), [(".srt", write_srt), (".vtt", write_vtt), (".eaf", write_eaf)]
)
@pytest.mark.parametrize(
    ("error", "reason"),
    [(None, "no face could be classified"), ("cannot read a --> b", "cannot read a --> b")],
)
def test_a_video_without_expressions_gives_a_valid_file_that_says_why(
    error, reason, suffix, write, tmp_path
):
    path = tmp_path / f"a{suffix}"
    write(path, ORIGIN, [({"video": "a b.mp4", "error": error}, [])])
    if suffix == ".eaf":
        document = pympi.Elan.Eaf(str(path))
        assert document.get_annotation_data_for_tier("face 1") == []
        assert ("remark", f"no expressions: {reason}") in document.properties
    elif suffix == ".vtt":
        assert list(webvtt.read(path)) == []
        assert f"\nno expressions: {reason.replace('-->', '->')}\n" in path.read_text()
    else:
        (cue,) = webvtt.from_srt(path)
        assert (cue.start_in_seconds, cue.end_in_seconds) == (0, 1)
        assert cue.text.splitlines()[0] == f"no expressions: {reason}"


@pytest.mark.parametrize("write", [write_srt, write_vtt, write_eaf])
def test_several_videos_are_refused(write, tmp_path):
    with pytest.raises(ConfigError, match=r"out\.x is for a single video; use \.json"):
        write(tmp_path / "out.x", ORIGIN, _videos() * 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("suffix", "write"), [(".srt", write_srt), (".vtt", write_vtt), (".eaf", write_eaf)]
)
def test_a_file_of_dfer_is_recognised_and_others_are_not_replaced(suffix, write, tmp_path):
    path, own = tmp_path / f"a{suffix}", tmp_path / f"own{suffix}"
    write(path, ORIGIN, _videos())
    own.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    video = find_inputs([__file__])[:1]
    check_out(path, video)
    with pytest.raises(ConfigError, match="exists and was not written by dfer"):
        check_out(own, video)
    with pytest.raises(ConfigError, match=r"is for a single video; use \.json"):
        check_out(path, [*video, *video])
