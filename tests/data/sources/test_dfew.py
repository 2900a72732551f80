"""DFEW: all clips by the published counts, and all known formats of its lists."""

from collections import Counter

import pytest
from official_trees import (
    DFEW_FEW,
    dfew_clips,
    dfew_line,
    sides,
    with_fingerprints_of,
    write_dfew,
)

from dfercli.data.sources import dfew
from dfercli.data.sources.base import BASIC_EXPRESSIONS, Choices, Source
from dfercli.data.sources.dfew import read_sources
from dfercli.errors import DataError

OTHER_CLIPS = "has the official counts, but other clips or labels"
ALL_LISTS = [f"fold {fold} {side}" for side in ("test", "train") for fold in range(1, 6)]
FACES = "Clip/clip_224x224"


@pytest.fixture(scope="module")
def clips():
    return dfew_clips()


@pytest.fixture
def official(monkeypatch, clips):
    """Use the made-up clips as the official ones."""
    known = with_fingerprints_of(
        dfew.OFFICIAL, sides(clips, 5), lambda *clip: dfew_line(*clip).zfill(7).replace(",", " ")
    )
    monkeypatch.setattr(dfew, "OFFICIAL", known)


def _read(root, **choices):
    return read_sources(root, Choices(**choices))


def _refused(root, **choices):
    with pytest.raises(DataError) as caught:
        _read(root, **choices)
    (text,) = str(caught.value).splitlines()
    return text


def _deviations(root, clips, **how):
    """Return the deviations; one folder exists, so that they do not include missing media."""
    (root / FACES / "00001").mkdir(parents=True, exist_ok=True)
    return list(_read(write_dfew(root, clips, **how)).deviations)


@pytest.fixture
def few(tmp_path):
    return write_dfew(tmp_path, DFEW_FEW)


def test_every_clip_is_read_into_its_fold_and_class(tmp_path, clips):
    listing = _read(write_dfew(tmp_path, clips))
    assert len(listing.sources) == 11_697
    assert listing.sources == tuple(
        Source(clip_id, None, class_name, fold)
        for clip_id, (class_name, fold) in sorted(clips.items())
    )
    assert listing.class_names == BASIC_EXPRESSIONS
    counts = Counter(source.class_name for source in listing.sources)
    assert [counts[name] for name in BASIC_EXPRESSIONS] == [2445, 1894, 2669, 2173, 1469, 145, 902]
    folds = Counter(source.test_fold for source in listing.sources)
    assert folds == {1: 2341, 2: 2341, 3: 2340, 4: 2339, 5: 2336}
    assert (listing.media, listing.num_folds, listing.remarks) == ("crops", None, ())


def test_train_lists_are_as_long_as_published():
    sizes = [sum(dfew.OFFICIAL.lists["train", fold].counts) for fold in range(1, 6)]
    assert sizes == [9356, 9356, 9357, 9358, 9361]


def test_made_up_clips_are_told_from_the_official_by_their_fingerprints(tmp_path, clips):
    deviations = _deviations(tmp_path, clips)
    assert [line.partition(" has ")[0] for line in deviations] == ALL_LISTS
    assert all(OTHER_CLIPS in line for line in deviations)
    assert "officially 115c0f6d3647" in deviations[5]


def test_official_clips_deviate_in_nothing(tmp_path, clips, official):
    assert _deviations(tmp_path, clips) == []


@pytest.mark.parametrize("how", [{"end": "\r\n"}, {"mark": b"\xef\xbb\xbf"}, {"header": None}])
def test_marks_and_line_ends_and_no_header_change_nothing(tmp_path, clips, official, how):
    assert _deviations(tmp_path, clips, **how) == []


def test_a_clip_that_is_lost_relabelled_moved_or_swapped_is_noticed(tmp_path, clips, official):
    happy = sorted(clip for clip, place in clips.items() if place == ("happiness", 1))[0]
    other = sorted(clip for clip, place in clips.items() if place == ("happiness", 2))[0]
    lost = _deviations(tmp_path, {clip: clips[clip] for clip in clips if clip != happy})
    assert lost[0] == "fold 1 test has 2,340 clips, officially 2,341 (happiness 488, not 489)"
    assert len(lost) == 5
    relabelled = _deviations(tmp_path, clips | {happy: ("sadness", 1)})
    assert relabelled[0].endswith("(happiness 488, not 489; sadness 380, not 379)")
    moved = _deviations(tmp_path, clips | {happy: ("happiness", 2)})
    assert [line.partition(" has ")[0] for line in moved] == [
        "fold 1 test",
        "fold 2 test",
        "fold 1 train",
        "fold 2 train",
    ]
    swapped = _deviations(tmp_path, clips | {happy: clips[other], other: clips[happy]})
    assert [line.partition(" has ")[0] for line in swapped] == [
        "fold 1 test",
        "fold 2 test",
        "fold 1 train",
        "fold 2 train",
    ]
    assert all(OTHER_CLIPS in line for line in swapped)


