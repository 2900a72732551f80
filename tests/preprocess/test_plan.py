"""What a call will do: told, refused or asked, and nothing written meanwhile."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from data.official_trees import MAFW_FEW, put_clips, put_files, write_mafw
from preprocess.small_sets import (
    CLIPS,
    FACES,
    BrightFaces,
    look_at,
    publish,
    write_mafw_videos,
    write_set,
)

from dfercli.data.sources.base import Choices, Listing, Source
from dfercli.demo.drawing import make_person
from dfercli.demo.videos import draw_video
from dfercli.errors import DataError, UnknownNameError
from dfercli.faces import load_detector
from dfercli.faces.align import CropRecipe
from dfercli.faces.main_face import follow_main_face, read_crops
from dfercli.media.images import list_frames, write_image
from dfercli.preprocess.plan import MAX_SAMPLE, _inspect_sample, plan_preprocess
from dfercli.preprocess.run import preprocess

RECIPE = CropRecipe("mtcnn", size=32)
LATER = "frames and videos are not checked in a dry run"
GREY = np.full((64, 64, 3), 120, dtype=np.uint8)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Few clips are official."""
    for kind in CLIPS:
        publish(monkeypatch, kind)


@pytest.fixture
def faces_fill(monkeypatch):
    """Let a face be seen in bright frames that takes so much of their height."""

    def fill(share):
        detector = BrightFaces(share)
        monkeypatch.setattr("dfercli.preprocess.plan.load_detector", lambda name: detector)

    return fill


def _plan(kind, root, **choices):
    return plan_preprocess(kind, root, root / "manifests" / "m.csv", RECIPE, Choices(**choices))


def _asked(root, kind="mafw", **choices):
    """The question, or the error."""
    with pytest.raises(DataError) as caught:
        _plan(kind, root, **choices)
    (text,) = str(caught.value).splitlines()
    return text


def _paint(folder, kind, image_rgb):
    """Let each frame of a set be this image."""
    for clip_id in CLIPS[kind]:
        for path in list_frames(folder / clip_id):
            write_image(path, image_rgb)


def _describe(plan):
    before = look_at(plan.root)
    lines = plan.describe()
    assert look_at(plan.root) == before
    return lines


def test_a_healthy_set_is_told_in_full(tmp_path):
    plan = _plan("dfew", write_set(tmp_path, "dfew"))
    assert _describe(plan) == [
        f"dfew in {tmp_path}",
        "lists: EmoLabel_DataSplit/test(single-labeled)/set_1.csv and 9 more",
        "faces: Clip/clip_224x224 (10 clips)",
        "clips: 10 (happiness 0, sadness 5, neutral 0, anger 0, surprise 0, disgust 0, fear 5); "
        "by test fold 1: 2, 2: 2, 3: 2, 4: 2, 5: 2",
        "faces: adopted in place as they are; sizes in a sample: 8x8 (10 clips)",
        f"manifest: {tmp_path / 'manifests' / 'm.csv'}",
        LATER,
    ]
    assert (plan.official, plan.deviations, plan.recipe) == (True, [], None)
    assert plan.faces == tmp_path


def test_what_is_to_be_cropped_is_told_without_a_detector(tmp_path, monkeypatch):
    monkeypatch.delattr("dfercli.preprocess.plan.load_detector")
    plan = _plan("mafw", write_mafw_videos(tmp_path))
    assert _describe(plan)[2:] == [
        "clips: data/clips (10 clips)",
        "clips: 10 (anger 0, disgust 0, fear 0, happiness 0, neutral 5, sadness 0, surprise 0, "
        "contempt 5, anxiety 0, helplessness 0, disappointment 0); "
        "by test fold 1: 2, 2: 2, 3: 2, 4: 2, 5: 2",
        f"faces: cropped with mtcnn into {tmp_path / 'faces-mtcnn-32'}",
        f"manifest: {tmp_path / 'manifests' / 'm.csv'}",
        LATER,
    ]


