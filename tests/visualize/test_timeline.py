"""Pictures: they are drawn whatever the timeline is like, and show each face where it belongs."""

import re
from dataclasses import replace

import numpy as np
import pytest

from dfercli.errors import ConfigError
from dfercli.media.images import read_image
from dfercli.predict.prediction import VideoPrediction, Window
from dfercli.visualize import timeline
from dfercli.visualize.class_colors import PALE, class_color, fade
from dfercli.visualize.timeline import (
    MAX_FACES,
    MAX_TRACKS,
    SIDE_IN,
    STRIP_IN,
    _spread,
    check_picture,
    plot_prediction,
)

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
ELEVEN = (*SEVEN, "contempt", "anxiety", "helplessness", "disappointment")
MAGENTA = (255, 0, 255)
"""A colour that no line, letter or background of the picture has."""


def _window(start_s, top, share=0.88, track=1, class_names=SEVEN, face=True, side=50, length_s=2.0):
    probs = None
    if top is not None:
        probs = np.full(len(class_names), (1 - share) / (len(class_names) - 1))
        probs[top] = share
    face_rgb = np.full((48, 48, 3), MAGENTA, np.uint8) if face and top is not None else None
    box_xyxy = np.array([0.0, 0, side, side])
    return Window(track, start_s, start_s + length_s, 0.9, box_xyxy, probs, face_rgb)


def _predict(windows, class_names=SEVEN, video="folder/v.mp4", calibrated=True):
    duration_s = max((window.end_s for window in windows), default=3.0)
    windows = tuple(windows)
    return VideoPrediction(video, class_names, calibrated, (64, 48), duration_s, 80, 0.9, windows)


def _row(tops, **settings):
    """A face with a window each second: a class that is sure, or None."""
    return [_window(float(index), top, **settings) for index, top in enumerate(tops)]


def _draw(prediction, path):
    plot_prediction(prediction, path)
    return read_image(path)


def _words(prediction, folder):
    """All that is written in a picture."""
    plot_prediction(prediction, folder / "words.svg")
    return re.findall(r"<!-- (.+?) -->", (folder / "words.svg").read_text(), flags=re.DOTALL)


def _is(image_rgb, color, near=0):
    return (np.abs(image_rgb.astype(int) - color) <= near).all(axis=2)


def _stretches(row):
    return int((np.diff(row.astype(int), prepend=0) == 1).sum())


def _count_faces(image_rgb):
    """Faces in the picture: stretches of magenta along the row that has most of it."""
    face = _is(image_rgb, MAGENTA, near=40)
    return _stretches(face[face.sum(axis=1).argmax()])


@pytest.mark.parametrize(
    ("tops", "num_faces"),
    [
        ([0, 1, 2, 3], 4),
        ([4], 1),
        ([None, 0, None, 1, None], 2),
        (list(range(7)) * 4, MAX_FACES),
        (list(range(6)) * 100, MAX_FACES),
    ],
)
def test_a_picture_has_a_face_for_each_named_window(tops, num_faces, tmp_path):
    image_rgb = _draw(_predict(_row(tops)), tmp_path / "new folder" / "line.png")
    assert image_rgb.shape[1] == 1512
    assert _count_faces(image_rgb) == num_faces
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["line.png"]


def test_a_still_of_no_length_is_drawn(tmp_path):
    still = _window(0.0, 0, length_s=0.0)
    assert _count_faces(_draw(_predict([still]), tmp_path / "still.png")) == 1


@pytest.mark.parametrize("tops", [[], [None], [None, None]])
def test_without_a_named_window_the_picture_says_so(tops, tmp_path):
    prediction = _predict(_row(tops))
    words = _words(prediction, tmp_path)
    assert "no face is visible for long enough to be classified" in words
    assert "S  sadness" in words
    assert _count_faces(_draw(prediction, tmp_path / "line.png")) == 0


def _colored_columns(prediction, color, path):
    """Length of the stretches of a colour along the foot of a time line."""
    colored = _is(_draw(prediction, path), color)[:, 150:1230]
    row = colored[np.flatnonzero(colored.sum(axis=1) > 20)[-1]]
    edges = np.flatnonzero(np.diff(row.astype(int), prepend=0, append=0))
    return (edges[1::2] - edges[::2]).tolist()


def test_a_block_is_as_long_as_its_window_speaks_and_a_gap_is_empty(tmp_path):
    # Two faces, so that there are no curves; windows of 2 s that overlap by half.
    windows = [
        *(_window(t, top, face=False) for t, top in ((0.0, 1), (1.0, 3), (2.0, 1), (6.0, 1))),
        _window(8.0, None),
        _window(0.0, 4, track=2, face=False, length_s=10.0),
    ]
    lengths = _colored_columns(_predict(windows), class_color(1), tmp_path / "line.png")
    assert lengths == pytest.approx([1.5 * 108, 1.5 * 108, 2 * 108], abs=2)


@pytest.mark.parametrize("share", [0.55, 0.95])
def test_a_block_is_as_high_as_its_class_is_probable(share, tmp_path):
    windows = [_window(0.0, 1, share, face=False), _window(0.0, 4, track=2, face=False)]
    colored = _is(_draw(_predict(windows), tmp_path / "line.png"), class_color(1))[:, 150:1230]
    assert colored[:, 20].sum() == pytest.approx(share * 0.42 * 120, abs=2)


def test_an_uncertain_block_is_pale_where_that_is_known(tmp_path):
    windows = [_window(0.0, 3, 0.4, face=False), _window(0.0, 4, track=2, face=False)]
    for calibrated in (True, False):
        prediction = _predict(windows, calibrated=calibrated)
        band = _draw(prediction, tmp_path / "line.png")[:, 150:1230]
        strong = _is(band, class_color(3)).sum()
        pale = _is(band, fade(class_color(3), PALE), near=1).sum()
        assert (strong > 2000, pale > 2000) == (not calibrated, calibrated)
        assert ("uncertain" in _words(prediction, tmp_path)) == calibrated


