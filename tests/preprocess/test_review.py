"""Which clips a person should look at, and the sheet of the worst."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from dfercli.faces.crop_files import CropRecord
from dfercli.media.images import read_image, write_image
from dfercli.preprocess import review
from dfercli.preprocess.crops import ClipOutcome
from dfercli.preprocess.review import draw_worst, find_doubts, write_review

GOOD = CropRecord(
    n_frames=40,
    video_frames=40,
    declared_frames=40,
    interpolated=0,
    skipped=0,
    coverage=1.0,
    score=0.99,
    jitter=0.01,
    rival=0.1,
    source="a.mp4",
    source_bytes=1000,
)
LEFT_OUT = ClipOutcome(
    "b", "no face", detail="no face in any frame", record=replace(GOOD, n_frames=0)
)


def _outcome(clip_id="a", status="done", **changed):
    record = replace(GOOD, **changed)
    return ClipOutcome(clip_id, status, record.n_frames, record=record)


@pytest.mark.parametrize(
    ("changed", "doubts"),
    [
        ({}, []),
        ({"n_frames": 16}, []),
        ({"n_frames": 15}, ["only 15 frames"]),
        ({"n_frames": 1}, ["only 1 frame"]),
        ({"coverage": 0.5}, []),
        ({"coverage": 0.49}, ["face in 49% of the frames"]),
        ({"score": 0.9}, []),
        ({"score": 0.894}, ["score 0.89"]),
        ({"jitter": 0.03}, []),
        ({"jitter": 0.042}, ["landmarks jump by 4.2% of the crop"]),
        ({"rival": 0.5}, []),
        ({"rival": 0.51}, ["another face is about as large"]),
        ({"declared_frames": 39}, []),
        ({"declared_frames": 41}, []),  # many containers promise one too many
        ({"declared_frames": 42}, []),
        ({"declared_frames": 43}, ["ends after 40 of 43 frames; truncated?"]),
        ({"declared_frames": 0}, []),  # the container promises nothing
        ({"declared_frames": 50}, ["ends after 40 of 50 frames; truncated?"]),
        ({"interpolated": 12, "skipped": 12, "source_bytes": 1}, []),
        (
            {"n_frames": 2, "coverage": 0.05, "rival": 0.9},
            ["only 2 frames", "face in 5% of the frames", "another face is about as large"],
        ),
    ],
)
def test_each_doubt_has_its_reason(changed, doubts):
    assert find_doubts(_outcome(**changed)) == doubts


@pytest.mark.parametrize(
    ("outcome", "doubts"),
    [
        (LEFT_OUT, ["no face in any frame"]),
        (ClipOutcome("a", "unreadable", detail="x: 1.jpg is empty"), ["x: 1.jpg is empty"]),
        (ClipOutcome("a", "missing", detail="listed, and not"), ["listed, and not"]),
        (ClipOutcome("a", "adopted", 3, size=(224, 224)), []),
    ],
)
def test_clips_without_crops_of_ours_have_what_went_wrong(outcome, doubts):
    assert find_doubts(outcome) == doubts


def test_the_list_has_a_line_for_each_clip_that_needs_a_look(tmp_path):
    path = tmp_path / "review" / "x.csv"
    outcomes = [
        _outcome(),
        LEFT_OUT,
        _outcome("c", "reused", coverage=0.25, score=0.5, interpolated=3, skipped=30),
        ClipOutcome('d, or "d"', "missing", detail="listed but not on disk"),
    ]
    assert write_review(iter(outcomes), path) == path
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == (
        "clip_id,status,n_frames,coverage,score,jitter,rival,interpolated,skipped,reason"
    )
    assert [list(row.values()) for row in csv.DictReader(text.splitlines())] == [
        ["b", "no face", "0", "1.0", "0.99", "0.01", "0.1", "0", "0", "no face in any frame"],
        [
            *("c", "kept", "40", "0.25", "0.5", "0.01", "0.1", "3", "30"),
            "face in 25% of the frames; score 0.50",
        ],
        ['d, or "d"', "missing", "0", *[""] * 6, "listed but not on disk"],
    ]


def test_a_list_is_the_same_for_crops_made_now_or_before(tmp_path):
    texts = [
        write_review([_outcome("a", status, score=0.2)], tmp_path / f"{status}.csv").read_text()
        for status in ("done", "reused")
    ]
    assert texts[0] == texts[1]


def test_an_old_list_goes_when_nothing_is_left_to_look_at(tmp_path):
    path = tmp_path / "x.csv"
    assert write_review([LEFT_OUT], path) == path
    assert write_review([_outcome()], path) is None
    assert not path.exists()
    assert write_review([], path) is None


@pytest.fixture
def faces(tmp_path):
    """Crops of twelve clips of three frames, each clip of a grey of its own in the middle."""
    for index in range(12):
        (tmp_path / "faces" / f"c{index}").mkdir(parents=True)
        for number, grey in enumerate((255, 10 * index, 255)):
            image_rgb = np.full((32, 32, 3), grey, dtype=np.uint8)
            write_image(tmp_path / "faces" / f"c{index}" / f"{number}.png", image_rgb)
    return tmp_path / "faces"


@pytest.fixture
def shown(monkeypatch):
    """The rows of tiles that are drawn, as greys and captions."""
    drawn = []
    draw = review.draw_sheet

    def keep(tiles, path, **how):
        drawn.extend((int(tile.image_rgb[0, 0, 0]), tile.caption) for tile in tiles)
        draw(tiles, path, **how)

    monkeypatch.setattr(review, "draw_sheet", keep)
    return drawn


def test_the_worst_of_each_figure_are_shown(faces, shown, tmp_path):
    """Scores fall with the number, coverage grows with it, and odd clips are restless."""
    outcomes = [
        _outcome(
            f"c{i}", score=0.9 - 0.01 * i, coverage=0.5 + 0.01 * i, jitter=(i % 2) * (0.5 + i / 100)
        )
        for i in range(12)
    ]
    path = tmp_path / "review" / "worst.png"
    assert draw_worst([LEFT_OUT, *outcomes], faces, path) == path
    assert read_image(path).shape == (3 * 204, 8 * 168, 3)
    assert shown[:8] == [(10 * i, f"c{i}\nscore {0.9 - 0.01 * i:.3f}") for i in range(11, 3, -1)]
    assert shown[8:16] == [(10 * i, f"c{i}\ncoverage {50 + i}%") for i in range(8)]
    assert shown[16:22] == [(10 * i, f"c{i}\njitter {50 + i:.1f}%") for i in range(11, 0, -2)]
    assert [caption for _, caption in shown[22:]] == ["c0\njitter 0.0%", "c2\njitter 0.0%"]


def test_few_clips_have_a_row_for_each_figure_too(faces, shown, tmp_path):
    outcomes = [_outcome(f"c{i}") for i in range(3)]
    draw_worst(outcomes, faces, tmp_path / "worst.png")
    assert len(shown) == 9
    assert read_image(tmp_path / "worst.png").shape == (3 * 204, 3 * 168, 3)


def test_without_crops_there_is_no_sheet(tmp_path):
    adopted = ClipOutcome("a", "adopted", 3, size=(224, 224))
    assert draw_worst([LEFT_OUT, adopted], tmp_path, tmp_path / "worst.png") is None
    assert list(tmp_path.iterdir()) == []
