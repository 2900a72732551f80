"""Cuts are found and motion, pans and fades are not cuts; views are recognised again."""

import cv2
import numpy as np
import pytest
from skimage import data

from dfercli.faces.tracking import number_views
from dfercli.media.video import Frame

SIZE = (320, 180)


def _picture(name):
    return cv2.resize(getattr(data, name)(), SIZE, interpolation=cv2.INTER_AREA)


def _frames(images):
    return [Frame(index, index / 8, image) for index, image in enumerate(images)]


def _cuts(images):
    shots = [shot for shot, _ in number_views(_frames(images))]
    return [index for index in range(1, len(shots)) if shots[index] != shots[index - 1]]


def _shake(image, seed, shift_px=3):
    rng = np.random.default_rng(seed)
    moved = np.roll(image, rng.integers(-shift_px, shift_px + 1, 2), axis=(0, 1))
    return np.clip(moved + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("after", ["coffee", "chelsea", "rocket", "retina"])
def test_a_cut_between_two_scenes_is_found_where_it_is(after):
    first, second = _picture("astronaut"), _picture(after)
    images = [_shake(image, i) for i, image in enumerate([first] * 9 + [second] * 7)]
    assert _cuts(images) == [9]


def test_a_cut_right_after_a_cut_is_found():
    names = ("astronaut", "coffee", "chelsea", "rocket")
    assert _cuts([_picture(name) for name in names for _ in range(2)]) == [2, 4, 6]


def test_a_head_that_moves_fast_is_no_cut():
    head = _picture("astronaut")[:90, 100:190]
    images = []
    for index in range(24):
        image = np.full((180, 320, 3), 90, np.uint8)
        left = int(110 + 100 * np.sin(index / 2))
        image[40:130, left : left + 90] = head
        images.append(image)
    assert _cuts(images) == []


def test_a_fast_pan_is_no_cut():
    wide = np.concatenate([_picture(n) for n in ("coffee", "rocket", "chelsea")], axis=1)
    images = [wide[:, left : left + 320] for left in range(0, 640, 24)]
    assert _cuts(images) == []


def test_a_slow_fade_is_no_cut():
    image = _picture("coffee").astype(float)
    assert _cuts([(image * share).astype(np.uint8) for share in np.linspace(1, 0, 25)]) == []


@pytest.mark.parametrize("step", [-60, -30, 30, 60])
def test_more_or_less_light_is_no_cut(step):
    image = np.clip(_picture("coffee"), 70, 180).astype(np.int16)
    assert _cuts([image.astype(np.uint8)] * 4 + [(image + step).astype(np.uint8)] * 4) == []


def _views(names):
    pictures = {name: _picture(name) for name in set(names)}
    images = [_shake(pictures[name], seed) for seed, name in enumerate(names)]
    return [view for view, _ in number_views(_frames(images))]


def test_a_cut_back_to_a_view_has_its_number():
    dialogue = ["astronaut"] * 3 + ["coffee"] * 2 + ["astronaut"] * 2 + ["coffee", "chelsea"]
    assert _views(dialogue) == [0, 0, 0, 1, 1, 0, 0, 1, 2]


def test_a_view_is_recognised_after_a_long_dialogue_of_others():
    dialogue = ["astronaut", "coffee"] * 6
    assert _views(["rocket", *dialogue, "rocket"]) == [0, *[1, 2] * 6, 0]


def test_a_view_is_recognised_by_its_last_picture():
    wide = np.concatenate([_picture(n) for n in ("coffee", "rocket", "chelsea")], axis=1)
    pan = [wide[:, left : left + 320] for left in range(0, 641, 20)]
    images = [*pan, _picture("astronaut"), pan[0], _picture("astronaut"), pan[-1]]
    views = [view for view, _ in number_views(_frames(images))]
    assert views[len(pan) - 1 :] == [0, 1, 2, 1, 0]


def test_a_cut_within_a_view_is_a_new_view():
    """The picture is that of the beginning of a pan, not of its end before the cut."""
    wide = np.concatenate([_picture(n) for n in ("coffee", "rocket", "chelsea")], axis=1)
    pan = [wide[:, left : left + 320] for left in range(0, 641, 20)]
    views = [view for view, _ in number_views(_frames([*pan, pan[0]]))]
    assert views == [0] * len(pan) + [1]


def test_another_size_is_another_shot():
    image = _picture("coffee")
    assert _cuts([image, image, image[:, :200], image[:, :200]]) == [2]


def test_the_smallest_pictures_have_shots():
    dots = np.array([[[0, 0, 0], [200, 200, 200]]], np.uint8)
    assert _cuts([dots, dots, dots[:, ::-1]]) == [2]
    assert _cuts([dots[:, :1]] * 2) == []
    assert _cuts([]) == []
