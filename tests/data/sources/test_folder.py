"""Own videos: the list, its labels, and folds that stay."""

from collections import defaultdict

import pytest

from dfercli.data.sources.base import BASIC_EXPRESSIONS, Choices, Source, order_classes
from dfercli.data.sources.folder import MEDIA, NUM_FOLDS, OFFICIAL, read_sources
from dfercli.errors import DataError

NEEDED = "but must contain path,label, separated by commas and in UTF-8"


def _sources(root, num_folds, **choices):
    return read_sources(root, Choices(num_folds=num_folds, **choices)).sources


def _error(root, num_folds=2, **choices):
    """Return the text of the error without the path of the list; it must be one line."""
    with pytest.raises(DataError) as caught:
        _sources(root, num_folds, **choices)
    (text,) = str(caught.value).splitlines()
    return text.replace(str(root / "labels.csv"), "LIST")


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
    assert _error(root) == "LIST: 'a' and 'a.mp4' share the name 'a'; rename one of them"


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
    sources = _sources(root, 1)
    assert [source.class_name for source in sources] == ["anger", "fear"]
    assert [source.traits for source in sources] == [{"age": "30"}, {"age": ""}]


def test_further_columns_describe_people(write_labels):
    root = write_labels(
        "path,label,Skin Tone,clip_id,test_fold,group,sex,", "a.mp4,anger, type  II ,x,9,p1,f,"
    )
    listing = read_sources(root, Choices(num_folds=1))
    assert listing.sources == (
        Source("a", "a.mp4", "anger", 1, "p1", {"skin tone": "type II", "sex": "f"}),
    )
    assert listing.taken[1] == "further columns, for `dfer eval --by`: skin tone, sex"


def test_control_characters_in_further_columns_are_refused(write_labels):
    root = write_labels("path,label,sex", "a.mp4,anger,f\x1b[2J")
    assert _error(root, 1) == "LIST: a control character in column 'sex'; remove it"


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
    expected = "LIST does not exist; create it with the columns path,label and optionally group"
    assert _error(tmp_path) == expected


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["label", "anger"],
            f" has no column 'path'; its first line is 'label', {NEEDED}",
        ),
        (
            ["path,group", "a.mp4,p"],
            f" has no column 'label'; its first line is 'path,group', {NEEDED}",
        ),
        (
            ["path;label", "a.mp4;anger"],
            f" has no column 'path'; its first line is 'path;label', {NEEDED}",
        ),
        (["path,label"], " lists no videos; add one line per video"),
        (
            ["path,label", "a.mp4,anger", "b.mp4,"],
            " line 3: b.mp4 has no label; add its expression",
        ),
        (["path,label", "a.mp4"], " line 2: a.mp4 has no label; add its expression"),
        (
            ["path,label,group", "a.mp4,anger,p", "b.mp4,fear, "],
            " line 3: b.mp4 has no group; add it, or remove the column",
        ),
        (
            ["path,label", "a.mp4,anger", "a.mp4,fear"],
            ": 'a.mp4' is listed twice; remove one of the lines",
        ),
        (
            ["path,label", "a.mp4,anger", "./a.avi,fear"],
            ": 'a.mp4' and './a.avi' share the name 'a'; rename one of them",
        ),
        (
            ["path,label", "a/b/c.mp4,anger", "a.mp4,fear"],
            ": 'a/b/c' is in a folder with the name of video 'a'; rename one of them",
        ),
        (
            ["path,label", "a.mp4,anger,p1", "b.mp4,fear,p2"],
            ": the lines have more fields than the header; add the missing column names",
        ),
    ],
)
def test_a_list_that_does_not_hold_together_is_named(write_labels, lines, message):
    assert _error(write_labels(*lines)) == f"LIST{message}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "LIST is empty; its first line must be path,label,group"),
        (b"path,label\n\xff,anger\n", "LIST is not UTF-8; save it as CSV in UTF-8"),
        (
            b"path,label\na,b\nc,d,e\n",
            "cannot read LIST: Expected 2 fields in line 3, saw 3; put each path that contains a "
            "comma in quotes",
        ),
    ],
)
def test_a_file_that_is_no_table_is_refused(write_labels, content, message):
    assert _error(write_labels(content)) == message


@pytest.mark.parametrize(
    "path", ["../x.mp4", "/x.mp4", "a/../../x.mp4", "C:/x.mp4", "a\\x.mp4", ".", ""]
)
def test_a_path_that_leaves_the_folder_is_refused(write_labels, path):
    text = _error(write_labels("path,label", "a.mp4,anger", f"{path},fear"))
    assert text.startswith(f"LIST line 3: path {path!r} leaves the data root")


