"""The page of finished runs: every section is there, also where something is missing."""

import html
import json
import re
import shutil
from pathlib import Path

import pytest

from dfercli.config import TrainConfig
from dfercli.errors import CheckpointError, ConfigError, DataError
from dfercli.metrics import calibration
from dfercli.report.gallery import Comparison, Gallery
from dfercli.report.run import build_report
from dfercli.report.variants import (
    Missing,
    find_for_features,
    find_for_prompts,
    find_for_text,
    find_runs,
)
from dfercli.runs.predictions import read_predictions
from dfercli.runs.run_folder import RunFolder

SECTIONS = [
    "Results",
    "Classes",
    "Training",
    "Calibration",
    "Features of the clips",
    "What the model looks at",
    "Similarity of clips and classes",
    "Worst errors",
    "How to repeat",
]
ABLATE = "dfer ablate --table {} --folds 1 --dataset small --runs {} --lr 1e-3"


def _read(path):
    """Give title and text of each section, and its number of pictures."""
    page = path.read_text(encoding="utf-8")
    found = re.findall(r"<section.*?<h2[^>]*>(.*?)</h2>(.*?)</section>", page, flags=re.DOTALL)
    return {
        title: (html.unescape(re.sub(r"<[^>]*>", "", body)), body.count("<img "))
        for title, body in found
    }


@pytest.fixture(scope="module")
def full_page(all_runs):
    return _read(build_report(all_runs, "small", "full"))


@pytest.mark.slow
def test_a_page_has_all_sections_in_order(full_page, all_runs):
    assert list(full_page) == SECTIONS
    assert (all_runs / "small" / "full" / "report.html").is_file()
    pictures = {title: number for title, (_, number) in full_page.items()}
    assert pictures == dict.fromkeys(SECTIONS, 0) | {
        "Classes": 2,
        "Training": 1,
        "Calibration": 2,
        "Features of the clips": 1,
        "What the model looks at": 1,
        "Similarity of clips and classes": 2,
        "Worst errors": 1,
    }


def test_siblings_are_named_and_nothing_is_said_to_be_missing(full_page):
    text = " ".join(words for words, _ in full_page.values())
    assert "No comparison: " not in text
    assert "“no text” is variant interfit-msta-notext; “text” is variant full." in text
    assert "“only TP” is variant biehpro-tp; “TP + VP” is variant biehpro." in text


def test_figures_are_those_of_the_predictions(full_page, all_runs):
    run = RunFolder(all_runs / "small" / "full" / "fold1")
    table = read_predictions(run.predictions_file("best"))
    classes = list(table.columns[2:])
    right = table[classes].idxmax(axis=1) == table["label"]
    assert f"{100 * right.mean():.2f}" in full_page["Results"][0]
    errors = full_page["Worst errors"][0]
    wrong = table[~right]
    assert wrong.loc[wrong[classes].max(axis=1).idxmax(), "clip_id"] in errors.split("\n2\n")[0]


@pytest.mark.slow
def test_without_held_out_clips_no_temperature_is_set(full_page, full_runs):
    assert "No temperature: no clips were held out" in full_page["Calibration"][0]
    two = _read(build_report(full_runs))
    assert re.search(r"\b1\s*9.*\b2\s*9.*mean\s*18", two["Results"][0], re.DOTALL)  # clips
    assert "dfer train --folds 1-2 --dataset small --lr 1e-3" in two["How to repeat"][0]


def test_a_missing_sibling_is_named_with_the_command_that_trains_it(full_runs, tmp_path):
    page = _read(build_report(full_runs, path=tmp_path / "page.html"))
    for title, absent, table in (
        ("Features of the clips", "baseline", 2),
        ("What the model looks at", "interfit-msta-notext", 3),
        ("Similarity of clips and classes", "full-tp, or biehpro-tp and biehpro", 5),
    ):
        words, pictures = page[title]
        assert f"no finished run of {absent} on fold 1 of the same data" in words
        assert ABLATE.format(table, full_runs) in words
        assert pictures > 0  # what is there is shown alone


@pytest.mark.slow
def test_a_variant_without_text_has_no_similarities_of_its_own(make_runs, tmp_path):
    changes = {"text": False, "biehpro": False}
    runs = make_runs(tmp_path, changes, folds=(1,))
    page = _read(build_report(runs))
    words, pictures = page["Similarity of clips and classes"]
    assert pictures == 0
    assert ABLATE.format(5, runs) in words
    assert page["What the model looks at"][1] == 1


