"""What a class looks like: colours and letters that are told apart; and who speaks when."""

import numpy as np
import pytest

from dfercli.predict.prediction import VideoPrediction, Window, drawn_stretches, split_time
from dfercli.visualize.class_colors import CLASS_COLORS, class_color, class_letters, fade, ink_on

ELEVEN = (
    *("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"),
    *("contempt", "anxiety", "helplessness", "disappointment"),
)


@pytest.mark.parametrize(
    ("names", "letters"),
    [
        ((), ""),
        (ELEVEN[:7], "HSNAUDF"),
        (ELEVEN, "HSNAUDFCXEI"),
        (("a", "a", "a"), "ABC"),
        (("žal", "ßtraße", "中文", "[b]", ""), "ŽTABC"),
        (("x",) * 36, "XABCDEFGHIJKLMNOPQRSTUVWYZ0123456789"),
        (("x",) * 38, "XABCDEFGHIJKLMNOPQRSTUVWYZ0123456789##"),
    ],
)
def test_each_class_has_a_letter_of_its_own(names, letters):
    assert "".join(class_letters(names)) == letters


def test_each_class_has_a_colour_of_its_own():
    assert class_color(0) == (0xCC, 0x66, 0x77)
    assert class_color(11) == fade(class_color(0), 0.55)
    assert len({class_color(index) for index in range(33)}) == 33
    assert len(CLASS_COLORS) == 11


def test_letters_are_read_on_every_colour():
    for index in range(33):
        color, ink = class_color(index), ink_on(class_color(index))
        lighter, darker = sorted((_luminance(color), _luminance(ink)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4


def _luminance(color):
    """Source: WCAG 2.1, relative luminance."""
    parts = np.array(color) / 255
    linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(
    ("spans", "stretches"),
    [
        ([], []),
        ([(0, 2)], [(0, 2)]),
        ([(0, 2), (1, 3), (2, 4)], [(0, 1.5), (1.5, 2.5), (2.5, 4)]),
        ([(0, 2), (5, 7)], [(0, 2), (5, 7)]),
        ([(0, 2), (2, 3.1)], [(0, 2), (2, 3.1)]),  # the last window is shorter: no hole before it
        ([(0, 2), (1, 3), (2, 3.2)], [(0, 1.5), (1.5, 2.5), (2.5, 3.2)]),
        ([(0, 0)], [(0, 0)]),
    ],
)
def test_time_is_shared_out_among_the_windows(spans, stretches):
    windows = [Window(1, start, end, 1.0, np.zeros(4), None) for start, end in spans]
    found = split_time(windows)
    assert [(each.start_s, each.end_s) for each in found] == stretches
    assert [each.window for each in found] == windows


@pytest.mark.parametrize(
    ("duration_s", "ends_s"),
    [(4.0, [4.0, 2.0]), (4.4, [4.4, 2.0]), (4.5, [4.5, 2.0]), (4.6, [4.0, 2.0]), (3.0, [4.0, 2.0])],
)
def test_a_rest_without_a_window_is_drawn_with_the_last_one(duration_s, ends_s):
    """Windows of two seconds; face 2 is in the first only."""
    windows = [Window(n, s, s + 2.0, 1.0, np.zeros(4), None) for s, n in [(0, 1), (0, 2), (2, 1)]]
    seen = VideoPrediction("v", ("a",), True, (8, 8), duration_s, 9, 1.0, tuple(windows))
    of = [[each for each in windows if each.track == n] for n in (1, 2)]
    assert [drawn_stretches(seen, each)[-1].end_s for each in of] == ends_s
    assert drawn_stretches(seen, []) == []


def test_a_still_is_drawn_for_a_moment():
    still = Window(1, 0.0, 0.0, 1.0, np.zeros(4), None)
    seen = VideoPrediction("v", ("a",), True, (8, 8), 0.0, 1, 1.0, (still,))
    (stretch,) = drawn_stretches(seen, [still])
    assert (stretch.start_s, stretch.end_s) == (0.0, seen.shown_s)
