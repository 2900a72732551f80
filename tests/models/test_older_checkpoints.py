"""Checkpoints that older versions wrote predict as they did."""

import json

import torch

from dfercli.models.dfer import DFERModel


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
