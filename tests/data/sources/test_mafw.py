"""MAFW: all clips by the published counts, and all known formats of its lists."""

from collections import Counter

import pytest
from official_trees import (
    MAFW_FEW,
    MAFW_LISTS,
    mafw_clips,
    mafw_line,
    sides,
    with_fingerprints_of,
    write_lists,
    write_mafw,
)

from dfercli.data.sources import mafw
from dfercli.data.sources.base import Choices, Source
from dfercli.data.sources.mafw import CLASS_NAMES, read_sources
from dfercli.errors import DataError

OTHER_CLIPS = "has the official counts, but other clips or labels"
ALL_LISTS = [f"fold {fold} {side}" for side in ("test", "train") for fold in range(1, 6)]
COMPOUND = "Train & Test Set/compound/no_caption/set_{fold}/{side}.txt"
CAPTIONS = "Train & Test Set/single/with_caption/set_{fold}/{side}.txt"


@pytest.fixture(scope="module")
def clips():
    return mafw_clips()


@pytest.fixture
def official(monkeypatch, clips):
    """Use the made-up clips as the official ones."""
    known = with_fingerprints_of(mafw.OFFICIAL, sides(clips, 5), mafw_line)
    monkeypatch.setattr(mafw, "OFFICIAL", known)


@pytest.fixture
def few(tmp_path):
    return write_mafw(tmp_path, MAFW_FEW)


def _read(root):
    return read_sources(root, Choices())


def _refused(root):
    with pytest.raises(DataError) as caught:
        _read(root)
    (text,) = str(caught.value).splitlines()
    return text


def _deviations(root, clips, **how):
    """Return the deviations; one folder exists, so that they do not include missing media."""
    (root / "data/frames/00019").mkdir(parents=True, exist_ok=True)
    return list(_read(write_mafw(root, clips, **how)).deviations)


def _write_compound(root, where=COMPOUND):
    lists = {name: {"00019": "anger_disgust", "00020": "fear"} for name in sides({}, 5)}
    return write_lists(root, lists, where, mafw_line, end="\r\n")


def _write_captions(root, where=CAPTIONS):
    """The authors' bytes: GBK, which is no UTF-8."""
    for side, fold in sides({}, 5):
        path = root / where.format(side=side, fold=fold)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes("00019.mp4\tanger\t一个男人很生气\tA man is angry\r\n".encode("gbk"))
    return root


def test_every_clip_is_read_into_its_fold_and_class(tmp_path, clips):
    listing = _read(write_mafw(tmp_path, clips))
    assert len(listing.sources) == 9_172
    assert listing.sources == tuple(
        Source(clip_id, None, class_name, fold)
        for clip_id, (class_name, fold) in sorted(clips.items())
    )
    counts = Counter(source.class_name for source in listing.sources)
    union = [1390, 639, 625, 1242, 1138, 1470, 1072, 236, 916, 262, 182]
    assert [counts[name] for name in listing.class_names] == union
    folds = Counter(source.test_fold for source in listing.sources)
    assert folds == {1: 1839, 2: 1837, 3: 1833, 4: 1832, 5: 1831}
    assert listing.num_folds is None


def test_classes_are_in_the_official_order():
    assert CLASS_NAMES[:4] == ("anger", "disgust", "fear", "happiness")
    assert CLASS_NAMES[4:7] == ("neutral", "sadness", "surprise")
    assert CLASS_NAMES[7:] == ("contempt", "anxiety", "helplessness", "disappointment")


def test_train_lists_are_as_long_as_published():
    sizes = [sum(mafw.OFFICIAL.lists["train", fold].counts) for fold in range(1, 6)]
    assert sizes == [7333, 7335, 7339, 7340, 7341]


def test_made_up_clips_are_told_from_the_official_by_their_fingerprints(tmp_path, clips):
    deviations = _deviations(tmp_path, clips)
    assert [line.partition(" has ")[0] for line in deviations] == ALL_LISTS
    assert all(OTHER_CLIPS in line for line in deviations)
    assert "officially 3ff3d27f6748" in deviations[5]


@pytest.mark.parametrize("how", [{}, {"end": "\n"}, {"mark": b"\xef\xbb\xbf"}, {"header": "a b"}])
def test_official_clips_deviate_in_nothing(tmp_path, clips, official, how):
    assert _deviations(tmp_path, clips, **how) == []