def test_what_differs_is_told_the_gravest_first(tmp_path):
    write_set(tmp_path, "ferv39k")
    lists = tmp_path / "4_setups" / "All_scenes" / "train_All.csv"
    lists.write_text(lists.read_text().replace("Action/Happy/0000 Happy\n", ""))
    sad = tmp_path / FACES["ferv39k"] / "DailyLife" / "Sad" / "0000"
    for path in list_frames(sad):
        path.unlink()
    sad.rmdir()
    plan = _plan("ferv39k", tmp_path)
    assert plan.missing == ["DailyLife/Sad/0000"]
    assert _describe(plan)[-5:] == [
        "differs: missing: 1 of 3 clips (DailyLife/Sad/0000)",
        "differs: the lists lack 1 clip (Action/Happy/0000)",
        "differs: fold 1 train has 1 clip, officially 2 (happiness 0, not 1)",
        "this needs --allow-partial",
        LATER,
    ]


def test_missing_videos_are_refused_before_hours_of_cropping(tmp_path):
    write_mafw_videos(tmp_path)
    (tmp_path / "data" / "clips" / "00021.mp4").unlink()
    with pytest.raises(DataError, match=r"official set: missing: 1 of 10 clips \(00021\) \(cl"):
        preprocess(_plan("mafw", tmp_path))
    review = tmp_path / "manifests" / "review" / "m.csv"
    assert "00021,missing,0,,,,,,,listed but not on disk\n" in review.read_text()
    assert not (tmp_path / "faces-mtcnn-32").exists()


def test_media_that_are_still_packed_are_told(tmp_path):
    write_mafw(tmp_path, MAFW_FEW)
    put_files(tmp_path, ["data.zip"])
    missing, packed = _plan("mafw", tmp_path).deviations
    assert missing == "missing: 10 of 10 clips (00019, 00020, 00021, ...)"
    assert packed == (
        f"no clips below {tmp_path}; they are usually in data/clips; "
        "not unpacked yet: 1 archive (data.zip)"
    )


@pytest.mark.parametrize(
    ("share", "size", "likely", "filled"),
    [
        (0.39, (64, 64), "whole frames", "0 of 10 sampled clips (median 39%"),
        (0.41, (64, 64), "face crops", "10 of 10 sampled clips (median 41%"),
        (
            0.9,
            (64, 48),
            "face crops",
            "10 of 10 sampled clips (median 90%",
        ),  # higher than wide, but hardly
        (
            0.5,
            (64, 90),
            "whole frames",
            "0 of 10 sampled clips (median 36%",
        ),  # a close-up in a wide frame
        (0.9, (64, 86), "whole frames", "0 of 10 sampled clips (median 67%"),
    ],
)
def test_frames_are_measured_before_it_is_asked(tmp_path, faces_fill, share, size, likely, filled):
    faces_fill(share)
    write_set(tmp_path, "mafw")
    _paint(tmp_path / FACES["mafw"], "mafw", np.full((*size, 3), 120, dtype=np.uint8))
    assert _asked(tmp_path) == (
        f"{tmp_path / FACES['mafw']} has frames that look like {likely}: a face fills {filled} "
        f"of the side), sizes {size[1]}x{size[0]} (10 clips); "
        "choose --adopt to use them as they are, or --crop"
    )


@pytest.mark.parametrize("kind", ["dfew", "ferv39k"])
def test_faces_in_a_folder_of_an_unknown_name_are_asked_about(tmp_path, faces_fill, kind):
    faces_fill(0.5)
    usual, number = write_set(tmp_path, kind) / FACES[kind], len(CLIPS[kind])
    _paint(usual, kind, GREY)
    assert _plan(kind, tmp_path).listing.media == "crops"
    usual.rename(usual.with_name("mine"))
    assert _asked(tmp_path, kind) == (
        f"{usual.with_name('mine')} has frames that look like face crops: a face fills {number} of "
        f"{number} sampled clips (median 50% of the side), "
        f"sizes 64x64 ({number} clips); "
        "choose --adopt if they are the authors' crops; otherwise set --root to those crops"
    )
    plan = _plan(kind, tmp_path, adopt=True)
    assert (plan.listing.media, plan.recipe, plan.deviations) == ("crops", None, [])


