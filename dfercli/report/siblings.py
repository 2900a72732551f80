"""The variants that the paper's figures set beside each other, found among finished runs."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dfercli.ablation.paper_tables import OFF
from dfercli.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from dfercli.config.presets import describe_recipe, recipe_options
from dfercli.report.inputs import Missing, Runs
from dfercli.runs.record import RunRecord
from dfercli.runs.run_folder import RunFolder

BASELINE: dict[str, Any] = OFF | {"text": True}
BOTH: dict[str, Any] = {"text_prompt": True, "visual_prompt": True}
NUM_BLOCKS: dict[str, Any] = {"num_blocks": ModelConfig.num_blocks}
MODULES: dict[str, Any] = {"interfit": True, "msta": True, "biehpro": True, "text": True}
FULL: dict[str, Any] = MODULES | BOTH | NUM_BLOCKS
NO_TEXT: dict[str, Any] = {"text": False, "biehpro": False}
TABLE_3: dict[str, Any] = NO_TEXT | {"interfit": True, "msta": True}
ONLY_TP: dict[str, Any] = {"text_prompt": True, "visual_prompt": False}
TABLE_5: dict[str, Any] = OFF | {"biehpro": True, "text": True} | NUM_BLOCKS

OWN: dict[str, Any] = {}
"""No change: the variant that the page is about."""

USUAL_RUNS = Path("runs")
"""Folder of all runs where a command names none."""

NOT_REPEATED = {
    "--cluster",
    "--cross-attention",
    "--dataset",
    "--folds",
    "--folds-by",
    "--jobs",
    "--model",
    "--msta-fc",
    "--num-blocks",
    "--table",
    *(f"--{no}{part}" for no in ("", "no-") for part in ("interfit", "msta", "biehpro", "text")),
    *(f"--{no}{part}-prompt" for no in ("", "no-") for part in ("text", "visual")),
    "--overwrite",
    "--resume",
    "--dry-run",
    "--format",
    "--grid",
    "--out",
    "--runs",
    "--seed",
    "--seeds",
    "--val-fraction",
}
"""Options of a run's command that another variant's command does not take over as typed."""


@dataclass(frozen=True)
class Siblings:
    """Models to be compared on one fold.

    Attributes:
        runs: Finished runs by name on the page; one or two.
        missing: What is not finished of what should be compared; None where nothing is.
        remark: How their recipes differ; empty where they do not.
    """

    runs: Mapping[str, RunFolder]
    missing: Missing | None
    remark: str


def find_for_features(runs: Runs, fold: int) -> Siblings:
    """Find the baseline and these runs' own variant (figure 5); or the full method beside it."""
    if runs.config.model.variant == "baseline":
        return _find(runs, fold, [{"baseline": OWN, "full": FULL}], table=2)
    return _find(runs, fold, [{"baseline": BASELINE, runs.config.model.variant: OWN}], table=2)


def find_for_text(runs: Runs, fold: int) -> Siblings:
    """Find a variant without text and one with it (figure 4), one of them these runs' own."""
    if not runs.config.model.text:
        return _find(runs, fold, [{"no text": OWN, "text": FULL}], table=3)
    without = [{"no text": changes, "text": OWN} for changes in (NO_TEXT, TABLE_3)]
    return _find(runs, fold, without, table=3)


def find_for_prompts(runs: Runs, fold: int) -> Siblings:
    """Find a variant with textual prompts alone and one with both kinds (figure 2).

    These runs' own variant is one of them if it can be; else both are Table 5's, which have none of
    the other modules.
    """
    model = runs.config.model
    pairs = [{"only TP": TABLE_5 | ONLY_TP, "TP + VP": TABLE_5 | BOTH}]
    if model.method == "dfer" and model.biehpro and model.text_prompt:
        own = {True: {"only TP": ONLY_TP, "TP + VP": OWN}, False: {"only TP": OWN, "TP + VP": BOTH}}
        pairs = [own[model.visual_prompt], *pairs]
    return _find(runs, fold, pairs, table=5)


