"""Tables of variants, such as the paper's: their costs, their runs and their results."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dfercli.ablation.paper_tables import DATASETS, MODULES, STILL_IMAGE, Row
from dfercli.config import UNTRAINED, ModelConfig, RunConfig, TrainConfig
from dfercli.config.presets import apply_method
from dfercli.evaluation.results import summarise_runs
from dfercli.evaluation.tables import LABELS, METRICS, UNTRAINED_NOTE, mean_columns, protocol_notes
from dfercli.jobs.run import Outcome, run_jobs
from dfercli.metrics.scores import FoldSummary
from dfercli.models.flops import Cost, measure_cost
from dfercli.runs.provenance import describe_runs
from dfercli.runs.run_folder import FinishedRun, list_deviations, protocols_of
from dfercli.tables import Column, Document, Table


@dataclass(frozen=True)
class RowResult:
    """The results of one row.

    Summaries over folds are by protocol, one per seed; none if any of its runs failed, because
    means over different folds cannot be compared.
    """

    row: Row
    variant: str
    summaries: Mapping[str, Sequence[FoldSummary]]

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
    base: ModelConfig,
    class_names: Sequence[str],
    train: TrainConfig | None = None,
) -> list[dict[str, Any]]:
    """Count each row's parameters and multiply-accumulates, without weights or training.

    Returns one dictionary per row, ready for JSON; multiply-accumulates are in 10^9 per clip.
    `base` is the full model, which each row changes; `train` a recipe that may use LoRA.
    """
    models = [row.apply(base) for row in rows]
    return [
        _cost_entry(row, model, measure_cost(model, class_names, train))
        for row, model in zip(rows, models, strict=True)
    ]


def run_table(
    rows: Sequence[Row],
    base: RunConfig,
    folds: Sequence[int],
    runs: Path,
    seeds: int = 1,
    typed: Collection[str] = (),
    **how: Any,
) -> Ablation:
    """Train and test every row of a table; finished runs are not trained again.

    Args:
        rows: Rows of the table.
        base: The run of the full model, whose model each row changes.
        folds: Folds to test on.
        runs: Folder of all runs.
        seeds: Number of seeds to train each row with, beginning with the seed of `base`.
        typed: Settings that take precedence over the defaults of a row's method.
        how: Arguments of `run_jobs`: command, overwrite, jobs, cluster.
    """
    all_seeds = tuple(range(base.seed, base.seed + seeds))
    configs = [
        apply_method(replace(base, model=row.apply(base.model), fold=fold, seed=seed), typed)
        for row in rows
        for seed in all_seeds
        for fold in folds
    ]
    outcome = run_jobs(configs, runs, **how)
    protocols = protocols_of(base.train.val_fraction)
    finished = {job: job.run.load() for job in outcome.jobs if job not in outcome.failures}
    size = len(all_seeds) * len(folds)
    results = []
    for index, row in enumerate(rows):
        jobs = outcome.jobs[index * size : (index + 1) * size]
        by_seed: list[dict[int, FinishedRun]] = []
        if all(job in finished for job in jobs):
            starts = range(0, size, len(folds))
            seed_jobs = [jobs[start : start + len(folds)] for start in starts]
            by_seed = [{job.config.fold: finished[job] for job in group} for group in seed_jobs]
        summaries: dict[str, list[FoldSummary]] = {
            name: [summarise_runs(runs_of_seed, name) for runs_of_seed in by_seed]
            for name in protocols
        }
        results.append(RowResult(row, jobs[0].config.model.variant, summaries))
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
STILL_IMAGE_NOTE = (
    f"{STILL_IMAGE.name}: not in the paper; the built-in network, which reads single frames"
)


def ablation_document(title: str, ablation: Ablation) -> Document:
    """Return a table of variants beside the paper's figures, and their gains and differences."""
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
    notes = [*protocol_notes(protocols), f"± is the standard deviation over {over}", PAPER_NOTE]
    for result in ablation.rows:
        if result.row.changes.get("method") in UNTRAINED:
            notes.append(f"{result.row.name}: {UNTRAINED_NOTE}")
    if any(result.row == STILL_IMAGE for result in ablation.rows):
        notes.append(STILL_IMAGE_NOTE)
    tables = [Table(title, columns, rows, notes), _gains_table(ablation, paper, paper_group)]
    tables.append(_differences_table(ablation, paper, paper_group, quoted == ablation.kind))
    data = {
        "folds": list(ablation.folds),
        "seeds": list(ablation.seeds),
        "deviations": ablation.deviations,
        "rows": [_row_data(result, protocols) for result in ablation.rows],
    }
    return Document(tables, _mark_failed(ablation), data)


def cost_document(
    title: str,
    base: ModelConfig,
    entries: Sequence[Mapping[str, Any]],
    train: TrainConfig | None = None,
) -> Document:
    """Return a table of the costs of models, from the output of `cost_table`."""
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
    provenance = {"of": what}
    if train is not None and train.lora_rank > 0:
        projections = ", ".join(train.lora_projections)
        provenance["trained"] = f"LoRA of rank {train.lora_rank} on {projections}, and new layers"
    notes = [COST_NOTE]
    if any(entry["row"] == STILL_IMAGE.name for entry in entries):
        notes.append(STILL_IMAGE_NOTE)
    return Document([Table(title, columns, rows, notes)], provenance, {"rows": list(entries)})


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


def _gains_table(ablation: Ablation, paper: Sequence[list[Any]], paper_group: str) -> Table:
    first, *others = ablation.rows
    columns = [Column("row", "text"), *_signed_columns(ablation.protocols, paper_group)]
    rows: list[list[Any]] = []
    for result, figures in zip(others, paper[1:], strict=True):
        measured = [
            _minus(result.mean(name, metric), first.mean(name, metric))
            for name in ablation.protocols
            for metric in METRICS
        ]
        quoted = [_minus(mine, base) for mine, base in zip(figures, paper[0], strict=True)]
        rows.append([result.row.name, *measured, *quoted])
    return Table(f"points above {first.row.name}", columns, rows)


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
    notes = [] if same_data else ["measured on other data than the paper's: not comparable"]
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
    return {"row": result.row.name, "variant": result.variant, "paper": paper, **measured}


def _mark_failed(ablation: Ablation) -> dict[str, str]:
    """Return the provenance of the figures, and first the rows whose runs failed."""
    first = ablation.protocols[0]
    failed = [result.row.name for result in ablation.rows if not result.summaries[first]]
    partial = {"rows": f"PARTIAL: failed runs of {', '.join(failed)}"} if failed else {}
    return partial | ablation.provenance
