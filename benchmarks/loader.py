"""Time the loading of training clips: `python benchmarks/loader.py [--manifest CSV --root FOLDER]`.

Three loaders of the same clips: a reference that goes frame by frame through Pillow and
torchvision's transforms, as research code does; ours from the images; and ours from the cache. They
take turns, and the median of their times counts. What the reference does in its workers, ours
leaves to the device: that is timed too, here on the CPU. Without a manifest, clips are made.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
import torchvision
from machine import MACHINE, add_output_option, describe_machine
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from dfercli.config import CLIP_MEAN, CLIP_STD, AugmentConfig, DataConfig, RunConfig
from dfercli.data.augment import Augmenter
from dfercli.data.loaders import EpochBatches, build_dataset, build_train_loader
from dfercli.data.manifest import Manifest, read_manifest
from dfercli.data.sampling import Segments
from dfercli.files import write_json
from dfercli.media.images import list_frames, write_image

SIZE = 224
NUM_FRAMES = 8
BATCH_SIZE = 8
PACKAGES = ("torch", "torchvision", "opencv-python", "pillow", "numpy")
KINDS = ("reference", "images", "cache")


class ReferenceDataset(Dataset[tuple[Tensor, int]]):
    """Training clips as research code loads them: each frame by itself, to float32 in the worker.

    Args:
        rows: Of the manifest.
        root: Folder that the rows' paths are relative to.
        class_names: K classes.
        augment: The strengths.
    """

    def __init__(
        self, rows: pd.DataFrame, root: Path, class_names: tuple[str, ...], augment: AugmentConfig
    ) -> None:
        self._folders = [root / path for path in rows["path"]]
        self._labels = [class_names.index(name) for name in rows["label"]]
        self._transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(SIZE, (augment.crop_scale, 1.0), (0.9, 1.1)),
                transforms.ColorJitter(
                    augment.brightness, augment.contrast, augment.saturation, augment.hue
                ),
                transforms.RandomHorizontalFlip(augment.flip),
                transforms.ToTensor(),
                transforms.Normalize(CLIP_MEAN, CLIP_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self._folders)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Give a clip (T, 3, SIZE, SIZE) float32, normalised, and its label."""
        paths = list_frames(self._folders[index])
        chosen = Segments(NUM_FRAMES).train(len(paths), np.random.default_rng())
        frames = [self._transform(Image.open(paths[each]).convert("RGB")) for each in chosen]
        return torch.stack(frames), self._labels[index]


def make_manifest(root: Path, num_clips: int, num_frames: int) -> Manifest:
    """Make clips of soft textures that move, which compress about as faces do, and list them."""
    rng = np.random.default_rng(0)
    for clip in range(num_clips):
        layers = [
            cv2.resize(rng.normal(0, strength, (cells, cells, 3)), (SIZE + 64, SIZE + 64))
            for cells, strength in ((5, 50), (20, 25), (80, 10), (288, 4))
        ]
        picture = np.clip(128 + sum(layers), 0, 255).astype(np.uint8)
        (root / f"{clip:05d}").mkdir()
        for frame in range(num_frames):
            shift = frame % 64
            part = picture[shift : shift + SIZE, shift : shift + SIZE]
            write_image(root / f"{clip:05d}" / f"{frame + 1:06d}.jpg", part)
    names = [f"{clip:05d}" for clip in range(num_clips)]
    table = {"clip_id": names, "path": names, "n_frames": num_frames, "label": "happiness"}
    rows = pd.DataFrame(table | {"test_fold": 0})
    rows.loc[0, "test_fold"] = 1
    return Manifest("textures", rows, ("happiness", "anger"), None, str(root))


