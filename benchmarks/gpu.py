"""Measure everything that a GPU is for: `python benchmarks/gpu.py [--minutes 4]`.

Training steps at several batch sizes, `dfer train` itself with its loader, tests, prediction of one
video and of many, a reference step as research code has it (see train.py), and the memory of a
large backbone with and without LoRA. What the time does not allow is left out and named. One table
at the end; all figures as JSON.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from loader import make_manifest, time_on_device
from machine import MACHINE, add_output_option, describe_machine
from train import (
    DFEW_CLIPS,
    STEP_OVER_FORWARD,
    TABLE_2,
    MadeClips,
    Reference,
    Steps,
    count_launches,
    count_reference_macs,
    matrix_rate,
    peak_memory_mb,
)

from dfercli.config import ComputeConfig, DataConfig, ModelConfig, RunConfig, TrainConfig
from dfercli.data.manifest import write_manifest
from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.device import resolve_compute
from dfercli.faces.align import CROP_VERSION
from dfercli.files import write_json
from dfercli.models.base import build_model
from dfercli.models.flops import measure_cost
from dfercli.models.lora import add_lora
from dfercli.runs.checkpoint import save_checkpoint
from dfercli.training.device import make_accelerator
from dfercli.training.recipe import build_optimizer

BENCHMARKS = Path(__file__).parent
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(BENCHMARKS.parent), os.getenv("PYTHONPATH", "")])
}
"""Of the commands that are timed: they run from this checkout."""

BASELINE = {"interfit": False, "msta": False, "biehpro": False}
LORA_ON = "q,k,v,out,mlp"
LARGE: dict[str, dict[str, Any]] = {
    "full": {},
    "full, LoRA": {"rank": 8},
    "without InterFIT": {"interfit": False},
    "without InterFIT, LoRA": {"interfit": False, "rank": 8},
}
"""Settings of the large backbone."""

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
REPEATS = 3
PROFILED = 4
"""Steps whose launches are counted, which takes a second per thousand."""

TEST_CLIPS = 64


class Table:
    """Figures by name, taken while there is time.

    Args:
        minutes: Until no other measurement is begun.
        only: Parts of the names of the measurements to take; by default all.
    """

    def __init__(self, minutes: float, only: Sequence[str] = ()) -> None:
        self._only = only
        self._end_s = time.monotonic() + 60 * minutes
        self.rows: dict[str, dict[str, Any]] = {}

    def add(self, name: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Measure one row; a failure is a row too, and the others go on."""
        if self._only and not any(part in name for part in self._only):
            return
        if time.monotonic() > self._end_s:
            self.rows[name] = {"left out": "no time"}
            return
        started_s = time.monotonic()
        try:
            row = measure()
        except Exception as error:  # one measurement that fails must not cost the others
            row = {"failed": f"{type(error).__name__}: {str(error).strip()[-2000:]}"}
        self.rows[name] = row | {"took_s": round(time.monotonic() - started_s, 1)}
        print(f"{name}: {json.dumps(self.rows[name])}", flush=True)


def measure_steps(
    run: RunConfig, accelerator: Accelerator, way: str, peak: float, steps: int
) -> dict[str, Any]:
    """Time the steps of a model of ours."""
    accelerator.free_memory()  # it keeps what it has prepared
    torch.manual_seed(0)
    model = build_model(run.model, BASIC_EXPRESSIONS)
    if run.train.lora_rank > 0:
        add_lora(model, run.train.lora_rank, run.train.lora_projections)
    made = Steps(run, accelerator, model, build_optimizer(model, run.train), steps, way)
    macs = measure_cost(run.model, BASIC_EXPRESSIONS).true_macs
    execution = made.execution
    row = {"way": execution.way, "setup_s": round(made.setup_s, 1), "remark": execution.remark}
    row |= time_passes(made, run, macs, peak)
    if run.train.lora_rank > 0:
        del row["share_of_matrix_rate"]  # frozen weights need no gradient: fewer products a step
    return row | {"testing_clips_per_s": round(max(made.test() for _ in range(2)), 1)}