def test_frames_that_are_not_there_are_said_to_be_missing(full_runs, tmp_path):
    page = _read(build_report(full_runs, path=tmp_path / "page.html", root=tmp_path / "gone"))
    for title in SECTIONS[4:8]:
        words, pictures = page[title]
        assert pictures == 0
        assert "gone" in words
        assert "cannot be read" in words or "The frames cannot be shown" in words
    assert page["Classes"][1] == 2


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["manifest", "checkpoint"])
def test_a_lost_manifest_or_checkpoint_leaves_the_rest(loss, full_runs, tmp_path):
    runs, manifests = tmp_path / "runs", None
    shutil.copytree(full_runs, runs)
    if loss == "manifest":
        manifests = tmp_path / "none"
    else:
        for fold in (1, 2):
            shutil.rmtree(runs / "small" / "full" / f"fold{fold}" / "best")
    page = _read(build_report(runs, manifests=manifests))
    assert list(page) == SECTIONS
    assert "The clips or the checkpoints cannot be read" in page["Features of the clips"][0]
    assert page["Worst errors"][1] == (loss == "checkpoint")


def test_a_manifest_of_other_clips_is_refused(full_runs, small_data, tmp_path):
    rows = Path(small_data.manifest).read_text().splitlines()
    other = tmp_path / "small.csv"
    other.write_text("\n".join([rows[0], *(f"x{row}" for row in rows[1:])]) + "\n")
    shutil.copy(Path(small_data.manifest).with_suffix(".json"), other.with_suffix(".json"))
    found = find_runs(full_runs, manifests=tmp_path)
    missing = Gallery(found).compare_features()
    assert isinstance(missing, Missing)
    assert "has no clip anger0, which the run was tested on" in missing.why


def test_errors_are_named_in_the_order_of_the_runs_whatever_the_manifests(
    full_runs, small_data, tmp_path
):
    path = tmp_path / "small.csv"
    shutil.copy(small_data.manifest, path)
    entries = json.loads(Path(small_data.manifest).with_suffix(".json").read_text())
    entries["class_names"] = entries["class_names"][::-1]
    path.with_suffix(".json").write_text(json.dumps(entries))
    found = find_runs(full_runs, manifests=tmp_path)
    table, clips = Gallery(found).find_errors(6)
    labels = [found.class_names[clip.label] for clip in clips]
    assert labels == list(table["label"])
    assert len(set(labels)) > 1


def test_siblings_of_other_data_are_no_siblings(all_runs, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(all_runs, runs)
    run = RunFolder(runs / "small" / "interfit-msta-notext" / "fold1")
    text = run.run_file.read_text()
    fingerprint = run.read().data.fingerprint
    run.run_file.write_text(text.replace(fingerprint, "0" * 12))
    found = find_for_text(find_runs(runs, "small", "full"), 1)
    assert list(found.runs) == ["text"]
    assert found.missing.command.startswith("dfer ablate --table 3")


def test_another_recipe_is_remarked_on(all_runs, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(all_runs, runs)
    run = RunFolder(runs / "small" / "baseline" / "fold1")
    run.run_file.write_text(
        re.sub(r'"batch_size": \d+', '"batch_size": 3', run.run_file.read_text())
    )
    found = Gallery(find_runs(runs, "small", "full")).compare_features()
    assert isinstance(found, Comparison)
    assert found.remark.startswith("Trained with other recipes than this run (paper, changed:")
    assert "baseline: paper, changed:" in found.remark


def test_prompts_are_compared_within_the_own_variant_first(make_runs, tmp_path):
    runs = make_runs(tmp_path, {}, {"visual_prompt": False}, folds=(1,))
    for variant in ("full", "full-tp"):
        found = find_for_prompts(find_runs(runs, "small", variant), 1)
        names = {name: run.path.parent.name for name, run in found.runs.items()}
        assert names == {"only TP": "full-tp", "TP + VP": "full"}
        assert found.missing is None


def test_a_model_that_ours_is_compared_with_has_our_variants_as_siblings(all_runs, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(all_runs, runs)
    run = RunFolder(runs / "small" / "coop" / "fold1")
    shutil.copytree(runs / "small" / "full", run.path.parent)
    run.run_file.write_text(run.run_file.read_text().replace('"dfer",', '"coop",', 1))
    found = find_runs(runs, "small", "coop")
    assert found.config.model.method == "coop"
    for find, variants in (
        (find_for_features, ["baseline", "coop"]),
        (find_for_text, ["interfit-msta-notext", "coop"]),
        (find_for_prompts, ["biehpro-tp", "biehpro"]),
    ):
        assert [each.path.parent.name for each in find(found, 1).runs.values()] == variants


def test_a_baseline_is_set_beside_the_full_method(all_runs):
    found = find_for_features(find_runs(all_runs, "small", "baseline"), 1)
    assert list(found.runs) == ["baseline", "full"]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"folds": [1, 4]}, CheckpointError, "fold 4 of .* is not finished; train it first"),
        ({"fold": 3}, DataError, "fold 3 is not in this report; choose from 1, 2"),
        (
            {"path": Path("page.pdf")},
            ConfigError,
            "cannot write page.pdf: the name of the report must",
        ),
        ({"variant": "none"}, CheckpointError, "no finished run in .*none"),
    ],
)
def test_what_cannot_be_shown_is_one_line(options, error, said, full_runs):
    with pytest.raises(error, match=said):
        build_report(full_runs, **options)


