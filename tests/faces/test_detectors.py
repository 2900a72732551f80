"""Each detector behind its protocol: on a real portrait, on nothing, and when it cannot be made."""

import errno
import hashlib
import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from skimage import data

import dfercli.faces.detectors.face_alignment as fan
from dfercli.errors import DetectorError, UnknownNameError
from dfercli.faces import DETECTORS, load_detector
from dfercli.faces.detectors.face_alignment import FANDetector
from dfercli.faces.types import Face, box_iou

PORTRAIT_POINTS = np.array([(206, 104), (249, 106), (226, 131), (204, 141), (246, 144)])
"""The astronaut's five landmarks, read off the picture by eye."""


class _Network:
    """Stands for face_alignment's network, whose weights cannot be had here."""

    def __init__(self, faces):
        self._faces = faces

    def get_landmarks_from_image(self, image, return_bboxes):
        assert return_bboxes
        if not self._faces or image.std() == 0:
            return None, None, None
        points, boxes = zip(*self._faces, strict=True)
        return list(points), None, list(boxes)


def _points_68():
    """68 points whose eyes, nose and mouth are the portrait's, and all others far away."""
    points = np.full((68, 2), 1e6)
    left_eye, right_eye, nose, left_mouth, right_mouth = PORTRAIT_POINTS
    ring = 4 * np.array([(-1, 0), (-0.5, -1), (0.5, -1), (1, 0), (0.5, 1), (-0.5, 1)])
    points[36:42], points[42:48] = left_eye + ring, right_eye + ring
    points[30], points[48], points[54] = nose, left_mouth, right_mouth
    return points.astype(np.float32)


@pytest.fixture(params=sorted(DETECTORS))
def detector(request, monkeypatch):
    """Every detector by its public name, without the network."""
    box = np.array([181, 61, 269, 173, 0.99], dtype=np.float32)
    network = _Network([(_points_68(), box)])
    monkeypatch.setattr(fan, "_fetch_weights", lambda: None)
    monkeypatch.setattr(fan.face_alignment, "FaceAlignment", lambda *args, **kwargs: network)
    return load_detector(request.param)


def test_a_portrait_has_one_face_with_five_points_in_order(detector):
    (face,) = detector.detect(data.astronaut())
    assert isinstance(face, Face)
    assert face.box_xyxy.shape == (4,)
    assert face.landmarks_xy.shape == (5, 2)
    assert box_iou(face.box_xyxy, np.array([178.0, 60.0, 272.0, 176.0])) > 0.8
    assert np.abs(face.landmarks_xy - PORTRAIT_POINTS).max() < 6  # an eye is 20 pixels wide
    assert 0.9 < face.score <= 1


def test_a_large_frame_gives_the_face_in_its_own_pixels():
    small = data.astronaut()
    large = np.repeat(np.repeat(small, 4, axis=0), 4, axis=1)  # 2048 pixels a side
    (face,) = load_detector("mtcnn").detect(large)
    assert np.abs((face.landmarks_xy + 0.5) / 4 - 0.5 - PORTRAIT_POINTS).max() < 6
    assert box_iou(face.box_xyxy / 4, np.array([178.0, 60.0, 272.0, 176.0])) > 0.8


def test_the_image_is_not_changed(detector):
    image_rgb = data.astronaut()
    detector.detect(image_rgb)
    assert np.array_equal(image_rgb, data.astronaut())


@pytest.mark.parametrize("shape", [(240, 320), (480, 64), (20, 20), (8, 300), (1, 1)])
@pytest.mark.parametrize("grey", [0, 127, 255])
def test_a_blank_image_has_none(detector, shape, grey):
    assert detector.detect(np.full((*shape, 3), grey, dtype=np.uint8)) == []


