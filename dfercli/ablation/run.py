"""Tables of variants, such as the paper's: their costs, their runs and their results."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dfercli.ablation.paper_tables import MODULES, STILL_IMAGE, STILL_IMAGE_NOTE
from dfercli.ablation.plan import describe_reading, has_own_size, plan_rows
from dfercli.ablation.row import Row
from dfercli.ablation.system_tables import (
    BASELINE,
    printed_table,
    published_cost,
    reading_table,
    system_data,
    systems_cost_document,
)
from dfercli.ablation.table1 import DATASETS
from dfercli.config import UNTRAINED, ModelConfig, RunConfig, TrainConfig
from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.evaluation.results import summarise_runs
from dfercli.evaluation.tables import LABELS, METRICS, UNTRAINED_NOTE, mean_columns, protocol_notes
from dfercli.jobs.run import Outcome, run_jobs
from dfercli.metrics.scores import FoldSummary
from dfercli.models.flops import Cost, measure_by_exact_type, measure_cost
from dfercli.runs.provenance import describe_runs, join
from dfercli.runs.run_folder import FinishedRun, list_deviations, protocols_of
from dfercli.tables import Column, Document, Table


@dataclass(frozen=True)
class RowResult:
    """The results of one row.

    Summaries over folds are by protocol, one per seed; none if any of its runs failed, because
    means over different folds cannot be compared. `reading` is that of `describe_reading`.
    """

    row: Row
    variant: str
    summaries: Mapping[str, Sequence[FoldSummary]]
    reading: Mapping[str, Any] | None = None

    def mean(self, protocol: str, metric: str) -> float | None:
        """Return the mean over seeds of the mean over folds of `war` or `uar`."""
        values = [getattr(summary, f"mean_{metric}") for summary in self.summaries[protocol]]
        return float(np.mean(values)) if values else None

    def sd(self, protocol: str, metric: str) -> float | None:
        """Return the standard deviation over seeds or, for a single seed, over folds."""
        summaries = self.summaries[protocol]
        values = [getattr(summary, f"mean_{metric}") for summary in summaries]
        if len(values) == 1:
            values = getattr(summaries[0], metric)
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


@dataclass(frozen=True)
class Ablation:
    """A table of variants that were trained and tested.

    `kind` is the public name of the kind of dataset, which decides the paper's figures to compare
    with. The provenance does not name the models of the rows; deviations are from the official
    lists, one sentence each.
    """

    rows: list[RowResult]
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    kind: str
    provenance: dict[str, str]
    deviations: list[str]
    outcome: Outcome

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names of the protocols."""
        return tuple(self.rows[0].summaries)