def test_a_clip_that_one_train_list_lacks_is_named_first(tmp_path, clips, official):
    clip_id = next(clip for clip, (_, fold) in clips.items() if fold == 2)
    write_dfew(tmp_path, clips)
    path = tmp_path / "EmoLabel_DataSplit/train(single-labeled)/set_1.csv"
    line = f"\n{dfew_line(clip_id, clips[clip_id][0])}\n"
    path.write_text(path.read_text().replace(line, "\n"))
    (tmp_path / FACES / "00001").mkdir(parents=True)
    first, second = _read(tmp_path).deviations
    assert first == f"fold 1 train lacks 1 clip ({clip_id}), which another fold tests"
    assert second.startswith("fold 1 train has 9,355 clips, officially 9,356 (")


@pytest.mark.parametrize(
    "where",
    [
        "EmoLabel_DataSplit/{side}(single-labeled)/set_{fold}.csv",
        "DFEW-part2/EmoLabel_DataSplit/{side}(single_labeled)/{side}(single_labeled)/set_{fold}.csv",
        "emolabel_datasplit/{side}_single-labeled/SET_{fold}.CSV",
        "My data & more (2)/EmoLabel_DataSplit/{side}/set_{fold}.csv",
        "label/single_{side}set_{fold}.csv",
        "{side} (single-labelled)/set_{fold}.csv",
    ],
)
def test_lists_are_found_whatever_their_folders(tmp_path, where):
    listing = _read(write_dfew(tmp_path, DFEW_FEW, where=where))
    assert {source.clip_id: source.test_fold for source in listing.sources} == {
        clip_id: fold for clip_id, (_, fold) in DFEW_FEW.items()
    }
    assert listing.taken[0] == f"lists: {where.format(side='test', fold=1)} and 9 more"


def _zero_based(clip_id, class_name):
    return f"{clip_id},{BASIC_EXPRESSIONS.index(class_name)}"


def _write_zero_based(root, where="{side}_set_{fold}.csv"):
    clips = DFEW_FEW | {f"{90 + fold:05d}": ("happiness", fold) for fold in range(1, 6)}
    return write_dfew(root, clips, where=where, line=_zero_based)


@pytest.mark.parametrize(
    "where", ["{side}_set_{fold}.csv", "{side}(single-labeled)/set_{fold}.csv"]
)
def test_zero_based_copies_are_refused(tmp_path, where):
    root = _write_zero_based(tmp_path, where)
    first = root / where.format(side="test", fold=1)
    text = _refused(root)
    assert text.startswith(f"{first} line ")
    assert text.endswith(
        ",0': label 0 is not from 1 to 7: a list of another task, or a 0-based copy; use the "
        "single-labelled lists in EmoLabel_DataSplit"
    )


def test_zero_based_copies_without_their_zeros_are_refused(tmp_path):
    root = write_dfew(tmp_path, DFEW_FEW, line=_zero_based)
    text = _refused(root)
    assert "set_1.csv: the labels end at 6 instead of 7, as in 0-based" in text


def test_official_lists_win_over_zero_based_copies(few):
    _write_zero_based(few)
    assert len(_read(few).sources) == 10


def test_official_lists_of_which_one_is_lost_are_not_replaced_by_copies(few):
    _write_zero_based(few)
    lost = few / "EmoLabel_DataSplit/test(single-labeled)/set_3.csv"
    lost.unlink()
    text = _refused(few)
    assert text.startswith("9 of 10 split lists found, such as ")
    assert text.endswith("(single-labeled)/set_1.csv; no test list of fold 3")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,0", "label 0 is not from 1 to 7"),
        ("1,8", "label 8 is not from 1 to 7"),
        ("1,-1", "label -1 is not from 1 to 7"),
        ("clip,1", "expected video_name,label"),
        ("1:2", "expected video_name,label"),
        ("1,happy", "expected video_name,label"),
        ("1,2,3", "expected video_name,label"),
        ("stray", "expected video_name,label"),
        ("6,2", "clip 00006 is listed twice"),
        ("00006.mp4;2", "clip 00006 is listed twice"),
        ('"6"\t"2"', "clip 00006 is listed twice"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(few, line, said):
    path = few / "EmoLabel_DataSplit/train(single-labeled)/set_2.csv"
    path.write_text(path.read_text() + f"{line}\n")
    text = _refused(few)
    assert text.startswith(f"{path} line 10")
    assert said in text
