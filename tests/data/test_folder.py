"""One's own videos: the list, and how its videos are dealt to folds."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from dfercli.data.folder import MEDIA, OFFICIAL, assign_folds, read_sources
from dfercli.data.spec import BASIC_EXPRESSIONS, Choices, Source, order_classes
from dfercli.errors import DataError

NEEDED = "it needs path,label, with commas and in UTF-8"


@pytest.fixture
def write_labels(tmp_path):
    """Write `labels.csv` as bytes or by its lines, and give its folder."""

    def write(*lines):
        content = b"".join(
            line if isinstance(line, bytes) else f"{line}\n".encode() for line in lines
        )
        (tmp_path / "labels.csv").write_bytes(content)
        return tmp_path

    return write


def _sources(root, num_folds, **choices):
    return read_sources(root, Choices(num_folds=num_folds, **choices)).sources


def _error(root, num_folds=2, **choices):
    """Text of the error without the path of the list in front, which must be one line."""
    with pytest.raises(DataError) as caught:
        _sources(root, num_folds, **choices)
    (text,) = str(caught.value).splitlines()
    return text.replace(str(root / "labels.csv"), "LIST")


def _counts(labels, groups, folds, num_folds):
    """Videos by fold and class."""
    counts = {fold: Counter() for fold in range(1, num_folds + 1)}
    for label, group in zip(labels, groups, strict=True):
        counts[folds[group]][label] += 1
    return counts


def test_sources_are_those_of_the_list_in_its_order(write_labels):
    root = write_labels("path,label", "b/two.mp4,anger", "a/one.avi,fear")
    listing = read_sources(root, Choices(num_folds=1))
    assert listing.sources == (
        Source("b/two", "b/two.mp4", "anger", 1, None),
        Source("a/one", "a/one.avi", "fear", 1, None),
    )
    assert listing.class_names == ("anger", "fear")
    assert (listing.media, listing.media_name) == ("videos", "videos")
    assert listing.taken == ("lists: labels.csv (2 clips)",)
    assert listing.num_folds == 1
    assert (listing.deviations, listing.remarks) == ((), ())
    assert (OFFICIAL, MEDIA) == (None, ())


def test_folders_of_frames_are_listed_like_videos(write_labels):
    root = write_labels("path,label", "a/take.1,anger", "a/take.2/,fear", "b.mp4,fear")
    for name in ("a/take.1", "a/take.2"):
        (root / name).mkdir(parents=True)
    listing = read_sources(root, Choices(num_folds=3))
    assert [source.clip_id for source in listing.sources] == ["a/take.1", "a/take.2", "b"]
    assert [source.path for source in listing.sources] == ["a/take.1", "a/take.2/", "b.mp4"]
    assert listing.media == "videos"


def test_a_folder_and_a_video_of_its_name_are_one_clip(write_labels):
    root = write_labels("path,label", "a,anger", "a.mp4,fear")
    (root / "a").mkdir()
    assert _error(root) == "LIST: 'a' is listed twice; keep one line for each video"


@pytest.mark.parametrize(
    ("adopt", "media", "name"),
    [(True, "crops", "frames"), (False, "videos", "videos"), (None, "videos", "videos")],
)
def test_frames_are_adopted_on_request(write_labels, adopt, media, name):
    root = write_labels("path,label", "a,anger")
    listing = read_sources(root, Choices(num_folds=1, adopt=adopt))
    assert (listing.media, listing.media_name) == (media, name)


def test_a_fold_that_was_set_to_0_by_hand_stays_and_counts_nowhere(write_labels):
    root = write_labels("path,label", *(f"{name}.mp4,anger" for name in "abcdef"))
    known = {"a": 0, "b": 0, "c": 0, "d": 1}
    folds = {source.clip_id: source.test_fold for source in _sources(root, 2, known_folds=known)}
    assert {clip_id: folds[clip_id] for clip_id in known} == known
    assert sorted((folds["e"], folds["f"])) == [1, 2]


def test_people_whose_fold_was_set_to_0_bring_new_videos_to_it(write_labels):
    root = write_labels("path,label,group", "a.mp4,fear,p", "b.mp4,fear,p", "c.mp4,fear,q")
    assert [source.test_fold for source in _sources(root, 1, known_folds={"a": 0})] == [0, 0, 1]


def test_groups_are_kept(write_labels):
    root = write_labels("path,label,group", "1.mp4,anger,007", "2.mp4,fear,NA", "3.mp4,fear,007")
    sources = _sources(root, 2)
    assert [source.group for source in sources] == ["007", "NA", "007"]
    assert sources[0].test_fold == sources[2].test_fold != sources[1].test_fold


@pytest.mark.parametrize(
    "header", ["Path,LABEL,Group", " path , label,group ", '"path","label","group"']
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_header_in_other_letters_is_understood(write_labels, header, mark):
    root = write_labels(mark, header, " a.mp4 , anger ,p1 ")
    assert _sources(root, 1) == (Source("a", "a.mp4", "anger", 1, "p1"),)


def test_lines_of_a_spreadsheet_and_more_columns_are_accepted(write_labels):
    root = write_labels(b"label,age,path\r\nanger,30,a.mp4\r\n\r\nfear,,b.mp4\r\n")
    assert [source.class_name for source in _sources(root, 1)] == ["anger", "fear"]


@pytest.mark.parametrize(
    ("path", "clip_id"),
    [
        ("my videos/take 1.mp4", "my videos/take 1"),
        ("été/顔 ß.mkv", "été/顔 ß"),
        ("a.b/c.d.mp4", "a.b/c.d"),
        ("./a//b.mp4", "a/b"),
        ("no suffix", "no suffix"),
        ("NA.mp4", "NA"),
    ],
)
def test_paths_of_any_letters_name_their_clips(write_labels, path, clip_id):
    (source,) = _sources(write_labels("path,label", f"{path},anger"), 1)
    assert (source.path, source.clip_id) == (path, clip_id)


def test_a_missing_list_says_what_to_write(tmp_path):
    expected = "no LIST; write one with the columns path,label and, to keep people apart, group"
    assert _error(tmp_path) == expected


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["label", "anger"],
            f" has no column 'path', its first line reads 'label'; {NEEDED}",
        ),
        (
            ["path,group", "a.mp4,p"],
            f" has no column 'label', its first line reads 'path,group'; {NEEDED}",
        ),
        (
            ["path;label", "a.mp4;anger"],
            f" has no column 'path', its first line reads 'path;label'; {NEEDED}",
        ),
        (["path,label"], " lists no video; add a line for each"),
        (
            ["path,label", "a.mp4,anger", "b.mp4,"],
            " line 3: no label for b.mp4; name its expression",
        ),
        (["path,label", "a.mp4"], " line 2: no label for a.mp4; name its expression"),
        (
            ["path,label,group", "a.mp4,anger,p", "b.mp4,fear, "],
            " line 3: no group for b.mp4; name it, or drop the column",
        ),
        (
            ["path,label", "a.mp4,anger", "a.mp4,fear"],
            ": 'a' is listed twice; keep one line for each video",
        ),
        (
            ["path,label", "a.mp4,anger", "./a.avi,fear"],
            ": 'a' is listed twice; keep one line for each video",
        ),
        (
            ["path,label", "a/b/c.mp4,anger", "a.mp4,fear"],
            ": 'a/b/c' is in a folder named like video 'a'; rename one",
        ),
        (
            ["path,label", "a.mp4,anger,p1", "b.mp4,fear,p2"],
            ": the lines have more fields than the header; name each column",
        ),
    ],
)
def test_a_list_that_does_not_hold_together_is_named(write_labels, lines, message):
    assert _error(write_labels(*lines)) == f"LIST{message}"


@pytest.mark.parametrize("content", [b"", b"path,label\n\xff,anger\n", b"path,label\na,b\nc,d,e\n"])
def test_a_file_that_is_no_table_is_refused(write_labels, content):
    assert _error(write_labels(content)).startswith("cannot read LIST: ")


@pytest.mark.parametrize(
    "path", ["../x.mp4", "/x.mp4", "a/../../x.mp4", "C:/x.mp4", "a\\x.mp4", ".", ""]
)
def test_a_path_that_leaves_the_folder_is_refused(write_labels, path):
    text = _error(write_labels("path,label", "a.mp4,anger", f"{path},fear"))
    assert text.startswith(f"LIST line 3: path {path!r} leaves the data root")


def test_too_few_groups_for_the_folds_are_counted(write_labels):
    root = write_labels("path,label,group", "1.mp4,anger,p", "2.mp4,fear,p", "3.mp4,fear,q")
    expected = "2 groups cannot fill 3 folds; add videos or lower --num-folds"
    assert _error(root, num_folds=3) == expected


def test_another_number_of_folds_is_refused_once_they_are_settled(write_labels):
    root = write_labels("path,label", *(f"{i}.mp4,anger" for i in range(6)))
    known = {source.clip_id: source.test_fold for source in _sources(root, 3)}
    expected = f"the manifest of {root} has 3 folds, not 2; remove it to deal the videos anew"
    assert _error(root, num_folds=2, known_folds=known) == expected


def test_single_videos_are_dealt_evenly_by_class_and_in_all():
    labels = ["anger"] * 10 + ["fear"] * 20 + ["neutral"] * 33 + ["disgust"] * 4
    groups = [str(i) for i in range(len(labels))]
    counts = _counts(labels, groups, assign_folds(labels, groups, 5), 5)
    for name, fewest in (("anger", 2), ("fear", 4), ("neutral", 6), ("disgust", 0)):
        assert {counts[fold][name] for fold in counts} <= {fewest, fewest + 1}
    assert [counts[fold]["anger"] for fold in counts] == [2] * 5
    assert [counts[fold]["fear"] for fold in counts] == [4] * 5


def test_groups_are_never_split_and_folds_are_about_equal():
    rng = np.random.default_rng(1)
    groups = [f"p{i}" for i in range(20) for _ in range(rng.integers(1, 8))]
    labels = [BASIC_EXPRESSIONS[rng.integers(7)] for _ in groups]
    folds = assign_folds(labels, groups, 5)
    assert set(folds) == set(groups)
    assert set(folds.values()) == {1, 2, 3, 4, 5}
    sizes = [sum(count.values()) for count in _counts(labels, groups, folds, 5).values()]
    assert max(sizes) - min(sizes) <= 7  # the largest group


@pytest.mark.parametrize("num_folds", [2, 3, 5, 10, 20])
def test_no_fold_stays_empty_however_rare_the_classes(num_folds):
    labels, groups = [BASIC_EXPRESSIONS[i % 7] for i in range(20)], [str(i) for i in range(20)]
    counts = _counts(labels, groups, assign_folds(labels, groups, num_folds), num_folds)
    sizes = [sum(count.values()) for count in counts.values()]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 2


def test_every_fold_gets_a_group_when_there_are_just_enough():
    labels, groups = ["anger"] * 9 + ["fear"] * 2, ["large"] * 9 + ["small", "tiny"]
    assert sorted(assign_folds(labels, groups, 3).values()) == [1, 2, 3]


def test_folds_follow_from_the_seed_and_not_from_the_order_of_the_list():
    labels = [BASIC_EXPRESSIONS[i % 7] for i in range(70)]
    groups = [f"p{i // 3}" for i in range(70)]
    folds = assign_folds(labels, groups, 5, seed=0)
    assert assign_folds(labels, groups, 5, seed=0) == folds
    assert assign_folds(labels[::-1], groups[::-1], 5, seed=0) == folds
    assert assign_folds(labels, groups, 5, seed=1) != folds


@pytest.mark.parametrize("grouped", [False, True])
def test_settled_folds_never_move_when_videos_are_added(write_labels, grouped):
    def lines(count):
        for i in range(count):
            yield f"{i:02d}.mp4,{BASIC_EXPRESSIONS[i % 7]}" + f",p{i % 11}" * grouped

    header = "path,label" + ",group" * grouped
    before = _sources(write_labels(header, *lines(20)), 4)
    known = {source.clip_id: source.test_fold for source in before}
    added = [*list(lines(60))[::-1]]  # the new ones first, and of known people too
    after = _sources(write_labels(header, *added), 4, known_folds=known)
    folds = {source.clip_id: source.test_fold for source in after}
    assert len(folds) == 60
    assert {clip_id: folds[clip_id] for clip_id in known} == known
    folds_by_group = defaultdict(set)
    for source in after:
        folds_by_group[source.group or source.clip_id].add(source.test_fold)
    assert all(len(each) == 1 for each in folds_by_group.values())


def test_added_videos_go_where_their_class_is_rare():
    labels, groups = ["anger"] * 6 + ["fear"] * 4, list("abcdefwxyz")
    settled = {"a": 1, "b": 1, "c": 1, "d": 2, "w": 2, "x": 2}
    folds = assign_folds(labels, groups, 2, settled=settled)
    assert {group: folds[group] for group in settled} == settled
    assert (folds["e"], folds["f"]) == (2, 2)  # fold 1 holds three of anger, fold 2 one
    assert (folds["y"], folds["z"]) == (1, 1)


def test_videos_that_were_taken_off_the_list_are_forgotten(write_labels):
    root = write_labels("path,label", "a.mp4,anger", "b.mp4,fear")
    sources = _sources(root, 2, known_folds={"a": 2, "gone": 1})
    assert [source.test_fold for source in sources] == [2, 1]


def test_other_labels_come_after_the_basic_ones():
    names = ["contempt", "fear", "anxiety", "happiness", "fear", "neutral"]
    assert order_classes(names) == ("happiness", "neutral", "fear", "anxiety", "contempt")
    assert order_classes(sorted(BASIC_EXPRESSIONS)) == BASIC_EXPRESSIONS
