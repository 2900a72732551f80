"""The library call: examples of the documentation, its arguments, and what it tells."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from predict.colour_videos import RED, ColourModel, CopyableTiles, frames_of, write_tiles

from dfercli import predict_videos
from dfercli.config import ModelConfig
from dfercli.errors import ConfigError
from dfercli.faces.align import CropRecipe
from dfercli.media.video_writer import write_video
from dfercli.models.base import build_model
from dfercli.predict import ModelSource, Predictor, PredictSettings
from dfercli.predict.batch.inputs import Input
from dfercli.predict.batch.read_video import StopPrediction
from dfercli.runs.checkpoint import save_checkpoint

DOCS = Path(__file__).parents[3] / "docs"
SETTINGS = PredictSettings(window_s=1.0)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def predictor():
    return Predictor(ColourModel(), CopyableTiles(), crop_size=48)


@pytest.fixture
def checkpoint():
    """A tiny model that was never trained, where the examples look for one."""
    crop = asdict(CropRecipe("mtcnn", 32))
    config = ModelConfig(backbone="demo-ViT-tiny", weights="random")
    folder = Path("runs/my-videos/full/fold1")
    save_checkpoint(build_model(config, ("happiness", "sadness"), crop), folder / "best")
    return folder


@pytest.mark.parametrize("page", ["api.md", "predicting.md"])
@pytest.mark.usefixtures("checkpoint")
def test_examples_of_the_documentation_run(page, capsys):
    for name in ("videos/a.mp4", "takes/b.mov"):
        Path(name).parent.mkdir()
        write_video(Path(name), [np.full((48, 64, 3), 128, np.uint8)] * 8, 12.5)
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.M)
    (example,) = (block for block in blocks if "predict_videos(" in block)
    exec(compile(example, page, "exec"), {})
    assert Path("expressions.csv").is_file()
    printed = capsys.readouterr().out
    expected = {"api.md": "0 of 2 predicted\n", "predicting.md": "videos/a.mp4 no face None\n"}
    assert expected[page] in printed


def test_a_predictor_reads_and_tells_what_it_does(predictor):
    write_tiles(Path("a.mp4"), frames_of((RED, 3)))
    told = {"model": [], "window": [], "video": [], "progress": []}
    result = predict_videos(
        Path("a.mp4"),
        predictor,
        SETTINGS,
        on_model=told["model"].append,
        on_window=lambda video, window: told["window"].append(window.start_s),
        on_video=lambda outcome, prediction: told["video"].append((outcome, prediction)),
        on_progress=lambda video, phase, at_s, of_s: told["progress"].append((phase, of_s)),
    )
    assert told["model"] == [predictor]
    assert told["window"] == [0.0, 1.0, 2.0]
    ((outcome, prediction),) = told["video"]
    assert result.outcomes == [outcome]
    assert (outcome.status, outcome.input.name, outcome.line) == ("ok", "a.mp4", None)
    assert len(prediction.windows) == 3
    assert set(told["progress"]) == {("reading", 3.0)}
    assert {path.name for path in Path().iterdir()} == {"a.mp4"}


def test_several_files_are_written_and_a_second_call_reads_nothing(predictor):
    for name in "ab":
        write_tiles(Path(f"v/{name}.mp4"), frames_of((RED, 2)))
    outs = ["x.json", Path("x.jsonl"), "x.csv"]
    kept = []
    for _ in range(2):
        result = predict_videos(
            "v",
            predictor,
            SETTINGS,
            out=outs,
            on_resume=lambda journal: kept.append(len(journal.kept)),
        )
    assert kept == [0, 2]
    assert [outcome.kept for outcome in result.outcomes] == [True, True]
    assert len(json.loads(Path("x.json").read_text())["videos"]) == 2
    again = predict_videos("v", predictor, SETTINGS, out="y.json", resume=False)
    assert [outcome.kept for outcome in again.outcomes] == [False, False]
    assert Path("y.json").read_text() == Path("x.json").read_text()
    hidden = {path.name for path in Path().glob(".*")}
    assert hidden == {".x.json.journal", *(f".{Path(out).name}.lock" for out in outs)}


def test_an_alias_is_written_instead_of_the_path(predictor):
    write_tiles(Path("secret/a.mp4"), frames_of((RED, 1)))
    predict_videos([Input("secret/a.mp4", alias="mine.mp4")], predictor, SETTINGS, out="x.json")
    assert "secret" not in Path("x.json").read_text()
    assert json.loads(Path("x.json").read_text())["videos"][0]["video"] == "mine.mp4"


@pytest.mark.parametrize("stop_at", ["reading", "drawing", "annotating"])
def test_progress_may_stop_it(predictor, stop_at):
    write_tiles(Path("a.mp4"), frames_of((RED, 3)))

    def stop(video, phase, at_s, of_s):
        if phase == stop_at:
            raise StopPrediction("enough")

    files = {"out": "x.csv", "plot": "x.png", "annotate": "x.mp4"}
    with pytest.raises(StopPrediction, match="enough"):
        predict_videos("a.mp4", predictor, SETTINGS, on_progress=stop, **files)
    assert not Path("x.csv").exists()


def test_what_cannot_be_is_refused_before_a_model_is_loaded(predictor):
    def load():
        pytest.fail("the model was asked for")

    write_tiles(Path("a.mp4"), frames_of((RED, 1)))
    with pytest.raises(ConfigError, match="no videos to predict"):
        predict_videos([], load)
    with pytest.raises(ConfigError, match=r"unknown suffix of --out x.txt"):
        predict_videos("a.mp4", load, out="x.txt")
    with pytest.raises(ConfigError, match="invalid window of -1 s; it must be at least"):
        predict_videos("a.mp4", load, PredictSettings(window_s=-1))
    with pytest.raises(ConfigError, match="jobs > 1 loads the model in each process"):
        predict_videos(["a.mp4"], predictor, jobs=2)
    missing = predict_videos("gone.mp4", load)
    assert missing.faults == ["gone.mp4: no such file or folder"]


def test_a_source_and_its_name_are_the_same_model(checkpoint):
    write_video(Path("a.mp4"), [np.full((48, 64, 3), 128, np.uint8)] * 8, 12.5)
    source = ModelSource(str(checkpoint), device="cpu", precision="fp32")
    texts = set()
    for model in (source, lambda: source, source.load()):
        predict_videos("a.mp4", model, out="x.json", resume=False)
        texts.add(Path("x.json").read_text())
    assert len(texts) == 1
    assert json.loads(texts.pop())["checkpoint"]["name"] == str(checkpoint)
