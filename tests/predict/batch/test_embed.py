"""Embeddings of videos: those of the model, with their windows, in files that others read."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from predict.colour_videos import BLUE, RED, ColourModel, TileDetector, frames_of, write_tiles
from typer.testing import CliRunner

from dfercli.cli import app
from dfercli.errors import ConfigError
from dfercli.media.images import write_image
from dfercli.predict import Predictor, PredictSettings, embed_videos
from dfercli.predict.batch.embed import COLUMNS

SETTINGS = PredictSettings(window_s=1.0)


class _Embedding(ColourModel):
    """Its embedding is the mean colour; the logits are ten times that."""

    def encode_video(self, clips):
        return self(clips) / 10


@pytest.fixture
def predictor():
    return Predictor(_Embedding(), TileDetector(), crop_size=48)


@pytest.fixture
def video(tmp_path):
    """One face is red, then blue; the other is blue, then hidden."""
    return write_tiles(
        tmp_path / "v.mp4",
        frames_of((RED, 1.0), (BLUE, 1.0)),
        frames_of((BLUE, 1.0), (BLUE, 1.0, False)),
    )


def test_each_window_of_each_face_has_the_models_embedding(predictor, video):
    embeddings = embed_videos(video, predictor, SETTINGS)
    rows = list(zip(embeddings.track, embeddings.start_s, embeddings.end_s, strict=True))
    assert rows == [(1, 0, 1), (2, 0, 1), (1, 1, 2)]  # too few frames show face 2 later
    assert embeddings.video == [str(video)] * 3
    assert embeddings.embedding.dtype == np.float32
    expected = np.array([RED, BLUE, BLUE]) / 255
    assert np.abs(embeddings.embedding - expected).max() < 0.05
    assert embeddings.exit_code == 0


def test_embeddings_classified_give_the_predictions(predictor, video):
    embeddings = embed_videos(video, predictor, SETTINGS).embedding
    windows = predictor.predict(video, window_s=1.0).windows
    probs = np.array([window.probs for window in windows if window.probs is not None])
    assert torch.tensor(10 * embeddings).softmax(-1).numpy() == pytest.approx(probs, abs=1e-6)


def test_a_part_has_only_its_windows(predictor, video):
    part = PredictSettings(window_s=1.0, start_s=1.0)
    assert list(embed_videos(video, predictor, part).start_s) == [1.0]


def test_files_have_the_same_columns_and_name_the_model(predictor, video, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    embeddings = embed_videos(video, predictor, SETTINGS, out=tmp_path / "x.npz")
    embed_videos(video, predictor, SETTINGS, out=tmp_path / "x.parquet")
    arrays = np.load(tmp_path / "x.npz")  # without pickle
    table = pd.read_parquet(tmp_path / "x.parquet")
    assert list(table.columns) == list(COLUMNS)
    for name in COLUMNS[:-1]:
        assert list(arrays[name]) == list(table[name]) == list(getattr(embeddings, name))
    assert np.array_equal(arrays["embedding"], np.stack(table["embedding"]))
    assert np.array_equal(arrays["embedding"], embeddings.embedding)
    origin = json.loads(str(arrays["origin"]))
    assert origin["settings"]["window_s"] == 1.0
    assert json.loads(pq.read_schema(tmp_path / "x.parquet").metadata[b"origin"]) == origin
    embed_videos(video, predictor, SETTINGS, out=tmp_path / "x.npz")  # its own file is replaced


def test_an_unreadable_video_stops_no_other(predictor, video, tmp_path):
    (tmp_path / "broken.mp4").write_text("no video")
    write_image(tmp_path / "empty.png", np.zeros((64, 64, 3), np.uint8))
    seen = []
    embeddings = embed_videos(
        [tmp_path / "broken.mp4", tmp_path / "empty.png", video],
        predictor,
        SETTINGS,
        on_video=lambda title, count, error: seen.append((count, error is None)),
    )
    assert seen == [(0, False), (0, True), (3, True)]
    assert "broken.mp4" in embeddings.faults[0]
    assert embeddings.without_face == [str(tmp_path / "empty.png")]
    assert (len(embeddings.video), embeddings.exit_code) == (3, 4)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_videos_without_a_face_give_an_empty_file_and_exit_code_3(predictor, tmp_path, suffix):
    write_image(tmp_path / "empty.png", np.zeros((64, 64, 3), np.uint8))
    out = tmp_path / f"x{suffix}"
    embeddings = embed_videos(tmp_path / "empty.png", predictor, SETTINGS, out=out)
    assert embeddings.exit_code == 3
    assert embed_videos(tmp_path / "empty.png", predictor, SETTINGS, out=out).video == []


def _stop(*values):
    raise KeyboardInterrupt


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_an_interrupted_call_goes_on_after_its_last_finished_video(
    predictor, video, tmp_path, suffix
):
    other = write_tiles(tmp_path / "w.mp4", frames_of((BLUE, 2.0)))
    write_image(tmp_path / "empty.png", np.zeros((64, 64, 3), np.uint8))
    videos, out = [video, tmp_path / "empty.png", other], tmp_path / f"x{suffix}"
    whole = embed_videos(videos, predictor, SETTINGS, out=tmp_path / f"whole{suffix}")
    seen = []

    def stop_at_second(title, count, error):
        seen.append(title)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_videos(videos, predictor, SETTINGS, out=out, on_video=stop_at_second)
    assert not out.exists()
    opened = []

    class Counted(Predictor):
        def open(self, path, *arguments, **settings):
            opened.append(path)
            return super().open(path, *arguments, **settings)

    counted = Counted(_Embedding(), TileDetector(), crop_size=48)
    again = embed_videos(videos, counted, SETTINGS, out=out)
    assert opened == [other]
    assert again.video == whole.video
    assert np.array_equal(again.embedding, whole.embedding)
    assert np.array_equal(again.start_s, whole.start_s)
    assert again.track.dtype == whole.track.dtype
    assert (again.without_face, again.exit_code) == (whole.without_face, whole.exit_code)
    assert out.read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()


def test_other_settings_and_another_content_are_embedded_again(predictor, video, tmp_path):
    out = tmp_path / "x.npz"

    def start(settings=SETTINGS):
        with pytest.raises(KeyboardInterrupt):
            embed_videos(video, predictor, settings, out=out, on_video=_stop)
        return {path.name for path in (tmp_path / ".x.npz.finished").iterdir()}

    first = start()
    assert (len(first), start()) == (1, first)
    second = start(PredictSettings(window_s=0.5))
    write_tiles(video, frames_of((BLUE, 1.0)))
    third = start()
    assert (len(second), len(third)) == (2, 3)
    (tmp_path / ".x.npz.finished" / min(third - second)).write_bytes(b"damaged")
    assert np.abs(embed_videos(video, predictor, SETTINGS, out=out).embedding).max() > 0
    assert not (tmp_path / ".x.npz.finished").exists()


def test_a_file_stays_as_it_is_if_no_video_can_be_read(predictor, video, tmp_path):
    out = tmp_path / "x.npz"
    embed_videos(video, predictor, SETTINGS, out=out)
    before = out.read_bytes()
    (tmp_path / "broken.mp4").write_text("no video")
    embeddings = embed_videos(tmp_path / "broken.mp4", predictor, SETTINGS, out=out)
    assert (embeddings.exit_code, embeddings.is_useful) == (4, False)
    assert out.read_bytes() == before
    embed_videos(tmp_path / "broken.mp4", predictor, SETTINGS, out=tmp_path / "new.npz")
    assert not (tmp_path / "new.npz").exists()


@pytest.mark.parametrize("name", ["x.npz", "x.parquet"])
def test_a_file_of_somebody_else_is_not_replaced(predictor, video, tmp_path, name):
    if name.endswith("npz"):
        np.savez(tmp_path / name, a=np.zeros(3))
    else:
        pd.DataFrame({"a": [1]}).to_parquet(tmp_path / name)
    with pytest.raises(ConfigError, match="was not written by dfer"):
        embed_videos(video, predictor, SETTINGS, out=tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0", "--out", "x.npz"], "streams and cameras .* cannot be embedded"),
        (["v.mp4", "--out", "x.csv"], "unknown suffix of --out x.csv; use .npz or .parquet"),
        (["v.mp4", "--out", "x.npz", "--end", "-1"], "invalid time '-1'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["embed", *arguments])
    assert isinstance(result.exception, ConfigError)
    assert re.search(message, str(result.exception))


def test_the_command_embeds_by_the_built_in_model(tmp_path, monkeypatch):
    from dfercli.demo.drawing import make_person
    from dfercli.demo.videos import draw_video
    from dfercli.media.video_writer import write_video

    monkeypatch.chdir(tmp_path)
    images = list(draw_video(make_person(1, 2), "surprise", np.random.default_rng(3)))
    write_video(tmp_path / "v.mp4", images, 25.0)
    result = CliRunner().invoke(app, ["embed", "v.mp4", "--checkpoint", "built-in", "--out=x.npz"])
    assert result.exit_code == 0
    assert "v.mp4: 1 window" in result.output
    embedding = np.load("x.npz")["embedding"]
    assert (embedding.shape, embedding.std() > 0) == ((1, 256), True)
