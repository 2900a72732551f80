"""The command that looks at the machine and at datasets, on a small official set."""

import json
import shutil
from pathlib import Path

import pytest
from data.official_trees import JPEG
from preprocess.small_sets import FACES, publish, write_set

from dfercli.doctor import Finding
from dfercli.media.images import list_frames, read_image

A_CLIP = Path("data", "dfew", FACES["dfew"], "00003")


@pytest.fixture
def dfew(dfer, monkeypatch):
    """A small DFEW in its usual place, and a machine that is well."""
    publish(monkeypatch, "dfew")
    monkeypatch.setattr("dfercli.doctor.inspect_machine", lambda: [Finding("disk", "ok", "free")])
    return write_set(Path("data", "dfew"), "dfew")


def _cut():
    list_frames(A_CLIP)[1].write_bytes(JPEG[: len(JPEG) // 2])


def test_the_doctor_finds_a_healthy_dataset_well(dfer, dfew):
    dfer("preprocess --dataset dfew")
    done = dfer("doctor")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "machine"
    assert "dfew: data_manifests/dfew.csv, data in data/dfew" in lines
    assert lines[-2:] == [
        "sample frames: data_manifests/review/dfew-sample.png",
        "no problems found",
    ]
    assert read_image(Path("data_manifests/review/dfew-sample.png")).shape == (2 * 204, 8 * 168, 3)


@pytest.mark.parametrize("options", ["", " --dataset dfew", " --dataset dfew --root data/dfew"])
def test_the_doctor_finds_what_is_wrong(dfer, dfew, options):
    dfer("preprocess --dataset dfew")
    _cut()
    done = dfer(f"doctor{options}")
    assert (done.code, done.err) == (1, "")
    (line,) = [line for line in done.out.splitlines() if "WRONG" in line]
    text = " ".join(line.split())
    assert text == "WRONG unreadable 1 clip (00003): 00003_2.jpg is cut off"
    assert done.out.endswith("problems found; see above\n")


def test_the_doctor_misses_data_that_is_not_there_where_it_is_named(dfer, dfew):
    dfer("preprocess --dataset dfew")
    dfew.rename("moved")
    for options, code in (("", 0), (" --dataset dfew", 1), (" --dataset dfew --root moved", 0)):
        done = dfer(f"doctor{options}")
        assert (done.code, done.err) == (code, "")
        assert ("data folder data/dfew does not exist; set --root" in done.out) == (
            "moved" not in options
        )
        assert done.out.endswith("no problems found\n") == (options[-5:] == "moved")


def test_the_doctor_is_told_whose_folder_it_is(dfer, dfew):
    done = dfer("doctor --root data/dfew")
    said = "error: --root is the folder of a single dataset; add --dataset\n"
    assert (done.code, done.out, done.err) == (1, "", said)


def test_the_doctor_says_the_same_in_json(dfer, dfew):
    dfer("preprocess --dataset dfew")
    _cut()
    printed = dfer("doctor").out
    done = dfer("doctor --json")
    assert (done.code, done.err) == (1, "")
    page = json.loads(done.out)
    assert page["healthy"] is False
    assert page["machine"] == [{"topic": "disk", "state": "ok", "text": "free"}]
    (report,) = page["datasets"]
    assert report["manifest"] == "data_manifests/dfew.csv"
    assert report["sheet"] == "data_manifests/review/dfew-sample.png"
    found = {(finding["state"], finding["topic"]) for finding in report["findings"]}
    assert {("wrong", "unreadable"), ("ok", "official lists"), ("ok", "crops")} <= found
    words = "".join(printed.split())
    for finding in report["findings"]:
        assert "".join(finding["text"][:30].split()) in words


def test_the_doctor_goes_on_after_a_manifest_that_cannot_be_read(dfer, dfew):
    dfer("preprocess --dataset dfew")
    Path("data_manifests", "broken.csv").write_text("clip_id\n")
    done = dfer("doctor --json")
    assert done.code == 1
    broken, healthy = json.loads(done.out)["datasets"]
    assert [finding["state"] for finding in broken["findings"]] == ["wrong"]
    assert healthy["name"] == "dfew"
    assert {finding["state"] for finding in healthy["findings"]} == {"ok", "note"}
    assert dfer("doctor").code == 1


def test_the_doctor_looks_at_a_machine_without_any_dataset(dfer, dfew):
    shutil.rmtree("data")
    done = dfer("doctor")
    nothing = "this machine is fine; no dataset was found"
    assert (done.code, done.out.splitlines()[-1]) == (0, nothing)
    page = json.loads(dfer("doctor --json").out)
    assert (page["datasets"], page["machine"][-1]["topic"]) == ([], "datasets")
    assert list(Path().iterdir()) == []


def test_the_doctor_names_data_that_has_no_manifest_yet(dfer, dfew):
    note = {
        "topic": "dfew",
        "state": "note",
        "text": "found in data/dfew, but has no manifest; run `dfer preprocess --dataset dfew`",
    }
    done = dfer("doctor --json")
    assert (done.code, json.loads(done.out)["machine"][1:]) == (0, [note])
    dfer("preprocess --dataset dfew")
    assert json.loads(dfer("doctor --json").out)["machine"][1:] == []


def test_the_doctor_knows_no_other_manifests_than_there_are(dfer, dfew):
    done = dfer("doctor --dataset dfew")
    assert (done.code, done.err) == (
        1,
        "error: no manifest in data_manifests; `dfer preprocess` writes one\n",
    )
    dfer("preprocess --dataset dfew")
    assert dfer("doctor --dataset mafw").err == (
        "error: no manifest of 'mafw' in data_manifests; known: dfew\n"
    )
