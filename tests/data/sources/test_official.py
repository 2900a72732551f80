"""Official splits: lists are found, read, and compared with the published counts."""

import hashlib

import pytest
from official_trees import write_lists

from dfercli.data.sources import dfew, ferv39k, mafw
from dfercli.data.sources.find_media import scan_tree
from dfercli.data.sources.official_lists import (
    Official,
    compare_folds,
    compare_lists,
    cross_validation_lists,
    find_deviations,
    find_lists,
    fingerprint,
    join_folds,
    read_list,
    split_into_lists,
)
from dfercli.errors import DataError

PATTERNS = (r"(?:.*/)?(?P<split>train|test)_(?P<fold>\d)\.csv", r"(?P<split>train|test)/\d\.csv")
WANTED = [("train", 1), ("test", 1), ("train", 2), ("test", 2)]

FOLDS = {"a": ("joy", 1), "b": ("joy", 2), "c": ("woe", 2), "d": ("woe", 1), "e": ("joy", 1)}
LISTS = {
    ("test", 1): {"a": "joy", "d": "woe", "e": "joy"},
    ("train", 1): {"b": "joy", "c": "woe"},
    ("test", 2): {"b": "joy", "c": "woe"},
    ("train", 2): {"a": "joy", "d": "woe", "e": "joy"},
}
PATHS = {(side, fold): f"x/{side}_{fold}" for side, fold in LISTS}


def _print(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]


ADE, BC = _print("a joy\nd woe\ne joy\n"), _print("b joy\nc woe\n")
OFFICIAL = Official(
    ("joy", "woe"),
    cross_validation_lists([(2, 1), (1, 1)], [(BC, ADE), (ADE, BC)]),
    lambda clip_id, class_name: f"{clip_id} {class_name}",
)


def _with(**changed):
    """Return the lists with changes such as `test_1={...}`; None as a class removes a clip."""
    lists = {name: dict(clips) for name, clips in LISTS.items()}
    for name, change in changed.items():
        side, fold = name.split("_")
        clips = lists[side, int(fold)] | change
        lists[side, int(fold)] = {key: word for key, word in clips.items() if word}
    return lists


def _parse(line):
    clip_id, _, class_name = line.partition(",")
    if not class_name:
        raise ValueError("not clip,class")
    return clip_id, class_name


def _read(tmp_path, content):
    (tmp_path / "list.csv").write_bytes(content)
    return read_list(tmp_path / "list.csv", _parse)


def _refused(call, *args):
    with pytest.raises(DataError) as caught:
        call(*args)
    (text,) = str(caught.value).splitlines()
    return text


@pytest.mark.parametrize(
    ("lines", "digits"),
    [
        # printf '00001 2\n00002 7\n' | sha256sum
        ((dfew.OFFICIAL.line("00002", "fear"), dfew.OFFICIAL.line("00001", "sadness")), "d23dba"),
        ((ferv39k.OFFICIAL.line("Action/Happy/0015", "happiness"),), "ed6a22"),
        ((mafw.OFFICIAL.line("00026", "fear"), mafw.OFFICIAL.line("00025", "anger")), "ec53b1"),
    ],
)
def test_fingerprints_are_those_of_sorted_lines_that_each_end(lines, digits):
    assert fingerprint(lines).startswith(digits)
    assert fingerprint(lines[::-1]) == fingerprint(lines)
    assert len(fingerprint(lines)) == 12


def test_a_fold_trains_on_what_the_others_test():
    assert OFFICIAL.lists["train", 1].counts == (1, 1)
    assert OFFICIAL.lists["train", 2].counts == (2, 1)


def test_clips_and_lists_turn_into_each_other():
    assert join_folds(LISTS, PATHS) == FOLDS
    assert split_into_lists(FOLDS, OFFICIAL) == LISTS
    assert join_folds({("train", 1): {"a": "joy"}, ("test", 1): {"b": "joy"}}, PATHS) == {
        "a": ("joy", 0),
        "b": ("joy", 1),
    }


def test_official_lists_deviate_in_nothing():
    assert compare_lists(OFFICIAL, LISTS) == []
    assert compare_folds(LISTS) == []


@pytest.mark.parametrize(
    ("folds", "said"),
    [
        (
            {"e": None},
            [
                "fold 1 test has 2 clips, officially 3 (joy 1, not 2)",
                "fold 2 train has 2 clips, officially 3 (joy 1, not 2)",
            ],
        ),
        (
            {"d": ("joy", 1)},
            [
                "fold 1 test has 3 clips, officially 3 (joy 3, not 2; woe 0, not 1)",
                "fold 2 train has 3 clips, officially 3 (joy 3, not 2; woe 0, not 1)",
            ],
        ),
        (
            {"e": ("joy", 2)},
            [
                "fold 1 test has 2 clips, officially 3 (joy 1, not 2)",
                "fold 2 test has 3 clips, officially 2 (joy 2, not 1)",
                "fold 1 train has 3 clips, officially 2 (joy 2, not 1)",
                "fold 2 train has 2 clips, officially 3 (joy 1, not 2)",
            ],
        ),
    ],
)
def test_a_clip_that_is_gone_relabelled_or_moved_shows_in_the_counts(folds, said):
    changed = {name: clip for name, clip in (FOLDS | folds).items() if clip}
    assert compare_lists(OFFICIAL, split_into_lists(changed, OFFICIAL)) == said


def test_clips_that_were_swapped_show_in_the_fingerprints():
    swapped = FOLDS | {"a": ("joy", 2), "b": ("joy", 1)}
    said = compare_lists(OFFICIAL, split_into_lists(swapped, OFFICIAL))
    assert [line.partition(" has ")[0] for line in said] == [
        "fold 1 test",
        "fold 2 test",
        "fold 1 train",
        "fold 2 train",
    ]
    assert said[0] == (
        "fold 1 test has the official counts, but other clips or labels "
        f"(fingerprint {_print(chr(10).join(['b joy', 'd woe', 'e joy', '']))}, officially {ADE})"
    )


