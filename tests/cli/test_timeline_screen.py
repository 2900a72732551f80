"""The time line on the screen: read without colour, at any width, and no name is markup."""

import io
import re

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from dfercli.cli import prediction_screen
from dfercli.predict.prediction import VideoPrediction, Window
from dfercli.visualize.class_colors import class_color

NAMES = ("happiness", "sadness", "surprise")


@pytest.fixture
def show(monkeypatch):
    """Print on a screen of this width; gives what was printed."""

    def run(call, *args, width=80, terminal=False):
        out = io.StringIO()
        color = "truecolor" if terminal else None
        console = Console(
            file=out, width=width, force_terminal=terminal, color_system=color, highlight=False
        )
        monkeypatch.setattr(prediction_screen, "screen", console)
        call(*args)
        return out.getvalue()

    return run


def _window(start_s, top, share=0.83, track=1, names=NAMES, length_s=2.0):
    probs = None
    if top is not None:
        probs = np.full(len(names), 0.4 * (1 - share) / max(1, len(names) - 2))
        probs[top] = share
        probs[(top + 1) % len(names)] = 0.6 * (1 - share) if len(names) > 1 else share
    return Window(track, start_s, start_s + length_s, 1.0, np.zeros(4), probs)


def _predict(windows, names=NAMES, calibrated=True, duration_s=8.0, video="folder/v.mp4"):
    return VideoPrediction(video, names, calibrated, (64, 48), duration_s, 64, 0.93, tuple(windows))


FOUR = [_window(0.0, 0), _window(2.0, 1), _window(4.0, None), _window(6.0, 2, share=0.45)]


@pytest.mark.parametrize(
    ("window", "calibrated", "line"),
    [
        (
            _window(2.0, 0),
            True,
            "  2.0 –   4.0 s  face 1  happiness  83 % ████████    then sadness 10 %",
        ),
        (_window(2.0, 1, 0.4), True, "  2.0 –   4.0 s  face 1  uncertain (sadness 40 %)"),
        (
            _window(2.0, 1, 0.4, track=12),
            False,
            "  2.0 –   4.0 s  face 12  sadness    40 % ████        then surprise 36 %",
        ),
        (_window(1234.5, None), True, "1234.5 – 1236.5 s  face 1  seen too briefly"),
    ],
)
def test_a_window_is_a_line(window, calibrated, line, show):
    assert show(prediction_screen.print_window, window, NAMES, calibrated).rstrip() == line.rstrip()


def test_a_window_of_a_single_class_is_a_line(show):
    said = show(
        prediction_screen.print_window, _window(0.0, 0, 1.0, names=("joy",)), ("joy",), True
    )
    assert said.strip().endswith("joy 100 % ██████████")


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_line_is_no_longer_than_the_terminal(width, show):
    said = show(
        prediction_screen.print_window, _window(0.0, 0), NAMES, True, width=width, terminal=True
    )
    plain = re.sub(r"\x1b\[[\d;]*m", "", said)
    assert cell_len(plain.rstrip("\n")) <= width
    assert "happiness  83 %" in plain
    assert ("then" in plain) == (width == 80)