class Bench:
    """Loaders of one training split, and what they cost.

    Args:
        manifest: Of the clips; fold 1 is left out.
        root: Folder that its paths are relative to.
        cache: Folder for the decoded frames.
    """

    def __init__(self, manifest: Manifest, root: Path, cache: Path) -> None:
        self._manifest = manifest
        self._root = root
        plain = RunConfig(
            data=DataConfig(dataset=manifest.dataset, manifest="", root=str(root)), fold=1
        )
        cached = replace(plain, data=replace(plain.data, cache=str(cache)))
        self._runs = {"images": plain, "cache": cached}
        self.augmenter = Augmenter(plain.augment, plain.seed)

    def build(self, kind: str, workers: int) -> tuple[DataLoader, EpochBatches | None]:
        """Give a loader, and the batches that has to be told the epoch."""
        if kind == "reference":
            rows = self._manifest.select(1, "train")
            names = self._manifest.class_names
            reference = ReferenceDataset(rows, self._root, names, AugmentConfig())
            keep = workers > 0
            return DataLoader(
                reference, BATCH_SIZE, shuffle=True, num_workers=workers, persistent_workers=keep
            ), None
        dataset = build_dataset(self._manifest, "train", self._runs[kind], SIZE)
        batches = EpochBatches(len(dataset), BATCH_SIZE, seed=0)
        return build_train_loader(dataset, batches, workers), batches

    def time_passes(self, workers: int, repeats: int) -> dict[str, float]:
        """Give clips a second of each loader, in passes that take turns.

        The workers live on from pass to pass, and the first pass, which starts them, is left out.
        """
        loaders = {kind: self.build(kind, workers) for kind in KINDS}
        seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for epoch in range(repeats + 1):
            for kind, (loader, batches) in loaders.items():
                if batches is not None:
                    batches.epoch = epoch
                started = time.perf_counter()
                count = sum(len(batch[0]) for batch in loader)
                seconds[kind].append((time.perf_counter() - started) / count)
        return {kind: 1 / float(np.median(spent[1:])) for kind, spent in seconds.items()}

    def time_augmentation(self, repeats: int, device: torch.device) -> float:
        """Give clips a second whose changes the device makes, in batches."""
        loader, _ = self.build("images", workers=0)
        clips, _, keys = next(iter(loader))
        clips, spent = clips.to(device), []
        for _ in range(repeats + 1):
            started = time.perf_counter()
            self.augmenter(clips, *keys).sum().item()  # the answer waits for the device
            spent.append((time.perf_counter() - started) / len(clips))
        return 1 / float(np.median(spent[1:]))

    def watch_memory(self, kind: str, workers: int, epochs: int) -> dict[str, list[int]]:
        """Give the memory in MB of each epoch, of this process and its workers together.

        `private` is what they hold alone, at the epoch's end. `peak` is the most that each held in
        it: the batches on their way from one to the other count in both, as many as there happened
        to be. Changes of the batch are made too.
        """
        loader, batches = self.build(kind, workers)
        memory: dict[str, list[int]] = {"private": [], "peak": []}
        for epoch in range(epochs + 1):
            if batches is not None:
                batches.epoch = epoch
            children = [child.pid for child in multiprocessing.active_children() if child.pid]
            processes = [os.getpid(), *children]
            for process in processes:
                Path(f"/proc/{process}/clear_refs").write_text("5")
            for batch in loader:
                if batches is not None:
                    self.augmenter(batch[0], *batch[2])
            if epoch:  # the workers were started in the first
                memory["private"].append(sum(read_mb(each, "RssAnon") for each in processes))
                memory["peak"].append(sum(read_mb(each, "VmHWM") for each in processes))
        return memory


def time_on_device(manifest: Path, device: torch.device, batch_size: int) -> dict[str, Any]:
    """Time two other ways to feed a GPU, which training does not take.

    Frames that are kept decoded on the GPU (a set of DFEW's size needs more memory than a GPU has),
    and JPEG files that the GPU decodes, read by this process alone.

    Returns:
        Clips per second of each way, and of the bytes that are decoded alone, from memory.
    """
    rows = read_manifest(manifest)
    root, paths = Path(rows.root), rows.rows["path"].unique()
    files = [list_frames(root / path)[:NUM_FRAMES] for path in paths[:batch_size]]
    encoded = [torchvision.io.read_file(str(file)) for clip in files for file in clip]
    pixels = torch.zeros(
        len(files) * 8, NUM_FRAMES, 3, SIZE, SIZE, dtype=torch.uint8, device=device
    )
    places = torch.randint(len(pixels), (batch_size,), device=device)
    count = len(files)

    def read_and_decode() -> None:
        read = [torchvision.io.read_file(str(file)) for clip in files for file in clip]
        decode_on(device, read)

    def rate(function: Callable[[], Any], clips: int) -> float:
        spent = []
        for _ in range(5):
            started = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            spent.append(time.perf_counter() - started)
        return clips / min(spent)

    return {
        "kept_on_device": rate(lambda: pixels[places], batch_size),
        "decoded_on_device": rate(lambda: decode_on(device, encoded), count),
        "read_and_decoded_on_device": rate(read_and_decode, count),
    }


