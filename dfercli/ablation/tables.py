"""An ablation as tables: results beside the paper's, gains per row, and differences."""

from collections.abc import Mapping, Sequence
from typing import Any

from dfercli.ablation.paper_tables import DATASETS, MODULES
from dfercli.ablation.run import Ablation, RowResult
from dfercli.config import UNTRAINED, ModelConfig
from dfercli.evaluation.tables import LABELS, METRICS, UNTRAINED_NOTE, mean_columns, protocol_notes
from dfercli.tables import Column, Document, Provenance, Table

COST_NOTE = (
    "by rule: multiply-accumulates by the paper's convention (convolutions, linear layers and the "
    "LSTM, nothing inside attention); true: all multiply-accumulates"
)
PAPER_NOTE = "the paper's figures are quoted; it does not say how its epoch was chosen"


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
    tables = [Table(title, columns, rows, notes), _gains_table(ablation, paper, paper_group)]
    tables.append(_differences_table(ablation, paper, paper_group, quoted == ablation.kind))
    data = {
        "folds": list(ablation.folds),
        "seeds": list(ablation.seeds),
        "deviations": ablation.deviations,
        "rows": [_row_data(result, protocols) for result in ablation.rows],
    }
    return Document(tables, Provenance(_mark_failed(ablation)), data)


def cost_document(title: str, base: ModelConfig, entries: Sequence[Mapping[str, Any]]) -> Document:
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
    provenance = Provenance({"of": what})
    return Document([Table(title, columns, rows, [COST_NOTE])], provenance, {"rows": list(entries)})


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
