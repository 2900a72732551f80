"""The runs that the page is about, and the finished variants that they are compared with."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from dfercli.ablation.paper_tables import OFF
from dfercli.config import NETWORKS, DataConfig, ModelConfig, RunConfig, TrainConfig
from dfercli.config.presets import describe_recipe, recipe_options
from dfercli.errors import require_known
from dfercli.evaluation.results import Results, read_results
from dfercli.runs.record import RunRecord
from dfercli.runs.run_folder import FinishedRun, RunFolder

Changes = dict[str, Any]
"""Changes of a model's settings that lead to another variant."""

OWN: Changes = {}
"""No change: the variant that the page is about."""

BASELINE: Changes = OFF | {"text": True}
BOTH_PROMPTS: Changes = {"text_prompt": True, "visual_prompt": True}
NUM_BLOCKS: Changes = {"num_blocks": ModelConfig.num_blocks}
MODULES: Changes = {"interfit": True, "msta": True, "biehpro": True, "text": True}
FULL: Changes = MODULES | BOTH_PROMPTS | NUM_BLOCKS
NO_TEXT: Changes = {"text": False, "biehpro": False}
TABLE_3: Changes = NO_TEXT | {"interfit": True, "msta": True}
ONLY_TP: Changes = {"text_prompt": True, "visual_prompt": False}
TABLE_5: Changes = OFF | {"biehpro": True, "text": True} | NUM_BLOCKS

DEFAULT_RUNS = Path("runs")
"""Folder of all runs of a command without `--runs`."""

MODULE_OPTIONS = ("interfit", "msta", "biehpro", "text", "text-prompt", "visual-prompt")
NOT_REPEATED = {
    *("--cluster", "--cross-attention", "--dataset", "--dry-run", "--folds", "--folds-by"),
    *("--format", "--grid", "--jobs", "--model", "--msta-fc", "--num-blocks", "--out"),
    *("--overwrite", "--resume", "--runs", "--seed", "--seeds", "--table", "--val-fraction"),
    *(f"--{no}{name}" for no in ("", "no-") for name in MODULE_OPTIONS),
}
"""Options of a run's command that are not copied into the command for another variant."""


@dataclass(frozen=True)
class Missing:
    """Something that cannot be shown, and the command that creates it, if there is a single one."""

    why: str
    command: str = ""


@dataclass(frozen=True)
class Runs:
    """The finished folds of the variant that the page is about, and the epoch that is shown."""

    results: Results
    data: DataConfig
    protocol: str

    @property
    def by_fold(self) -> Mapping[int, FinishedRun]:
        """Finished runs, in order of folds."""
        return self.results.runs

    @property
    def config(self) -> RunConfig:
        """Configuration of the first run."""
        return next(iter(self.by_fold.values())).record.config

    @property
    def class_names(self) -> Sequence[str]:
        """The K classes."""
        return self.results.class_names

    @property
    def tables(self) -> Mapping[int, pd.DataFrame]:
        """Predictions of the epoch that is shown, by fold."""
        return self.results.predictions[self.protocol]


@dataclass(frozen=True)
class Variants:
    """One or two finished runs to compare on one fold, by their name on the page.

    `missing` is what is not trained yet; `remark` says how their recipes differ.
    """

    runs: Mapping[str, RunFolder]
    missing: Missing | None
    remark: str


def find_runs(
    runs: Path,
    dataset: str | None = None,
    variant: str | None = None,
    folds: Sequence[int] | None = None,
    protocol: str = "best",
    root: Path | None = None,
    manifests: Path | None = None,
) -> Runs:
    """Return the finished folds that a page is about; see `build_report` for arguments and errors.

    Raises:
        ConfigError: The runs have no such epoch.
    """
    results = read_results(runs, dataset, variant, folds)
    require_known("epoch", protocol, tuple(results.predictions))
    data = next(iter(results.runs.values())).record.config.data
    if manifests is not None:
        data = replace(data, manifest=str(manifests / Path(data.manifest).name))
    return Runs(results, replace(data, root=str(root or data.root)), protocol)


def find_for_features(runs: Runs, fold: int) -> Variants:
    """Find the baseline and these runs' variant, or the full method if that is the baseline.

    A system of Table 1 stands alone: it reads other frames than our variants.
    """
    if runs.config.model.method in NETWORKS:
        return Variants({runs.config.model.method: runs.by_fold[fold]}, None, "")
    variant = runs.config.model.variant
    pair = {"baseline": BASELINE, variant: OWN}
    if variant == "baseline":
        pair = {"baseline": OWN, "full": FULL}
    return _find(runs, fold, [pair], table=2)


def find_for_text(runs: Runs, fold: int) -> Variants:
    """Find a variant without text and one with it, one of them these runs' own."""
    if runs.config.model.method in NETWORKS:
        return find_for_features(runs, fold)
    if not runs.config.model.text:
        return _find(runs, fold, [{"no text": OWN, "text": FULL}], table=3)
    pairs = [{"no text": changes, "text": OWN} for changes in (NO_TEXT, TABLE_3)]
    return _find(runs, fold, pairs, table=3)