@pytest.mark.parametrize("name", ["nowhere", "labels.csv"])
def test_a_folder_that_is_missing_is_not_a_list_that_is_missing(write_labels, name):
    root = write_labels("path,label", "1.mp4,anger") / name
    with pytest.raises(DataError) as caught:
        read_sources(root, Choices())
    assert (
        str(caught.value) == f"folder {root} does not exist; set --root to the folder of the videos"
    )


def test_videos_of_one_class_are_noticed_at_once(write_labels):
    root = write_labels("path,label", *(f"{name}.mp4,anger" for name in "abcde"))
    assert read_sources(root, Choices()).taken == (
        "lists: labels.csv (5 clips)",
        "all clips have the label 'anger'; training needs at least two classes",
    )


def test_too_few_groups_for_the_folds_are_counted(write_labels):
    root = write_labels("path,label,group", "1.mp4,anger,p", "2.mp4,fear,p", "3.mp4,fear,q")
    assert _error(root, num_folds=3) == (
        "2 groups (or videos, without a column group) cannot be split into 3 folds; "
        "add videos, or use --num-folds 2"
    )


def test_another_number_of_folds_is_refused_once_they_are_settled(write_labels):
    root = write_labels("path,label", *(f"{i}.mp4,anger" for i in range(6)))
    known = {source.clip_id: source.test_fold for source in _sources(root, 3)}
    assert _error(root, num_folds=2, known_folds=known) == (
        f"the manifest of {root} has 2 folds, but a clip with test_fold 3; correct it, or delete "
        f"it to assign all folds again"
    )


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


def test_videos_that_were_taken_off_the_list_are_forgotten(write_labels):
    root = write_labels("path,label", "a.mp4,anger", "b.mp4,fear")
    sources = _sources(root, 2, known_folds={"a": 2, "gone": 1})
    assert [source.test_fold for source in sources] == [2, 1]


def test_other_labels_come_after_the_basic_ones():
    names = ["contempt", "fear", "anxiety", "happiness", "fear", "neutral"]
    assert order_classes(names) == ("happiness", "neutral", "fear", "anxiety", "contempt")
    assert order_classes(sorted(BASIC_EXPRESSIONS)) == BASIC_EXPRESSIONS


def test_a_video_that_is_there_and_listed_twice_is_named(write_labels):
    root = write_labels("path,label", "a.mp4,anger", "b.mp4,fear", "a.mp4,fear")
    (root / "a.mp4").write_bytes(b"")
    assert _error(root) == "LIST: 'a.mp4' is listed twice; remove one of the lines"


def test_lines_of_commas_are_passed_over(write_labels):
    root = write_labels("path,label,group", ",,", "a.mp4,anger,p", " , ,", "b.mp4,fear,q", ",,")
    assert [source.clip_id for source in _sources(root, 2)] == ["a", "b"]
    root = write_labels("path,label", ",", "a.mp4,anger", ",", "b.mp4,")
    assert _error(root) == "LIST line 5: b.mp4 has no label; add its expression"


def test_unusable_videos_are_assigned_to_no_fold(write_labels):
    root = write_labels("path,label", *(f"{name}.mp4,anger" for name in "abcd"))
    sources = _sources(root, 2, unusable=["a", "c"])
    folds = {source.clip_id: source.test_fold for source in sources}
    assert (folds["a"], folds["c"], sorted((folds["b"], folds["d"]))) == (0, 0, [1, 2])
    text = "1 group (or videos, without a column group) cannot be split into 2 folds"
    assert _error(root, unusable="abc").startswith(text)


def test_unusable_videos_keep_the_fold_that_they_had(write_labels):
    root = write_labels("path,label", *(f"{name}.mp4,anger" for name in "abc"))
    sources = _sources(root, 2, known_folds={"a": 2}, unusable=["a"])
    assert sources[0].test_fold == 2
    assert sorted(source.test_fold for source in sources[1:]) == [1, 2]


def test_without_a_number_of_folds_the_usual_number_is_assigned(write_labels):
    root = write_labels("path,label", *(f"{i}.mp4,anger" for i in range(5)))
    listing = read_sources(root, Choices())
    assert listing.num_folds == NUM_FOLDS == 5
    assert sorted(source.test_fold for source in listing.sources) == [1, 2, 3, 4, 5]