def cost_table(
    rows: Sequence[Row],
    base: RunConfig,
    class_names: Sequence[str],
    typed: Collection[str] = (),
    reads: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Count each row's parameters and multiply-accumulates, without weights or training.

    Returns one dictionary per row, ready for JSON; multiply-accumulates are in 10^9 per clip.
    The arguments are those of `run_table`. The recipe of `base` may use LoRA.
    """
    runs = plan_rows(rows, base, class_names, typed, reads)
    return [_count_row(row, run, class_names) for row, run in zip(rows, runs, strict=True)]


def _count_row(row: Row, run: RunConfig | None, class_names: Sequence[str]) -> dict[str, Any]:
    if run is None:  # a system that cannot be built
        return {"row": row.name, **system_data(row, None), **published_cost(row, True)}
    entry = _cost_entry(row, run.model, measure_cost(run.model, class_names, run.train))
    if row.system is None:
        return entry
    entry |= system_data(row, describe_reading(row, run))
    entry |= published_cost(row, has_own_size(row, run))
    if run.model.method == "m3dfel":  # explains its published number
        entry["exact_type_gmacs"] = measure_by_exact_type(run.model, class_names) / 1e9
    return entry


def run_table(
    rows: Sequence[Row],
    base: RunConfig,
    folds: Sequence[int],
    runs: Path,
    seeds: int = 1,
    typed: Collection[str] = (),
    reads: Mapping[str, Any] | None = None,
    class_names: Sequence[str] = BASIC_EXPRESSIONS,
    **how: Any,
) -> Ablation:
    """Train and test every row of a table; finished runs are not trained again.

    Systems that cannot be built keep their figures in the paper.

    Args:
        rows: Rows of the table.
        base: The run of the full model, whose model each row changes.
        folds: Folds to test on.
        runs: Folder of all runs.
        seeds: Number of seeds to train each row with, beginning with the seed of `base`.
        typed: Settings that take precedence over the defaults of a row's method.
        reads: Values of those that say what networks read, see `Row.plan`.
        class_names: The K classes.
        how: Arguments of `run_jobs`: command, overwrite, jobs, cluster.

    Raises:
        ConfigError: Rows cannot be trained with these settings; all are listed.
    """
    all_seeds = tuple(range(base.seed, base.seed + seeds))
    plans = plan_rows(rows, base, class_names, typed, reads, with_weights=True)
    configs = [
        replace(run, fold=fold, seed=seed)
        for run in plans
        if run is not None
        for seed in all_seeds
        for fold in folds
    ]
    outcome = run_jobs(configs, runs, **how)
    protocols = protocols_of(base.train.val_fraction)
    finished = {job: job.run.load() for job in outcome.jobs if job not in outcome.failures}
    size = len(all_seeds) * len(folds)
    results = []
    remaining = iter(outcome.jobs)
    for row, plan in zip(rows, plans, strict=True):
        if plan is None:
            results.append(RowResult(row, row.method, {name: [] for name in protocols}))
            continue
        jobs = list(islice(remaining, size))
        by_seed: list[dict[int, FinishedRun]] = []
        if all(job in finished for job in jobs):
            starts = range(0, size, len(folds))
            seed_jobs = [jobs[start : start + len(folds)] for start in starts]
            by_seed = [{job.config.fold: finished[job] for job in group} for group in seed_jobs]
        summaries: dict[str, list[FoldSummary]] = {
            name: [summarise_runs(runs_of_seed, name) for runs_of_seed in by_seed]
            for name in protocols
        }
        reading = describe_reading(row, plan)
        results.append(RowResult(row, plan.model.variant, summaries, reading))
    return Ablation(
        results,
        tuple(folds),
        all_seeds,
        kind=base.data.kind or base.data.dataset,
        provenance=describe_runs([run.record for run in finished.values()]),
        deviations=list_deviations(finished.values()),
        outcome=outcome,
    )


def _is_papers(config: ModelConfig) -> bool:
    """Return whether the paper's costs are for this backbone and T. Source: section 4.1."""
    backbone = config.backbone.removesuffix("-quickgelu")
    return backbone == "ViT-B-32" and config.num_frames == ModelConfig.num_frames


def _cost_entry(row: Row, config: ModelConfig, cost: Cost) -> dict[str, Any]:
    ours = config.method == "dfer"
    prompts = ours and config.biehpro
    return {
        "row": row.name,
        "variant": config.variant,
        "method": config.method,
        "interfit": ours and config.interfit,
        "msta": ours and config.msta,
        "msta_fc": config.msta_fc if ours and config.msta else None,
        "biehpro": prompts,
        "text": config.text,
        "text_prompt": prompts and config.text_prompt,
        "visual_prompt": prompts and config.visual_prompt,
        "num_blocks": config.num_blocks if prompts else 0,
        "trainable_parameters": cost.trainable,
        "total_parameters": cost.total,
        "paper_convention_gmacs": cost.paper_macs / 1e9,
        "true_gmacs": cost.true_macs / 1e9,
        "paper_gflops": row.paper_gflops if _is_papers(config) else None,
    }


COST_NOTE = (
    "by rule: multiply-accumulates by the paper's convention (convolutions, linear layers and the "
    "LSTM, nothing inside attention); true: all multiply-accumulates"
)
PAPER_NOTE = "the paper's figures are quoted; it does not say how its epoch was chosen"
OTHER_DATA_NOTE = "measured on other data than the paper's: not comparable"


def ablation_document(title: str, ablation: Ablation, notes: Sequence[str] = ()) -> Document:
    """Return a table of variants beside the paper's figures, and their gains and differences.

    For Table 1 there are also the printed figures of all datasets, and what each row reads, under
    which `notes` stand.
    """
    over = "seeds" if len(ablation.seeds) > 1 else "folds"
    quoted = ablation.kind if any(ablation.kind in r.row.paper for r in ablation.rows) else "dfew"
    paper_group = f"the paper, {DATASETS[quoted]}"
    protocols = ablation.protocols
    columns = [Column("row", "text")]
    columns += [column for name in protocols for column in mean_columns(name)]
    columns += [Column(metric, "percent", paper_group) for metric in METRICS.values()]
    paper = [_paper_cells(result.row.paper.get(quoted)) for result in ablation.rows]
    rows: list[list[Any]] = []
    for result, figures in zip(ablation.rows, paper, strict=True):
        cells = [
            value
            for name in protocols
            for metric in METRICS
            for value in (result.mean(name, metric), result.sd(name, metric))
        ]
        rows.append([result.row.name, *cells, *figures])
    table_notes = [
        *protocol_notes(protocols),
        f"± is the standard deviation over {over}",
        PAPER_NOTE,
    ]
    for result in ablation.rows:
        if result.row.changes.get("method") in UNTRAINED:
            table_notes.append(f"{result.row.name}: {UNTRAINED_NOTE}")
    if any(result.row == STILL_IMAGE for result in ablation.rows):
        table_notes.append(STILL_IMAGE_NOTE)
    tables = [Table(title, columns, rows, table_notes)]
    first = _find_reference(ablation)
    if first is not None:
        tables.append(_gains_table(ablation, first, paper, paper_group))
    systems = [result for result in ablation.rows if result.row.system is not None]
    if not systems or quoted == ablation.kind:
        tables.append(_differences_table(ablation, paper, paper_group, quoted == ablation.kind))
    provenance = _mark_failed(ablation)
    if systems:
        if quoted != ablation.kind:
            table_notes.append(OTHER_DATA_NOTE)
        provenance |= _describe_recipes(systems)
        tables.append(reading_table([(r.row, r.reading) for r in systems], notes))
        tables.append(printed_table(title, [result.row for result in systems]))
    data = {
        "folds": list(ablation.folds),
        "seeds": list(ablation.seeds),
        "deviations": ablation.deviations,
        "rows": [_row_data(result, protocols) for result in ablation.rows],
    }
    return Document(tables, provenance, data)


def cost_document(
    title: str,
    base: ModelConfig,
    entries: Sequence[Mapping[str, Any]],
    train: TrainConfig | None = None,
    notes: Sequence[str] = (),
) -> Document:
    """Return a table of the costs of models, from the output of `cost_table`.

    `notes` stand below what the rows of Table 1 read.
    """
    provenance = {}
    if train is not None and train.lora_rank > 0:
        projections = ", ".join(train.lora_projections)
        provenance["trained"] = f"LoRA of rank {train.lora_rank} on {projections}, and new layers"
    if any("model" in entry for entry in entries):
        return systems_cost_document(title, entries, notes, provenance)
    columns = [
        Column("row", "text"),
        Column("parts", "text"),
        Column("trained", "number", "M params"),
        Column("in all", "number", "M params"),
        Column("by rule", "number", "GMACs"),
        Column("in paper", "number", "GFLOPs"),
        Column("true", "number", "GMACs"),
    ]
    rows = [
        [
            entry["row"],
            _parts(entry),
            entry["trainable_parameters"] / 1e6,
            entry["total_parameters"] / 1e6,
            entry["paper_convention_gmacs"],
            entry["paper_gflops"],
            entry["true_gmacs"],
        ]
        for entry in entries
    ]
    what = f"one clip of {base.num_frames} frames, {base.backbone}, 7 classes"
    table_notes = [COST_NOTE]
    if any(entry["row"] == STILL_IMAGE.name for entry in entries):
        table_notes.append(STILL_IMAGE_NOTE)
    table = Table(title, columns, rows, table_notes)
    return Document([table], {"of": what, **provenance}, {"rows": list(entries)})


def _parts(entry: Mapping[str, Any]) -> str:
    """Return the parts of a variant, as one line."""
    if entry["method"] != "dfer":
        return str(entry["method"])
    names = MODULES | {"msta": "MSTA over channels" if entry["msta_fc"] == "channels" else "MSTA"}
    parts = [name for key, name in names.items() if entry[key] and key != "biehpro"]
    if entry["biehpro"]:
        prompts = ("text_prompt", "TP"), ("visual_prompt", "VP")
        kinds = "+".join(name for key, name in prompts if entry[key])
        parts.append(f"BiEhPro ({kinds}, M={entry['num_blocks']})")
    return ", ".join([*parts, "text" if entry["text"] else "linear head"])


def _find_reference(ablation: Ablation) -> int | None:
    """Return the index of the row that gains are counted from: the first; in Table 1 the baseline.

    None if Table 1 lacks it.
    """
    names = [result.row.system.name if result.row.system else "" for result in ablation.rows]
    if not any(names):
        return 0
    return names.index(BASELINE) if BASELINE in names else None


def _gains_table(
    ablation: Ablation, first: int, paper: Sequence[list[Any]], paper_group: str
) -> Table:
    reference = ablation.rows[first]
    columns = [Column("row", "text"), *_signed_columns(ablation.protocols, paper_group)]
    rows: list[list[Any]] = []
    for index, result in enumerate(ablation.rows):
        if index == first:
            continue
        measured = [
            _minus(result.mean(name, metric), reference.mean(name, metric))
            for name in ablation.protocols
            for metric in METRICS
        ]
        quoted = [_minus(mine, base) for mine, base in zip(paper[index], paper[first], strict=True)]
        rows.append([result.row.name, *measured, *quoted])
    return Table(f"points above {reference.row.name}", columns, rows)


def _differences_table(
    ablation: Ablation, paper: Sequence[list[Any]], paper_group: str, same_data: bool
) -> Table:
    columns = [Column("row", "text"), *_signed_columns(ablation.protocols)]
    rows: list[list[Any]] = []
    for result, figures in zip(ablation.rows, paper, strict=True):
        cells = [
            _minus(result.mean(name, metric), quoted)
            for name in ablation.protocols
            for metric, quoted in zip(METRICS, figures, strict=True)
        ]
        rows.append([result.row.name, *cells])
    notes = [] if same_data else [OTHER_DATA_NOTE]
    return Table(f"measured, minus {paper_group}: points", columns, rows, notes)


def _signed_columns(protocols: Sequence[str], *more: str) -> list[Column]:
    groups = [*(LABELS[name] for name in protocols), *more]
    return [Column(title, "signed_percent", g) for g in groups for title in METRICS.values()]


def _paper_cells(figures: tuple[float, float] | None) -> list[Any]:
    """Return the paper's WAR and UAR as fractions."""
    return [None, None] if figures is None else [figures[1] / 100, figures[0] / 100]


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _row_data(result: RowResult, protocols: Sequence[str]) -> dict[str, Any]:
    measured = {
        name: {
            f"{part}_{metric}": getattr(result, part)(name, metric)
            for metric in METRICS
            for part in ("mean", "sd")
        }
        | {"seeds": [summary.to_dict() for summary in result.summaries[name]]}
        for name in protocols
    }
    paper = {
        kind: {"war": war / 100, "uar": uar / 100} for kind, (uar, war) in result.row.paper.items()
    }
    row = {"row": result.row.name, "variant": result.variant, "paper": paper, **measured}
    return row | (system_data(result.row, result.reading) if result.row.system else {})


def _describe_recipes(systems: Sequence[RowResult]) -> dict[str, str]:
    """Return the provenance of many systems, whose recipes are too long to list."""
    presets = join(result.reading["preset"] for result in systems if result.reading)
    return {
        "backbone": "that of each row",
        "recipe": f"{presets}, of each row; run.json and the JSON of this table list the settings",
    }


def _mark_failed(ablation: Ablation) -> dict[str, str]:
    """Return the provenance of the figures, and first the rows whose runs failed."""
    first = ablation.protocols[0]
    failed = [
        result.row.name
        for result in ablation.rows
        if not result.summaries[first] and result.row.can_be_trained
    ]
    partial = {"rows": f"PARTIAL: failed runs of {', '.join(failed)}"} if failed else {}
    return partial | ablation.provenance
