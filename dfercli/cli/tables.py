"""What the commands print for people."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from dfercli.cli.screen import screen, show_table, start_table
from dfercli.doctor.page import Diagnosis, Finding, State

MARKS: dict[State, str] = {
    "ok": "[green]ok[/]",
    "note": "[yellow]note[/]",
    "wrong": "[red]WRONG[/]",
}


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Print what the doctor found: the machine, then each dataset."""
    show_table("machine", _findings_table(diagnosis.machine))
    for report in diagnosis.datasets:
        show_table(
            f"{report.name}: {report.manifest}, data in {report.root}",
            _findings_table(report.findings),
        )
        if report.sheet:
            screen.print(f"some of its frames: {report.sheet}", markup=False, soft_wrap=True)
    screen.print(diagnosis.verdict)


def _findings_table(findings: Sequence[Finding]) -> Table:
    table = start_table(["", "", ""], [])
    table.show_header = False
    for finding in findings:
        table.add_row(MARKS[finding.state], finding.topic, Text(finding.text))
    return table