def measure_reference(
    run: RunConfig, accelerator: Accelerator, peak: float, steps: int
) -> dict[str, Any]:
    """Time the steps of the reference."""
    accelerator.free_memory()
    reference = Reference(run.model.backbone, list(BASIC_EXPRESSIONS))
    reference.clamp_logit_scale = lambda: None  # type: ignore[assignment]
    macs = count_reference_macs(reference, run.model.num_frames, run.train.batch_size)
    made = Steps(run, accelerator, reference, torch.optim.AdamW(reference.parameters()), steps)
    return time_passes(made, run, macs, peak)


def time_passes(made: Steps, run: RunConfig, macs: float, peak: float) -> dict[str, Any]:
    """Return clips per second, the share of the matrix rate, launches and memory of some steps."""
    if made.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(made.device)
    made.run()
    speed = max(made.run() for _ in range(REPEATS))
    row = {
        "clips_per_s": round(speed, 1),
        "step_ms": round(1000 * made.loader.batch_sampler.batch_size / speed, 2),
        "share_of_matrix_rate": round(2 * STEP_OVER_FORWARD * macs * speed / peak, 4),
        "memory_mb": round(peak_memory_mb(made.device)),
    }
    if made.device.type == "cuda":
        whole, made.loader = made.loader, MadeClips(run, made.side, made.device, PROFILED)
        row["per_step"] = count_launches(made.run, PROFILED)
        made.loader = whole
    return row


