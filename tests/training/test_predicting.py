"""Predictions of test clips: each once, in order, in evaluation mode."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from dfercli.data.loaders import build_dataset, build_test_loader
from dfercli.data.manifest import read_manifest
from dfercli.errors import DataError
from dfercli.training.evaluation import predict_clips

CLASSES = ["happiness", "sadness", "anger"]


class _Redness(nn.Module):
    """Gives the mean of each channel as logits: happiness where a clip is red."""

    def forward(self, clips):
        return clips.mean(dim=(1, 3, 4))


@pytest.mark.parametrize("batch_size", [1, 4, 5, 6, 50])
def test_each_test_clip_is_predicted_once_and_in_order(batch_size, make_run):
    config = make_run(fold=2)
    manifest = read_manifest(Path(config.data.manifest))
    dataset = build_dataset(manifest, "test", config, size=32)
    accelerator = Accelerator()
    loader = accelerator.prepare(build_test_loader(dataset, batch_size, workers=0))
    table = predict_clips(_Redness(), loader, accelerator, CLASSES)
    assert list(table.columns) == ["clip_id", "label", *CLASSES]
    tested = manifest.rows[manifest.rows["test_fold"] == 2]
    assert list(table["clip_id"]) == list(tested["clip_id"])
    assert list(table["label"]) == list(tested["label"])
    assert table[CLASSES].to_numpy().sum(axis=1) == pytest.approx(np.ones(6))
    assert (table["happiness"] > 0.5).tolist() == (table["label"] == "happiness").tolist()


def test_a_clip_that_is_lost_on_the_way_is_an_error(make_run):
    config = make_run()
    dataset = build_dataset(read_manifest(Path(config.data.manifest)), "test", config, size=32)

    class Forgetful(Accelerator):
        def gather_for_metrics(self, values):
            return tuple(value[:-1] for value in values)

    accelerator = Forgetful()
    loader = accelerator.prepare(build_test_loader(dataset, 6, workers=0))
    with pytest.raises(DataError, match="5 predictions for 6 clips; expected one per clip"):
        predict_clips(_Redness(), loader, accelerator, CLASSES)


def test_a_model_is_asked_in_evaluation_mode_and_without_gradients(make_run):
    class Mode(_Redness):
        def forward(self, clips):
            assert not self.training
            assert torch.is_inference_mode_enabled()
            return super().forward(clips)

    config = make_run()
    dataset = build_dataset(read_manifest(Path(config.data.manifest)), "test", config, size=32)
    accelerator = Accelerator()
    loader = accelerator.prepare(build_test_loader(dataset, 3, workers=0))
    assert len(predict_clips(Mode().train(), loader, accelerator, CLASSES)) == 6
