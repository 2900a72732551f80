"""FERV39k: all clips by the published counts, and all known layouts."""

from collections import Counter
from dataclasses import replace

import pytest
from official_trees import (
    FERV39K_FEW,
    FERV39K_LISTS,
    FERV39K_WORDS,
    ferv39k_clips,
    ferv39k_line,
    put_clips,
    put_files,
    sides,
    with_fingerprints_of,
    write_ferv39k,
)

from dfercli.data.sources import ferv39k
from dfercli.data.sources.base import BASIC_EXPRESSIONS, Choices, Source
from dfercli.data.sources.ferv39k import SCENES, find_gaps, read_sources
from dfercli.errors import ConfigError, DataError

FACES = "2_ClipsforFaceCrop"
SCENE_IMAGES = "3_ClipsforScenImages"
NAMES = ("00.jpg", "01.jpg")


@pytest.fixture(scope="module")
def clips():
    return ferv39k_clips()


@pytest.fixture
def official(monkeypatch, clips):
    """Use the made-up clips as the official ones."""
    known = with_fingerprints_of(ferv39k.OFFICIAL, sides(clips, 1), ferv39k_line)
    monkeypatch.setattr(ferv39k, "OFFICIAL", known)


@pytest.fixture
def few(tmp_path):
    return write_ferv39k(tmp_path, FERV39K_FEW)


def _read(root, **choices):
    return read_sources(root, Choices(**choices))


def _refused(root):
    with pytest.raises(DataError) as caught:
        _read(root)
    (text,) = str(caught.value).splitlines()
    return text


def _deviations(root, clips, **how):
    """Return the deviations; one folder exists, so that they do not include missing media."""
    (root / FACES / "War/Fear/0000").mkdir(parents=True, exist_ok=True)
    return list(_read(write_ferv39k(root, clips, **how)).deviations)


def _paths(listing):
    return {source.clip_id: source.path for source in listing.sources}


def test_every_clip_is_read_into_its_side_and_class(tmp_path, clips):
    listing = _read(write_ferv39k(tmp_path, clips))
    assert len(listing.sources) == 38_935
    assert listing.sources == tuple(
        Source(clip_id, None, class_name, fold)
        for clip_id, (class_name, fold) in sorted(clips.items())
    )
    assert listing.class_names == BASIC_EXPRESSIONS
    assert Counter(source.test_fold for source in listing.sources) == {0: 31_088, 1: 7_847}
    counts = Counter((source.test_fold, source.class_name) for source in listing.sources)
    train, test = ([counts[fold, name] for name in BASIC_EXPRESSIONS] for fold in (0, 1))
    assert train == [5854, 5523, 7790, 5906, 2502, 1833, 1680]
    assert test == [1473, 1393, 1958, 1487, 638, 467, 431]
    assert (listing.media, listing.media_name) == ("crops", "2_ClipsforFaceCrop")
    assert (listing.num_folds, listing.remarks) == (None, ())


def test_made_up_clips_are_told_from_the_official_by_their_fingerprints(tmp_path, clips):
    test, train = _deviations(tmp_path, clips)
    other = " has the official counts, but other clips or labels (fingerprint "
    assert test.startswith(f"fold 1 test{other}")
    assert test.endswith(", officially 991a280ca645)")
    assert train.startswith(f"fold 1 train{other}")
    assert train.endswith(", officially 805e30928bf9)")


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [{}, {"end": "\r\n"}, {"mark": b"\xef\xbb\xbf"}, {"header": "path label"}]
)
def test_official_clips_deviate_in_nothing_with_a_header_or_without(tmp_path, clips, official, how):
    assert _deviations(tmp_path, clips, **how) == []


def test_the_first_line_is_a_clip_and_no_header(tmp_path):
    """A public loader skips it; the first row of one copy reads as here."""
    first = {"Interview/Happy/0118": ("happiness", 1)}
    listing = _read(write_ferv39k(tmp_path, first | FERV39K_FEW))
    assert Source("Interview/Happy/0118", None, "happiness", 1) in listing.sources
    assert len(listing.sources) == 5


