"""The sections of a page that need no clips: results, folds, classes, training, calibration."""

import numpy as np
import pandas as pd

from dfercli.engine.evaluate import PROTOCOLS
from dfercli.metrics import (
    apply_temperature,
    area_under_risk_coverage,
    brier_score,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability_bins,
    risk_coverage,
)
from dfercli.report.figures import (
    confusion_matrix_figure,
    curves_figure,
    per_class_bars,
    reliability_figure,
    risk_coverage_figure,
)
from dfercli.report.inputs import ReportInput
from dfercli.report.page import Command, Grid, Part, Picture, Section, Text

EPOCHS = {"best": "best epoch", "last": "last epoch"}


def results_section(given: ReportInput) -> Section:
    """Give the headline figures of both protocols, and what to be careful with."""
    rows = []
    for name, key, sd_key in (
        ("WAR %", "mean_war", "sd_war"),
        ("UAR %", "mean_uar", "sd_uar"),
        ("macro F1 %", "mean_macro_f1", None),
    ):
        cells = []
        for summary in given.summaries.values():
            spread = getattr(summary, sd_key) if sd_key else float("nan")
            plus_minus = "" if np.isnan(spread) else f" ± {percent(spread)}"
            cells.append(percent(getattr(summary, key)) + plus_minus)
        rows.append([name, *cells])
    summary = next(iter(given.summaries.values()))
    number, clips = len(summary.folds), int(summary.num_clips.sum())
    caption = f"Mean over {number} fold{'s' * (number > 1)}, {clips:,} clips in all"
    caption += "; ± one standard deviation of the folds." if number > 1 else "."
    parts: list[Part] = [Text(f"Partial data: {line}", note=True) for line in given.deviations]
    parts.append(Grid(["", *(EPOCHS[name] for name in given.summaries)], rows, caption))
    parts += [Text(f"{EPOCHS[name].capitalize()}: {words}.") for name, words in PROTOCOLS.items()]
    parts.append(
        Text(
            "WAR is the share of clips that are named rightly, UAR the mean of the classes' "
            f"recalls. All that follows is of the {EPOCHS[given.protocol]}."
        )
    )
    return Section("Results", parts)


def folds_section(given: ReportInput) -> Section:
    """Give the figures of each fold."""
    summaries = given.summaries.items()
    headers = [f"{metric} %, {EPOCHS[name]}" for name, _ in summaries for metric in ("WAR", "UAR")]
    first = next(iter(given.summaries.values()))
    rows = []
    for index, fold in enumerate(first.folds):
        cells = [percent(v) for _, each in summaries for v in (each.war[index], each.uar[index])]
        rows.append([f"fold {fold}", f"{first.num_clips[index]:,}", *cells])
    means = [percent(v) for _, each in summaries for v in (each.mean_war, each.mean_uar)]
    rows.append(["mean", "", *means])
    return Section("Folds", [Grid(["", "clips", *headers], rows, "Test clips of each fold.")])


def classes_section(given: ReportInput) -> Section:
    """Draw the recall and F1 of each class, and what is taken for what."""
    summary, names = given.summaries[given.protocol], given.class_names
    recalls, f1 = summary.mean_recalls, summary.mean_f1
    told = ", ".join(f"{name} {percent(r, 0)}" for name, r in zip(names, recalls, strict=True))
    shares = summary.matrix - np.diag(np.diag(summary.matrix))
    row, column = divmod(int(shares.argmax()), len(names))
    worst = f"{names[row]} taken for {names[column]} ({shares[row, column]} clips)"
    worst = worst if shares.any() else "none"
    return Section(
        "Classes",
        [
            Picture(
                per_class_bars({"recall": recalls, "F1": f1}, names),
                f"Bars of recall and F1 of each class. Recall in percent: {told}.",
                "Recall and F1 of each class, in percent: mean over the folds.",
            ),
            Picture(
                confusion_matrix_figure(summary.matrix, names),
                f"Confusion matrix of {len(names)} classes. The commonest error: {worst}.",
                "Percent of the true class's clips, and how many clips, all folds together.",
            ),
        ],
    )


