"""The main face of a video: which one, in which shots, carried over what, and its crops."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from dfercli.demo.drawing import make_person
from dfercli.demo.videos import draw_video
from dfercli.errors import VideoError
from dfercli.faces import load_detector
from dfercli.faces.align import TEMPLATE, similarity_transform
from dfercli.faces.main_face import Track, follow_main_face, measure_jitter, read_crops
from dfercli.faces.search import KEY_STEP_S
from dfercli.faces.tracking import follow_faces
from dfercli.faces.types import Face
from dfercli.media.images import write_image
from dfercli.media.video import Frame, read_frames
from dfercli.media.video_writer import write_video
from dfercli.predict.reading import CARRY_S
from dfercli.predict.settings import SEARCH_FPS

FPS = 10.0
FOOTAGE = sorted(Path(os.environ.get("DFER_TEST_VIDEOS", "none")).glob("*.mp4"))


def _face(x, y=0.0, side=100.0, score=0.9):
    """A square face with its top left corner at x, y."""
    corner = np.array([x, y])
    return Face(np.concatenate([corner, corner + side]), corner + TEMPLATE * side, score)


class _Plan:
    """A detector that knows each frame by its level, and notes which it was shown."""

    def __init__(self, plan):
        self.searched, self._plan = [], plan

    def detect(self, image_rgb):
        index = int(image_rgb[0, 0, 0])
        self.searched.append(index)
        return self._plan(index)


@pytest.fixture
def follow(monkeypatch):
    """Follow, with faces carried, through frames of these times; without a file."""

    def follow(plan, times_s):
        frames = (Frame(i, t, np.full((1, 1, 3), i, np.uint8)) for i, t in enumerate(times_s))
        monkeypatch.setattr("dfercli.faces.main_face.read_frames", lambda path: frames)
        detector = _Plan(plan)
        followed = follow_main_face("video", detector, carry_s=KEY_STEP_S)
        assert followed.num_searched == len(detector.searched)
        assert followed.times_s == tuple(times_s)
        return followed, detector.searched

    return follow


def _at(num_frames, fps=25):
    return [index / fps for index in range(num_frames)]


def _lefts(followed):
    return {index: float(face.box_xyxy[0]) for index, face in followed.faces.items()}


def test_a_face_in_steady_motion_is_carried_to_where_it_is(follow):
    followed, searched = follow(lambda i: [_face(2 * i)], _at(23))
    assert searched == [0, 5, 10, 15, 20, 22]
    assert list(followed.faces) == list(range(23))
    assert _lefts(followed) == pytest.approx({i: 2.0 * i for i in range(23)})
    for index, face in followed.faces.items():
        assert face.landmarks_xy == pytest.approx(TEMPLATE * 100 + (2 * index, 0))
    assert (followed.coverage, followed.interpolated, followed.skipped) == (1.0, 0, 0)


def test_carrying_follows_time_and_not_the_count_of_frames(follow):
    times_s = [0.0, 0.02, 0.04, 0.16, 0.18, 0.2, 0.5]
    followed, searched = follow(lambda i: [_face(60 * times_s[i])], times_s)
    assert searched == [0, 5, 6]
    assert _lefts(followed) == pytest.approx({i: 60 * t for i, t in enumerate(times_s)})


def test_a_flash_in_a_key_frame_is_bridged(follow):
    followed, searched = follow(lambda i: [] if i == 10 else [_face(i)], _at(21))
    assert searched == [0, 5, 10, 6, 7, 8, 9, 15, 11, 12, 13, 14, 20]
    assert _lefts(followed) == pytest.approx({i: float(i) for i in range(21)})
    assert (followed.interpolated, followed.skipped) == (1, 0)


@pytest.mark.parametrize("away", [range(8, 13), [*range(8, 13), *range(18, 23)]])
def test_a_cutaway_is_not_filled_with_the_face_that_is_away(follow, away):
    followed, _ = follow(lambda i: [_face(400 if i in away else i)], _at(36))
    assert _lefts(followed) == pytest.approx({i: float(i) for i in range(36) if i not in away})
    assert (followed.interpolated, followed.skipped) == (0, len(away))


def test_a_face_that_stays_beside_is_no_cutaway(follow):
    def plan(index):
        return [_face(400, side=80), *[_face(index)] * (index not in range(8, 13))]

    followed, _ = follow(plan, _at(21))
    assert _lefts(followed) == pytest.approx({i: float(i) for i in range(21)})
    assert followed.interpolated == 5


@pytest.mark.parametrize("fps", [24, 24000 / 1001])
def test_a_face_missed_in_one_key_frame_of_a_film_is_carried_over_it(follow, fps):
    def plan(index):  # beside a larger one that leaves early, so that nothing more is searched
        return [_face(400, side=120)] * (index <= 20) + [_face(index)] * (index != 10)

    followed, searched = follow(plan, _at(61, fps))
    assert searched[:5] == [0, 5, 10, 15, 20]
    assert _lefts(followed) == pytest.approx({i: float(i) for i in range(61)})


def test_a_long_absence_is_skipped_and_counted(follow):
    gone = range(8, 24)
    followed, searched = follow(lambda i: [] if i in gone else [_face(0)], _at(36))
    assert list(followed.faces) == [i for i in range(36) if i not in gone]
    assert (followed.interpolated, followed.skipped) == (0, len(gone))
    assert followed.coverage == 20 / 36
    assert searched == [0, 5, 10, 6, 7, 8, 9, 15, 20, 25, 21, 22, 23, 24, 30, 35]


@pytest.mark.parametrize("cut", [6, 7, 8, 9, 10])
def test_a_cut_between_key_frames_is_found_to_the_frame(follow, cut):
    def plan(index):
        return [_face(0)] if index < cut else [_face(400, side=90)]

    assert _lefts(follow(plan, _at(16))[0]) == (
        dict.fromkeys(range(cut), 0.0) if cut > 7 else dict.fromkeys(range(cut, 16), 400.0)
    )


@pytest.mark.parametrize("num_frames", [12, 13, 14, 15, 16])
def test_nothing_is_lost_at_the_end(follow, num_frames):
    followed, _ = follow(lambda i: [_face(i)], _at(num_frames))
    assert list(followed.faces) == list(range(num_frames))
    late, _ = follow(lambda i: [_face(0)] if i >= num_frames - 2 else [], _at(num_frames))
    assert list(late.faces) == [num_frames - 2, num_frames - 1]
    early, _ = follow(lambda i: [_face(0)] if i < num_frames - 1 else [], _at(num_frames))
    assert list(early.faces) == list(range(num_frames - 1))


@pytest.mark.parametrize("num_faces", [0, 1])
def test_a_video_of_one_frame(follow, num_faces):
    followed, searched = follow(lambda i: [_face(3)] * num_faces, [0.0])
    assert searched == [0]
    assert list(followed.faces) == [0] * num_faces
    assert (followed.coverage, followed.skipped) == (num_faces, 1 - num_faces)
    assert (followed.jitter, followed.rival) == (0.0, 0.0)


def test_what_the_detector_is_never_sure_of_is_no_face(follow, monkeypatch):
    """It neither is the main face, however large, nor ends a gap as a cutaway would."""
    monkeypatch.setattr("dfercli.faces.tracking.find_least_track_score", lambda detector: 0.9)
    plan = lambda i: [_face(0, score=0.95), _face(300, side=200, score=0.89)]  # noqa: E731
    followed, _ = follow(plan, _at(16))
    assert set(_lefts(followed).values()) == {0.0}
    assert followed.rival == 0.0
    nobody, _ = follow(lambda i: [_face(0, score=0.89)], _at(16))
    assert (nobody.faces, nobody.num_frames) == ({}, 16)


def test_an_empty_room_is_looked_at_in_key_frames_only(follow):
    followed, searched = follow(lambda i: [], _at(16))
    assert searched == [0, 5, 10, 15]
    assert (followed.faces, followed.skipped, followed.score) == ({}, 16, 0.0)


def test_two_faces_are_carried_apart_and_one_is_the_other_s_rival(follow):
    def plan(index):
        pair = [_face(0 + index), _face(300 - index, side=80)]
        return pair[::-1] if index % 10 else pair

    followed, searched = follow(plan, _at(21))
    assert searched == [0, 5, 10, 15, 20]
    assert _lefts(followed) == pytest.approx({i: float(i) for i in range(21)})
    assert followed.rival == pytest.approx(0.64)  # areas of 80 and 100 pixels' side


def test_a_stretch_that_was_searched_weighs_no_more_than_one_that_was_carried(follow):
    # 40 frames of 100 x 100 pixels, of which 9 are searched, against 15 of 150 x 150, all searched.
    def plan(index):
        return [_face(0)] if index < 40 else [_face(500 + 20 * index, side=150)]

    followed, searched = follow(plan, _at(55))
    assert set(range(40, 55)) <= set(searched)
    assert len(searched) < 30
    assert _lefts(followed) == dict.fromkeys(range(40), 0.0)


def test_who_is_seen_before_or_after_is_no_rival(follow):
    followed, _ = follow(lambda i: [_face(0)] if i < 20 else [_face(500, side=90)], _at(40))
    assert followed.rival == 0.0
    assert len(followed.faces) == 20


def test_the_score_is_the_median_of_detections(follow):
    scores = {0: 0.5, 5: 0.9, 10: 0.6, 15: 0.7, 16: 1.0}
    followed, searched = follow(lambda i: [_face(0, score=scores[i])], _at(17))
    assert searched == list(scores)
    assert followed.score == 0.7


def test_jitter_is_the_distance_from_the_neighbours_line():
    # Every second frame the face is 3 pixels lower: 3 from the line, and crops are 100 pixels wide.
    detections = {index: _face(7 * index, 3 * (index % 2)) for index in range(9)}
    times_s = {index: index / 25 for index in range(9)}
    assert measure_jitter(detections, range(9), times_s) == pytest.approx(0.03)
    halved = {index: _face(7 * index, 3 * (index % 2), side=200) for index in range(9)}
    assert measure_jitter(halved, range(9), times_s) == pytest.approx(0.015)


def test_steady_motion_is_no_jitter():
    times_s = {0: 0.0, 2: 0.1, 5: 0.4, 6: 0.45, 9: 0.6}
    detections = {index: _face(80 * t, 30 * t) for index, t in times_s.items()}
    assert measure_jitter(detections, list(times_s), times_s) == pytest.approx(0.0, abs=1e-12)


def test_jitter_needs_three_frames_in_a_row():
    times_s = {index: index / 25 for index in range(5)}
    detections = {0: _face(0), 1: _face(9), 3: _face(0), 4: _face(9)}
    assert measure_jitter(detections, range(5), times_s) == 0.0
    assert measure_jitter(detections, [0, 1, 3, 4], times_s) > 0.0
    assert measure_jitter({}, [], {}) == 0.0


@pytest.mark.realvideo
@pytest.mark.parametrize("video", FOOTAGE, ids=lambda path: path.name)
def test_in_real_footage_a_carried_face_is_where_it_would_be_found(video):
    detector = load_detector("mtcnn")
    every = follow_main_face(video, detector)
    keys = follow_main_face(video, detector, carry_s=KEY_STEP_S)
    assert keys.num_searched < every.num_searched / 2
    assert set(keys.faces) >= set(every.faces)
    distances_px = []
    for index, face in every.faces.items():
        carried_xy = keys.faces[index].landmarks_xy
        scale = np.hypot(*similarity_transform(carried_xy, TEMPLATE * 224)[:, 0])
        distances_px.extend(scale * np.linalg.norm(carried_xy - face.landmarks_xy, axis=1))
    assert np.median(distances_px) < 2


class _Script:
    """A detector that says what it was told to say, frame by frame."""

    def __init__(self, faces_by_frame):
        self._answers = iter(faces_by_frame)

    def detect(self, image_rgb):
        assert image_rgb.shape == (120, 160, 3)
        return next(self._answers)


@pytest.fixture
def video(tmp_path):
    """20 frames at 10 a second, brighter from frame to frame."""
    path = tmp_path / "video.mp4"
    frames = (np.full((120, 160, 3), 10 * i, dtype=np.uint8) for i in range(20))
    write_video(path, frames, FPS)
    return path


@pytest.mark.parametrize(
    ("faces_by_frame", "main_x"),
    [
        ([[_face(0, side=40), _face(80, side=60)]] * 20, 80),  # both stay: the larger
        ([[_face(0, side=50)]] * 15 + [[_face(80, side=60)]] * 5, 0),  # the longer: 15 * 2500
        ([[_face(0, side=20)]] * 15 + [[_face(80, side=60)]] * 5, 80),  # near for a while
    ],
)
def test_the_main_face_is_the_largest_over_time(faces_by_frame, main_x, video):
    followed = follow_main_face(video, _Script(faces_by_frame))
    assert followed.num_frames == 20
    assert {float(face.box_xyxy[0]) for face in followed.faces.values()} == {main_x}


def test_one_large_mistake_does_not_win(video):
    faces = [[_face(0, side=50)] for _ in range(20)]
    faces[7].append(_face(60, side=100))
    assert len(follow_main_face(video, _Script(faces)).faces) == 20


def test_coverage_is_the_share_of_frames_with_the_face(video):
    faces = [[_face(10, side=50)] if i % 10 < 5 else [] for i in range(20)]
    followed = follow_main_face(video, _Script(faces))
    assert followed.coverage == 10 / 20
    assert sorted(followed.faces) == [i for i in range(20) if i % 10 < 5]


def test_a_video_without_a_face(video):
    followed = follow_main_face(video, _Script([[]] * 20))
    assert followed.faces == {}
    assert followed.num_frames == 20
    assert followed.coverage == 0.0
    assert list(read_crops(video, followed, size=64)) == []


def test_crops_come_from_the_frames_that_show_the_face(video):
    faces = [[_face(10, side=50)] if i in (2, 3, 9) else [] for i in range(20)]
    crops = list(read_crops(video, follow_main_face(video, _Script(faces)), size=64))
    for crop_rgb, index in zip(crops, (2, 3, 9), strict=True):
        assert crop_rgb.shape == (64, 64, 3)
        assert np.abs(crop_rgb.astype(int) - 10 * index).max() <= 6


def test_a_video_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match="cannot read"):
        follow_main_face(tmp_path / "bad.mp4", _Script([]))


def test_without_key_frames_every_frame_is_searched_and_short_gaps_are_interpolated(video):
    gone = (5, *range(8, 13))
    faces = [[] if i in gone else [_face(10, side=50, score=0.8)] for i in range(20)]
    followed = follow_main_face(video, _Script(faces))
    assert sorted(followed.faces) == [i for i in range(20) if i not in range(8, 13)]
    assert (followed.num_searched, followed.interpolated, followed.skipped) == (20, 1, 5)
    assert followed.score == 0.8


A, B, C = "chelsea", "coffee", "rocket"  # pictures behind the persons, as different as shots are


@pytest.fixture
def follow_film(monkeypatch):
    """Follow the main face of a film that is given as (background, number of frames, plan)."""

    def follow(*shots):
        frames, plans = [], []
        for background, count, plan in shots:
            white = np.full((180, 320, 3), 255, np.uint8)
            image = cv2.resize(getattr(data, background)(), (320, 180)) if background else white
            for _ in range(count):
                marked = image.copy()
                marked[0, 0] = len(frames)
                frames.append(Frame(len(frames), len(frames) / 25, marked))
                plans.append(plan)
        monkeypatch.setattr("dfercli.faces.main_face.read_frames", lambda path: iter(frames))
        detector = _Plan(lambda index: plans[index](index))
        return follow_main_face("film", detector, KEY_STEP_S)

    return follow


def _at_x(x, side=100.0):
    return lambda index: [_face(x, side=side)]


def test_the_face_of_another_person_after_a_cut_is_not_followed(follow_film):
    followed = follow_film((A, 20, _at_x(50)), (B, 13, _at_x(50)))  # exactly the same place
    assert list(followed.faces) == list(range(20))
    assert (followed.skipped, followed.rival) == (13, 0.0)
    followed = follow_film((A, 13, _at_x(50)), (B, 20, _at_x(50)))
    assert list(followed.faces) == list(range(13, 33))


def test_a_face_is_not_interpolated_over_a_cut(follow_film):
    gone = lambda index: [_face(50)] * (index not in (18, 19, 20, 21))  # noqa: E731
    followed = follow_film((A, 20, gone), (B, 25, gone))
    assert list(followed.faces) == list(range(22, 45))
    assert followed.interpolated == 0


def test_the_main_person_is_followed_through_a_dialogue(follow_film):
    one, other = _at_x(50), _at_x(60, side=110)
    followed = follow_film((A, 20, one), (B, 14, other), (A, 20, one), (B, 14, other))
    assert list(followed.faces) == [*range(20), *range(34, 54)]
    assert followed.rival == pytest.approx(28 * 1.21 / 40)


@pytest.mark.parametrize("flash", [1, 2, 5])
def test_a_flash_costs_its_own_frames_only(follow_film, flash):
    nobody = lambda index: []  # noqa: E731
    followed = follow_film((A, 20, _at_x(50)), (None, flash, nobody), (A, 20, _at_x(52)))
    assert list(followed.faces) == [*range(20), *range(20 + flash, 40 + flash)]


def test_a_cut_back_to_the_view_with_the_face_elsewhere_is_another_track(follow_film):
    followed = follow_film((A, 20, _at_x(50)), (B, 5, _at_x(150)), (A, 25, _at_x(150)))
    assert list(followed.faces) == list(range(25, 50))


def test_of_two_people_in_one_view_the_one_at_the_same_place_is_followed(follow_film):
    pair = lambda index: [_face(20), _face(150, side=90)]  # noqa: E731
    followed = follow_film((A, 20, pair), (B, 12, _at_x(20)), (A, 20, pair))
    assert list(_lefts(followed).values()) == [20.0] * 40
    assert followed.rival == pytest.approx(0.81)


def test_a_face_out_of_sight_for_over_a_second_is_the_same_at_the_same_place(follow_film):
    for x, frames in ((52.0, [*range(20), *range(60, 90)]), (200.0, list(range(60, 90)))):
        shots = [(A, 20, _at_x(50)), (A, 40, lambda index: []), (A, 30, _at_x(x))]
        assert list(follow_film(*shots).faces) == frames


def _draw(person):
    return list(draw_video(make_person(0, person), "neutral", np.random.default_rng(person)))


def _enlarge(image_rgb, zoom=1.6):
    height, width = image_rgb.shape[:2]
    rows, columns = int(height / zoom), int(width / zoom)
    top, left = (height - rows) // 3, (width - columns) // 2
    part_rgb = image_rgb[top : top + rows, left : left + columns]
    return cv2.resize(part_rgb, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def follow_drawn(monkeypatch):
    """Follow the main face of a film of these images."""

    def follow(images):
        frames = [Frame(index, index / 25, image) for index, image in enumerate(images)]
        monkeypatch.setattr("dfercli.faces.main_face.read_frames", lambda path: iter(frames))
        return follow_main_face("film", load_detector("mtcnn"), KEY_STEP_S)

    return follow


def test_a_cut_to_an_enlarged_picture_keeps_the_person_and_so_does_the_cut_back(follow_drawn):
    film = _draw(1)
    film[8:17] = map(_enlarge, film[8:17])
    assert list(follow_drawn(film).faces) == list(range(25))


@pytest.mark.parametrize("other", [2, 3, 5, 10])
def test_a_cut_to_another_person_in_a_close_up_is_not_followed(follow_drawn, other):
    film = _draw(1)
    film[12:] = map(_enlarge, _draw(other)[12:])
    assert list(follow_drawn(film).faces) == list(range(12, 25))


def test_of_two_people_the_one_in_the_close_up_is_followed(follow_drawn):
    pair = [np.concatenate(images, axis=1) for images in zip(_draw(1), _draw(2), strict=True)]
    film = pair[:12] + [_enlarge(image_rgb[:, 320:]) for image_rgb in pair[12:]]
    followed = follow_drawn(film)
    assert list(followed.faces) == list(range(25))
    assert all(followed.faces[i].landmarks_xy[:, 0].min() > 320 for i in range(12))


def test_presence_is_the_area_over_all_frames():
    track = Track(0, {index: _face(0) for index in range(30)}, carried={3, 4})
    assert track.presence == 30 * 100 * 100
    assert (track.start, track.end, len(track.detections)) == (0, 29, 28)


@pytest.mark.parametrize("cut", [40, 75, 110])
def test_crops_for_training_are_those_that_prediction_reads(tmp_path, cut):
    """Of two people in two shots, at the frames that both take; both move."""
    pictures = [cv2.resize(getattr(data, name)(), (320, 180)) for name in (A, B)]
    plan = lambda i: [_face(i / 2, 20, side=80), _face(200 - i / 4, 60, side=60)]  # noqa: E731
    images = []
    for index in range(150):
        image = pictures[index >= cut].copy()
        image[:40, :40] = index  # the frame's index, for the detector
        images.append(image)
    (tmp_path / "film").mkdir()
    for index, image in enumerate(images):
        write_image(tmp_path / "film" / f"{index}.png", image)
    trained = follow_main_face(tmp_path / "film", _Plan(plan), KEY_STEP_S)
    numbers, same = set(), 0
    for seen in follow_faces(read_frames(tmp_path / "film", SEARCH_FPS), _Plan(plan), CARRY_S):
        face = trained.faces.get(seen.frame.index)
        if face is None:
            continue
        apart = {
            number: np.abs(other.landmarks_xy - face.landmarks_xy).max()
            for number, other in seen.faces.items()
        }
        number = min(apart, key=apart.get)
        assert apart[number] < 1e-6
        numbers.add(number)
        same += 1
    assert len(numbers) == 1
    assert list(trained.faces) == list(range(cut) if cut >= 75 else range(cut, 150))
    assert same >= 8 * len(trained.faces) / 25 - 1