def test_a_clip_that_is_lost_moved_or_swapped_is_noticed(tmp_path, clips, official):
    first = next(clip for clip in clips if clips[clip] == ("happiness", 0))
    lost = _deviations(tmp_path, {clip: clips[clip] for clip in clips if clip != first})
    assert lost == [
        f"the lists lack 1 clip ({first})",
        "fold 1 train has 31,087 clips, officially 31,088 (happiness 5,853, not 5,854)",
    ]
    moved = _deviations(tmp_path, clips | {first: ("happiness", 1)})
    assert moved == [
        "fold 1 test has 7,848 clips, officially 7,847 (happiness 1,474, not 1,473)",
        "fold 1 train has 31,087 clips, officially 31,088 (happiness 5,853, not 5,854)",
    ]
    trained = next(clip for clip in clips if clips[clip] == ("sadness", 0))
    tested = next(clip for clip in clips if clips[clip] == ("sadness", 1))
    swapped = _deviations(tmp_path, clips | {trained: clips[tested], tested: clips[trained]})
    assert [line.partition(", but other")[0] for line in swapped] == [
        "fold 1 test has the official counts",
        "fold 1 train has the official counts",
    ]


def test_gaps_are_named():
    assert find_gaps(["War/Sad/0001", "War/Sad/0003", "War/Fear/0000"]) == [
        "the lists lack 2 clips (War/Sad/0000, War/Sad/0002)"
    ]
    assert find_gaps(["War/Sad/0001", "War/Sad/0000"]) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Action/Happy/0007 Sad", "label Sad differs from the folder Happy"),
        ("Action/Happy/0007 0", "no emotion '0'; known: Happy, Sad, Neutral, Angry"),
        ("Action/Happy/0007 31 0", "expected Scene/Emotion/number Emotion"),
        ("Acton/Happy/0007 Happy", "no scene 'Acton' in FERV39k; known: Action, Argue"),
        ("Action/Happy/x7 Happy", "expected Scene/Emotion/number Emotion"),
        ("Action/Happy/0007", "expected Scene/Emotion/number Emotion"),
        ("Action\\Happy\\0007 Happy", "expected Scene/Emotion/number Emotion"),
        ("Happy/0007 Happy", "expected Scene/Emotion/number Emotion"),
        ("stray 1", "expected Scene/Emotion/number Emotion"),
        ("action/happy/0 happy", "clip Action/Happy/0000 is listed twice"),
        ("x/y z/Action/Happy/00000/,Happy", "clip Action/Happy/0000 is listed twice"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(few, line, said):
    path = few / "4_setups/All_scenes/train_All.csv"
    path.write_text(path.read_text() + f"{line}\n")
    text = _refused(few)
    assert text.startswith(f"{path} line 3")
    assert said in text


def test_a_clip_in_both_lists_is_refused(few):
    path = few / "4_setups/All_scenes/train_All.csv"
    path.write_text(path.read_text() + "Action/Happy/0001 Happy\n")
    assert _refused(few) == (
        "clip Action/Happy/0001 is in the train list of fold 1 (4_setups/All_scenes/train_All.csv) "
        "and in the test list of fold 1 (4_setups/All_scenes/test_All.csv); unpack the authors' "
        "lists again"
    )


def test_a_list_that_is_lost_is_named(few):
    (few / "4_setups/All_scenes/test_All.csv").unlink()
    path = few / "4_setups/All_scenes/train_All.csv"
    said = f"1 of 2 split lists found, such as {path}; no test list of fold 1"
    assert _refused(few) == said
    path.unlink()
    write_ferv39k(few, FERV39K_FEW, where="4_setups/22_scenes/{side}_Action.csv")
    assert _refused(few) == (
        f"no split lists below {few}; their original path is 4_setups/All_scenes/train_All.csv"
    )


@pytest.mark.parametrize(
    ("lists", "faces"),
    [
        (FERV39K_LISTS, FACES),
        (f"FERV39K/FERV39k/{FERV39K_LISTS}", f"FERV39K/FERV39k/{FACES}"),
        (f"drive-download-2024 (1)/{FERV39K_LISTS}", f"{FACES}-002/{FACES}"),
        ("All_scenes/{side}_All.csv", f"{FACES}/{FACES}"),
        ("4_SETUPS/all_scenes/{side}_all.CSV", "2_clipsforfacecrop"),
        ("{side}_All.txt", f"a & b/FERV39k/{FACES}"),
    ],
)
def test_lists_and_faces_are_found_whatever_their_folders(tmp_path, lists, faces):
    put_clips(tmp_path / faces, FERV39K_FEW, NAMES)
    put_clips(tmp_path / f"{faces}/../{SCENE_IMAGES}", [*FERV39K_FEW, "War/Sad/0001"], NAMES)
    write_ferv39k(tmp_path, FERV39K_FEW, where="4_setups/22_scenes/{side}_Action.csv")
    listing = _read(write_ferv39k(tmp_path, FERV39K_FEW, where=lists))
    assert _paths(listing) == {clip_id: f"{faces}/{clip_id}" for clip_id in FERV39K_FEW}
    train, test = (lists.format(side=side) for side in ("train", "test"))
    assert listing.taken == (f"lists: {train} and {test}", f"faces: {faces} (4 clips)")


def test_folders_in_other_letters_are_found(few):
    put_clips(few / FACES, ["action/HAPPY/0", "dailylife/sad/0000"], NAMES)
    paths = _paths(_read(few))
    assert paths["Action/Happy/0000"] == f"{FACES}/action/HAPPY/0"
    assert paths["DailyLife/Sad/0000"] == f"{FACES}/dailylife/sad/0000"


def test_faces_of_a_name_that_nobody_knows_are_taken_and_asked_about(few):
    put_clips(few / "my crops", FERV39K_FEW, NAMES)
    put_clips(few / SCENE_IMAGES, [*FERV39K_FEW, "War/Sad/0001"], NAMES)
    put_clips(few / "numbers", ["0000", "0001"], NAMES)
    listing = _read(few)
    assert _paths(listing) == {clip_id: f"my crops/{clip_id}" for clip_id in FERV39K_FEW}
    assert listing.taken[1] == "faces: my crops (4 clips, in a folder of unknown name)"
    assert listing.media == "frames"
    assert listing.answers == (
        "--adopt if they are the authors' crops; otherwise set --root to those crops"
    )
    assert _read(few, adopt=True) == replace(listing, media="crops")


@pytest.mark.parametrize("folder", [SCENE_IMAGES, f"{SCENE_IMAGES}/{SCENE_IMAGES}", "SceneImages"])
def test_whole_scenes_are_never_taken(few, folder):
    put_clips(few / folder, FERV39K_FEW, NAMES)
    put_files(few, ["2_ClipsforFaceCrop.zip"])
    listing = _read(few)
    assert set(_paths(listing).values()) == {None}
    assert listing.media == "crops"  # there is nothing to ask about
    assert listing.deviations[0] == (
        f"no faces below {few}; they are usually in 2_ClipsforFaceCrop; "
        f"not unpacked yet: 1 archive (2_ClipsforFaceCrop.zip)"
    )


def test_of_several_copies_the_shallowest_is_taken(few):
    put_clips(few / "a" / FACES, FERV39K_FEW, NAMES)
    put_clips(few / FACES, FERV39K_FEW, NAMES)
    assert _read(few).taken[1] == f"faces: {FACES} (4 clips, 4 copies elsewhere ignored)"


def test_faces_of_the_authors_are_never_cropped_again(few):
    with pytest.raises(ConfigError) as caught:
        _read(few, adopt=False)
    assert str(caught.value) == ("FERV39k is used with its authors' face crops; remove --crop")


def test_scenes_and_words_are_those_of_the_authors():
    assert " ".join(SCENES) == (
        "Action Argue Business Conflict Contest Crime Crisis DailyLife ElegantArt Experiment "
        "History Interview Liveshow Medicine OfficialEvent ScholarReport School Social Speech "
        "Talkshow Terror War"
    )
    assert ferv39k.EMOTIONS == FERV39K_WORDS