def find_for_prompts(runs: Runs, fold: int) -> Variants:
    """Find a variant with textual prompts only and one with both kinds.

    They include these runs' own variant if possible; otherwise both are rows of Table 5.
    """
    model = runs.config.model
    pairs = [{"only TP": TABLE_5 | ONLY_TP, "TP + VP": TABLE_5 | BOTH_PROMPTS}]
    if model.method == "dfer" and model.biehpro and model.text_prompt:
        if model.visual_prompt:
            pairs.insert(0, {"only TP": ONLY_TP, "TP + VP": OWN})
        else:
            pairs.insert(0, {"only TP": OWN, "TP + VP": BOTH_PROMPTS})
    return _find(runs, fold, pairs, table=5)


def _find(runs: Runs, fold: int, pairs: Sequence[Mapping[str, Changes]], table: int) -> Variants:
    """Return the first pair that is finished, or these runs' own variant alone."""
    finished = [_find_finished(runs, fold, pair) for pair in pairs]
    for pair, available in zip(pairs, finished, strict=True):
        if len(available) == len(pair):
            return Variants(available, None, _compare_recipes(runs, available))
    absent = [
        " and ".join(_name_variant(runs, pair[name]) for name in pair if name not in available)
        for pair, available in zip(pairs, finished, strict=True)
    ]
    names = ", or ".join(dict.fromkeys(absent))
    why = f"No comparison: there is no finished run of {names} on fold {fold} of the same data."
    own = {name: run for name, run in finished[0].items() if run == runs.by_fold[fold]}
    return Variants(own, Missing(why, train_command(runs, table, fold)), "")


def _find_finished(runs: Runs, fold: int, pair: Mapping[str, Changes]) -> dict[str, RunFolder]:
    """Return the variants of a pair that are finished and were tested on the same frames."""
    own = runs.by_fold[fold]
    finished = {}
    for name, changes in pair.items():
        folder = own.path.parents[1] / _name_variant(runs, changes) / own.path.name
        run = RunFolder(folder) if changes else own
        if run.finished and _is_comparable(run.read(), own.read()):
            finished[name] = run
    return finished


def _is_comparable(run: RunRecord, own: RunRecord) -> bool:
    same_clips = run.data.fingerprint == own.data.fingerprint
    return same_clips and run.config.model.num_frames == own.config.model.num_frames


def _name_variant(runs: Runs, changes: Changes) -> str:
    """Return the name of the variant that these runs become by changes of the model."""
    model = runs.config.model
    if not changes:
        return runs.config.variant
    if model.method != "dfer":  # a compared method has none of our model's settings
        model = ModelConfig(backbone=model.backbone, weights=model.weights)
    return replace(runs.config, model=replace(model, **changes)).variant


def _compare_recipes(runs: Runs, variants: Mapping[str, RunFolder]) -> str:
    own = describe_recipe(runs.config)
    recipes = {name: describe_recipe(run.read().config) for name, run in variants.items()}
    others = [f"{name}: {recipe}" for name, recipe in recipes.items() if recipe != own]
    return (
        f"Trained with other recipes than this run ({own}): {'; '.join(others)}" if others else ""
    )


def train_command(runs: Runs, table: int, fold: int) -> str:
    """Return the command that trains the rows of a table by the recipe of these runs.

    All that decides on folders is taken from the runs, because defaults such as the newest dataset
    may have changed; other options are copied from the runs' own command.
    """
    run = runs.by_fold[fold]
    record = run.read()
    config, command = record.config, record.calls[0].command
    if "--repeat" in command.split():  # names a run instead of its recipe
        command = shlex.join(["dfer", "train", *recipe_options(config)])
    words = ["dfer", "ablate", "--table", str(table), "--folds", str(fold)]
    words += ["--dataset", config.data.dataset]
    values: dict[str, tuple[Any, Any]] = {
        "--runs": (run.path.parents[2], DEFAULT_RUNS),
        "--seed": (config.seed, RunConfig.seed),
        "--folds-by": (config.data.folds_by, DataConfig.folds_by),
        "--val-fraction": (config.train.val_fraction, TrainConfig.val_fraction),
        "--cross-attention": (config.model.cross_attention, ModelConfig.cross_attention),
        "--msta-fc": (config.model.msta_fc, ModelConfig.msta_fc),
    }
    for option, (value, default) in values.items():
        if value != default:
            words += [option, str(value)]
    return shlex.join([*words, *_copy_options(command)])


def _copy_options(command: str) -> list[str]:
    """Return the options of a command with their values, without those of `NOT_REPEATED`."""
    options, is_copied = [], False
    for word in shlex.split(command):
        if word.startswith("--"):
            is_copied = word.partition("=")[0] not in NOT_REPEATED
        if is_copied:
            options.append(word)
    return options
