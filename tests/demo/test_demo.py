"""The embedded demo: its files, its seeds, and that a detector finds the faces."""

import csv
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.demo.drawing import (
    HAIRCUTS,
    HEIGHT,
    LONG_CUTS,
    SHORT_CUTS,
    WIDTH,
    Action,
    Pose,
    draw_backdrop,
    draw_person,
    make_person,
)
from dfercli.demo.videos import (
    FPS,
    GUEST,
    JOURNEY,
    JOURNEY_HOLD_S,
    NUM_FRAMES,
    PROTOTYPES,
    DemoFiles,
    draw_journey,
    draw_video,
    make_demo,
)
from dfercli.errors import DataError
from dfercli.faces import load_detector
from dfercli.media.video import read_frames

FACE = np.s_[60:200, 100:220]
"""Where the face is in a frame of a head that looks straight at us."""


def _draw(expression: str, person: int = 0, seed: int = 0) -> np.ndarray:
    frames = draw_video(make_person(0, person), expression, np.random.default_rng([seed, 5]))
    return np.stack(list(frames))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoFiles:
    return make_demo(tmp_path_factory.mktemp("demo") / "made", num_persons=2, seed=3, jobs=1)


def _files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_same_pixels_other_seed_other_pixels() -> None:
    assert np.array_equal(_draw("anger"), _draw("anger"))
    assert not np.array_equal(_draw("anger"), _draw("anger", seed=1))


def test_frames_are_rgb_of_the_stated_size() -> None:
    frames = _draw("neutral")
    assert frames.shape == (NUM_FRAMES, HEIGHT, WIDTH, 3)
    assert frames.dtype == np.uint8
    red, _, blue = frames[NUM_FRAMES // 2][FACE].reshape(-1, 3).mean(axis=0)
    assert red > blue  # skin of any tone is redder than it is blue: not BGR


def test_neutral_has_life() -> None:
    frames = _draw("neutral").astype(float)
    assert np.abs(frames[5] - frames[18])[FACE].mean() > 4  # the grain alone makes about 2.8


def test_prototypes_cover_the_basic_expressions_in_order() -> None:
    assert tuple(PROTOTYPES) == BASIC_EXPRESSIONS


def test_every_expression_differs_from_neutral_and_from_the_others_in_the_face() -> None:
    person = make_person(0, 4)
    backdrop = draw_backdrop(person)
    faces = {
        name: draw_person(person, variants[0], Pose(), backdrop)[FACE].astype(float)
        for name, variants in PROTOTYPES.items()
    }
    for a in faces:
        for b in faces:
            assert a == b or np.abs(faces[a] - faces[b]).mean() > 1.5, (a, b)


def test_an_expression_leaves_all_but_the_face_as_it_is() -> None:
    person = make_person(0, 4)
    backdrop = draw_backdrop(person)
    calm = draw_person(person, Action(), Pose(), backdrop)
    angry = draw_person(person, PROTOTYPES["anger"][0], Pose(), backdrop)
    assert np.array_equal(calm[:40], angry[:40])
    assert np.array_equal(calm[:, :60], angry[:, :60])


def test_persons_differ() -> None:
    persons = [make_person(0, index) for index in (*range(20), GUEST)]
    assert len({(person.skin, person.haircut, person.backdrop) for person in persons}) == 21
    assert {person.haircut for person in persons} == {*SHORT_CUTS, *LONG_CUTS}


@pytest.mark.parametrize("haircut", HAIRCUTS)
def test_every_haircut_leaves_the_eyes_free(haircut: str) -> None:
    person = make_person(0, 0)
    with_hair = person.__class__(**{**person.__dict__, "haircut": haircut})
    bald = person.__class__(**{**person.__dict__, "haircut": "bald"})
    backdrop = draw_backdrop(person)
    eyes = np.s_[106:122, 126:194]
    assert np.array_equal(
        draw_person(with_hair, Action(), Pose(), backdrop)[eyes],
        draw_person(bald, Action(), Pose(), backdrop)[eyes],
    )


@pytest.mark.slow
def test_demo_writes_exactly_these_files(demo: DemoFiles) -> None:
    folder = demo.labels.parent
    videos = {
        f"videos/{person}/{name}_1.mp4"
        for person in ("person01", "person02")
        for name in BASIC_EXPRESSIONS
    }
    assert _files_below(folder) == {"labels.csv", "demo.json", "unseen/journey.mp4", *videos}
    assert demo == DemoFiles(folder / "labels.csv", folder / "unseen" / "journey.mp4", 14)
    with demo.labels.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == videos
    for row in rows:
        assert list(row) == ["path", "label", "group"]
        assert row["path"] == f"videos/{row['group']}/{row['label']}_1.mp4"


def test_videos_last_as_long_as_stated(demo: DemoFiles) -> None:
    frames = list(read_frames(demo.labels.parent / "videos" / "person01" / "fear_1.mp4"))
    assert len(frames) == NUM_FRAMES
    assert frames[0].image_rgb.shape == (HEIGHT, WIDTH, 3)
    assert frames[1].time_s == pytest.approx(1 / FPS)
    journey = list(read_frames(demo.unseen))
    assert journey[-1].time_s == pytest.approx(len(JOURNEY) * JOURNEY_HOLD_S, abs=0.5)


def test_second_call_draws_only_what_is_missing(demo: DemoFiles) -> None:
    folder = demo.labels.parent
    lost = folder / "videos" / "person02" / "anger_1.mp4"
    before = {name: (folder / name).stat().st_mtime_ns for name in _files_below(folder)}
    content = lost.read_bytes()
    lost.unlink()
    assert make_demo(folder, num_persons=2, seed=3, jobs=1) == demo
    after = {name: (folder / name).stat().st_mtime_ns for name in _files_below(folder)}
    assert {name for name in before if after[name] != before[name]} == {
        "videos/person02/anger_1.mp4"
    }
    assert lost.read_bytes() == content


@pytest.mark.slow
def test_jobs_do_not_change_the_pixels(demo: DemoFiles, tmp_path: Path) -> None:
    again = make_demo(tmp_path, num_persons=1, seed=3, jobs=2)
    for name in BASIC_EXPRESSIONS:
        path = f"videos/person01/{name}_1.mp4"
        assert (tmp_path / path).read_bytes() == (demo.labels.parent / path).read_bytes()
    assert again.num_videos == 7


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": 4}, "holds a demo with seed 3, not 4: use the same settings"),
        ({"num_persons": 3}, "holds a demo with persons 2, not 3: "),
        ({"takes": 2, "seed": 0}, "holds a demo with takes 1, not 2; seed 3, not 0: "),
    ],
)
def test_changed_settings_are_refused(demo: DemoFiles, changed: dict[str, int], said: str) -> None:
    with pytest.raises(DataError, match=said):
        make_demo(demo.labels.parent, **{"num_persons": 2, "seed": 3, **changed})


