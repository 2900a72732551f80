"""What the commands print for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from dfercli.metrics import FoldSummary
from dfercli.predict import VideoPrediction

screen = Console()
"""Where tables go: standard output."""

notes = Console(stderr=True, highlight=False)
"""Where remarks and errors go, so that output can be piped."""


def print_folds(
    title: str, summaries: Mapping[str, FoldSummary], class_names: Sequence[str]
) -> None:
    """Print WAR and UAR of each fold and their mean, and the mean recall of each class.

    Args:
        title: What was trained on what.
        summaries: Summary by the protocol's text.
        class_names: K classes.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("fold")
    for protocol in summaries:
        table.add_column(f"WAR %\n{protocol}", justify="right")
        table.add_column(f"UAR %\n{protocol}", justify="right")
    columns = list(summaries.values())
    for index, fold in enumerate(columns[0].folds):
        cells = [_percent(value) for s in columns for value in (s.war[index], s.uar[index])]
        table.add_row(str(fold), *cells)
    table.add_section()
    means = [_percent(value) for s in columns for value in (s.mean_war, s.mean_uar)]
    table.add_row("mean", *means, style="bold")
    screen.print(table)
    recalls = Table(title="recall %, mean over folds", title_justify="left")
    recalls.add_column("class")
    for protocol in summaries:
        recalls.add_column(protocol, justify="right")
    for index, name in enumerate(class_names):
        recalls.add_row(name, *[_percent(s.mean_recalls[index]) for s in columns])
    screen.print(recalls)


def print_costs(title: str, entries: Sequence[Mapping[str, Any]]) -> None:
    """Print what the rows of a table of the paper cost."""
    table = Table(title=title, title_justify="left")
    for header in ("row", "InterFIT", "MSTA", "BiEhPro", "text", "TP", "VP", "M"):
        table.add_column(header)
    for header in (
        "trainable\nparameters M",
        "total\nparameters M",
        "G multiply-adds\npaper convention",
        "FLOPs(G)\nin the paper",
        "G multiply-adds\ntrue",
    ):
        table.add_column(header, justify="right")
    toggles = ("interfit", "msta", "biehpro", "text", "text_prompt", "visual_prompt")
    for entry in entries:
        quoted = entry["paper_gflops"]
        table.add_row(
            entry["row"],
            *["yes" if entry[name] else "-" for name in toggles],
            str(entry["num_blocks"] or "-"),
            f"{entry['trainable_parameters'] / 1e6:.2f}",
            f"{entry['total_parameters'] / 1e6:.2f}",
            f"{entry['paper_convention_gmacs']:.2f}",
            "-" if quoted is None else f"{quoted:.2f}",
            f"{entry['true_gmacs']:.2f}",
        )
    screen.print(table)


def print_ablation(title: str, entries: Sequence[Mapping[str, Any]]) -> None:
    """Print what the rows of a table of the paper reach, beside the paper's figures on DFEW."""
    table = Table(title=title, title_justify="left")
    table.add_column("row")
    for header in ("best epoch on the test fold", "last epoch"):
        table.add_column(f"WAR %\n{header}", justify="right")
        table.add_column(f"UAR %\n{header}", justify="right")
    table.add_column("WAR %\nthe paper, DFEW", justify="right", style="dim")
    table.add_column("UAR %\nthe paper, DFEW", justify="right", style="dim")
    for entry in entries:
        measured = ("best_war", "best_uar", "last_war", "last_uar")
        quoted = [f"{entry[name]:.2f}" for name in ("paper_war", "paper_uar")]
        table.add_row(entry["row"], *[_percent(entry[name]) for name in measured], *quoted)
    screen.print(table)


def print_prediction(prediction: VideoPrediction) -> None:
    """Print a video's time line, a line a window."""
    share = f"face in {prediction.coverage:.0%} of {prediction.num_frames} frames"
    table = Table(title=f"{prediction.video}: {share}", title_justify="left")
    for header in ("from s", "to s", "expression", "confidence", "next"):
        table.add_column(header)
    for window in prediction.windows:
        times = [f"{window.start_s:.1f}", f"{window.end_s:.1f}"]
        if window.probs is None:
            table.add_row(*times, "no face", "", "", style="dim")
            continue
        first, second = (-window.probs).argsort()[:2] if len(window.probs) > 1 else (0, 0)
        bar = "█" * round(10 * float(window.probs[first]))
        names = prediction.class_names
        runner_up = f"{names[second]} {window.probs[second]:.0%}"
        table.add_row(*times, names[first], f"{window.probs[first]:4.0%} {bar}", runner_up)
    screen.print(table)
    mean = prediction.mean_probs
    if mean is not None:
        top = int(mean.argmax())
        screen.print(f"overall: {prediction.class_names[top]} ({mean[top]:.0%} on average)")


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"
