"""What is drawn on a frame: boxes and labels in it, and bars beside it, at every size."""

import numpy as np
import pytest

from dfercli.predict.prediction import Window
from dfercli.visualize.class_colors import class_color
from dfercli.visualize.overlay import GREY, MODEL_LINES, MUTED, WHITE, Overlay, ShownFace, _headline

NAMES = ("happiness", "sadness", "fear")


def _window(track, start_s, top=0, share=0.9, length_s=2.0):
    probs = np.full(len(NAMES), (1 - share) / (len(NAMES) - 1))
    probs[top] = share
    return Window(track, start_s, start_s + length_s, 1.0, np.zeros(4), probs)


@pytest.mark.parametrize("size", [(16, 16), (160, 120), (161, 121), (120, 200), (1280, 720)])
@pytest.mark.parametrize("count", [1, 3, 11, 30])
def test_any_size_and_number_of_classes_is_drawn_beside_the_frame(size, count):
    overlay = Overlay(size, [f"cläss [b] {index}" for index in range(count)])
    faces = [
        ShownFace(1, np.array([-5.0, -5, 8, 8]), _window(1, 0), False),
        ShownFace(2, np.array([size[0] - 9.0, size[1] - 9, size[0] + 9, size[1] + 9]), None, False),
        ShownFace(3, np.array([900.0, 900, 2000, 2000]), None, False),
    ]
    image_rgb = np.full((size[1], size[0], 3), 90, np.uint8)
    empty = overlay.draw(image_rgb, [], None)
    assert empty.shape == (overlay.size[1], overlay.size[0], 3)
    assert overlay.size[0] % 2 == overlay.size[1] % 2 == 0
    assert (empty[: size[1], : size[0]] == 90).all()
    assert (image_rgb == 90).all()
    larger = np.full((2 * size[1], 2 * size[0], 3), 90, np.uint8)
    assert (overlay.draw(larger, [], None) == empty).all()
    if count == len(NAMES):
        drawn = overlay.draw(image_rgb, faces, faces[0])
        assert (drawn[: size[1], : size[0]] != 90).any()
        assert (drawn != empty)[:, size[0] :].any() or size[0] < size[1]


def _has(image_rgb, color):
    return bool((image_rgb == np.array(color)).all(axis=2).any())


def test_uncertain_and_silent_faces_are_grey_and_the_others_have_their_class_s_colour():
    overlay = Overlay((160, 120), NAMES)
    image_rgb = np.full((120, 160, 3), 90, np.uint8)
    box = np.array([40.0, 40, 90, 90])

    def draw(window, uncertain=False):
        face = ShownFace(1, box, window, uncertain)
        canvas = overlay.draw(image_rgb, [face], face)
        return canvas[:120, :160], canvas[:, 160:]

    sure, bars = draw(_window(1, 0, 1))
    assert _has(sure, class_color(1))
    assert _has(bars, class_color(1))
    for window, uncertain in ((_window(1, 0, 1), True), (None, False)):
        frame, bars = draw(window, uncertain)
        assert _has(frame, GREY)
        assert _has(frame, WHITE)
        assert not _has(frame, class_color(1))
        assert not _has(bars, class_color(1))


def test_bars_are_of_the_window_that_speaks_however_short_others_lived():
    """A window may get the address in memory of the one before, which nobody holds any more."""
    overlay, kept = Overlay((160, 120), NAMES), []
    image_rgb = np.zeros((120, 160, 3), np.uint8)
    box = np.array([40.0, 40, 90, 90])
    for top in [0, 1, 2] * 20:
        face = ShownFace(1, box, _window(1, 0, top), False)
        bars = overlay.draw(image_rgb, [], face)[:, 160:]
        lengths = [(bars == class_color(index)).all(axis=2).sum() for index in range(3)]
        kept.append(int(np.argmax(lengths)) == top)
        bars = overlay.draw(image_rgb, [], ShownFace(1, box, face.window, True))[:, 160:]
        kept.append(not _has(bars, class_color(top)))  # paler, where it is uncertain
        del face
    assert all(kept)


def test_bars_are_as_long_as_the_probabilities():
    overlay = Overlay((640, 360), NAMES)
    face = ShownFace(1, np.array([40.0, 40, 90, 90]), _window(1, 0, 1, share=0.6), False)
    canvas = overlay.draw(np.zeros((360, 640, 3), np.uint8), [], face)
    lengths = [(canvas == class_color(index)).all(axis=2).sum(axis=1).max() for index in range(3)]
    assert lengths == pytest.approx([0.2 * 60, 0.6 * 60, 0.2 * 60], abs=1)


def test_a_face_that_is_not_read_is_told_from_one_that_is_not_seen_enough():
    silent = Window(2, 0, 2, 0.1, np.zeros(4), None)
    assert _headline(ShownFace(2, np.zeros(4), None, False)) == "face 2: not classified"
    assert _headline(ShownFace(2, np.zeros(4), silent, False)) == "face 2: seen too briefly"
    assert _headline(ShownFace(2, np.zeros(4), _window(2, 0), False)) == "face 2"


@pytest.mark.parametrize("size", [(64, 48), (640, 360), (360, 640)])
def test_the_model_is_named_beside_the_frame(size):
    said = "mine/full/fold1, trained on mine without fold 1; not calibrated"
    image_rgb = np.zeros((size[1], size[0], 3), np.uint8)
    without, named = Overlay(size, NAMES), Overlay(size, NAMES, said)
    drawn = named.draw(image_rgb, [], None)
    assert (drawn == MUTED).all(axis=2).any()
    assert not (without.draw(image_rgb, [], None) == MUTED).all(axis=2).any()
    assert "".join(named._model_lines).replace(" ", "") == said.replace(" ", "")


def test_a_name_of_many_lines_keeps_its_end():
    overlay = Overlay((640, 360), NAMES, f"{'word ' * 200}; not calibrated")
    assert len(overlay._model_lines) == MODEL_LINES
    assert overlay._model_lines[-1].endswith("calibrated")
