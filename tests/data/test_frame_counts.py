"""Frames compared with the published numbers: differences are reported by fold and class."""

from dataclasses import replace

import pytest

from dfercli.data.frame_checks import ClipFrames, compare_frames, find_frames
from dfercli.data.sources import dfew, ferv39k, mafw
from dfercli.data.sources.official_lists import Official, OfficialFrames, OfficialList, fingerprint

CLIPS = {
    "a": ("joy", 0, 5),
    "b": ("joy", 0, 7),
    "c": ("woe", 0, 9),
    "d": ("joy", 1, 6),
    "e": ("woe", 1, 8),
}
PRINT = fingerprint(["a 5", "b 7", "c 9", "d 6", "e 8"])
OFFICIAL = Official(
    ("joy", "woe"),
    {("train", 1): OfficialList((2, 1), ""), ("test", 1): OfficialList((1, 1), "")},
    lambda clip_id, class_name: f"{clip_id} {class_name}",
    {"faces": OfficialFrames(3, 10, {0: (12, 9), 1: (6, 8)}, PRINT)},
)


def _compare(official=OFFICIAL, media="faces", **changed):
    """Compare with other numbers of frames by clip id; None for a missing clip."""
    numbers = {clip_id: clip[2] for clip_id, clip in CLIPS.items()} | changed
    clips = [ClipFrames(c, *CLIPS[c][:2], n) for c, n in numbers.items() if n is not None]
    return compare_frames(official, media, clips)


def test_published_totals_are_those_of_the_tables():
    faces = dfew.OFFICIAL.frames["clip_224x224"]
    assert [sum(counts) for counts in faces.counts.values()] == [
        *(179_852, 182_794, 180_700, 182_184, 176_173),
    ]
    assert sum(map(sum, faces.counts.values())) == 901_703
    assert (faces.fewest, faces.most, faces.fingerprint) == (11, 847, "7be4ed14d351")
    assert faces.counts[3][dfew.OFFICIAL.class_names.index("sadness")] == 36_212
    assert dfew.OFFICIAL.frames["clip_224x224_16f"] == OfficialFrames(16, 16)
    crops = ferv39k.OFFICIAL.frames["2_ClipsforFaceCrop"]
    assert [sum(crops.counts[fold]) for fold in (0, 1)] == [870_587, 220_046]
    assert crops.counts[1][ferv39k.OFFICIAL.class_names.index("surprise")] == 17_978
    assert (crops.fewest, crops.most, crops.fingerprint) == (8, 47, "ceb7101cf733")
    assert mafw.OFFICIAL.frames == {}


def test_all_frames_deviate_in_nothing():
    found = _compare()
    assert (found.deviations, found.note) == ((), "")
    assert (found.num_compared, found.num_published) == (4, 4)
    assert found.agreement == "each class of each fold has the published number"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"c": 8}, ["fold 1 train has 8 frames of woe, officially 9 (1 is missing)"]),
        ({"d": 4}, ["fold 1 test has 4 frames of joy, officially 6 (2 are missing)"]),
        ({"b": 9}, ["fold 1 train has 14 frames of joy, officially 12 (2 too many)"]),
        (
            {"a": 4, "e": 4},
            [
                "30 frames, officially 35 (5 are missing)",
                "fold 1 test has 4 frames of woe, officially 8 (4 are missing)",
                "fold 1 train has 11 frames of joy, officially 12 (1 is missing)",
            ],
        ),
        (
            {"d": 7, "e": 7},  # the total is right
            [
                "fold 1 test has 7 frames of joy, officially 6 (1 too many)",
                "fold 1 test has 7 frames of woe, officially 8 (1 is missing)",
            ],
        ),
        (
            {"e": 1},  # the clip itself can be named: none has so few
            [
                "1 clip (e) has 1 frame, officially 3 to 10 per clip",
                "fold 1 test has 1 frame of woe, officially 8 (7 are missing)",
            ],
        ),
        (
            {"b": 2, "e": 1},
            [
                "2 clips (e, b) have too few frames; e has 1 frame, officially 3 to 10",
                "23 frames, officially 35 (12 are missing)",
                "fold 1 test has 1 frame of woe, officially 8 (7 are missing)",
                "fold 1 train has 7 frames of joy, officially 12 (5 are missing)",
            ],
        ),
        (
            {"a": 1, "b": 11},
            ["2 clips (a, b) have frames too few or too many; a has 1 frame, officially 3 to 10"],
        ),
    ],
)
def test_the_class_and_fold_that_differ_are_named(changed, said):
    found = _compare(**changed)
    assert list(found.deviations) == said
    assert found.note == ""


def test_a_class_that_lacks_a_clip_lacks_frames_anyway():
    found = _compare(b=None)
    assert found.deviations == ()
    assert (found.num_compared, found.num_published) == (3, 4)
    assert found.agreement == (
        "the published number in 3 of 4 classes of folds; the others lack clips"
    )
    more = "it lacks at least 1 more than its 1 missing clip can have"
    assert _compare(a=1 + 3, b=None, c=None).deviations == ()
    tight = replace(OFFICIAL.frames["faces"], most=7)
    (line,) = _compare(replace(OFFICIAL, frames={"faces": tight}), a=4, b=None, c=7).deviations[:1]
    assert line.startswith("1 clip (e) has 8 frames")
    lines = _compare(replace(OFFICIAL, frames={"faces": tight}), a=4, b=None).deviations
    assert f"fold 1 train has 4 frames of joy, officially 12 ({more})" in lines


def test_right_totals_of_wrong_clips_are_a_note():
    found = _compare(a=6, b=6)
    assert found.deviations == ()
    assert found.note == (
        "each class of each fold has its published number of frames, but not each clip "
        f"(fingerprint {fingerprint(['a 6', 'b 6', 'c 9', 'd 6', 'e 8'])}, officially {PRINT}): "
        "some clips have frames too few, and others of the same class and fold as many too many"
    )


def test_clips_of_equally_many_frames_are_compared_one_by_one():
    official = replace(OFFICIAL, frames={"few": OfficialFrames(6, 6)})
    changed = {"a": 5, "b": 6, "c": 6, "e": 6}
    found = _compare(official, "few", **changed)
    assert found.deviations == ("1 clip (a) has 5 frames, officially 6 per clip",)
    found = _compare(official, "few", **changed | {"a": 6})
    assert (found.deviations, found.note) == ((), "")
    assert found.agreement == "each clip has the published 6"


def test_a_folder_of_an_unknown_name_counts_as_the_usual_media():
    assert find_frames(dfew.OFFICIAL, "my faces").fewest == 11
    assert find_frames(dfew.OFFICIAL, "clip_224x224_16f").fewest == 16
    assert find_frames(mafw.OFFICIAL, "frames") is None
    assert _compare(replace(OFFICIAL, frames={})).agreement == ""


def test_where_every_class_lacks_clips_nothing_is_said_to_agree():
    found = _compare(**dict.fromkeys("acde"))
    assert found.deviations == ()
    assert found.num_compared == 0
    assert found.agreement == "each class of each fold lacks clips: nothing can be compared"
