"""What needs the network or real footage; deselected by default, `-m network`, `-m realvideo`."""

import os
from pathlib import Path

import pytest

from dfercli.faces import load_detector
from dfercli.models.pretrained import encode_prompts, load_pretrained
from dfercli.predict import Predictor

FOOTAGE = sorted(Path(os.environ.get("DFER_TEST_VIDEOS", "none")).glob("*.mp4"))


@pytest.mark.network
def test_openai_weights_are_fetched_and_tell_opposite_expressions_apart():
    clip = load_pretrained("ViT-B-32-quickgelu", "openai")
    texts = encode_prompts(clip, "ViT-B-32-quickgelu", ["a happy face", "a smile", "a car"])
    assert texts[0] @ texts[1] > texts[0] @ texts[2]
    assert clip.logit_scale.exp().item() == pytest.approx(100, abs=0.1)


@pytest.mark.network
def test_face_alignment_fetches_its_weights_and_finds_a_portrait():
    from skimage.data import astronaut

    (face,) = load_detector("face-alignment").detect(astronaut())
    left, right, nose, *mouth = face.landmarks_xy
    assert left[0] < nose[0] < right[0]
    assert max(left[1], right[1]) < nose[1] < min(corner[1] for corner in mouth)


@pytest.mark.realvideo
@pytest.mark.parametrize("video", FOOTAGE, ids=lambda path: path.name)
def test_real_footage_gives_one_face_and_a_time_line(video, make_model):
    predictor = Predictor(make_model().eval(), load_detector("mtcnn"), crop_size=112)
    prediction = predictor.predict(video)
    assert prediction.coverage > 0.8
    assert prediction.tracks
    confidence = prediction.to_frame()["confidence"].dropna()
    assert confidence.between(0, 1).all()