def test_a_clip_that_is_lost_relabelled_moved_or_swapped_is_noticed(tmp_path, clips, official):
    clip_id = next(clip for clip in clips if clips[clip] == ("contempt", 1))
    other = next(clip for clip in clips if clips[clip] == ("contempt", 5))
    lost = _deviations(tmp_path, {clip: clips[clip] for clip in clips if clip != clip_id})
    assert lost[0] == "fold 1 test has 1,838 clips, officially 1,839 (contempt 47, not 48)"
    assert len(lost) == 5
    relabelled = _deviations(tmp_path, clips | {clip_id: ("anxiety", 1)})
    assert relabelled[0].endswith("(contempt 47, not 48; anxiety 185, not 184)")
    named = [
        line.partition(" has ")[0]
        for line in _deviations(tmp_path, clips | {clip_id: clips[other]})
    ]
    assert named == ["fold 1 test", "fold 5 test", "fold 1 train", "fold 5 train"]
    swapped = _deviations(tmp_path, clips | {clip_id: clips[other], other: clips[clip_id]})
    assert [line.partition(" has ")[0] for line in swapped] == named
    assert all(OTHER_CLIPS in line for line in swapped)


@pytest.mark.parametrize(
    "where",
    [
        MAFW_LISTS,
        "MAFW/Train_Test_Set/single/no_caption/set_{fold}/{side}.txt",
        "split/single/no_caption/set_{fold}/{side}.txt",
        "anno/single/no_caption/set_{fold}/{side}.txt",
        "label/no_caption/set_{fold}/{side}.txt",
        "TRAIN & TEST SET/Single/No_Caption/Set_{fold}/{side}.TXT",
        "multi modal (2)/split/set_{fold}/{side}.txt",
    ],
)
def test_lists_are_found_whatever_their_folders(tmp_path, where):
    _write_compound(tmp_path)
    _write_captions(tmp_path)
    listing = _read(write_mafw(tmp_path, MAFW_FEW, where=where))
    assert {source.clip_id: source.test_fold for source in listing.sources} == {
        clip_id: fold for clip_id, (_, fold) in MAFW_FEW.items()
    }
    assert listing.taken[0] == f"lists: {where.format(side='test', fold=1)} and 9 more"


def test_lists_of_other_tasks_are_no_lists(tmp_path):
    _write_compound(tmp_path)
    _write_captions(tmp_path)
    _write_captions(tmp_path, "with captions/set_{fold}/{side}.txt")
    assert _refused(tmp_path) == (
        f"no split lists below {tmp_path}; their original path is Train & Test "
        f"Set/single/no_caption/set_1/train.txt"
    )


def test_lists_of_other_tasks_in_the_place_of_the_right_ones_are_refused(tmp_path):
    path = tmp_path / MAFW_LISTS.format(side="test", fold=1)
    _write_compound(tmp_path, MAFW_LISTS)
    assert _refused(tmp_path) == (
        f"{path} line 1, '00019.mp4 anger_disgust': label 'anger_disgust' belongs to the compound "
        f"lists; use the single lists"
    )
    _write_captions(tmp_path, MAFW_LISTS)
    text = _refused(tmp_path)
    assert text.startswith(f"{path} line 1, '00019.mp4\\tanger\\t")
    assert text.endswith(
        ": a list with captions, which lacks the class neutral; use the no_caption lists"
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("00090.mp4 joy", "no label 'joy' in MAFW; known: anger, disgust, fear"),
        ("00090.mp4 1", "no label '1' in MAFW"),
        ("clip.mp4 anger", "expected number.mp4 label"),
        ("00090.mp4", "expected number.mp4 label"),
        ("00090.mp4;anger", "expected number.mp4 label"),
        ("00090.mp4 anger fear", "expected number.mp4 label"),
        ("stray", "expected number.mp4 label"),
        ("19 anger", "clip 00019 is listed twice"),
        ("00019.mp4,Anger", "clip 00019 is listed twice"),
        ("00019.MP4\tanger", "clip 00019 is listed twice"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(few, line, said):
    path = few / MAFW_LISTS.format(side="train", fold=2)
    path.write_bytes(path.read_bytes() + f"{line}\r\n".encode())
    text = _refused(few)
    assert text.startswith(f"{path} line 9")
    assert said in text


def test_only_some_folds_are_an_error(few):
    for fold in (4, 5):
        for side in ("train", "test"):
            (few / MAFW_LISTS.format(side=side, fold=fold)).unlink()
    text = _refused(few)
    assert text.startswith("6 of 10 split lists found, such as ")
    assert text.endswith("; no train list of fold 4")
