"""What the commands print for people."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from dfercli.doctor.page import Diagnosis, Finding, State
from dfercli.predict import VideoPrediction, Window

MIN_WIDTH = 8
"""Characters that a column of words keeps on a narrow screen (our choice)."""

MARKS: dict[State, str] = {
    "ok": "[green]ok[/]",
    "note": "[yellow]note[/]",
    "wrong": "[red]WRONG[/]",
}

screen = Console(highlight=False)


def print_prediction(prediction: VideoPrediction) -> None:
    """Print a video's time line, a line a window."""
    table = start_table(["from s", "to s", "expression", "confidence", "next"], [])
    for window in prediction.windows:
        cells = _expression_cells(window, prediction.class_names)
        table.add_row(f"{window.start_s:.1f}", f"{window.end_s:.1f}", *cells)
    share = f"face in {prediction.coverage:.0%} of {prediction.num_frames} searched frames"
    show_table(f"{prediction.video}: {share}", table)
    mean = prediction.mean_probs
    if mean is not None:
        top = int(mean.argmax())
        screen.print(f"overall: {prediction.class_names[top]} ({mean[top]:.0%} on average)")


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
    screen.print("all is well" if diagnosis.healthy else "a run would go wrong: see above")


def _findings_table(findings: Sequence[Finding]) -> Table:
    table = start_table(["", "", ""], [])
    table.show_header = False
    for finding in findings:
        table.add_row(MARKS[finding.state], finding.topic, Text(finding.text))
    return table


def _expression_cells(window: Window, class_names: Sequence[str]) -> list[str]:
    if window.probs is None:
        return ["no face", "", ""]
    ranked = window.probs.argsort()[::-1]
    shares = [float(window.probs[index]) for index in ranked]
    confidence = f"{shares[0]:4.0%} {'█' * round(10 * shares[0])}"
    following = [f"{class_names[i]} {p:.0%}" for i, p in zip(ranked[1:2], shares[1:2], strict=True)]
    return [class_names[ranked[0]], confidence, *(following or [""])]


def start_table(words: Sequence[str], numbers: Sequence[str]) -> Table:
    """Begin a table with columns of words, then of numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for header in words:
        table.add_column(header, min_width=MIN_WIDTH)
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def show_table(title: str, table: Table) -> None:
    """Print a table below its title."""
    screen.print(title, style="bold", markup=False)
    needed = Measurement.get(screen, screen.options, table).minimum
    screen.print(table, width=max(screen.width, needed), crop=False)
