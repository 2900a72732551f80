"""What the page's button does, without the page."""

import json

import pandas as pd
import pytest
import typer

from dfercli.app.examine import DRAWING, READING, StoppedError
from dfercli.cli import app
from dfercli.errors import NoFaceError, VideoError
from dfercli.media.video import read_frames
from dfercli.predict import PredictSettings

SETTINGS = PredictSettings(window_s=1.0, stride_s=1.0)


def _ignore(*told):
    pass


def test_a_video_becomes_a_video_a_picture_a_document_and_a_table(examiner, footage, tmp_path):
    found = examiner.examine(footage / "face.mp4", SETTINGS, tmp_path, _ignore)
    names = {"face-annotated.mp4", "face-timeline.png", "face.json", "face.csv"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert [track.track for track in found.prediction.tracks] == [1]
    before = sum(1 for _ in read_frames(footage / "face.mp4"))
    assert sum(1 for _ in read_frames(found.video)) == before
    assert found.picture.read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv(found.table)) == len(found.prediction.windows) >= 2


@pytest.mark.slow
def test_the_document_is_the_one_that_the_command_writes(
    examiner, footage, checkpoint, tmp_path, monkeypatch
):
    monkeypatch.chdir(footage)
    line = f"predict face.mp4 --checkpoint {checkpoint} --device cpu --precision fp32"
    lengths = "--window-s 1 --stride-s 1 --out"
    for name in ("by_command.json", "by_command.csv"):
        words = [*line.split(), *lengths.split(), str(tmp_path / name)]
        typer.main.get_command(app).main(words, standalone_mode=False)
    found = examiner.examine(footage / "face.mp4", SETTINGS, tmp_path, _ignore)
    assert found.document.read_text() == (tmp_path / "by_command.json").read_text()
    assert found.table.read_text() == (tmp_path / "by_command.csv").read_text()
    assert json.loads(found.document.read_text())["videos"][0]["video"] == "face.mp4"


def test_progress_is_told_in_seconds_of_the_video(examiner, footage, tmp_path):
    told = []
    found = examiner.examine(
        footage / "face.mp4", SETTINGS, tmp_path, lambda *words: told.append(words)
    )
    assert list(dict.fromkeys(doing for doing, _, _ in told)) == [READING, DRAWING]
    for doing in (READING, DRAWING):
        times = [at_s for what, at_s, _ in told if what == doing]
        assert times == sorted(times)
        assert len(set(times)) >= 5
    length_s = found.prediction.duration_s
    assert {round(of_s, 1) for _, _, of_s in told} == {round(length_s, 1)}
    assert told[-1][1] == pytest.approx(length_s, abs=0.2)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        (
            "wall.mp4",
            NoFaceError,
            "no face was found in wall.mp4: 16 frames were searched for",
        ),
        (
            "text.mp4",
            VideoError,
            "text.mp4: no frame can be decoded; it may be incomplete, or not a video",
        ),
    ],
)
def test_what_shows_no_face_and_what_is_no_video_is_told(
    name, error, said, examiner, footage, tmp_path
):
    with pytest.raises(error) as caught:
        examiner.examine(footage / name, SETTINGS, tmp_path, _ignore)
    assert said in caught.value.line
    assert list(tmp_path.iterdir()) == []


def test_what_is_running_ends_with_the_server(examiner, footage, tmp_path):
    told = []

    def tell(*words):
        told.append(words)
        examiner.end()

    with pytest.raises(StoppedError):
        examiner.examine(footage / "wall.mp4", SETTINGS, tmp_path, tell)
    assert len(told) == 1