def test_a_summary_has_the_time_line_of_each_face(show):
    said = show(prediction_screen.print_prediction, _predict(FOUR), width=40).splitlines()
    assert said == [
        "folder/v.mp4: 8.0 s, 1 face, seen in 93 ",
        "% of 64 searched frames",
        "",
        "face 1  0.0 – 8.0 s  happiness (41 % on ",
        "average), uncertain 33 % (small letters)",
        "H" * 10 + "S" * 10 + "·" * 10 + "u" * 10,
        "0 s       2         4         6",
        " H  happiness 33 %   S  sadness 33 %",
        " U  surprise 33 %",
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_time_line_is_as_wide_as_the_screen(width, show):
    names = (*NAMES, "disappointment-of-20")
    said = show(prediction_screen.print_prediction, _predict(FOUR, names), width=width).splitlines()
    assert max(map(cell_len, said)) == width
    assert "H" * (width // 4) + "S" * (width // 4) in "\n".join(said)


def test_a_stretch_shows_its_majority_and_overlaps_are_halved(show):
    windows = [_window(0.0, 0), _window(1.0, 1), _window(2.0, 0)]  # speak 1.5, 1 and 1.5 s
    said = show(prediction_screen.print_prediction, _predict(windows, duration_s=4.0), width=20)
    assert "HHHHHHHHSSSSSHHHHHHH" in said or "HHHHHHHSSSSSHHHHHHHH" in said


def test_without_calibration_nothing_is_uncertain(show):
    said = show(prediction_screen.print_prediction, _predict(FOUR, calibrated=False))
    assert "uncertain" not in said
    assert "U" * 20 in said


def test_colours_are_those_of_the_classes_and_only_on_a_terminal(show):
    assert "\x1b" not in show(prediction_screen.print_prediction, _predict(FOUR))
    said = show(prediction_screen.print_prediction, _predict(FOUR), terminal=True)
    for top in (0, 1):
        assert "48;2;{};{};{}m".format(*class_color(top)) in said


def test_the_bar_of_the_black_class_has_the_terminal_s_colour(show):
    names = tuple(f"class{index}" for index in range(11))
    for top, colored in ((9, True), (10, False)):
        window = _window(0.0, top, names=names)
        said = show(prediction_screen.print_window, window, names, True, terminal=True, width=100)
        assert ("38;2;" in said) == colored
        assert "████████" in said


def test_of_many_faces_the_most_present_are_shown_and_the_rest_counted(show):
    windows = [_window(0.0, 0, track=track, length_s=1.0 + track / 10) for track in range(1, 11)]
    said = show(prediction_screen.print_prediction, _predict(windows))
    assert re.findall(r"^face (\d+)", said, flags=re.MULTILINE) == [str(n) for n in range(3, 11)]
    assert said.endswith("and 2 more faces, seen for less time\n")
    assert ": 8.0 s, 10 faces, " in said


@pytest.mark.parametrize("windows", [[], [_window(0.0, None)]])
def test_without_a_face_the_summary_says_so(windows, show):
    said = show(prediction_screen.print_prediction, _predict(windows))
    assert "0 faces" in said
    assert said.endswith("no face is visible for long enough to be classified\n")


def test_a_still_and_an_hour_have_a_time_line(show):
    still = _predict([_window(0.0, 1, length_s=0.0)], duration_s=0.0)
    assert "S" * 80 in show(prediction_screen.print_prediction, still)
    hour = _predict([_window(float(t), t // 1800) for t in range(3600)], duration_s=3601.0)
    said = show(prediction_screen.print_prediction, hour)
    assert "H" * 40 + "S" * 40 in said
    assert "600" in said


@pytest.mark.parametrize("terminal", [True, False])
def test_no_name_is_read_as_markup_or_moves_the_cursor(terminal, show):
    names = ("[b]", "[red]x[/red]", "\x1b[31mz", "a\nb")
    windows = [_window(float(2 * top), top, names=names) for top in range(4)]
    prediction = _predict(windows, names, video="[i]\x1b[2J\udcff.mp4")

    def both():
        prediction_screen.print_prediction(prediction)
        for window in windows:
            prediction_screen.print_window(window, names, True)

    said = show(both, terminal=terminal, width=100)
    plain = re.sub(r"\x1b\[[\d;]*m", "", said)
    assert plain.count("[b] ") >= 2
    assert "[red]x[/red]" in plain
    assert r"\x1b[31mz" in plain
    assert r"a\nb" in plain
    assert r"[i]\x1b[2J\xff.mp4" in plain
    plain.encode()


def test_a_rest_too_short_for_a_window_is_told_of_by_the_last(show):
    """8.0 s in windows, 8.4 s in all: without it the last four of 80 letters would be dots."""
    seen = _predict([_window(start_s, 0) for start_s in (0.0, 2.0, 4.0, 6.0)], duration_s=8.4)
    assert "H" * 80 in show(prediction_screen.print_prediction, seen)
