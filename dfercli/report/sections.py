"""The sections of a page that need no clips: results, classes, training, calibration."""

import numpy as np

from dfercli.evaluation.compare import Confidence, calibrate, measure_confidence
from dfercli.evaluation.tables import LABELS, UNTRAINED_NOTE, results_document
from dfercli.report.figures import (
    confusion_matrix_figure,
    curves_figure,
    per_class_bars,
    reliability_figure,
    risk_coverage_figure,
)
from dfercli.report.inputs import ReportInput
from dfercli.report.page import Command, Grid, Part, Picture, Section, Text
from dfercli.tables import Table, format_cell

CHOICES = {
    "best": "The epoch shown is that of each fold's highest WAR on the test fold: it flatters.",
    "val": "The epoch shown is that of each fold's highest WAR on its held-out clips.",
    "last": "The epoch shown is the last one: no curve chose it.",
}
"""By which curve the epoch was chosen, by protocol."""


def results_section(given: ReportInput) -> Section:
    """Give the figures of all protocols as `dfer eval` prints them, and what to be careful with."""
    deviations = given.results.deviations
    parts: list[Part] = [Text(f"Partial data: {line}", note=True) for line in deviations]
    words = (
        "WAR is the share of clips that are named rightly, UAR the mean of the classes' recalls."
    )
    if not given.results.untrained:
        words += f" All pictures below are of the {LABELS[given.protocol]}."
    for table in results_document(given.results).tables:
        parts.append(_grid(table))
        parts += [
            Text(f"{note[0].upper()}{note[1:]}.", note=note == UNTRAINED_NOTE)
            for note in table.notes
        ]
    parts.append(Text(words))
    return Section("Results", parts)


def classes_section(given: ReportInput) -> Section:
    """Draw the recall and F1 of each class, and what is taken for what."""
    summary, names = given.results.summaries[given.protocol], given.class_names
    recalls, f1 = summary.mean_recalls, summary.mean_f1
    told = ", ".join(f"{name} {percent(r, 0)}" for name, r in zip(names, recalls, strict=True))
    shares = summary.matrix - np.diag(np.diag(summary.matrix))
    row, column = divmod(int(shares.argmax()), len(names))
    worst = f"{names[row]} taken for {names[column]} ({shares[row, column]} clips)"
    worst = worst if shares.any() else "none"
    over = _name_folds(given, "mean over the folds")
    together = _name_folds(given, "all folds together")
    return Section(
        "Classes",
        [
            Picture(
                per_class_bars({"recall": recalls, "F1": f1}, names),
                f"Bars of recall and F1 of each class. Recall in percent: {told}.",
                f"Recall and F1 of each class, in percent: {over}.",
            ),
            Picture(
                confusion_matrix_figure(summary.matrix, names),
                f"Confusion matrix of {len(names)} classes. The commonest error: {worst}.",
                f"Percent of the true class's clips, and how many clips: {together}.",
            ),
        ],
    )


def training_section(given: ReportInput) -> Section:
    """Draw the curves of all folds."""
    if given.results.untrained:
        return Section("Training", [Text("This method has nothing to train.", note=True)])
    ends = [lines[-1] for lines in given.metrics.values()]
    loss, war = (float(np.mean([line[key] for line in ends])) for key in ("loss", "war"))
    told = f"loss is {loss:.3f}, WAR on the test clips {percent(war)} percent"
    caption = "A thin line a fold, the thick one is their mean." * (len(ends) > 1)
    if all("val_war" in line for line in ends):
        held_out = float(np.mean([line["val_war"] for line in ends]))
        told += f", on the held-out clips {percent(held_out)} percent"
        caption += " Dashed: the clips that were held out of the training folds."
    over = _name_folds(given, "mean over the folds")
    return Section(
        "Training",
        [
            Picture(
                curves_figure(given.metrics),
                f"Loss, WAR and UAR by epoch. After the last epoch ({over}) {told}.",
                f"{caption} {CHOICES[given.protocol]}".strip(),
            )
        ],
    )


def calibration_section(given: ReportInput) -> Section:
    """Show whether the model is as sure as it is right, before and after a temperature is set."""
    series = {"as predicted": measure_confidence(given.results, given.protocol)}
    parts: list[Part] = []
    if given.results.held_out:
        found = calibrate(given.results, given.protocol)
        if found.after is None:
            parts.append(Text(f"No temperature is set: {'; '.join(found.remarks)}.", note=True))
        else:
            series["temperature set"] = found.after
            listed = ", ".join(f"{t:.2f}" for t in found.temperatures.values())
            words = f"Each fold's temperature is fitted on its held-out clips: {listed}. "
            parts.append(Text(f"{words}Above 1 the model is too sure."))
    else:
        words = "No temperature is set: no clips were held out to fit it on (--val-fraction)."
        parts.append(Text(words, note=True))
    rows = [[name, *_describe_confidence(each)] for name, each in series.items()]
    headers = ["", "ECE %", "log loss", "Brier score", "area under risk %"]
    caption = f"Test clips: {_name_folds(given, 'all folds together')}. Lower is better."
    errors = [f"{name} {row[1]} percent" for name, row in zip(series, rows, strict=True)]
    parts += [
        Grid(headers, rows, caption),
        Picture(
            reliability_figure({name: each.bins for name, each in series.items()}),
            f"Reliability diagram. Expected calibration error: {', '.join(errors)}.",
            "Above: how often predictions of a confidence are right; under the dashed line the "
            "model is too sure. Below: how many clips have that confidence.",
        ),
        Picture(
            risk_coverage_figure({name: each.risk_coverage for name, each in series.items()}),
            "Share of errors among the surest clips, by how many of the clips these are.",
            "What is gained by leaving the least sure clips to a person.",
        ),
    ]
    return Section("Calibration", parts)


def repeat_section(given: ReportInput) -> Section:
    """Give the commands that made these runs, as they were typed."""
    if not given.commands:
        return Section("How to repeat", [Text("The runs do not record a command.", note=True)])
    words = "The commands that made these runs, as they were typed; code and versions are above."
    return Section("How to repeat", [Text(words), *map(Command, given.commands)])


def percent(share: float, decimals: int = 2) -> str:
    """Write a share in percent; a dash for nan."""
    return "–" if np.isnan(share) else f"{100 * share:.{decimals}f}"


def _name_folds(given: ReportInput, of_several: str) -> str:
    """Say how figures of several folds are joined; of a single one, which it is."""
    return of_several if len(given.folds) > 1 else f"fold {given.folds[0]} alone"


def _describe_confidence(found: Confidence) -> list[str]:
    shares = percent(found.ece), f"{found.nll:.3f}", f"{found.brier:.3f}", percent(found.area)
    return list(shares)


def _grid(table: Table) -> Grid:
    """Give a table as the page has it: headings on one line, figures as the screen has them."""
    headers = [f"{c.header}, {c.group}" if c.group else c.header for c in table.columns]
    rows = [
        [format_cell(cell, column.kind) for cell, column in zip(row, table.columns, strict=True)]
        for row in table.rows
    ]
    return Grid(headers, rows, f"{table.title}.")
