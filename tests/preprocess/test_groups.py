"""Groups that a user names for the clips of an official set."""

import pytest
from preprocess.small_sets import CLIPS, crop_here, publish, write_mafw_videos, write_set

from dfercli.data.folds import split_by_group
from dfercli.data.manifest import COLUMNS, read_manifest
from dfercli.data.sources.base import GROUPS_FILE
from dfercli.errors import DataError
from dfercli.faces.align import CropRecipe
from dfercli.preprocess.plan import plan_preprocess
from dfercli.preprocess.run import preprocess

RECIPE = CropRecipe("mtcnn", size=32)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Few clips are official, faces are seen in bright frames, and crops made in a thread."""
    for kind in CLIPS:
        publish(monkeypatch, kind)
    crop_here(monkeypatch)


@pytest.fixture
def root(tmp_path):
    """Where the data lies; manifests go beside it."""
    return tmp_path / "given"


def _plan(root, kind="dfew"):
    return plan_preprocess(kind, root, root.parent / "m" / f"{kind}.csv", RECIPE)


def _write(root, text, encoding="utf-8"):
    (root / GROUPS_FILE).write_text(text, encoding=encoding)


def _name(root, clips):
    _write(root, "clip_id,group\n" + "".join(f"{clip},{name}\n" for clip, name in clips.items()))


@pytest.mark.parametrize("kind", list(CLIPS))
def test_groups_are_taken_into_the_manifest_and_stay(root, kind):
    (write_mafw_videos if kind == "mafw" else lambda root: write_set(root, kind))(root)
    # The first clip has no group: the column is there all the same.
    named = {clip: f"film {i % 2}" for i, clip in enumerate(sorted(CLIPS[kind])[1:])}
    _name(root, named)
    for _ in range(2):
        plan = _plan(root, kind)
        told = f"groups: groups.csv (2 groups, {len(named)} of {len(CLIPS[kind])} clips)"
        assert plan.listing.taken[-1] == told
        assert told in plan.describe()
        preprocess(plan, 1)
        rows = read_manifest(plan.manifest).rows
        found = dict(zip(rows["clip_id"], rows["group"], strict=True))
        assert found == dict.fromkeys(CLIPS[kind], "") | named
    (root / GROUPS_FILE).unlink()
    preprocess(_plan(root, kind), 1)
    assert "group" not in read_manifest(plan.manifest).rows


def test_without_the_file_nothing_is_said_and_no_column_written(root):
    plan = _plan(write_set(root, "dfew"))
    assert not any("group" in line for line in plan.describe())
    preprocess(plan, 1)
    assert list(read_manifest(plan.manifest).rows.columns) == [*COLUMNS]


def test_folds_are_dealt_by_the_groups_that_were_named(root):
    write_set(root, "dfew")
    _name(root, {"00001": "a", "00002": "a"})
    plan = _plan(root)
    preprocess(plan, 1)
    rows = split_by_group(read_manifest(plan.manifest)).rows.set_index("clip_id")
    assert rows["test_fold"]["00001"] == rows["test_fold"]["00002"]
    assert sorted(rows["test_fold"].unique()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("clip_id,group\n00001,Ame\u0301lie\n", "Am\u00e9lie"),
        ("\ufeffClip_ID , Group\r\n 00001 , Am\u00e9lie \r\n,\r\n", "Am\u00e9lie"),
        ("year,group,clip_id\n2001,NA,00001\n", "NA"),
        ('clip_id,group\n00001,"Paris, Texas"\n', "Paris, Texas"),
    ],
)
def test_what_a_spreadsheet_makes_of_the_file_is_read(root, text, group):
    write_set(root, "dfew")
    _write(root, text)
    sources = _plan(root).listing.sources
    assert [source.group for source in sources] == [group, *[""] * (len(sources) - 1)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", " is empty; its first line must be clip_id,group"),
        ("clip_id,group\n", " lists no clips; add one line per clip, or remove the file"),
        (
            "clip;group\n00001;a\n",
            " has no column 'clip_id'; its first line is 'clip;group', but must contain "
            "clip_id,group, separated by commas and in UTF-8",
        ),
        (
            "clip_id,film\n00001,a\n",
            " has no column 'group'; its first line is 'clip_id,film', but must contain "
            "clip_id,group, separated by commas and in UTF-8",
        ),
        (
            "clip_id,group\n00002,a\n00001,a\n00002,b\n",
            ": clip '00002' is listed twice; remove one of the lines",
        ),
        (
            "clip_id,group\n00001,a\n00002, \n",
            ": clip '00002' has no group; add it, or remove the line to make the clip a group of "
            "its own",
        ),
        (
            "clip_id,group\n00001,a\n2,a\n",
            ": no clip '2' in the official lists; correct or remove these lines (clip ids look "
            "like '00001')",
        ),
        (
            "clip_id,group\n3,a\n00001,a\n2,b\n4,b\n",
            ": no clip '2' and 2 more in the official lists; correct or remove these lines (clip "
            "ids look like '00001')",
        ),
        (
            "clip_id,group\n00001,a,b\n",
            ": the lines have more fields than the header; add the missing column names",
        ),
    ],
)
def test_groups_that_do_not_hold_together_are_refused(root, text, said):
    write_set(root, "dfew")
    _write(root, text)
    with pytest.raises(DataError) as caught:
        _plan(root)
    assert str(caught.value) == f"{root / GROUPS_FILE}{said}"


def test_a_comma_too_many_and_another_encoding_are_refused(root):
    write_set(root, "dfew")
    _write(root, "clip_id,group\n00001,a\n00002,Paris, Texas\n")
    with pytest.raises(
        DataError, match=r"line 3, saw 3; put each group that contains a comma in quotes$"
    ):
        _plan(root)
    _write(root, "clip_id,group\n00001,Am\u00e9lie\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"groups\.csv is not UTF-8; save it as CSV in UTF-8$"):
        _plan(root)