@pytest.mark.parametrize("class_names", [SEVEN, ELEVEN, tuple(f"class{i}" for i in range(20))])
def test_every_class_has_a_curve_and_a_colour_of_its_own(class_names, tmp_path):
    plot_prediction(
        _predict(_row([0, 1], class_names=class_names), class_names), tmp_path / "a.svg"
    )
    lines = re.findall(r"stroke: (#\w{6}); stroke-width: 1.5", (tmp_path / "a.svg").read_text())
    colors = ["#{:02x}{:02x}{:02x}".format(*class_color(i)) for i in range(len(class_names))]
    assert len(set(colors)) == len(class_names)
    assert set(colors) - {"#000000"} <= set(lines)  # black is the default, and not written


def test_a_window_without_a_face_is_a_gap_in_the_curves(tmp_path):
    def pieces(tops):
        plot_prediction(_predict(_row(tops)), tmp_path / "line.svg")
        text = (tmp_path / "line.svg").read_text()
        line = re.search(r'<path d="([^"]*)"[^>]*stroke: #cc6677; stroke-width: 1.5', text)
        return line[1].count("M"), line[1].count("L")

    assert pieces([0, 1, 2, 3]) == (1, 3)
    assert pieces([0, 1, None, 2, 3]) == (2, 2)


def test_of_many_faces_the_longest_and_largest_are_drawn_and_the_rest_counted(tmp_path):
    windows = [_window(0.0, 0, track=track, side=track) for track in range(1, 31)]
    windows += [_window(2.0, 0, track=7, side=7)]
    words = _words(_predict(windows), tmp_path)
    faces = [word.split("\n")[0] for word in words if word.startswith("face ")]
    assert faces == ["face 7", "face 26", "face 27", "face 28", "face 29", "face 30"]
    assert len(faces) == MAX_TRACKS
    assert any("6 of 30 faces shown, 24 smaller or briefer" in word for word in words)


@pytest.mark.parametrize(
    ("video", "shown"),
    [
        ("folder/two words.mp4", "two words.mp4"),
        ("$x_1$.mp4", "$x_1$.mp4"),
        ("b\udcff.mp4", r"b\xff.mp4"),
        ("a" * 100 + ".mp4", "…" + "a" * 55 + ".mp4"),
        ("https://host/path/v.mp4", "v.mp4"),
        ("中文.mp4", "中文.mp4"),
    ],
)
def test_any_name_of_a_video_is_drawn(video, shown, tmp_path, recwarn):
    words = _words(_predict(_row([0, 1]), video=video), tmp_path)
    assert any(word.startswith(f"{shown}  ·  3.0 s  ·  face in 90% of frames") for word in words)
    assert len(recwarn) == 0


def test_any_name_of_a_class_is_drawn_in_full_up_to_twenty_letters(tmp_path):
    class_names = ("[b]x", "$x_1$", "a" * 20, "b" * 21)
    windows = _row([0, 1, 2, 3], class_names=class_names)
    words = _words(_predict(windows, class_names), tmp_path)
    assert {"B  [b]x", "X  $x_1$", f"A  {'a' * 20}", f"C  {'b' * 19}…"} <= set(words)


@pytest.mark.parametrize("wanted", [[], [0.0], [9.0] * 10, [0.0] * 10, [4.5, 4.6, 8.9], [0, 2, 4]])
def test_faces_stand_apart_near_their_times(wanted):
    places = _spread(np.array(wanted, float))
    assert (np.diff(places) >= SIDE_IN - 1e-9).all()
    assert ((places >= SIDE_IN / 2 - 1e-9) & (places <= STRIP_IN - SIDE_IN / 2 + 1e-9)).all()
    if wanted == [0, 2, 4]:
        assert places[1:].tolist() == [2, 4]


@pytest.mark.slow
def test_the_suffix_decides_on_the_kind(tmp_path):
    for suffix, start in (
        (".png", b"\x89PNG"),
        (".PNG", b"\x89PNG"),
        (".pdf", b"%PDF"),
        (".svg", b"<?xml"),
    ):
        plot_prediction(_predict(_row([0, 1])), tmp_path / f"line{suffix}")
        assert (tmp_path / f"line{suffix}").read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["line.jpg", "line", "line.png.txt", "png"])
def test_another_suffix_is_refused_before_anything_is_drawn(name, tmp_path):
    for refuse in (check_picture, lambda path: plot_prediction(_predict(_row([0])), path)):
        with pytest.raises(ConfigError) as caught:
            refuse(tmp_path / name)
        assert str(caught.value) == (
            f"cannot draw {tmp_path / name}: unknown suffix; use one of .png, .pdf, .svg"
        )
    assert list(tmp_path.iterdir()) == []


def test_the_model_is_named_and_whether_it_is_calibrated():
    said = "mine/full/fold1, trained on mine without fold 1; not calibrated"
    figure = timeline._draw(replace(_predict([_window(0, 1)]), model=said))
    assert said in [text.get_text() for text in figure.texts]


def test_of_a_long_name_the_end_stays_which_says_whether_it_is_calibrated():
    said = f"{'a' * 300}; not calibrated"
    figure = timeline._draw(replace(_predict([_window(0, 1)]), model=said))
    (line,) = [text.get_text() for text in figure.texts if "…" in text.get_text()]
    assert line.endswith("a; not calibrated")
    assert len(line) == timeline.MAX_MODEL