def training_section(given: ReportInput) -> Section:
    """Draw the curves of all folds."""
    ends = [lines[-1] for lines in given.metrics.values()]
    loss, war = (float(np.mean([line[key] for line in ends])) for key in ("loss", "war"))
    return Section(
        "Training",
        [
            Picture(
                curves_figure(given.metrics),
                f"Loss, WAR and UAR by epoch. After the last epoch the mean loss is {loss:.3f} "
                f"and the mean WAR {percent(war)} percent.",
                "A thin line a fold, the thick one is their mean. WAR and UAR are of the test "
                "fold, which the best epoch is chosen by.",
            )
        ],
    )


def calibration_section(given: ReportInput) -> Section:
    """Show whether the model is as sure as it is right, before and after a temperature is set."""
    probs, labels = _pool(list(given.predictions.values()))
    series = {"as trained": probs}
    parts: list[Part] = []
    if len(given.predictions) > 1:
        temperatures, scaled = _scale_folds(list(given.predictions.values()))
        series["temperature set"] = scaled
        listed = ", ".join(f"{t:.2f}" for t in temperatures)
        parts.append(
            Text(
                "Each fold's temperature is fitted on the other folds' predictions: "
                f"{listed}. Above 1 the model is too sure."
            )
        )
    else:
        words = "No temperature is set: it is fitted on other folds, and this is the only one."
        parts.append(Text(words, note=True))
    rows = [
        [
            name,
            percent(expected_calibration_error(values, labels)),
            f"{negative_log_likelihood(values, labels):.3f}",
            f"{brier_score(values, labels):.3f}",
            percent(area_under_risk_coverage(*_surest(values, labels))),
        ]
        for name, values in series.items()
    ]
    headers = ["", "ECE %", "log loss", "Brier score", "area under risk %"]
    caption = "Of all folds' test clips together; the lower, the better."
    bins = {name: reliability_bins(values, labels) for name, values in series.items()}
    curves = {name: risk_coverage(*_surest(values, labels)) for name, values in series.items()}
    errors = [f"{name} {row[1]} percent" for name, row in zip(series, rows, strict=True)]
    parts += [
        Grid(headers, rows, caption),
        Picture(
            reliability_figure(bins),
            f"Reliability diagram. Expected calibration error: {', '.join(errors)}.",
            "Above: how often predictions of a confidence are right; under the dashed line the "
            "model is too sure. Below: how many clips have that confidence.",
        ),
        Picture(
            risk_coverage_figure(curves),
            "Share of errors among the surest clips, by how many of the clips these are.",
            "What is gained by leaving the least sure clips to a person.",
        ),
    ]
    return Section("Calibration", parts)


def repeat_section(given: ReportInput) -> Section:
    """Give the commands that made these runs, as they were typed."""
    if not given.commands:
        return Section("How to repeat", [Text("The runs do not record a command.", note=True)])
    words = "The commands that trained these runs, as they were typed; code and versions are above."
    return Section("How to repeat", [Text(words), *map(Command, given.commands)])


def percent(share: float, decimals: int = 2) -> str:
    """Write a share in percent; a dash for nan."""
    return "–" if np.isnan(share) else f"{100 * share:.{decimals}f}"


def _split(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Give probabilities (N, K), whose rows sum to 1, and labels (N,) of a table of predictions."""
    class_names = list(table.columns[2:])
    probs = table[class_names].to_numpy(dtype=np.float64)
    labels = np.array([class_names.index(name) for name in table["label"]])
    return probs / probs.sum(axis=1, keepdims=True), labels


def _pool(tables: list[pd.DataFrame]) -> tuple[np.ndarray, np.ndarray]:
    split = [_split(table) for table in tables]
    return np.concatenate([p for p, _ in split]), np.concatenate([labels for _, labels in split])


def _scale_folds(tables: list[pd.DataFrame]) -> tuple[list[float], np.ndarray]:
    """Give each fold's temperature, and all probabilities after it."""
    temperatures, scaled = [], []
    for index, table in enumerate(tables):
        others = _pool(tables[:index] + tables[index + 1 :])
        temperatures.append(fit_temperature(*others))
        scaled.append(apply_temperature(_split(table)[0], temperatures[-1]))
    return temperatures, np.concatenate(scaled)


def _surest(probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return probs.max(axis=1), probs.argmax(axis=1) == labels