def decode_on(device: torch.device, encoded: list[Tensor]) -> Any:
    """Decode JPEG files on a device."""
    if device.type == "cuda":
        return torchvision.io.decode_jpeg(encoded, device=device)
    return [torchvision.io.decode_jpeg(each) for each in encoded]


def read_mb(process: int, name: str) -> int:
    """Read how much memory a process holds, or held since its mark was reset (Linux only)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(kilobytes) // 1024


def measure(
    bench: Bench, repeats: int, epochs: int, counts: Sequence[int], watched: Sequence[str]
) -> dict[str, Any]:
    """Measure all of it, and print it on the way.

    Args:
        bench: The loaders.
        repeats: Timed passes.
        epochs: Epochs that memory is watched for.
        counts: Numbers of workers to time loaders with.
        watched: Loaders whose memory is watched, with as many workers as the last of `counts`.
    """
    speeds = {}
    print(f"{'workers':8}{'loader':11}{'clips/s':>9}{'a worker':>10}{'ratio':>8}")
    for workers in counts:
        speeds[workers] = bench.time_passes(workers, repeats)
        for kind, speed in speeds[workers].items():
            ratio = speed / speeds[workers]["reference"]
            print(f"{workers:<8}{kind:11}{speed:9.1f}{speed / workers:10.1f}{ratio:7.1f}x")
    torch.set_num_threads(1)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    changes = {name: bench.time_augmentation(repeats, torch.device(name)) for name in devices}
    for name, speed in changes.items():
        print(f"changes of the batch, {'one core' if name == 'cpu' else name}: {speed:.1f} clips/s")
    on_one_core = {}
    for kind in KINDS[1:]:
        both = 1 / (1 / speeds[counts[0]][kind] + 1 / changes["cpu"])
        on_one_core[kind] = both / speeds[counts[0]]["reference"]
        print(f"{kind}, with the changes on the same core: {on_one_core[kind]:.1f}x the reference")
    memory = {}
    for kind in watched:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            memory[kind] = fresh.submit(bench.watch_memory, kind, counts[-1], epochs).result()
        for name, values in memory[kind].items():
            print(
                f"{kind}: {name} MB by epoch, {counts[-1]} workers: {', '.join(map(str, values))}"
            )
    return {
        "clips_per_s": speeds,
        "ratio_to_reference": {
            workers: {kind: each[kind] / each["reference"] for kind in KINDS[1:]}
            for workers, each in speeds.items()
        },
        "changes_clips_per_s": changes,
        "ratio_with_changes_on_the_same_core": on_one_core,
        "mb_by_epoch": memory,
    }


def main() -> None:
    """Print one line per loader, and write all figures down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, help="real clips instead of made ones")
    parser.add_argument("--root", type=Path, help="of the manifest; by default as written in it")
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--frames", type=int, default=24, help="a clip")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8, help="of watching the memory")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2], help="to compare")
    parser.add_argument("--watch", nargs="*", choices=KINDS, default=KINDS, help="for their memory")
    parser.add_argument("--machine", default=MACHINE)
    add_output_option(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.manifest is None:
            root = folder / "images"
            root.mkdir()
            manifest = make_manifest(root, arguments.clips, arguments.frames)
        else:
            manifest = read_manifest(arguments.manifest)
            root = arguments.root or Path(manifest.root)
        bench = Bench(manifest, root, folder / "cache")
        results = measure(
            bench, arguments.repeats, arguments.epochs, arguments.workers, arguments.watch
        )
    data = f"{len(manifest.rows)} clips of {manifest.dataset}"
    settings = {"data": data, "size_px": SIZE, "num_frames": NUM_FRAMES, "batch_size": BATCH_SIZE}
    write_json(
        arguments.out / f"loader-{arguments.machine}.json",
        {"machine": describe_machine(*PACKAGES), "settings": settings, "results": results},
    )


if __name__ == "__main__":
    main()
