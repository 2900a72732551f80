"""Crops: the transform against known ones, and landmarks found again at the template."""

import numpy as np
import pytest

from dfercli.faces.align import (
    CROP_VERSION,
    TEMPLATE,
    CropRecipe,
    crop_face,
    similarity_transform,
)

SIZE = 224


def _moved(points, angle_deg, scale, shift):
    """Rotate, scale and shift points by the textbook matrix."""
    angle = np.deg2rad(angle_deg)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ rotation.T + np.array(shift)


def _apply(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


@pytest.mark.parametrize("angle_deg", [0, 30, -75, 180])
@pytest.mark.parametrize("scale", [0.1, 1.0, 7.5])
@pytest.mark.parametrize("shift", [(0, 0), (-40, 300)])
def test_a_known_transform_is_recovered(angle_deg, scale, shift):
    source = TEMPLATE * SIZE
    matrix = similarity_transform(source, _moved(source, angle_deg, scale, shift))
    angle = np.deg2rad(angle_deg)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    expected = np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]]])
    assert np.allclose(matrix, expected, atol=1e-9)


def test_points_that_no_transform_matches_are_met_in_the_least_squares():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    matrix = similarity_transform(source, target)
    # The same by the normal equations of target = [x, -y, 1, 0; y, x, 0, 1] (a, b, tx, ty).
    rows = [row for x, y in source for row in ((x, -y, 1, 0), (y, x, 0, 1))]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), target.ravel(), rcond=None)[0]
    assert np.allclose(matrix, [[a, -b, tx], [b, a, ty]], atol=1e-9)


def test_a_mirrored_face_is_not_mirrored_back():
    mirrored = TEMPLATE * SIZE * [-1, 1]
    assert np.linalg.det(similarity_transform(mirrored, TEMPLATE * SIZE)[:, :2]) > 0


def test_the_template_is_an_upright_face_in_the_middle():
    left_eye, right_eye, nose, left_mouth, right_mouth = TEMPLATE
    assert left_eye[0] + right_eye[0] == pytest.approx(1)
    assert left_mouth[0] + right_mouth[0] == pytest.approx(1)
    assert left_eye[1] == right_eye[1] < nose[1] < left_mouth[1] == right_mouth[1]
    chin = left_mouth[1] + 0.7 * (left_mouth[1] - left_eye[1])
    assert chin < 0.95


def _dotted_image(landmarks_xy, shape, radius):
    """Black, with a disc of a colour of its own at each landmark."""
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    image_rgb = np.zeros((*shape, 3), dtype=np.uint8)
    for color, (x, y) in zip(COLORS, landmarks_xy, strict=True):
        image_rgb[np.hypot(xs - x, ys - y) <= radius] = color
    return image_rgb


COLORS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)])


def _centres(crop):
    """Where the disc of each colour is, by the centre of the pixels nearest to that colour."""
    distances = np.abs(crop[:, :, None].astype(int) - COLORS).sum(axis=-1)
    return np.array([np.argwhere(distances[..., k] < 150).mean(axis=0)[::-1] for k in range(5)])


@pytest.mark.parametrize(
    ("angle_deg", "scale", "shape"),
    [
        (0, 1.0, (400, 500)),
        (25, 1.3, (480, 640)),
        (-40, 0.5, (300, 300)),
        (10, 3.0, (1080, 1920)),  # a large face: shrunk by areas first
        (170, 2.5, (1001, 777)),
    ],
)
def test_landmarks_come_to_the_template(angle_deg, scale, shape):
    centred = (TEMPLATE - 0.5) * SIZE
    landmarks = _moved(centred, angle_deg, scale, (shape[1] / 2, shape[0] / 2))
    image_rgb = _dotted_image(landmarks, shape, radius=9 * scale)
    crop = crop_face(image_rgb, landmarks, SIZE)
    assert crop.shape == (SIZE, SIZE, 3)
    assert crop.dtype == np.uint8
    assert np.abs(_centres(crop) - TEMPLATE * SIZE).max() < 1.0  # a pixel


@pytest.mark.parametrize("size", [80, 112, 224])
def test_the_size_of_the_crop_is_free(size):
    landmarks = TEMPLATE * 300 + 50
    crop = crop_face(_dotted_image(landmarks, (400, 400), radius=14), landmarks, size)
    assert crop.shape == (size, size, 3)
    assert np.abs(_centres(crop) - TEMPLATE * size).max() < 1.0


def test_a_large_face_is_shrunk_without_skipping_pixels():
    # Stripes of one pixel: four together are grey, single ones are black or white.
    image_rgb = np.zeros((1120, 1120, 3), dtype=np.uint8)
    image_rgb[:, ::2] = 255
    crop = crop_face(image_rgb, TEMPLATE * 1120, 140)
    assert np.abs(crop.astype(int) - 128).max() <= 1


def test_beyond_the_image_its_edge_is_repeated():
    image_rgb = np.full((100, 100, 3), (200, 60, 10), dtype=np.uint8)
    landmarks = TEMPLATE * 150 - 60  # half of the crop lies outside
    assert (crop_face(image_rgb, landmarks, SIZE) == [200, 60, 10]).all()


def test_a_recipe_names_all_that_makes_a_crop():
    recipe = CropRecipe("mtcnn")
    assert recipe == CropRecipe("mtcnn", 224, "loose-five-points", version=CROP_VERSION)
    assert recipe != CropRecipe("face-alignment")