def test_other_data_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\nmine.mp4,anger\n")
    with pytest.raises(DataError, match="holds a dataset that is not the demo"):
        make_demo(tmp_path, num_persons=1)
    assert _files_below(tmp_path) == {"labels.csv"}


@pytest.mark.parametrize("content", ["", "7", json.dumps([1])])
def test_broken_settings_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "demo.json").write_text(content)
    with pytest.raises(DataError, match=r"cannot read .*demo.json; delete the folder"):
        make_demo(tmp_path, num_persons=1)


@pytest.mark.parametrize("expression", BASIC_EXPRESSIONS)
def test_detector_finds_the_face_at_the_apex(expression: str) -> None:
    detector = load_detector("mtcnn")
    for index in (3, 6, 11):
        person = make_person(0, index)
        action = PROTOTYPES[expression][0]
        image_rgb = draw_person(person, action, Pose(yaw=0.08), draw_backdrop(person))
        faces = detector.detect(image_rgb)
        assert len(faces) == 1
        left, right, nose, mouth_left, mouth_right = faces[0].landmarks_xy
        # The head is 59 px a unit, its origin at (160, 112.8); tolerance: half an eye.
        assert np.abs(left - (160 - 59 * person.eye_gap + 3, 113)).max() < 10
        assert np.abs(right - (160 + 59 * person.eye_gap + 3, 113)).max() < 10
        assert left[1] < nose[1] < mouth_left[1]
        assert mouth_left[0] < nose[0] < mouth_right[0]


def test_journey_begins_calm_and_changes() -> None:
    guest = make_person(0, GUEST)
    frames = list(draw_journey(guest, np.random.default_rng(0)))
    assert len(frames) == pytest.approx(len(JOURNEY) * JOURNEY_HOLD_S * FPS, abs=len(JOURNEY))
    stages = [frames[round((k + 0.6) * JOURNEY_HOLD_S * FPS)] for k in range(len(JOURNEY))]
    for before, after in pairwise(stages):
        assert np.abs(before[FACE].astype(float) - after[FACE]).mean() > 5  # grain alone: 2.8