@pytest.mark.slow
def test_curves_of_held_out_clips_are_told_by_which_the_epoch_was_chosen(
    make_runs, tmp_path, monkeypatch
):
    runs = make_runs(tmp_path, {}, train=TrainConfig(val_fraction=0.4))
    chosen = {
        "best": "has each fold's highest WAR on the test fold",
        "val": "has each fold's highest WAR on its held-out clips",
        "last": "is the last one; it was not chosen by any result",
    }
    for protocol, told in chosen.items():
        page = _read(build_report(runs, protocol=protocol))
        assert f"The epoch shown {told}" in page["Training"][0]
        assert "Dashed: the clips held out" in page["Training"][0]
        assert "One thin line per fold" in page["Training"][0]
    assert "No temperature: not calibrated: 3 held-out clips, " in page["Calibration"][0]
    monkeypatch.setattr(calibration, "LEAST_CLIPS", 3)
    monkeypatch.setattr(calibration, "LEAST_ERRORS", 0)
    page = _read(build_report(runs, protocol="last"))
    assert "Each fold's temperature is fitted on its held-out clips" in page["Calibration"][0]


def test_without_held_out_clips_nothing_is_dashed(full_page):
    assert "Dashed" not in full_page["Training"][0]
    assert "highest WAR on the test fold" in full_page["Training"][0]


def test_figures_of_a_single_fold_are_no_mean(full_page):
    for title in ("Classes", "Training", "Calibration"):
        words = full_page[title][0]
        assert not re.search("mean over|all folds|thin line", words)
    assert "fold 1 alone" in full_page["Classes"][0]


def test_a_method_without_training_is_not_told_by_epochs(make_runs, tmp_path):
    path = build_report(make_runs(tmp_path, {"method": "zero-shot"}))
    page = _read(path)
    results = page["Results"][0]
    assert "Nothing was trained: all epochs are the same model" in results
    assert "pictures below are of the" not in results
    assert not re.search("highest WAR|regardless of its score", path.read_text(encoding="utf-8"))
    assert "none: nothing was trained" in path.read_text(encoding="utf-8")
    assert page["Training"] == ("\nThis method has nothing to train.\n", 0)


NO_MAPS = "\nThere are no heat maps of this method.\n"


def test_a_network_without_attention_has_no_maps_of_it(make_runs, tmp_path):
    page = _read(build_report(make_runs(tmp_path, {"method": "still-image"})))
    assert page["What the model looks at"] == (NO_MAPS, 0)


SMALL = {"width": 0.125, "image_size": 32, "pixels": "plain"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "maps"),
    [
        ({"method": "former-dfer", "sampling": "2x2", **SMALL}, 1),
        ({"method": "resnet18-lstm", **SMALL}, 0),
        ({"method": "cliper"}, 1),
    ],
)
def test_a_system_of_table_1_stands_alone(changes, maps, make_runs, tmp_path):
    path = build_report(make_runs(tmp_path, changes, folds=(1,)))
    page = _read(path)
    assert "No comparison" not in path.read_text(encoding="utf-8")
    assert page["Features of the clips"][1] == 1
    words, pictures = page["What the model looks at"]
    assert pictures == maps
    assert (words == NO_MAPS) == (maps == 0)
    assert page["Similarity of clips and classes"] == (
        "\nThis method has no prompts that are made from the clip.\n",
        0,
    )
    assert ("network" in path.read_text(encoding="utf-8")) == (changes["method"] != "cliper")


@pytest.mark.slow
def test_interaction_is_explained_where_there_is_any(full_page, make_runs, tmp_path):
    title = "What the model looks at"
    assert "InterFIT's tokens" in full_page[title][0]
    page = _read(build_report(make_runs(tmp_path, {"interfit": False}, folds=(1,))))
    assert page[title][1] == 1
    assert "InterFIT's tokens" not in page[title][0]