def train_command(runs: Runs, table: int, fold: int) -> str:
    """Give the command that trains the rows of a table by the recipe of these runs.

    All that names their folders is taken from the runs, because a default that was left untyped,
    such as the newest dataset, may be another by now. The rest is repeated as it was typed.
    """
    run = runs.by_fold[fold]
    record = run.read()
    command = record.calls[0].command
    if "--repeat" in command.split():  # says which run, not by which recipe
        command = shlex.join(["dfer", "train", *recipe_options(record.config)])
    words = ["dfer", "ablate", "--table", str(table), "--folds", str(fold)]
    words += _place_words(record.config, run.path.parents[2])
    return shlex.join([*words, *_recipe_words(command)])


def _place_words(config: RunConfig, runs: Path) -> list[str]:
    """Give the options that the folders of a table's rows depend on; not those at defaults."""
    values: dict[str, tuple[Any, Any]] = {
        "--runs": (runs, USUAL_RUNS),
        "--seed": (config.seed, RunConfig.seed),
        "--folds-by": (config.data.folds_by, DataConfig.folds_by),
        "--val-fraction": (config.train.val_fraction, TrainConfig.val_fraction),
        "--cross-attention": (config.model.cross_attention, ModelConfig.cross_attention),
        "--msta-fc": (config.model.msta_fc, ModelConfig.msta_fc),
    }
    words = ["--dataset", config.data.dataset]
    for option, (value, default) in values.items():
        words += [option, str(value)] * (value != default)
    return words


def _recipe_words(command: str) -> list[str]:
    """Give the options of a command, without those that make a variant or say how to go about."""
    words, kept, taken = shlex.split(command), [], False
    for word in words:
        if word.startswith("--"):
            taken = word.partition("=")[0] not in NOT_REPEATED
        if taken:
            kept.append(word)
    return kept


def _find(
    runs: Runs, fold: int, pairs: Sequence[Mapping[str, Mapping[str, Any]]], table: int
) -> Siblings:
    """Find the first pair of which both are finished; else these runs' own model alone."""
    found = [_finished(runs, fold, pair) for pair in pairs]
    whole = [each for each, pair in zip(found, pairs, strict=True) if len(each) == len(pair)]
    if whole:
        return Siblings(whole[0], None, _remark(runs, whole[0]))
    absent = [
        " and ".join(_variant(runs, changes) for name, changes in pair.items() if name not in there)
        for pair, there in zip(pairs, found, strict=True)
    ]
    names = ", or ".join(dict.fromkeys(absent))
    why = f"Nothing to compare with: no finished run of {names} on fold {fold} of the same data."
    own = {name: run for name, run in found[0].items() if run == runs.by_fold[fold]}
    return Siblings(own, Missing(why, train_command(runs, table, fold)), "")


def _finished(runs: Runs, fold: int, pair: Mapping[str, Mapping[str, Any]]) -> dict[str, RunFolder]:
    """Give those of a pair that were trained to their end on the data of these runs."""
    own = runs.by_fold[fold]
    there = {}
    for name, changes in pair.items():
        folder = own.path.parents[1] / _variant(runs, changes) / own.path.name
        run = RunFolder(folder) if changes else own
        if run.finished and _of_one_kind(run.read(), own.read()):
            there[name] = run
    return there


def _of_one_kind(run: RunRecord, own: RunRecord) -> bool:
    """Whether two runs were tested on the same frames of the same clips."""
    same_clips = run.data.fingerprint == own.data.fingerprint
    return same_clips and run.config.model.num_frames == own.config.model.num_frames


def _variant(runs: Runs, changes: Mapping[str, Any]) -> str:
    """Name these runs' variant after changes of its model."""
    model = runs.config.model
    if not changes:
        return runs.config.variant
    if model.method != "dfer":  # a model that ours is compared with has none of its settings
        model = ModelConfig(backbone=model.backbone, weights=model.weights)
    return replace(runs.config, model=replace(model, **changes)).variant


def _remark(runs: Runs, found: Mapping[str, RunFolder]) -> str:
    own = describe_recipe(runs.config)
    recipes = {name: describe_recipe(run.read().config) for name, run in found.items()}
    others = [f"{name}: {recipe}" for name, recipe in recipes.items() if recipe != own]
    return f"Trained by another recipe than this run ({own}): {'; '.join(others)}" if others else ""