def test_mtcnn_finds_two_faces():
    portrait = data.astronaut()[:300, 100:400]
    image_rgb = np.ascontiguousarray(np.hstack([portrait, portrait[:, ::-1]]))
    faces = sorted(load_detector("mtcnn").detect(image_rgb), key=lambda face: face.box_xyxy[0])
    assert [face.box_xyxy[0] < 300 for face in faces] == [True, False]
    for face in faces:  # also the mirrored one: left is the image's left
        left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks_xy
        assert left_eye[0] < nose[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert left_eye[1] < nose[1] < left_mouth[1]


def test_mtcnn_finds_the_face_at_any_resolution():
    detector, portrait = load_detector("mtcnn"), data.astronaut()
    (small,) = detector.detect(np.ascontiguousarray(portrait[::3, ::3]))
    (large,) = detector.detect(portrait.repeat(2, axis=0).repeat(2, axis=1))
    for face, scale in ((small, 1 / 3), (large, 2)):
        assert np.abs(face.landmarks_xy / scale - PORTRAIT_POINTS).max() < 9


def test_fan_gives_each_face_its_own_points():
    boxes = [np.array([10, 20, 30, 60, 0.9]), np.array([5, 5, 7, 9, 0.6])]
    network = _Network([(_points_68(), boxes[0]), (_points_68() + 100, boxes[1])])
    first, second = FANDetector(network).detect(data.astronaut())
    assert np.allclose(first.landmarks_xy, PORTRAIT_POINTS)
    assert np.allclose(second.landmarks_xy, PORTRAIT_POINTS + 100)
    assert first.box_xyxy.tolist() == [10, 20, 30, 60]
    assert (first.score, second.score) == (0.9, 0.6)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "cannot store the weights of face-alignment in {cache}/checkpoints: No space left on "
            "device; free some space",
        ),
        (RuntimeError("CUDA error: no kernel"), "cannot set up face-alignment: CUDA error: no ker"),
    ],
)
def test_what_is_not_the_networks_fault_is_not_blamed_on_it(error, said, monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(fan, "_fetch_weights", lambda: None)
    monkeypatch.setattr(fan.face_alignment, "FaceAlignment", fail)
    monkeypatch.setattr(fan.torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(DetectorError) as caught:
        load_detector("face-alignment")
    assert str(caught.value).startswith(said.format(cache=tmp_path))


@pytest.mark.parametrize(
    ("asked", "there", "device"),
    [
        ("auto", True, "cuda"),
        ("auto", False, "cpu"),
        ("cuda:1", True, "cuda:1"),
        ("cpu", True, "cpu"),
        ("mps", False, "cpu"),
    ],
)
def test_fan_runs_on_the_gpu_that_is_named(asked, there, device, monkeypatch):
    made = []
    monkeypatch.setattr(fan, "_fetch_weights", lambda: None)
    monkeypatch.setattr(fan.torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(
        fan.face_alignment, "FaceAlignment", lambda *a, device, **more: made.append(device)
    )
    load_detector("face-alignment", asked)
    assert made == [device]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError("no route to host"), "no route to host"),
        (URLError("no answer"), "<urlopen error no answer>"),
    ],
)
def test_fan_without_network_names_the_other_detector(error, why, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(fan, "_fetch_weights", lambda: None)
    monkeypatch.setattr(fan.face_alignment, "FaceAlignment", fail)
    with pytest.raises(DetectorError) as caught:
        load_detector("face-alignment")
    assert str(caught.value) == (
        f"the weights of face-alignment are not cached and cannot be downloaded ({why}); "
        f"run once with network access, or use --detector mtcnn, which includes its weights"
    )


@pytest.mark.parametrize(
    "error",
    [
        pickle.UnpicklingError("Weights only load failed.\nCheck the documentation"),
        EOFError(),
        RuntimeError("PytorchStreamReader failed reading zip archive: not a ZIP archive"),
    ],
)
def test_damaged_weights_of_fan_are_to_be_removed(error, monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(fan, "_fetch_weights", lambda: None)
    monkeypatch.setattr(fan.face_alignment, "FaceAlignment", fail)
    monkeypatch.setattr(fan.torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(DetectorError) as caught:
        load_detector("face-alignment")
    assert str(caught.value) == (
        f"the weights of face-alignment in {tmp_path / 'checkpoints'} are damaged; delete them, "
        f"and the next use downloads them again"
    )


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """Two files of weights in an empty cache, of which the first digits of the hash are known."""
    content = {"s3fd": b"first", "2DFAN-4": b"second"}
    for urls, name in ((fan.s3fd_urls, "s3fd"), (fan.fan_urls, "2DFAN-4")):
        digits = hashlib.sha256(content[name]).hexdigest()[:10]
        monkeypatch.setitem(urls, name, f"https://example.org/{name}-{digits}.pth")
    monkeypatch.setattr(fan.torch.hub, "get_dir", lambda: str(tmp_path))
    return dict(zip(fan._files(), content.values(), strict=True))


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04"])
def test_weights_of_another_hash_are_not_loaded(content, weights, monkeypatch):
    first, second = weights
    first.parent.mkdir()
    first.write_bytes(weights[first])
    second.write_bytes(content)
    monkeypatch.setattr(fan.face_alignment, "FaceAlignment", lambda *a, **k: pytest.fail("loaded"))
    with pytest.raises(DetectorError) as caught:
        load_detector("face-alignment")
    assert str(caught.value) == (
        f"the weights of face-alignment are damaged or not the published ones: {second} "
        f"has the SHA-256 {hashlib.sha256(content).hexdigest()[:12]}..., not "
        f"{hashlib.sha256(b'second').hexdigest()[:10]}...; delete {second}, and the next use "
        f"downloads it again"
    )


@pytest.mark.parametrize("change", [b"", b"!"])
def test_weights_that_are_fetched_are_checked_before_they_are_loaded(change, weights, monkeypatch):
    loaded = []

    def download(url, path, progress):
        Path(path).write_bytes(weights[Path(path)] + change)

    monkeypatch.setattr(fan, "answers", lambda url: True)
    monkeypatch.setattr(fan.torch.hub, "download_url_to_file", download)
    monkeypatch.setattr(fan.face_alignment, "FaceAlignment", lambda *a, **k: loaded.append(1))
    if change:
        with pytest.raises(DetectorError, match="not the published ones"):
            load_detector("face-alignment")
    else:
        load_detector("face-alignment")
        load_detector("face-alignment")  # from the cache
    assert bool(loaded) is not bool(change)
    assert fan.missing_weights() == ([second.name for second in list(weights)[1:]] * bool(change))


def test_an_unknown_detector_is_answered_with_the_known_ones():
    with pytest.raises(UnknownNameError) as caught:
        load_detector("retina")
    assert str(caught.value) == "no detector 'retina'; known: face-alignment, mtcnn"


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (5, 0, 15, 10), 50 / 150),
        ((0, 0, 10, 10), (2, 2, 4, 7), 10 / 100),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0),
        ((0, 0, 10, 10), (20, 20, 30, 30), 0.0),
        ((5, 5, 5, 5), (5, 5, 5, 5), 0.0),
    ],
)
def test_overlap_of_boxes(a, b, iou):
    a, b = np.array(a, dtype=float), np.array(b, dtype=float)
    assert box_iou(a, b) == box_iou(b, a) == pytest.approx(iou)


@pytest.mark.parametrize(
    ("box", "area"), [((10, 20, 14, 25), 20.0), ((14, 20, 10, 25), 0.0), ((14, 25, 10, 20), 0.0)]
)
def test_area_of_a_face(box, area):
    assert Face(np.array(box), np.zeros((5, 2)), 1.0).area == area
