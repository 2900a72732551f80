"""The terminal that results are printed on."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

BETWEEN = 2
"""Characters that a column takes beside its own; the table takes one more."""

screen = Console(highlight=False)


def start_table(words: Sequence[str], numbers: Sequence[str]) -> Table:
    """Begin a table with columns of words, then of numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for header in words:
        table.add_column(header)
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def show_table(title: str, table: Table) -> None:
    """Print a table below its title, as wide as its columns must be."""
    screen.print(Text(title, "bold"))
    needed = 1 + sum(BETWEEN + (column.min_width or 0) for column in table.columns)
    wide = screen if needed <= screen.width else Console(highlight=False, width=needed)
    wide.print(table)
