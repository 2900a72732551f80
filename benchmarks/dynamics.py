"""Probe what our modules learn of time, on drawn faces: `python benchmarks/dynamics.py`.

The paper's Challenge 1, in two datasets where nothing but time, or hardly more, tells the classes:

- `order`: an expression that appears, and the very same frames backwards, where it fades. The mean
  over frames cannot tell them apart, whatever the embeddings of the frames are.
- `event`: a face that looks about, blinks and talks; in two frames of sixteen it shows a weak
  expression, and only these two differ between the classes. A mean over frames can tell them
  apart, but the event is an eighth of what it is made of.

Both clips of a pair are on the same side of the split, and persons of the test are in no training.
The backbone stands for CLIP: it is small, and was taught single drawn faces of other persons first
(`faces`). The engine of `dfer train` trains each variant once per seed; figures are of the last
epoch. Finished runs are taken as they are. All of it is repeated on pictures of another data seed.

Each mean has two errors. `± seeds` is the standard deviation over training seeds. `± clips` is half
of a 95 % interval over the persons of the test, by Student's t, of the mean over the seeds: what
other persons would change. `from MSTA` is the difference of the same persons' figures, with its own
interval: variants whose interval holds 0 are not told apart.

`--models former-dfer est ...` trains networks of the paper's Table 1 instead of our variants, from
random weights at an eighth of their width, and writes a file of its own. They do not see `faces`
first, so their figures say whether they can learn from time here, not how they compare with ours.

`MSTA, means` is a control: MSTA with the mean of each window in place of the maximum. The recipe
is our choice, tried out with data seed 100 and seeds 100 to 102, after a first one left InterFIT at
chance in a run of seed 0.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from accelerate.utils import set_seed
from machine import MACHINE, add_output_option, describe_machine
from scipy.stats import t as student
from torch import Tensor
from torch.nn import functional as F

from dfercli.config import (
    NETWORKS,
    AugmentConfig,
    ComputeConfig,
    DataConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    to_dict,
)
from dfercli.config.networks import ON_CLIP
from dfercli.config.presets import apply_preset, default_model
from dfercli.data.loaders import build_dataset
from dfercli.data.manifest import COLUMNS, Manifest, read_manifest, write_manifest
from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.data.transforms import normalise
from dfercli.demo.drawing import Action, Person, Pose, draw_backdrop, draw_person, make_person
from dfercli.demo.videos import PROTOTYPES
from dfercli.files import write_json
from dfercli.jobs.run import run_jobs
from dfercli.media.images import write_image
from dfercli.models.dfer import DFERModel
from dfercli.models.msta import MSTA, PAPER_FRAMES
from dfercli.models.pretrained import build_untrained
from dfercli.runs.predictions import name_classes, read_predictions
from dfercli.runs.run_folder import RunFolder

BACKBONE = "demo-ViT-tiny"

SIZE = 48  # px, what the backbone reads

FACE = (slice(51, 205), slice(83, 237))
"""Rows and columns of a drawn picture that hold the face, about as our crops of faces do."""

EVENT_FRAMES = 2

ACTIONS = [field.name for field in fields(Action)]

HABITS = ((("blink",), 0.1), (("jaw", "part"), 0.15), (("inner_brow", "outer_brow"), 0.1))
"""What a face does by itself, and the chance that it begins in a frame."""

PACKAGES = ("torch", "open_clip_torch", "numpy", "opencv-python")


@dataclass(frozen=True)
class Probe:
    """A made dataset, and how it is trained on.

    Attributes:
        class_names: Of the clips of one draw, in their order.
        num_frames: T, and the frames that a clip has: each of them is read.
        takes: Draws of each person.
        first_person: Index of the first person, so that no two datasets need share one.
        epochs: Passes over the training clips.
        lr: Peak rate of the backbone.
    """

    class_names: tuple[str, ...]
    num_frames: int
    takes: int
    first_person: int
    epochs: int
    lr: float


PROBES = {
    "faces": Probe(BASIC_EXPRESSIONS, 1, 3, 10_000, 20, 3e-4),
    "order": Probe(("appearing", "fading"), 8, 2, 0, 20, 1e-4),
    "event": Probe(("happiness", "anger"), 16, 1, 0, 10, 1e-4),
}

TRAIN_PERSONS, TEST_PERSONS = 120, 60

OFF = {"interfit": False, "msta": False, "biehpro": False}
CHANNELS = {"msta_fc": "channels"}


@dataclass(frozen=True)
class Variant:
    """What is trained.

    Attributes:
        model: Settings of the model.
        means: Whether MSTA takes means of its windows in place of their maxima.
        new_layers_lr: Factor of the rate for layers that are no part of the backbone.
        datasets: Those that it is trained on.
    """

    model: dict[str, Any]
    means: bool = False
    new_layers_lr: float = 10.0
    datasets: tuple[str, ...] = ("order", "event")


VARIANTS = {
    "frame mean": Variant(OFF),
    "InterFIT": Variant(OFF | {"interfit": True}),
    "InterFIT, one rate": Variant(OFF | {"interfit": True}, new_layers_lr=1.0, datasets=("order",)),
    "MSTA": Variant(OFF | {"msta": True}),
    "MSTA, channels": Variant(OFF | {"msta": True} | CHANNELS),
    "MSTA, means": Variant(OFF | {"msta": True}, means=True),
    "InterFIT + MSTA": Variant({"biehpro": False}),
    "full": Variant({}),
    "full, channels": Variant(CHANNELS),
}

WIDTH = 0.125

SNIPPET_FRAMES = 35
"""T of the systems that read snippets, whose frames are repeated for shorter clips."""

MODELS = [name for name in NETWORKS if name not in ON_CLIP]
"""Networks of Table 1 that see the order of frames."""

EC_STFL = 10.0
"""Weight of the loss. Source: Jiang et al., 2020."""

REFERENCE = "MSTA"
"""Variant that the others are compared with, person by person."""

IDENTITY = ("order", "frame mean")
"""Both clips of a pair are the same to it, so its 50 % are no measurement."""

AUGMENT = AugmentConfig(crop_scale=0.9, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02)


class Artist:
    """Draws frames of one person in one take.

    Args:
        person: Who.
        rng: Where chance comes from.
    """

    def __init__(self, person: Person, rng: np.random.Generator) -> None:
        self._person = person
        self._backdrop = draw_backdrop(person)
        self._rng = rng

    def draw(self, course: np.ndarray, poses: np.ndarray) -> np.ndarray:
        """Draw what a face does, (T, actions), in poses (T, 6), as (T, SIZE, SIZE, 3) uint8 RGB."""
        frames = []
        for action, (x, y, roll, scale, yaw, pitch) in zip(course, poses, strict=True):
            pose = Pose(x, y, roll, 1 + scale, yaw, pitch)
            image = draw_person(self._person, Action(*action.clip(-1, 1)), pose, self._backdrop)
            face = cv2.resize(image[FACE], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            grain = self._rng.normal(0, 2.5, face.shape)
            frames.append((face + grain).clip(0, 255).astype(np.uint8))
        return np.stack(frames)


def draw_clips(name: str, seed: int, person: int, take: int) -> list[np.ndarray]:
    """Draw a clip of each class, (T, SIZE, SIZE, 3) uint8 RGB.

    Args:
        name: One of `PROBES`.
        seed: The same seed gives the same pixels.
        person: Number of the person in the dataset.
        take: Number of the person's draw.
    """
    probe = PROBES[name]
    rng = np.random.default_rng([seed, list(PROBES).index(name), person, take])
    artist = Artist(make_person(seed, probe.first_person + person), rng)
    num_frames, class_names = probe.num_frames, probe.class_names
    life, poses = _draw_life(num_frames, rng), _draw_poses(num_frames, rng)
    if name == "faces":
        return [artist.draw(life + _choose(each, 0.6, 1.0, rng), poses) for each in class_names]
    if name == "order":
        expression = str(rng.choice([each for each in BASIC_EXPRESSIONS if each != "neutral"]))
        duration = rng.uniform(2, 5)
        onset = rng.uniform(0, num_frames - duration)
        risen = ((np.arange(num_frames) + 0.5 - onset) / duration).clip(0, 1)
        course = life + risen[:, None] * _choose(expression, 0.6, 1.0, rng)
        frames = artist.draw(course, poses)
        return [frames, frames[::-1]]
    calm, begin = artist.draw(life, poses), int(rng.integers(num_frames - EVENT_FRAMES + 1))
    inside, clips = slice(begin, begin + EVENT_FRAMES), []
    for each in class_names:
        clip = calm.copy()
        clip[inside] = artist.draw(life[inside] + _choose(each, 0.3, 0.7, rng), poses[inside])
        clips.append(clip)
    return clips


def _choose(expression: str, least: float, most: float, rng: np.random.Generator) -> np.ndarray:
    """Give what a face does in an expression of a strength between two, (actions,)."""
    variants = PROTOTYPES[expression]
    return np.array(astuple(variants[rng.integers(len(variants))])) * rng.uniform(least, most)


def _draw_life(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Give what a face does without an expression, (T, actions)."""
    life = np.zeros((num_frames, len(ACTIONS)))
    for names, chance in HABITS:
        for begin in np.flatnonzero(rng.random(num_frames) < chance):
            length, strength = rng.integers(1, 4), rng.uniform(0.3, 0.8)
            life[begin : begin + length, [ACTIONS.index(each) for each in names]] = strength
    look = rng.normal(0, 0.3, (num_frames // 4 + 2, 2))[(np.arange(num_frames) + 2) // 4]
    life[:, [ACTIONS.index("gaze_x"), ACTIONS.index("gaze_y")]] = look
    return life


def _draw_poses(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Give how the head is held and sways, (T, 6), in the order of `Pose`."""
    rest = rng.uniform(-1, 1, 6) * (0.06, 0.05, 0.05, 0.06, 0.1, 0.03)
    phase, speed = rng.uniform(0, 2 * np.pi, 6), rng.uniform(0.1, 0.5, 6)
    waves = np.sin(np.arange(num_frames)[:, None] * speed + phase)
    return rest + waves * (0.05, 0.03, 0.04, 0.02, 0.07, 0.03)


def make_dataset(
    name: str, folder: Path, seed: int, train_persons: int, test_persons: int
) -> Manifest:
    """Draw a dataset into `folder`, and give its manifest. Persons of fold 1 are in no other."""
    rows = []
    for person in range(train_persons + test_persons):
        fold = int(person >= train_persons)  # clips of fold 0 always train
        for take in range(PROBES[name].takes):
            clips = draw_clips(name, seed, person, take)
            for label, frames in zip(PROBES[name].class_names, clips, strict=True):
                clip_id = f"{name}/{person:03d}-{take}-{label}"
                (folder / clip_id).mkdir(parents=True, exist_ok=True)
                for index, frame in enumerate(frames):
                    write_image(folder / clip_id / f"{index + 1:06d}.png", frame)
                rows.append((clip_id, clip_id, len(frames), label, fold, f"person{person:03d}"))
    table = pd.DataFrame(rows, columns=[*COLUMNS, "group"])
    return Manifest(name, table, PROBES[name].class_names, None, str(folder))


def make_run(
    name: str,
    variant: str,
    folder: Path,
    weights: str,
    seed: int,
    epochs: int | None = None,
    device: str = "cpu",
) -> RunConfig:
    """Return the run of a variant on a dataset in `folder`; `epochs` replaces the probe's."""
    probe = PROBES[name]
    epochs = epochs or probe.epochs
    lr, new_layers_lr = probe.lr, 1.0
    of_method: dict[str, Any] = {}
    if variant in MODELS:
        lr, model = find_rate(variant), make_network(variant, probe.num_frames)
        if variant == "aen":
            of_method = {"stage1_epochs": max(0, min(2, epochs - 2)), "stage1_lr": lr}
        elif variant == "ec-stfl":
            of_method = {"ec_stfl": EC_STFL}
    else:
        settings = VARIANTS[variant]
        new_layers_lr = settings.new_layers_lr
        model = ModelConfig(
            backbone=BACKBONE, weights=weights, num_frames=probe.num_frames, **settings.model
        )
    return RunConfig(
        data=DataConfig(
            dataset=name,
            manifest=str(folder / f"{name}.csv"),
            root=str(folder),
            workers=0,
            cache=str(folder / "cache"),
        ),
        fold=1,
        model=model,
        train=TrainConfig(
            epochs=epochs,
            warmup_epochs=min(1, epochs - 1),
            batch_size=32,
            lr=lr,
            min_lr=lr / 100,
            new_layers_lr=new_layers_lr,
            **of_method,
        ),
        augment=AUGMENT,
        compute=ComputeConfig(device=device, precision="fp32"),
        seed=seed,
    )


def find_rate(name: str) -> float:
    """Return the peak rate of a network in the preset `small`."""
    data = DataConfig(dataset="none", manifest="", root="")
    run = RunConfig(data=data, fold=1, model=default_model(name), preset="small")
    return apply_preset(run).train.lr


def make_network(name: str, num_frames: int) -> ModelConfig:
    """Return a small network of Table 1 that reads each frame of a clip of `num_frames`."""
    sampling = default_model(name).sampling
    frames: dict[str, Any] = {"num_frames": SNIPPET_FRAMES}
    if sampling != "snippets":
        frames = {"num_frames": num_frames, "sampling": "segments"}
    return default_model(name, weights="random", width=WIDTH, image_size=SIZE, **frames)


def teach_faces(folder: Path, seed: int, epochs: int | None = None) -> Path:
    """Train the backbone on single faces, and give a file of weights as of a published CLIP."""
    path = folder / "faces.pt"
    if not path.exists():
        config = make_run("faces", "frame mean", folder, "random", seed, epochs)
        run = run_jobs([config], folder / "runs" / "random").jobs[0].run
        print(f"faces, single: WAR {100 * run.read_metrics()[-1]['war']:.1f}", flush=True)
        taught = DFERModel.from_pretrained(run.checkpoint("last"))
        set_seed(seed)  # as the run did: the same text tower
        clip = build_untrained(BACKBONE)
        clip.visual.load_state_dict(taught.backbone.visual.state_dict())
        torch.save(clip.state_dict(), path)
    return path


def pool_means(msta: MSTA, frames: Tensor, kernel: int, stride: int) -> Tensor:
    """Return the means of the windows of which `MSTA.pool` returns the maxima."""
    num_frames = frames.shape[-1]
    for padding in (0, 1):
        if (num_frames + 2 * padding - kernel) // stride + 1 == msta.length:
            return F.avg_pool1d(frames, kernel, stride, padding, count_include_pad=False)
    window = math.ceil(num_frames * kernel / PAPER_FRAMES)
    starts = torch.linspace(0, num_frames - window, msta.length, device=frames.device)
    return frames.unfold(-1, window, 1).mean(dim=-1)[..., starts.round().long()]


@contextmanager
def pooling(means: bool) -> Iterator[None]:
    """Let every MSTA of this process take means, or leave it as it is."""
    maxima = MSTA.pool
    if means:
        MSTA.pool = pool_means  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        MSTA.pool = maxima  # type: ignore[method-assign]


def find_runs(configs: Sequence[RunConfig], runs: Path, variant: str, jobs: int) -> list[RunFolder]:
    """Train the runs of a variant that are missing, and return them all."""
    means = variant in VARIANTS and VARIANTS[variant].means
    with pooling(means):  # in this process only, so these runs take turns
        outcome = run_jobs(configs, runs, " ".join(sys.argv), jobs=1 if means else jobs)
    outcome.check()
    return [job.run for job in outcome.jobs]


def measure(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """Return the figures of a variant's runs, one of each seed, at the last epoch."""
    metrics = [run.read_metrics() for run in runs]
    wars = [lines[-1]["war"] for lines in metrics]
    return {
        "war": wars,
        "mean": mean(wars),
        "sd_seeds": stdev(wars) if len(wars) > 1 else 0.0,
        "half_clips": _half_interval(score_persons(runs)),
        "loss": [lines[-1]["loss"] for lines in metrics],
        "seconds": sum(line["seconds"] for lines in metrics for line in lines),
    }


def score_persons(runs: Sequence[RunFolder]) -> pd.Series:
    """Return the share of correct clips of each person of the test, over all runs."""
    tables = [read_predictions(run.predictions_file("last")) for run in runs]
    right = [np.equal(*name_classes(table)) for table in tables]
    shares = [table.assign(right=each) for table, each in zip(tables, right, strict=True)]
    return pd.concat(shares).groupby("group")["right"].mean()


def _half_interval(values: pd.Series) -> float:
    """Return half of the 95 % interval of a mean, by Student's t."""
    return float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)


def take_exchange(runs: Sequence[RunFolder], config: RunConfig) -> dict[str, Any]:
    """Return what InterFIT's layers see of time, and the WAR without the exchange in each.

    A layer without exchange reads each frame as a clip of its own. `deviation` is the largest
    standard deviation over frames of the class tokens that enter the first layer.

    Args:
        runs: Of InterFIT alone, one of each seed.
        config: Of one of them.
    """
    manifest = read_manifest(Path(config.data.manifest))
    dataset = build_dataset(manifest, "test", config, SIZE)
    clips, labels, _ = zip(*(dataset[index] for index in range(len(dataset))), strict=True)
    seen: list[float] = []
    wars: dict[str, list[float]] = {}
    for run in runs:
        model = DFERModel.from_pretrained(run.checkpoint("last"))
        assert isinstance(model, DFERModel)
        assert model.interfit is not None
        layers = model.interfit.layers
        for index, layer in enumerate(layers):
            whole = layer.forward

            def alone(tokens: Tensor, whole: Any = whole, index: int = index) -> Tensor:
                if index == 0:
                    seen.append(float(tokens.std(dim=1).max()))
                apart: Tensor = whole(tokens.flatten(0, 1).unsqueeze(1))
                return apart.view_as(tokens)

            layer.forward = alone
            with torch.inference_mode():
                parts = torch.stack(clips).split(32)
                predicted = torch.cat(
                    [model(normalise(part, model.config.pixels)).argmax(dim=-1) for part in parts]
                )
            layer.forward = whole
            right = predicted == torch.tensor(labels)
            wars.setdefault(f"block {index + 1}", []).append(float(right.float().mean()))
    return {"deviation": max(seen), "without": wars}


def run_probe(asked: argparse.Namespace, data_seed: int) -> dict[str, dict[str, Any]]:
    """Draw the datasets of a data seed, train all variants, and print a line for each."""
    folder = asked.data / f"seed{data_seed}"
    for name in (*(["faces"] if asked.variants else []), *asked.datasets):
        if not (folder / f"{name}.csv").exists():
            made = make_dataset(name, folder, data_seed, *asked.persons)
            write_manifest(made, folder / f"{name}.csv")
    taught = asked.weights == "faces" and asked.variants
    weights = str(teach_faces(folder, data_seed, asked.epochs)) if taught else "random"
    results: dict[str, dict[str, Any]] = {}
    for name in asked.datasets:
        figures: dict[str, Any] = {}
        persons: dict[str, pd.Series] = {}
        for variant in (*asked.variants, *asked.models):
            if variant in VARIANTS and name not in VARIANTS[variant].datasets:
                continue
            configs = [
                make_run(name, variant, folder, weights, seed, asked.epochs, asked.device)
                for seed in asked.seeds
            ]
            place = folder / "runs" / asked.weights / variant.replace(", ", "-").replace(" ", "-")
            runs = find_runs(configs, place, variant, asked.jobs)
            figures[variant] = measure(runs)
            persons[variant] = score_persons(runs)
            if name == "order" and variant == "InterFIT":
                figures[variant]["exchange"] = take_exchange(runs, configs[0])
        for variant, scores in persons.items():
            if REFERENCE not in persons:
                _print_line(data_seed, name, variant, figures[variant])
                continue
            away = scores - persons[REFERENCE]
            figures[variant]["from_reference"] = [float(away.mean()), _half_interval(away)]
            _print_line(data_seed, name, variant, figures[variant])
        results[name] = figures
    return results


def _print_line(data_seed: int, name: str, variant: str, figures: dict[str, Any]) -> None:
    """Print the figures of a variant, in percent and points."""
    if (name, variant) == IDENTITY:
        print(f"{data_seed:4} {name:6}{variant:19}{100 * figures['mean']:6.1f}  by identity")
        return
    told = " " * 12
    if variant != REFERENCE and "from_reference" in figures:
        away, half = figures["from_reference"]
        told = f"{100 * away:+6.1f} ±{100 * half:4.1f}"
    print(
        f"{data_seed:4} {name:6}{variant:19}{100 * figures['mean']:6.1f}"
        f"{100 * figures['sd_seeds']:8.1f}{100 * figures['half_clips']:8.1f}   {told}   "
        + " ".join(f"{100 * war:5.1f}" for war in figures["war"]),
        flush=True,
    )
    for block, wars in figures.get("exchange", {}).get("without", {}).items():
        listed = " ".join(f"{100 * war:5.1f}" for war in wars)
        print(f"{'':11}no exchange in {block}: {listed}", flush=True)
    if "exchange" in figures:
        deviation = figures["exchange"]["deviation"]
        print(f"{'':11}deviation over frames of what enters block 1: {deviation}", flush=True)


def main() -> None:
    """Print a line for each variant, and write all figures below `benchmarks/results`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data/dynamics"),
        help="where pictures and runs are kept; name another folder for other persons or epochs",
    )
    parser.add_argument(
        "--persons",
        nargs=2,
        type=int,
        default=[TRAIN_PERSONS, TEST_PERSONS],
        metavar=("TRAIN", "TEST"),
        help="drawn for each dataset",
    )
    parser.add_argument("--epochs", type=int, help="of each run, instead of the dataset's own")
    parser.add_argument("--datasets", nargs="+", choices=PROBES, default=["order", "event"])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="by default all")
    parser.add_argument(
        "--models",
        nargs="+",
        choices=MODELS,
        default=[],
        metavar="MODEL",
        help="networks of Table 1, in place of the variants",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the runs")
    parser.add_argument(
        "--data-seeds", nargs="+", type=int, default=[0, 1], help="of pictures and the backbone"
    )
    parser.add_argument("--weights", choices=("faces", "random"), default="faces")
    parser.add_argument(
        "--device",
        default="cpu",
        help="for the variants; the backbone is always trained on the CPU",
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--machine", default=MACHINE)
    add_output_option(parser)
    asked = parser.parse_args()
    if asked.variants is None:
        asked.variants = [] if asked.models else list(VARIANTS)
    torch.set_num_threads(1)  # more would only wait for each other in so small a model
    print("data set   variant              mean ± seeds ± clips   from MSTA      WAR by seed")
    results = {f"data seed {seed}": run_probe(asked, seed) for seed in asked.data_seeds}
    example = make_run(asked.datasets[0], [*asked.models, REFERENCE][0], asked.data, "faces", 0)
    settings = {
        **{name: value for name, value in vars(asked).items() if name != "out"},
        "data": "made",
        "persons": dict(zip(("train", "test"), asked.persons, strict=True)),
        "probes": {name: asdict(PROBES[name]) for name in asked.datasets},
        "variants": {name: asdict(variant) for name, variant in VARIANTS.items()},
        "train": to_dict(example.train) | {"epochs": "see probes", "new_layers_lr": "see variants"},
        "augment": to_dict(AUGMENT),
    }
    page = {"machine": describe_machine(*PACKAGES), "settings": settings, "results": results}
    ending = "" if asked.weights == "faces" else "-random"
    ending = "-models" if asked.models else ending
    write_json(asked.out / f"dynamics-{asked.machine}{ending}.json", page)


if __name__ == "__main__":
    main()
