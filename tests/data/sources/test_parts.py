"""Folds by group, and clips that are held out of training."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dfercli.config import DataConfig, RunConfig, TrainConfig
from dfercli.data.folds import hold_out, name_groups, open_manifest, select_rows, split_by_group
from dfercli.data.manifest import Manifest, read_manifest, write_manifest
from dfercli.errors import DataError

PARTS = ("train", "val", "test")
CLASSES = ("happiness", "sadness")


def _rows(num_groups=20, per_group=4, folds=5):
    """Clips of groups that lie in several folds; half of each group is happy."""
    lines = [
        (f"g{group}c{clip}", f"g{group}", CLASSES[clip % 2], clip % folds + 1)
        for group in range(num_groups)
        for clip in range(per_group)
    ]
    table = pd.DataFrame(lines, columns=["clip_id", "group", "label", "test_fold"])
    return table.assign(path=table["clip_id"], n_frames=5)


def _manifest(rows):
    return Manifest("own", rows, CLASSES, None, "data")


def test_no_group_is_in_two_folds_and_classes_are_spread():
    manifest = _manifest(_rows(folds=4))
    assert manifest.rows.groupby("group")["test_fold"].nunique().max() == 4  # as published
    assigned = split_by_group(manifest)
    assert assigned.rows.groupby("group")["test_fold"].nunique().max() == 1
    assert assigned.folds == manifest.folds == (1, 2, 3, 4)
    counts = pd.crosstab(assigned.rows["test_fold"], assigned.rows["label"]).to_numpy()
    assert counts.tolist() == [[10, 10]] * 4
    assert assigned.fingerprint != manifest.fingerprint
    assert list(assigned.rows["clip_id"]) == list(manifest.rows["clip_id"])


def test_a_single_test_part_becomes_five_folds_and_all_clips_are_tested():
    rows = _rows().assign(test_fold=[i % 2 for i in range(80)])  # 0 trains, 1 is tested
    assert split_by_group(_manifest(rows)).folds == (1, 2, 3, 4, 5)


def test_a_clip_without_a_group_is_a_group_of_its_own():
    rows = pd.DataFrame({"clip_id": ["a", "b", "c", "d"], "group": ["b", "", np.nan, "b"]})
    names = name_groups(rows)
    assert names[0] == names[3]
    assert len(set(names)) == 3  # the clip b is not of the group b
    assert name_groups(rows.drop(columns="group")) == name_groups(rows.assign(group=""))


@pytest.mark.parametrize(
    ("missing", "lacking"),
    [("column", "no column group"), ("values", "only clips without a group")],
)
def test_without_groups_nothing_is_assigned(missing, lacking):
    rows = _rows()
    rows = rows.drop(columns="group") if missing == "column" else rows.assign(group="")
    with pytest.raises(DataError) as caught:
        split_by_group(_manifest(rows))
    assert str(caught.value) == (
        f"the manifest of own has {lacking}; add groups, or remove --folds-by group"
    )


def test_clips_without_a_group_are_assigned_one_by_one():
    rows = _rows()
    rows["group"] = [name if i < 40 else "" for i, name in enumerate(rows["group"])]
    assigned = split_by_group(_manifest(rows)).rows
    named = assigned[assigned["group"] != ""]
    assert named.groupby("group")["test_fold"].nunique().max() == 1
    counts = pd.crosstab(assigned["test_fold"], assigned["label"]).to_numpy()
    assert counts.tolist() == [[10, 10]] * 4  # as one group, 40 clips would be in one fold


def test_fewer_groups_than_folds_cannot_be_assigned():
    with pytest.raises(DataError) as caught:
        split_by_group(_manifest(_rows(num_groups=3, folds=4)))
    assert str(caught.value) == (
        "the manifest of own has 3 groups, too few for 4 folds; add groups, or remove --folds-by "
        "group"
    )


def test_the_data_says_which_folds_are_read(tmp_path):
    write_manifest(_manifest(_rows()), tmp_path / "own.csv")
    data = DataConfig(dataset="own", manifest=str(tmp_path / "own.csv"), root="data")
    read = read_manifest(tmp_path / "own.csv")
    assert open_manifest(data).fingerprint == read.fingerprint
    by_group = open_manifest(replace(data, folds_by="group"))
    assert by_group.fingerprint == split_by_group(read).fingerprint != read.fingerprint


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.25, 0.5])
def test_the_same_share_of_each_class_is_held_out(fraction):
    labels = ["happiness"] * 60 + ["sadness"] * 20
    rows = pd.DataFrame({"clip_id": [f"c{i}" for i in range(80)], "label": labels})
    held = hold_out(rows, fraction, seed=0)
    counts = rows[held]["label"].value_counts()
    assert counts.to_dict() == {"happiness": 60 * fraction, "sadness": 20 * fraction}


def test_groups_are_held_out_as_a_whole():
    rows = _rows()
    held = hold_out(rows, 0.2, seed=0)
    assert rows[held]["group"].nunique() == 4
    assert not set(rows[held]["group"]) & set(rows[~held]["group"])
    assert rows[held]["label"].value_counts().tolist() == [8, 8]


def test_clips_without_a_group_are_held_out_one_by_one():
    rows = _rows(num_groups=10)
    alone = _rows(num_groups=10).assign(group="")
    rows = pd.concat([rows, alone.assign(clip_id="alone " + alone["clip_id"])], ignore_index=True)
    held = hold_out(rows, 0.2, seed=0)
    for _, parts in pd.Series(held).groupby(name_groups(rows)):
        assert parts.nunique() == 1
    assert rows[held]["label"].value_counts().tolist() == [8, 8]
    assert 0 < (rows[held]["group"] == "").sum() < 16


def _grouped(*groups):
    """Return clips of groups, given the number of clips by class for each group."""
    lines = [
        (f"g{group}", label)
        for group, counts in enumerate(groups)
        for label, count in counts.items()
        for _ in range(count)
    ]
    table = pd.DataFrame(lines, columns=["group", "label"])
    return table.assign(clip_id=[f"c{index}" for index in range(len(table))])


@pytest.mark.parametrize("fraction", [0.2, 0.5])
def test_no_class_is_held_out_of_training_as_a_whole(fraction):
    rows = _grouped({"neutral": 10, "fear": 2}, *[{"neutral": 10}] * 9)
    for seed in range(50):
        held = hold_out(rows, fraction, seed)
        assert not held[rows["label"] == "fear"].any()
        assert held.sum() == 100 * fraction


def test_a_group_that_would_empty_a_class_stays_though_it_brings_the_shares_nearer():
    rows = _grouped(*[{"neutral": 1}] * 5, {"fear": 1, "neutral": 5})
    for seed in range(50):  # of fear 0.8 are wanted, so that 1 would be nearer than 0
        assert not hold_out(rows, 0.8, seed)[rows["label"] == "fear"].any()


def test_a_rare_class_is_held_out_in_the_share_of_a_frequent_one():
    rows = _grouped(*[{"neutral": 20, "fear": 2}] * 10, *[{"neutral": 20}] * 40)
    for seed in range(50):
        shares = pd.Series(hold_out(rows, 0.2, seed)).groupby(rows["label"]).mean()
        assert shares["fear"] == pytest.approx(0.2)  # 4 of 20: two groups
        assert shares["neutral"] == pytest.approx(0.2, abs=0.04)  # 2 groups of 50


def test_a_large_group_that_comes_first_does_not_keep_better_ones_out():
    # 14 of 70 are wanted: the large group's 26 are nearer than none, and leave room for no other.
    rows = _grouped({"neutral": 26}, *[{"neutral": 4}] * 11)
    counts = {int(hold_out(rows, 0.2, seed).sum()) for seed in range(50)}
    assert counts <= {12, 16}


def test_what_is_held_out_follows_from_the_seed_alone():
    rows = _rows()
    again = hold_out(rows, 0.2, seed=0)
    assert (hold_out(rows, 0.2, seed=0) == again).all()
    assert (hold_out(rows, 0.2, seed=1) != again).any()
    order = np.random.default_rng(3).permutation(len(rows))
    shuffled = rows.iloc[order]
    assert (hold_out(shuffled, 0.2, seed=0) == again[order]).all()


@pytest.mark.parametrize("fraction", [0.01, 0.5])
def test_too_few_clips_cannot_be_parted(fraction):
    with pytest.raises(DataError, match=r"^cannot hold out .*% of 1 group \(or clips\)"):
        hold_out(_rows(num_groups=1), fraction, seed=0)


def test_parts_of_a_run_are_all_clips_once():
    manifest = _manifest(_rows())
    run = RunConfig(
        data=DataConfig(dataset="own", manifest="own.csv", root="data"),
        fold=1,
        train=TrainConfig(val_fraction=0.25),
    )
    parts = {part: set(select_rows(manifest, part, run)["clip_id"]) for part in PARTS}
    assert {part: len(clips) for part, clips in parts.items()} == {
        "train": 45,
        "val": 15,
        "test": 20,
    }
    assert set().union(*parts.values()) == set(manifest.rows["clip_id"])
    whole = replace(run, train=TrainConfig())
    assert len(select_rows(manifest, "train", whole)) == 60
    assert select_rows(manifest, "val", whole).empty
