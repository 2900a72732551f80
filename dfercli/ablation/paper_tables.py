"""The paper's tables: their rows as changes to our model, and the figures that it prints."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from dfercli.ablation.row import Row
from dfercli.ablation.table1 import OFF, SYSTEMS
from dfercli.config import ModelConfig
from dfercli.errors import ConfigError, UnknownNameError, require_known

MODULES = {"interfit": "InterFIT", "msta": "MSTA", "biehpro": "BiEhPro"}
"""Name of each module that a grid switches on and off, by its setting."""


def _row(
    name: str, changes: Mapping[str, Any], gflops: float | None, uar: float, war: float
) -> Row:
    """Return a row whose figures the paper gives for DFEW alone."""
    return Row(name, changes, {"dfew": (uar, war)}, gflops)


NO_MODULES: dict[str, Any] = {"interfit": False, "msta": False}
TABLES: dict[int, tuple[Row, ...]] = {
    1: SYSTEMS,
    2: (
        _row("baseline", OFF, 23.58, 58.28, 69.96),
        _row("+ InterFIT", OFF | {"interfit": True}, 24.65, 59.05, 71.54),
        _row("+ MSTA", {"biehpro": False}, 24.65, 59.77, 71.88),
        _row("+ BiEhPro", {}, 24.71, 60.85, 72.58),
    ),
    3: (
        _row("no text", {"text": False, "biehpro": False}, 24.65, 60.41, 72.05),
        _row("text", {}, 24.71, 60.85, 72.58),
    ),
    4: (
        _row("M = 1", {"num_blocks": 1}, 24.68, 60.22, 72.45),
        _row("M = 2", {"num_blocks": 2}, 24.71, 60.85, 72.58),
        _row("M = 3", {"num_blocks": 3}, 24.74, 59.44, 72.38),
        _row("M = 4", {"num_blocks": 4}, 24.77, 59.92, 72.28),
        _row("M = 5", {"num_blocks": 5}, 24.80, 59.59, 72.21),
    ),
    5: (
        _row("zero-shot CLIP", {"method": "zero-shot"}, None, 23.34, 20.07),
        _row("CoOp", {"method": "coop"}, None, 44.98, 56.68),
        _row("CoCoOp", {"method": "cocoop"}, None, 46.80, 57.52),
        _row("DFER-CLIP, no TM", {"method": "dfer-clip-no-tm"}, None, 57.39, 69.00),
        _row("DFER-CLIP", {"method": "dfer-clip"}, None, 59.61, 71.25),
        _row("only TP", NO_MODULES | {"visual_prompt": False}, None, 58.90, 71.12),
        _row("only TP + VP", NO_MODULES, None, 59.31, 71.64),
        _row("all, TP + VP", {}, None, 60.85, 72.58),
    ),
}
"""Rows of the paper's tables."""


STILL_IMAGE = Row("still-image baseline", {"method": "still-image"}, {})
"""A row for any table, not in the paper: the built-in network, a baseline without motion."""

STILL_IMAGE_NOTE = (
    f"{STILL_IMAGE.name}: not in the paper; the built-in network, which reads single frames"
)


def table_rows(table: int) -> tuple[Row, ...]:
    """Return the rows of a table.

    Raises:
        UnknownNameError: The paper has no results table with this number.
    """
    if table not in TABLES:
        raise UnknownNameError("table", str(table), map(str, TABLES))
    return TABLES[table]


def grid_rows(modules: Sequence[str]) -> tuple[Row, ...]:
    """Return one row for each combination of some modules; the other modules are on.

    Raises:
        ConfigError: `modules` is empty.
        UnknownNameError: A name is not the name of a module.
    """
    if not modules:
        raise ConfigError(f"the grid has no modules; choose from {', '.join(MODULES)}")
    for name in modules:
        require_known("module", name, tuple(MODULES))
    modules = list(dict.fromkeys(modules))
    quoted = {row.apply(ModelConfig()): row for row in TABLES[2]}
    rows = []
    for switches in product((False, True), repeat=len(modules)):
        changes: dict[str, Any] = dict(zip(modules, switches, strict=True))
        model = ModelConfig(**changes)
        on = [title for name, title in MODULES.items() if getattr(model, name)]
        row = quoted.get(model)
        name = " + ".join(on) or "baseline"
        rows.append(Row(name, changes, row.paper if row else {}, row.paper_gflops if row else None))
    return tuple(rows)