def write_clips(folder: Path, clips: int, rows: int) -> Path:
    """Write made clips, and a manifest that names each often enough to make a long epoch."""
    root = folder / "clips"
    root.mkdir(parents=True)
    manifest = make_manifest(root, clips, num_frames=16)
    table = pd.concat([manifest.rows] * -(-rows // clips), ignore_index=True)[:rows]
    table["clip_id"] = [f"{number:05d}" for number in range(rows)]
    table["label"] = [manifest.class_names[number % 2] for number in range(rows)]
    table["test_fold"] = [int(number < min(TEST_CLIPS, rows // 2)) for number in range(rows)]
    path = folder / "manifests" / f"{manifest.dataset}.csv"
    write_manifest(replace(manifest, rows=table), path)
    return path


def train_itself(
    folder: Path, manifest: Path, given: argparse.Namespace, cached: bool
) -> dict[str, Any]:
    """Run `dfer train` for three epochs, and return its own clips per second of the best."""
    command = [sys.executable, "-m", "dfercli", "train", "--dataset", manifest.stem]
    options = {
        "--manifests": manifest.parent,
        "--runs": folder / f"runs-{cached}",
        "--folds": 1,
        "--epochs": 3,
        "--warmup-epochs": 1,
        "--batch-size": given.sizes[0],
        "--backbone": given.backbone,
        "--weights": "random",
        "--device": given.device,
        "--precision": given.precision,
        "--workers": given.workers,
        "--steps": given.way,
    }
    command += [str(word) for option in options.items() for word in option]
    if cached:
        command += ["--cache", "--cache-dir", str(folder / "cache")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    (metrics,) = (folder / f"runs-{cached}").rglob("metrics.jsonl")
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    run = json.loads(metrics.with_name("run.json").read_text())
    speed = max(line["clips_per_s"] for line in lines)
    return {"clips_per_s": speed, "way": run["steps"], "epochs": lines, "said": done.stderr[-500:]}


def find_video(folder: Path, given: argparse.Namespace) -> Path:
    """Return the given video, or one that is drawn."""
    if given.video is not None:
        return Path(given.video)
    video = folder / "demo" / "unseen" / "journey.mp4"
    if not video.exists():
        draw = [sys.executable, "-m", "dfercli", "demo", str(folder / "demo")]
        subprocess.run(draw, env=ENVIRONMENT, capture_output=True, check=True)
    return video


def predict_many(folder: Path, given: argparse.Namespace, jobs: int) -> dict[str, Any]:
    """Run `dfer predict` on copies of a video, and return seconds of video per second."""
    video, checkpoint = find_video(folder, given), folder / "checkpoint"
    if not checkpoint.exists():
        config = ModelConfig(backbone=given.backbone, weights="random")
        crop = {"detector": "mtcnn", "size": 224, "version": CROP_VERSION}
        save_checkpoint(build_model(config, BASIC_EXPRESSIONS, crop), checkpoint)
    videos = folder / "videos"
    videos.mkdir(exist_ok=True)
    for number in range(given.videos):
        shutil.copy(video, videos / f"{number}{video.suffix}")
    out = folder / f"{jobs}.csv"
    command = [sys.executable, "-m", "dfercli", "predict", str(videos), "--out", str(out)]
    command += ["--checkpoint", str(checkpoint), "--device", given.device, "--jobs", str(jobs)]
    started_s = time.monotonic()
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    took_s = time.monotonic() - started_s
    if done.returncode:
        raise RuntimeError(done.stderr)
    table = pd.read_csv(out)
    seconds = table.groupby("video")["end_s"].max()
    assert len(seconds) == given.videos
    return {"times_real_time": round(float(seconds.sum()) / took_s, 1), "windows": len(table)}


def predict_itself(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run predict.py on a drawn video, and return its figures."""
    video = find_video(folder, given)
    command = [sys.executable, str(BENCHMARKS / "predict.py"), str(video)]
    command += ["--device", given.device, "--backbone", given.backbone, "--seconds", "20"]
    command += ["--repeats", "2", "--commands", "0", "--write", "--out", str(folder / "predict")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    (path,) = (folder / "predict").iterdir()
    figures = json.loads(path.read_text())
    return {"in_process": figures["in_process"]}


def print_table(rows: dict[str, dict[str, Any]]) -> None:
    """Print one line per measurement."""
    columns = ("clips_per_s", "step_ms", "share_of_matrix_rate", "memory_mb", "testing_clips_per_s")
    heads = ("clips/s", "ms a step", "of matrix", "MB", "testing")
    print(f"\n{'':34}" + "".join(f"{head:>11}" for head in heads) + "   launches")
    for name, row in rows.items():
        cells = [row.get(column, "") for column in columns]
        if row.get("share_of_matrix_rate"):
            cells[2] = f"{row['share_of_matrix_rate']:.1%}"
        per_step = row.get("per_step", {})
        launches = ", ".join(f"{count:g} {kind}" for kind, count in per_step.items())
        if "in_process" in row:
            speeds = [f"{each['times_real_time']:.1f}" for each in row["in_process"]]
            launches = f"{', '.join(speeds)} times real time"
        elif "times_real_time" in row:
            launches = f"{row['times_real_time']:.1f} times real time"
        said = launches or row.get("failed", row.get("left out", ""))
        print(f"{name:34}" + "".join(f"{cell!s:>11}" for cell in cells) + f"   {said[:90]}")


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Take all measurements, the most important ones first."""
    table = Table(given.minutes, given.only)
    compute = resolve_compute(ComputeConfig(device=given.device, precision=given.precision))
    accelerator = make_accelerator(compute)
    peak = matrix_rate(accelerator.device, TYPES[compute.precision], given.sides)
    data = DataConfig(dataset="made", manifest="", root="")

    def run_of(size: int, rank: int = 0, **settings: Any) -> RunConfig:
        model = ModelConfig(**{"backbone": given.backbone, "weights": "random"} | settings)
        train = TrainConfig(batch_size=size)
        if rank > 0:
            train = replace(train, lora_rank=rank, lora_on=LORA_ON)
        return RunConfig(data=data, fold=1, model=model, train=train, compute=compute)

    def steps_of(size: int, way: str, **settings: Any) -> Callable[[], dict[str, Any]]:
        run = run_of(size, **settings)
        return lambda: measure_steps(run, accelerator, way, peak, given.steps)

    first, *larger = given.sizes
    table.add(f"full, batch {first}", steps_of(first, given.way))
    reference = run_of(first)
    table.add(
        f"reference, batch {first}",
        lambda: measure_reference(reference, accelerator, peak, given.steps),
    )
    manifest = write_clips(folder, given.clips, given.rows)
    table.add("dfer train, from the cache", lambda: train_itself(folder, manifest, given, True))
    table.add("dfer train, from JPEG", lambda: train_itself(folder, manifest, given, False))
    table.add(f"baseline, batch {first}", steps_of(first, given.way, **BASELINE))
    table.add("dfer predict", lambda: predict_itself(folder, given))
    for jobs in given.jobs:
        predict = partial(predict_many, folder, given, jobs)
        table.add(f"dfer predict, {given.videos} videos, --jobs {jobs}", predict)
    for size in larger:
        table.add(f"full, batch {size}", steps_of(size, given.way))
    other = "captured" if accelerator.device.type == "cuda" else "eager"
    table.add(f"full, batch {first}, {other}", steps_of(first, other))
    for size in larger:
        table.add(f"baseline, batch {size}", steps_of(size, given.way, **BASELINE))
    table.add(f"full, batch {first}, eager", steps_of(first, "eager"))
    for name, settings in LARGE.items():
        steps = steps_of(given.large_size, other, backbone=given.large, **settings)
        table.add(f"{given.large}, batch {given.large_size}, {name}", steps)
    table.add("other ways to feed it", lambda: time_on_device(manifest, accelerator.device, first))
    print_table(table.rows)
    results = {"matrix_tflops": peak / 1e12, "precision": compute.precision, "rows": table.rows}
    speed = table.rows.get("dfer train, from the cache", {}).get("clips_per_s")
    if speed:
        hours = DFEW_CLIPS * 5 * 100 / speed / 3600
        results["projected_hours"] = {"5 folds of DFEW": hours, "Table 2": hours * TABLE_2}
        print(f"five folds of 100 epochs on DFEW, training alone: {hours:.3g} h")
    return results


def main() -> None:
    """Measure, print the table, and write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--way", default="compiled", help="as `dfer train --steps`")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128], help="of batches")
    parser.add_argument("--steps", type=int, default=20, help="of a pass")
    parser.add_argument("--backbone", default=ModelConfig.backbone)
    parser.add_argument("--large", default="ViT-L-14-quickgelu", help="the large backbone")
    parser.add_argument("--large-size", type=int, default=8, help="of its batches")
    parser.add_argument("--videos", type=int, default=16, help="that are predicted together")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 4], help="that predict them")
    parser.add_argument("--workers", type=int, default=12, help="of the loader")
    parser.add_argument("--clips", type=int, default=128, help="that are made")
    parser.add_argument("--rows", type=int, default=1984, help="of the manifest that names them")
    parser.add_argument("--sides", nargs="+", type=int, default=[], help="of the timed matrices")
    parser.add_argument("--video", type=Path, help="to predict; by default the demo's")
    parser.add_argument(
        "--only", nargs="+", default=[], help="parts of the names of those to take, such as JPEG"
    )
    parser.add_argument("--minutes", type=float, default=4.0, help="until nothing more is begun")
    parser.add_argument("--machine", default=MACHINE)
    add_output_option(parser)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(given, Path(folder))
    machine = describe_machine("torch", "accelerate", "open_clip_torch", "triton")
    if not results["rows"]:
        parser.error(f"--only: no measurement has {' or '.join(given.only)} in its name")
    path = given.out / f"gpu-{given.machine}{'-part' if given.only else ''}.json"
    write_json(path, {"machine": machine, "results": results})
    print(f"written: {path}")


if __name__ == "__main__":
    main()
