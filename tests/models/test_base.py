"""Checkpoints: weights that share storages are written, and those of older versions predict."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_model

from dfercli.config import METHODS, NETWORKS
from dfercli.models import base
from dfercli.models.dfer import DFERModel
from dfercli.models.layers import BiLSTM
from dfercli.runs.checkpoint import load_checkpoint, save_checkpoint

WEIGHTS = "model.safetensors"


def flatten_lstms(model):
    """Make each LSTM's parameters views of one buffer, as cuDNN does on CUDA."""
    lstms = [module for module in model.modules() if isinstance(module, BiLSTM)]
    for lstm in lstms:
        parameters = list(lstm.parameters())
        buffer = torch.cat([parameter.detach().flatten() for parameter in parameters])
        start = 0
        for parameter in parameters:
            stop = start + parameter.numel()
            parameter.data = buffer[start:stop].view_as(parameter)
            start = stop
    assert lstms
    return model


def tie_lstms(model):
    """Make two layers use the very same parameter."""
    first, second = (layer.lstm for layer in model.interfit.layers)
    second.weight_hh_l0 = first.weight_hh_l0
    return model


def overlap_biases(model):
    """Make two biases overlap in half of a buffer."""
    first, second = (layer.lstm.bias_ih_l0 for layer in model.interfit.layers)
    half = len(first) // 2
    buffer = torch.randn(3 * half)
    first.data, second.data = buffer[: 2 * half], buffer[half:]
    return model


def transpose_weights(model):
    """Store a weight by columns."""
    weight = model.interfit.layers[0].lstm.weight_hh_l0
    weight.data = weight.data.T.contiguous().T
    assert not weight.is_contiguous()
    return model


def widen_storages(model):
    """Make every parameter the first part of a buffer that is twice as large."""
    for parameter in model.parameters():
        buffer = torch.empty(2 * parameter.numel())
        view = buffer[: parameter.numel()].view(parameter.shape)
        parameter.data = view.copy_(parameter.data)
    return model


@pytest.mark.parametrize(
    "change", [flatten_lstms, tie_lstms, overlap_biases, transpose_weights, widen_storages]
)
def test_shared_storages_are_saved_under_every_name(change, make_model, make_clips, tmp_path):
    model, clips = change(make_model()).eval(), make_clips()
    save_checkpoint(model, tmp_path / "best")
    saved, state = load_file(tmp_path / "best" / WEIGHTS), model.state_dict()
    assert saved.keys() == state.keys()
    assert all(torch.equal(saved[name], state[name]) for name in state)
    with torch.no_grad():
        expected = model(clips)
        assert torch.allclose(load_checkpoint(str(tmp_path / "best"))(clips), expected, atol=1e-6)


@pytest.mark.parametrize("change", [flatten_lstms, tie_lstms, widen_storages])
def test_a_file_holds_no_more_than_the_weights(change, make_model, tmp_path):
    model = make_model()
    save_checkpoint(model, tmp_path / "plain")
    save_checkpoint(change(model), tmp_path / "changed")
    sizes = [(tmp_path / name / WEIGHTS).stat().st_size for name in ("plain", "changed")]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("method", [name for name in METHODS if name not in NETWORKS])
def test_ordinary_models_are_saved_byte_for_byte_as_before(method, make_model, tmp_path):
    model = make_model(method=method)
    save_checkpoint(model, tmp_path / "best")
    save_model(model, str(tmp_path / WEIGHTS))
    assert (tmp_path / "best" / WEIGHTS).read_bytes() == (tmp_path / WEIGHTS).read_bytes()


def test_only_what_shares_its_storage_is_copied(make_model):
    state = flatten_lstms(make_model()).state_dict()
    separated = base._separate_storages(state)
    copied = {name for name in state if separated[name].data_ptr() != state[name].data_ptr()}
    assert copied == {name for name in state if ".lstm." in name}


def test_a_checkpoint_of_before_msta_fc_predicts_as_it_did(make_model, make_clips, tmp_path):
    model = make_model(msta_fc="channels").eval()
    model.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert settings["model"].pop("msta_fc") == "channels"
    (tmp_path / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    loaded = DFERModel.from_pretrained(tmp_path)
    assert loaded.config == model.config
    with torch.no_grad():
        assert torch.equal(loaded(make_clips()), model(make_clips()))
    loaded.save_pretrained(tmp_path / "again")
    assert DFERModel.from_pretrained(tmp_path / "again").config.msta_fc == "channels"
