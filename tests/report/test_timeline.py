"""Pictures: they are drawn whatever the time line is like, and their colours tell classes apart."""

import re

import numpy as np
import pytest

from dfercli.errors import ConfigError
from dfercli.images import read_image
from dfercli.predict import VideoPrediction, Window
from dfercli.report import MAX_FACES, check_picture, plot_prediction

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
ELEVEN = (*SEVEN, "contempt", "anxiety", "helplessness", "disappointment")
MAGENTA = (255, 0, 255)
"""A colour that no line, letter or background of the picture has."""


@pytest.fixture
def predict(tmp_path):
    """Make the prediction of a video with these windows: a class that is sure, or None."""

    def make(tops, class_names=SEVEN):
        windows = []
        for index, top in enumerate(tops):
            probs = face = None
            if top is not None:
                probs = np.full(len(class_names), 0.02)
                probs[top] += 1 - probs.sum()
                face = np.full((48, 48, 3), MAGENTA, dtype=np.uint8)
            windows.append(Window(index, index + 2.0, 0.9, probs, face))
        return VideoPrediction(tmp_path / "v.mp4", class_names, 80, 0.9, tuple(windows))

    return make


def _draw(prediction, path):
    plot_prediction(prediction, path)
    return read_image(path)


def _count_faces(image_rgb):
    """Faces in the picture: stretches of magenta along the row that has most of it."""
    face = (np.abs(image_rgb.astype(int) - MAGENTA) < 40).all(axis=2)
    row = face[face.sum(axis=1).argmax()].astype(int)
    return int((np.diff(row, prepend=0) == 1).sum())


@pytest.mark.parametrize(
    ("tops", "num_faces"),
    [
        ([0, 1, 2, 3], 4),
        ([4], 1),
        ([None, 0, None, 1, None], 2),
        (list(range(7)) * 4, MAX_FACES),
        ([None, None], 0),
        ([None], 0),
    ],
)
def test_a_picture_has_a_face_for_each_named_window(tops, num_faces, predict, tmp_path):
    image_rgb = _draw(predict(tops), tmp_path / "new folder" / "line.png")
    assert image_rgb.shape == (624, 1440, 3)
    assert _count_faces(image_rgb) == num_faces
    assert image_rgb.std() > 10  # lines and letters are there
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["line.png"]


def test_a_still_of_no_length_is_drawn(tmp_path):
    still = Window(0.0, 0.0, 1.0, np.array([0.9, 0.1]), np.full((8, 8, 3), MAGENTA, np.uint8))
    prediction = VideoPrediction(tmp_path / "v.mp4", ("anger", "fear"), 1, 1.0, (still,))
    assert _count_faces(_draw(prediction, tmp_path / "still.png")) == 1


@pytest.mark.parametrize("class_names", [SEVEN, ELEVEN, tuple(f"class{i}" for i in range(20))])
def test_every_class_has_a_colour_of_its_own(class_names, predict, tmp_path):
    plot_prediction(predict([0, 1, 2], class_names), tmp_path / "line.svg")
    lines = re.findall(r"stroke: (#\w{6}); stroke-width: 2;", (tmp_path / "line.svg").read_text())
    # Each class is drawn twice, as a line and in the legend.
    assert len(lines) == 2 * len(class_names)
    assert len(set(lines)) == len(class_names)


def test_a_window_without_a_face_is_a_gap_in_the_lines(predict, tmp_path):
    def pieces(tops):
        plot_prediction(predict(tops), tmp_path / "line.svg")
        text = (tmp_path / "line.svg").read_text()
        line = re.search(r'<path d="([^"]*)"[^>]*stroke: #1f77b4; stroke-width: 2;', text)
        return line[1].count("M"), line[1].count("L")

    assert pieces([0, 1, 2, 3]) == (1, 3)
    assert pieces([0, 1, None, 2, 3]) == (2, 2)


def test_the_suffix_decides_on_the_kind(predict, tmp_path):
    for suffix, start in (
        (".png", b"\x89PNG"),
        (".PNG", b"\x89PNG"),
        (".pdf", b"%PDF"),
        (".svg", b"<?xml"),
    ):
        plot_prediction(predict([0, 1]), tmp_path / f"line{suffix}")
        assert (tmp_path / f"line{suffix}").read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["line.jpg", "line", "line.png.txt", "png"])
def test_another_suffix_is_refused_before_anything_is_drawn(name, predict, tmp_path):
    for refuse in (check_picture, lambda path: plot_prediction(predict([0]), path)):
        with pytest.raises(ConfigError) as caught:
            refuse(tmp_path / name)
        assert str(caught.value) == (
            f"cannot draw {tmp_path / name}; name it with one of .png, .pdf, .svg"
        )
    assert list(tmp_path.iterdir()) == []
