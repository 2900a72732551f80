"""The paper's ablations, Tables 2 to 5: what each row costs, and what it reaches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dfercli.config import ModelConfig, RunConfig
from dfercli.engine.evaluate import PROTOCOLS, summarise_runs
from dfercli.engine.jobs import Outcome, run_jobs
from dfercli.engine.runlog import RunFolder, list_deviations
from dfercli.errors import UnknownNameError
from dfercli.models.flops import Cost, measure_cost


@dataclass(frozen=True)
class Row:
    """One row of a table of the paper that is a variant of its method.

    Attributes:
        name: What the row is called.
        changes: What differs from the full model.
        paper_gflops: The paper's figure in its own convention; None where it gives none.
        paper_uar: The paper's figure on DFEW in percent.
        paper_war: The paper's figure on DFEW in percent.
    """

    name: str
    changes: dict[str, Any]
    paper_gflops: float | None
    paper_uar: float
    paper_war: float


OFF: dict[str, Any] = {"interfit": False, "msta": False, "biehpro": False}
TABLES: dict[int, tuple[Row, ...]] = {
    2: (
        Row("baseline", OFF, 23.58, 58.28, 69.96),
        Row("+ InterFIT", OFF | {"interfit": True}, 24.65, 59.05, 71.54),
        Row("+ MSTA", {"biehpro": False}, 24.65, 59.77, 71.88),
        Row("+ BiEhPro", {}, 24.71, 60.85, 72.58),
    ),
    3: (
        Row("no text", {"text": False, "biehpro": False}, 24.65, 60.41, 72.05),
        Row("text", {}, 24.71, 60.85, 72.58),
    ),
    4: (
        Row("M = 1", {"num_blocks": 1}, 24.68, 60.22, 72.45),
        Row("M = 2", {"num_blocks": 2}, 24.71, 60.85, 72.58),
        Row("M = 3", {"num_blocks": 3}, 24.74, 59.44, 72.38),
        Row("M = 4", {"num_blocks": 4}, 24.77, 59.92, 72.28),
        Row("M = 5", {"num_blocks": 5}, 24.80, 59.59, 72.21),
    ),
    5: (
        Row(
            "only TP",
            {"interfit": False, "msta": False, "visual_prompt": False},
            None,
            58.90,
            71.12,
        ),
        Row(
            "only TP + VP",
            {"interfit": False, "msta": False},
            None,
            59.31,
            71.64,
        ),
        Row("all, TP + VP", {}, None, 60.85, 72.58),
    ),
}
"""Our method's rows of the paper's tables of ablations."""


def table_rows(table: int) -> tuple[Row, ...]:
    """Give the rows of a table.

    Raises:
        UnknownNameError: The paper has no such table of ablations.
    """
    if table not in TABLES:
        raise UnknownNameError("table", str(table), map(str, TABLES))
    return TABLES[table]


def cost_table(table: int, base: ModelConfig, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Count each row's parameters and multiply-accumulates, without weights or training.

    Args:
        table: 2 to 5.
        base: The full model; a row changes it.
        class_names: K classes.

    Returns:
        A dictionary a row, ready for JSON. Multiply-accumulates are in 10^9 a clip, parameters
        in single ones.
    """
    return [
        _cost_entry(row, base, measure_cost(replace(base, **row.changes), class_names))
        for row in table_rows(table)
    ]


def run_table(
    table: int,
    base: RunConfig,
    folds: Sequence[int],
    runs: Path,
    command: str = "",
    overwrite: bool = False,
    jobs: int = 1,
    cluster: str | None = None,
) -> tuple[list[dict[str, Any]], list[str], Outcome]:
    """Train and test every row of a table; rows and folds that are finished are taken as they are.

    Args:
        table: 2 to 5.
        base: The run of the full model; a row changes its model.
        folds: Folds to test on.
        runs: Folder of all runs.
        command: What was typed, for the record.
        overwrite: Train anew what is there already.
        jobs: Runs that are trained at a time, across rows and folds.
        cluster: Address of a Ray cluster that trains them instead of this machine.

    Returns:
        A dictionary a row with the measured figures of both protocols, in [0, 1], and the paper's
        on DFEW, in percent; what differs from the official lists in the data, a line each; and
        what became of the runs. A row of which a fold failed has None for its figures: a mean of
        other folds than its neighbours' cannot be compared with theirs.
    """
    configs = [
        replace(base, model=replace(base.model, **row.changes), fold=fold)
        for row in table_rows(table)
        for fold in folds
    ]
    outcome = run_jobs(configs, runs, command, overwrite, jobs, cluster)
    entries: list[dict[str, Any]] = []
    done: list[RunFolder] = []
    for index, row in enumerate(table_rows(table)):
        cells = outcome.jobs[index * len(folds) : (index + 1) * len(folds)]
        trained = {job.config.fold: job.run for job in cells if job not in outcome.failures}
        done += trained.values()
        entry: dict[str, Any] = {"row": row.name, "variant": cells[0].config.model.variant}
        for protocol in PROTOCOLS:
            whole = len(trained) == len(folds)
            summary = summarise_runs(trained, protocol) if whole else None
            entry[f"{protocol}_uar"] = summary.mean_uar if summary else None
            entry[f"{protocol}_war"] = summary.mean_war if summary else None
        entries.append(entry | {"paper_uar": row.paper_uar, "paper_war": row.paper_war})
    return entries, list_deviations(done), outcome


def _is_papers(config: ModelConfig) -> bool:
    """Whether the paper's costs are of this backbone and T. Source: section 4.1."""
    backbone = config.backbone.removesuffix("-quickgelu")
    return backbone == "ViT-B-32" and config.num_frames == ModelConfig.num_frames


def _cost_entry(row: Row, base: ModelConfig, cost: Cost) -> dict[str, Any]:
    config = replace(base, **row.changes)
    prompts = config.biehpro
    return {
        "row": row.name,
        "variant": config.variant,
        "interfit": config.interfit,
        "msta": config.msta,
        "biehpro": config.biehpro,
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