def test_frames_without_faces_are_no_crops(tmp_path, faces_fill):
    faces_fill(0.9)
    write_set(tmp_path, "mafw")
    _paint(tmp_path / FACES["mafw"], "mafw", np.zeros((8, 8, 3), dtype=np.uint8))
    assert "whole frames: a face fills 0 of 10 sampled clips (median 0%" in _asked(tmp_path)


def _draw_person():
    """Two frames of a drawn person."""
    frames = draw_video(make_person(0, 0), "neutral", np.random.default_rng(0))
    return list(islice(frames, 2))


def _crop(frames, folder):
    folder.mkdir()
    for number, image_rgb in enumerate(frames):
        write_image(folder / f"{number}.png", image_rgb)
    followed = follow_main_face(folder, load_detector("mtcnn"))
    return list(read_crops(folder, followed, 112))


@pytest.mark.parametrize("cropped", [False, True])
def test_the_measure_tells_drawn_people_from_their_face_crops(tmp_path, cropped):
    root, frames = write_set(tmp_path / "root", "mafw"), _draw_person()
    images = _crop(frames, tmp_path / "whole") if cropped else frames
    for clip_id in MAFW_FEW:
        for path, image_rgb in zip(
            list_frames(root / FACES["mafw"] / clip_id), images, strict=False
        ):
            write_image(path, image_rgb)
        list_frames(root / FACES["mafw"] / clip_id)[-1].unlink()
    likely, number = ("face crops", 10) if cropped else ("whole frames", 0)
    assert f"that look like {likely}: a face fills {number} of 10 sampled clips (" in _asked(root)


def test_clips_that_are_not_whole_do_not_keep_it_from_asking(tmp_path, faces_fill):
    faces_fill(0.5)
    write_set(tmp_path, "mafw")
    for path in list_frames(tmp_path / FACES["mafw"] / "00019"):
        path.unlink()
    list_frames(tmp_path / FACES["mafw"] / "00020")[1].write_bytes(b"")
    assert ": a face fills 8 of 8 sampled clips (" in _asked(tmp_path)


@pytest.mark.parametrize(("adopt", "media"), [(True, "crops"), (False, "videos")])
def test_saying_what_frames_are_answers_the_question(tmp_path, adopt, media):
    plan = _plan("mafw", write_set(tmp_path, "mafw"), adopt=adopt)
    assert plan.listing.media == media
    assert plan.recipe == (None if adopt else RECIPE)


def test_media_that_are_not_there_are_no_question(tmp_path):
    write_mafw_videos(tmp_path)
    plan = _plan("mafw", tmp_path, media="frames")
    assert plan.deviations[1].startswith(f"no frames below {tmp_path}; they are usually in ")
    put_clips(tmp_path / "data" / "frames", ["00001"])  # of a clip that no list has
    assert _asked(tmp_path, media="frames") == (
        f"{tmp_path / FACES['mafw']} has no frames of the listed clips"
    )


def test_a_detector_that_is_unknown_is_refused_where_it_would_be_used(tmp_path):
    recipe = CropRecipe("dlib")
    assert plan_preprocess("dfew", write_set(tmp_path, "dfew"), tmp_path / "m.csv", recipe)
    write_mafw_videos(tmp_path)
    with pytest.raises(UnknownNameError, match="no detector 'dlib'; known: "):
        plan_preprocess("mafw", tmp_path, tmp_path / "m.csv", recipe)


def _inspect(sources):
    return _inspect_sample(Listing(tuple(sources), ("fear",), "frames", "frames"), Path("away"))


def test_a_sample_is_taken_evenly_of_what_is_there():
    sources = [Source(str(i), None if i % 2 else f"{i}", "fear", 1) for i in range(1000)]
    chosen = [int(path) for path in _inspect(sources)]
    assert (chosen[0], chosen[-1], len(set(chosen))) == (0, 998, MAX_SAMPLE)
    steps = np.diff(chosen)
    assert steps.max() - steps.min() <= 2
    assert list(_inspect(sources[:4])) == ["0", "2"]
    assert _inspect([]) == {}
