"""Clips of a single class are refused by the first command, before anything is loaded."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from data.official_trees import JPEG

from dfercli.data.manifest import read_manifest, write_manifest

MANIFEST = Path("data_manifests", "tiny.csv")


@pytest.mark.parametrize("command", ["train", "train --model zero-shot"])
def test_training_is_refused_before_torch_is_imported(dfer, write_tiny, monkeypatch, command):
    write_tiny()
    manifest = read_manifest(MANIFEST)
    write_manifest(replace(manifest, rows=manifest.rows.assign(label="sadness")), MANIFEST)
    for module in ("dfercli.jobs.run", "dfercli.training.loop"):
        monkeypatch.setitem(sys.modules, module, None)  # whoever imports it fails
    done = dfer(f"{command} --dataset tiny")
    assert (done.code, done.out) == (1, "")
    assert done.err.endswith(
        "\nerror: all clips of manifest tiny have the label 'sadness'; add clips of another class\n"
    )


def test_preprocess_says_it_before_faces_are_cropped(dfer):
    folder = Path("own")
    for number in range(4):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / "1.jpg").write_bytes(JPEG)
    lines = "".join(f"{number},fear\n" for number in range(4))
    (folder / "labels.csv").write_text(f"path,label\n{lines}")
    said = "all clips have the label 'fear'; training needs at least two classes"
    line = "preprocess --dataset folder --root own --num-folds 2 --detector mtcnn"
    assert said in dfer(f"{line} --dry-run").out
    assert said in dfer(line).err