def test_a_train_list_that_is_not_what_other_folds_test_is_named():
    lists = _with(train_1={"c": None, "x": "joy", "y": "woe"})
    assert compare_folds(lists) == [
        "fold 1 train lacks 1 clip (c), which another fold tests",
        "no fold tests 2 clips (x, y), on which fold 1 trains",
    ]


def test_what_a_test_list_lost_is_named_once():
    lists = _with(test_1={"a": None})
    first, second = find_deviations(OFFICIAL, lists)
    assert first.startswith("fold 1 test has 2 clips, officially 3")
    assert second == "no fold tests 1 clip (a), on which fold 2 trains"


def test_a_clip_on_which_several_folds_train_is_named_once():
    lists = _with(train_1={"x": "joy"}, train_2={"x": "joy"})
    said = [line for line in find_deviations(OFFICIAL, lists) if "(x)" in line]
    assert said == ["no fold tests 1 clip (x), on which fold 1, 2 trains"]
    lists = _with(train_1={"x": "joy", "y": "joy"}, train_2={"x": "joy"})
    assert compare_folds(lists) == [
        "no fold tests 1 clip (x), on which fold 1, 2 trains",
        "no fold tests 1 clip (y), on which fold 1 trains",
    ]


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        (
            _with(test_2={"a": "joy"}),
            "clip a is in the test list of fold 2 (x/test_2) and in the test list of fold 1 "
            "(x/test_1); unpack the authors' lists again",
        ),
        (
            _with(train_2={"c": "woe"}),
            "clip c is in the train list of fold 2 (x/train_2) and in the test list of fold 2 "
            "(x/test_2); unpack the authors' lists again",
        ),
        (
            _with(train_2={"d": "joy"}),
            "clip d is woe in x/test_1 and joy in x/train_2; correct the lists, or unpack the "
            "authors' lists again",
        ),
    ],
)
def test_lists_that_overlap_or_contradict_are_refused(lists, said):
    assert _refused(join_folds, lists, PATHS) == said


@pytest.mark.parametrize(
    "content",
    [
        b"1,joy\n2,woe\n",
        b"1,joy\n2,woe",
        b"\xef\xbb\xbf1,joy\r\n2,woe\r\n",
        b"name,label\r1,joy\r2,woe\r",
        b"\xef\xbb\xbfname,label\n\n1,joy\n \n2,woe\n\n",
        "1,joy\r\n2,woe\r\n".encode("utf-16"),
        "\ufeffname,label\n1,joy\n2,woe\n".encode("utf-16-be"),
        "1,joy\n2,woe\n".encode("utf-32"),
    ],
)
def test_marks_line_ends_blank_lines_and_headers_are_passed_over(tmp_path, content):
    assert _read(tmp_path, content) == {"1": "joy", "2": "woe"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", " lists no clips; unpack the authors' lists again"),
        (b"name,label\n\n", " lists no clips; unpack the authors' lists again"),
        (b"name,label\n1,joy\nstray\n", " line 3, 'stray': not clip,class"),
        (b"1,joy\n2,woe\n1,joy\n", " line 3: clip 1 is listed twice"),
        (b"1,joy\n1,woe\n", " line 2: clip 1 is listed twice"),
        (b"1;joy\n", " line 1, '1;joy': not clip,class"),
        (b"7" * 5000, f" line 1, '{'7' * 60}': not clip,class"),
        (b"PK\x03\x04\xff\xfe1\0", " line 1, 'PK\\x03\\x04\ufffd\ufffd1\\x00': not clip,class"),
    ],
)
def test_a_list_that_cannot_be_read_names_its_line(tmp_path, content, said):
    assert _refused(_read, tmp_path, content) == f"{tmp_path / 'list.csv'}{said}"


def _write(root, where, names=WANTED):
    return write_lists(root, {name: {} for name in names}, where, None)


def test_lists_are_found_by_any_case_and_the_shallowest_are_taken(tmp_path):
    _write(tmp_path, "old/copy/{side}_{fold}.csv")
    _write(tmp_path, "A & b (c)/{side}_{fold}.CSV")
    found = find_lists(scan_tree(tmp_path), PATTERNS, WANTED, "any")
    assert found == {(s, f): f"A & b (c)/{s}_{f}.CSV" for s, f in WANTED}


def test_folds_that_nobody_wants_are_passed_over(tmp_path):
    _write(tmp_path, "{side}_{fold}.csv", [*WANTED, ("train", 6)])
    assert set(find_lists(scan_tree(tmp_path), PATTERNS, WANTED, "any")) == set(WANTED)


@pytest.mark.parametrize(
    ("archives", "packed"), [([], ""), (["lists.zip"], "; not unpacked yet: 1 archive (lists.zip)")]
)
def test_no_list_or_too_few_are_errors(tmp_path, archives, packed):
    for name in archives:
        (tmp_path / name).write_bytes(b"")
    text = _refused(find_lists, scan_tree(tmp_path), PATTERNS, WANTED, "x/train_1.csv")
    assert text == f"no split lists below {tmp_path}; their original path is x/train_1.csv{packed}"
    _write(tmp_path, "{side}_{fold}.csv", WANTED[:3])
    _write(tmp_path, "{side}/{fold}.csv")  # names of less weight do not fill in
    text = _refused(find_lists, scan_tree(tmp_path), PATTERNS, WANTED, "x")
    assert text == (
        f"3 of 4 split lists found, such as {tmp_path / 'test_1.csv'}; "
        f"no test list of fold 2{packed}"
    )
