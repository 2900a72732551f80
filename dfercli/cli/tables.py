"""What the commands print for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dfercli.doctor.page import Diagnosis, Finding, State
from dfercli.engine.evaluate import PROTOCOLS
from dfercli.metrics import FoldSummary
from dfercli.predict import VideoPrediction, Window

LABELS = {"best": "best epoch*", "last": "last epoch", "checkpoint": "checkpoint"}
FOOTNOTE = f"* {PROTOCOLS['best']}"

MARKS: dict[State, str] = {
    "ok": "[green]ok[/]",
    "note": "[yellow]note[/]",
    "wrong": "[red]WRONG[/]",
}

screen = Console(highlight=False)


def print_folds(
    title: str, summaries: Mapping[str, FoldSummary], class_names: Sequence[str]
) -> None:
    """Print WAR and UAR of each fold and their mean, and the mean recall of each class.

    Args:
        title: What was trained on what.
        summaries: Summary by protocol, or by `checkpoint`.
        class_names: K classes.
    """
    columns = list(summaries.values())
    percents = [f"{metric} %\n{LABELS[name]}" for name in summaries for metric in ("WAR", "UAR")]
    table = _table(["fold"], ["clips", *percents])
    for index, fold in enumerate(columns[0].folds):
        cells = [_percent(value) for s in columns for value in (s.war[index], s.uar[index])]
        table.add_row(str(fold), f"{columns[0].num_clips[index]:,}", *cells)
    table.add_section()
    means = [_percent(value) for s in columns for value in (s.mean_war, s.mean_uar)]
    table.add_row("mean", "", *means, style="bold")
    _show(title, table)
    recalls = _table(["class"], [f"recall %\n{LABELS[name]}" for name in summaries])
    for index, name in enumerate(class_names):
        recalls.add_row(name, *[_percent(s.mean_recalls[index]) for s in columns])
    _show("recall of each class, mean over the folds", recalls)
    if "best" in summaries:
        screen.print(FOOTNOTE)


def print_costs(title: str, entries: Sequence[Mapping[str, Any]]) -> None:
    """Print what the rows of a table of the paper cost."""
    parameters = ["M params\ntrained", "M params\nin all"]
    operations = ["GMACs\nby rule*", "GFLOPs\nin paper", "GMACs\ntrue"]
    table = _table(["row", "parts"], parameters + operations)
    for entry in entries:
        quoted = entry["paper_gflops"]
        table.add_row(
            entry["row"],
            _parts(entry),
            f"{entry['trainable_parameters'] / 1e6:.2f}",
            f"{entry['total_parameters'] / 1e6:.2f}",
            f"{entry['paper_convention_gmacs']:.2f}",
            "-" if quoted is None else f"{quoted:.2f}",
            f"{entry['true_gmacs']:.2f}",
        )
    _show(title, table)
    screen.print(
        "* multiply-accumulates as the paper counts its FLOPs: of convolutions, linear layers and "
        "the LSTM, none inside attention; the true count has all"
    )


def print_ablation(title: str, entries: Sequence[Mapping[str, Any]]) -> None:
    """Print what the rows of a table of the paper reach, beside the paper's figures on DFEW."""
    columns = [*(LABELS[protocol] for protocol in PROTOCOLS), "the paper, DFEW"]
    table = _table(["row"], [f"WAR / UAR %\n{name}" for name in columns])
    for entry in entries:
        measured = [
            f"{_percent(entry[f'{protocol}_war'])} / {_percent(entry[f'{protocol}_uar'])}"
            for protocol in PROTOCOLS
        ]
        quoted = f"{entry['paper_war']:.2f} / {entry['paper_uar']:.2f}"
        table.add_row(entry["row"], *measured, quoted)
    _show(title, table)
    screen.print(FOOTNOTE)


def print_prediction(prediction: VideoPrediction) -> None:
    """Print a video's time line, a line a window."""
    table = _table(["from s", "to s", "expression", "confidence", "next"], [])
    for window in prediction.windows:
        cells = _expression_cells(window, prediction.class_names)
        table.add_row(f"{window.start_s:.1f}", f"{window.end_s:.1f}", *cells)
    share = f"face in {prediction.coverage:.0%} of {prediction.num_frames} searched frames"
    _show(f"{prediction.video}: {share}", table)
    mean = prediction.mean_probs
    if mean is not None:
        top = int(mean.argmax())
        screen.print(f"overall: {prediction.class_names[top]} ({mean[top]:.0%} on average)")


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Print what the doctor found: the machine, then each dataset."""
    _show("machine", _findings_table(diagnosis.machine))
    for report in diagnosis.datasets:
        _show(
            f"{report.name}: {report.manifest}, data in {report.root}",
            _findings_table(report.findings),
        )
        if report.sheet:
            screen.print(f"some of its frames: {report.sheet}", markup=False, soft_wrap=True)
    screen.print("all is well" if diagnosis.healthy else "a run would go wrong: see above")


def _findings_table(findings: Sequence[Finding]) -> Table:
    table = _table(["", "", ""], [])
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


def _parts(entry: Mapping[str, Any]) -> str:
    """Name what a variant is made of."""
    modules = ("interfit", "InterFIT"), ("msta", "MSTA")
    parts = [name for key, name in modules if entry[key]]
    if entry["biehpro"]:
        prompts = ("text_prompt", "TP"), ("visual_prompt", "VP")
        kinds = "+".join(name for key, name in prompts if entry[key])
        parts.append(f"BiEhPro ({kinds}, M={entry['num_blocks']})")
    return ", ".join([*parts, "text" if entry["text"] else "linear head"])


def _table(words: Sequence[str], numbers: Sequence[str]) -> Table:
    """Begin a table with columns of words, then of numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for header in words:
        table.add_column(header)
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def _show(title: str, table: Table) -> None:
    screen.print(title, style="bold", markup=False)
    screen.print(table)


def _percent(value: float | None) -> str:
    """Print a share; none where a fold is not finished, nan where no clip was tested."""
    return "-" if value is None or value != value else f"{100 * value:.2f}"
