"""Messages about official lists: which were used, and which contradict the others."""

import pytest
from official_trees import DFEW_FEW, DFEW_LISTS, dfew_line, put_clips, sides, write_dfew

from dfercli.data.sources.base import Choices
from dfercli.data.sources.dfew import read_sources
from dfercli.data.sources.official_lists import SplitLists, join_folds
from dfercli.errors import DataError

NAMES = [(side, fold) for fold in range(1, 6) for side in ("train", "test")]
PATHS = {name: DFEW_LISTS.format(side=name[0], fold=name[1]) for name in NAMES}


def _refused(lists):
    with pytest.raises(DataError) as caught:
        join_folds(lists, PATHS)
    (text,) = str(caught.value).splitlines()
    return text


def test_lists_of_one_folder_are_told_by_the_first():
    assert SplitLists(PATHS, {}).describe() == f"lists: {PATHS['test', 1]} and 9 more"


@pytest.mark.parametrize(
    "stray", ["old/train/set_3.csv", "x/EmoLabel_DataSplit/train(single-labeled)/set_3.csv"]
)
def test_a_list_from_elsewhere_is_named(stray):
    splits = SplitLists(PATHS | {("train", 3): stray}, {})
    assert splits.describe() == (
        f"lists: {PATHS['test', 1]} and 8 more, together with 1 list ({stray}) from elsewhere"
    )


def test_the_first_list_may_be_the_stray_one():
    splits = SplitLists(PATHS | {("test", 1): "test_set_1.csv"}, {})
    assert splits.describe() == (
        f"lists: {PATHS['test', 2]} and 8 more, together with 1 list (test_set_1.csv) from "
        f"elsewhere"
    )


def test_a_stray_list_is_shown_when_a_set_is_read(tmp_path):
    write_dfew(tmp_path, DFEW_FEW)
    put_clips(tmp_path / "Clip/clip_224x224", DFEW_FEW)
    lists = tmp_path / PATHS["train", 3]
    target = tmp_path / "backup" / PATHS["train", 3]
    target.parent.mkdir(parents=True)
    lists.rename(target)
    assert read_sources(tmp_path, Choices()).taken[0] == (
        f"lists: {PATHS['test', 1]} and 8 more, together with 1 list "
        f"(backup/{PATHS['train', 3]}) from elsewhere"
    )


def _with(**changes):
    lists = sides(DFEW_FEW, 5)
    for name, classes in changes.items():
        side, _, fold = name.partition("_")
        lists[side, int(fold)] |= classes
    return lists


def test_the_list_that_is_alone_with_a_label_is_named_first():
    assert _refused(_with(train_3={"00001": "anger"})) == (
        f"clip 00001 is anger in {PATHS['train', 3]} and fear in 4 lists "
        f"({PATHS['test', 1]}, ...); correct the lists, or unpack the authors' lists again"
    )
    assert _refused(_with(test_1={"00001": "anger"})) == (
        f"clip 00001 is anger in {PATHS['test', 1]} and fear in 4 lists "
        f"({PATHS['train', 2]}, ...); correct the lists, or unpack the authors' lists again"
    )


def test_more_clips_with_two_labels_are_counted():
    text = _refused(_with(train_3={"00001": "anger", "00002": "anger", "00004": "anger"}))
    assert text.startswith(f"clip 00001 is anger in {PATHS['train', 3]} and fear in 4 lists ")
    assert text.endswith(
        "; 2 more clips with two classes; correct the lists, or unpack the authors' lists again"
    )


def test_a_contradiction_is_told_with_its_file_when_a_set_is_read(tmp_path):
    write_dfew(tmp_path, DFEW_FEW)
    path = tmp_path / PATHS["train", 3]
    line = dfew_line("00001", "fear")
    path.write_text(path.read_text().replace(f"{line}\n", f"{dfew_line('00001', 'anger')}\n"))
    with pytest.raises(DataError, match=r"^clip 00001 is anger in EmoLabel_DataSplit/train.*set_3"):
        read_sources(tmp_path, Choices())
