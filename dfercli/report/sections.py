"""The sections of the page, in order of appearance."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from dfercli.errors import DataError
from dfercli.evaluation.compare import calibrate, measure_confidence
from dfercli.evaluation.tables import LABELS, UNTRAINED_NOTE, results_document
from dfercli.report.figures import (
    ClipPicture,
    attention_figure,
    confusion_matrix_figure,
    errors_figure,
    per_class_bars,
    reliability_figure,
    risk_coverage_figure,
    similarity_figure,
    similarity_histogram_figure,
    tsne_figure,
)
from dfercli.report.gallery import Comparison
from dfercli.report.page import Command, Grid, Part, Picture, Section, Text
from dfercli.report.variants import Missing, Runs
from dfercli.runs.curves import curves_figure
from dfercli.tables import format_cell

CHOICES = {
    "best": "The epoch shown has each fold's highest WAR on the test fold, which is optimistic.",
    "val": "The epoch shown has each fold's highest WAR on its held-out clips.",
    "last": "The epoch shown is the last one; it was not chosen by any result.",
}
"""How the epoch was chosen, by protocol."""

TSNE_SEED = 0


def results_section(runs: Runs) -> Section:
    """Return the tables of all protocols as `dfer eval` prints them, with their notes."""
    parts: list[Part] = [
        Text(f"Partial data: {line}", note=True) for line in runs.results.deviations
    ]
    for table in results_document(runs.results).tables:
        headers = [f"{c.header}, {c.group}" if c.group else c.header for c in table.columns]
        rows = [
            [
                format_cell(cell, column.kind)
                for cell, column in zip(row, table.columns, strict=True)
            ]
            for row in table.rows
        ]
        parts.append(Grid(headers, rows, f"{table.title}."))
        parts += [
            Text(f"{note[0].upper()}{note[1:]}.", note=note == UNTRAINED_NOTE)
            for note in table.notes
        ]
    words = "WAR is the share of clips classified correctly, UAR the mean of the classes' recalls."
    if not runs.results.untrained:
        words += f" All pictures below are of the {LABELS[runs.protocol]}."
    return Section("Results", [*parts, Text(words)])


def classes_section(runs: Runs) -> Section:
    """Draw recall and F1 of each class, and the confusion matrix."""
    summary, names = runs.results.summaries[runs.protocol], runs.class_names
    recalls = ", ".join(
        f"{name} {percent(recall, 0)}"
        for name, recall in zip(names, summary.mean_recalls, strict=True)
    )
    errors = summary.matrix - np.diag(np.diag(summary.matrix))
    row, column = np.unravel_index(errors.argmax(), errors.shape)
    worst = "none"
    if errors.any():
        worst = f"{names[row]} predicted as {names[column]} ({errors[row, column]} clips)"
    bars = per_class_bars({"recall": summary.mean_recalls, "F1": summary.mean_f1}, names)
    return Section(
        "Classes",
        [
            Picture(
                bars,
                f"Bars of recall and F1 of each class. Recall in percent: {recalls}.",
                f"Recall and F1 of each class, in percent: {_mean_over_folds(runs)}.",
            ),
            Picture(
                confusion_matrix_figure(summary.matrix, names),
                f"Confusion matrix of {len(names)} classes. The most frequent error: {worst}.",
                f"Percent of the true class's clips, and number of clips: {_all_folds(runs)}.",
            ),
        ],
    )


def training_section(runs: Runs) -> Section:
    """Draw the learning curves of all folds."""
    if runs.results.untrained:
        return Section("Training", [Text("This method has nothing to train.", note=True)])
    metrics = {fold: run.read_metrics() for fold, run in runs.by_fold.items()}
    last = pd.DataFrame([lines[-1] for lines in metrics.values()])
    figures = (
        f"loss is {last['loss'].mean():.3f}, "
        f"WAR on the test clips {percent(last['war'].mean())} percent"
    )
    caption = ["One thin line per fold; the thick line is their mean."] if len(last) > 1 else []
    if "val_war" in last and last["val_war"].notna().all():
        figures += f", on the held-out clips {percent(last['val_war'].mean())} percent"
        caption.append("Dashed: the clips held out of the training folds.")
    return Section(
        "Training",
        [
            Picture(
                curves_figure(metrics),
                f"Loss, WAR and UAR by epoch. After the last epoch ({_mean_over_folds(runs)}) "
                f"{figures}.",
                " ".join([*caption, CHOICES[runs.protocol]]),
            )
        ],
    )


def calibration_section(runs: Runs) -> Section:
    """Show whether confidences match accuracy, before and after a temperature."""
    series = {"as predicted": measure_confidence(runs.results, runs.protocol)}
    if not runs.results.held_out:
        words = "No temperature: no clips were held out to fit it on (--val-fraction)."
        temperature = Text(words, note=True)
    else:
        calibration = calibrate(runs.results, runs.protocol)
        if calibration.after is None:
            temperature = Text(f"No temperature: {'; '.join(calibration.remarks)}.", note=True)
        else:
            series["with temperature"] = calibration.after
            values = ", ".join(f"{value:.2f}" for value in calibration.temperatures.values())
            temperature = Text(
                f"Each fold's temperature is fitted on its held-out clips: {values}. "
                f"Above 1 the model is overconfident."
            )
    headers = ["", "ECE %", "log loss", "Brier score", "area under risk %"]
    rows = [
        [name, percent(c.ece), f"{c.nll:.3f}", f"{c.brier:.3f}", percent(c.area)]
        for name, c in series.items()
    ]
    errors = ", ".join(f"{name} {error} percent" for name, error, *_ in rows)
    return Section(
        "Calibration",
        [
            temperature,
            Grid(headers, rows, f"Test clips: {_all_folds(runs)}. Lower is better."),
            Picture(
                reliability_figure({name: c.bins for name, c in series.items()}),
                f"Reliability diagram. Expected calibration error: {errors}.",
                "Above: accuracy of predictions by confidence; under the dashed line the model is "
                "overconfident. Below: share of clips by confidence.",
            ),
            Picture(
                risk_coverage_figure({name: c.risk_coverage for name, c in series.items()}),
                "Error rate of the most confident clips, by their share of all clips.",
                "How far the error rate falls if a person decides the least confident clips.",
            ),
        ],
    )


def features_section(comparison: Comparison | Missing, class_names: Sequence[str]) -> Section:
    """Draw the features of the baseline and this variant by t-SNE (the paper's Figure 5)."""

    def show(pair: Comparison) -> list[Part]:
        labels = next(iter(pair.explanations.values())).labels
        features = {name: explained.features for name, explained in pair.explanations.items()}
        try:
            figure = tsne_figure(features, labels, class_names, TSNE_SEED)
        except DataError as error:
            return [Text(error.line, note=True)]
        return [
            Picture(
                figure,
                f"Clips of fold {pair.fold} by class in the plane, from the features of "
                f"{' and '.join(features)}.",
                f"t-SNE (seed {TSNE_SEED}) of the video embeddings of fold {pair.fold}'s "
                f"{len(labels):,} test clips. Nearby clips have similar features; distances "
                f"between groups have no meaning. {_name_variants(pair)}",
                enlarged=2.0,
            )
        ]

    return _compare("Features of the clips", comparison, show)


def attention_section(comparison: Comparison | Missing, class_names: Sequence[str]) -> Section:
    """Draw the evidence for the predictions without and with text (the paper's Figure 4)."""

    def show(pair: Comparison) -> list[Part]:
        caption = [
            "Bright patches are evidence for the predicted class (attention weighted by its "
            "gradient and followed through the blocks), relative to the brightest of the clip."
        ]
        if any(share for clip in pair.clips for share in clip.interaction.values()):
            caption.append(
                "“Interaction” is the share of all frames' evidence that comes through InterFIT's "
                "tokens."
            )
        return [
            Picture(
                attention_figure(pair.clips, class_names),
                f"Frames of {len(pair.clips)} clips, and heat maps over them of "
                f"{' and '.join(pair.variants)}. {_list_predictions(pair, class_names)}",
                " ".join([*caption, _explain_choice(pair), _name_variants(pair)]),
            )
        ]

    return _compare("What the model looks at", comparison, show)


def prompts_section(comparison: Comparison | Missing, class_names: Sequence[str]) -> Section:
    """Draw the similarities under textual prompts and under both kinds (the paper's Figure 2)."""

    def show(pair: Comparison) -> list[Part]:
        cosines = {
            name: explained.similarities
            for name, explained in pair.explanations.items()
            if explained.similarities is not None
        }
        if not cosines:
            return [Text("This variant does not compare clips with texts.", note=True)]
        labels = next(iter(pair.explanations.values())).labels
        return [
            Picture(
                similarity_figure(pair.clips, class_names),
                f"Frames of {len(pair.clips)} clips, and bars of their cosine to each class. "
                f"{_list_predictions(pair, class_names)}",
                "Cosine of the clip and each class, before scaling. The true class is shaded, the "
                f"predicted class outlined. {_explain_choice(pair)} {_name_variants(pair)}",
            ),
            Picture(
                similarity_histogram_figure(cosines, labels),
                f"Histograms of cosines. {_list_means(cosines, labels)}",
                f"All {len(labels):,} test clips of fold {pair.fold}. The farther apart the two, "
                "the better the classes are separated.",
            ),
        ]

    return _compare("Similarity of clips and classes", comparison, show)


def errors_section(
    table: pd.DataFrame, clips: Sequence[ClipPicture] | Missing, class_names: Sequence[str]
) -> Section:
    """List the most confident errors, and draw their frames."""
    title = "Worst errors"
    if table.empty:
        return Section(title, [Text("No clip was misclassified.")])
    rows = [
        [
            *(str(number), row["label"], row["predicted"], percent(row["confidence"], 1)),
            *(str(row["fold"]), row["clip_id"]),
        ]
        for number, row in enumerate(table.to_dict("records"), 1)
    ]
    headers = ["", "true class", "predicted", "confidence %", "fold", "clip"]
    grid = Grid(headers, rows, "The errors of highest confidence.")
    if isinstance(clips, Missing):
        return Section(title, [grid, *_describe_missing(clips)])
    errors = "; ".join(f"{label} predicted as {predicted}" for _, label, predicted, *_ in rows)
    caption = "Frames of these clips, in the order of the table. Some labels may be wrong."
    picture = Picture(errors_figure(clips, class_names), f"Frames: {errors}.", caption)
    return Section(title, [grid, picture])


def repeat_section(runs: Runs) -> Section:
    """Return the commands of these runs, as they were typed."""
    records = [run.record for run in runs.by_fold.values()]
    typed = [record.calls[0].command for record in records]
    typed += [call.command for record in records for call in record.resumed]
    commands = [Command(line) for line in dict.fromkeys(typed) if line]
    if not commands:
        return Section("How to repeat", [Text("The runs do not record a command.", note=True)])
    words = "The commands of these runs, as they were typed; code and versions are listed above."
    return Section("How to repeat", [Text(words), *commands])


def percent(fraction: float, decimals: int = 2) -> str:
    """Return a fraction in percent; a dash for nan."""
    return "–" if np.isnan(fraction) else f"{100 * fraction:.{decimals}f}"


def _mean_over_folds(runs: Runs) -> str:
    return "mean over the folds" if len(runs.by_fold) > 1 else _only_fold(runs)


def _all_folds(runs: Runs) -> str:
    return "all folds together" if len(runs.by_fold) > 1 else _only_fold(runs)


def _only_fold(runs: Runs) -> str:
    return f"fold {next(iter(runs.by_fold))} alone"


def _compare(
    title: str, comparison: Comparison | Missing, show: Callable[[Comparison], list[Part]]
) -> Section:
    """Return a section with a comparison, or with what it lacks, or both."""
    if isinstance(comparison, Missing):
        return Section(title, _describe_missing(comparison))
    parts = show(comparison)
    if comparison.remark:
        parts.append(Text(comparison.remark, note=True))
    if comparison.missing is not None:
        parts += _describe_missing(comparison.missing)
    return Section(title, parts)


def _describe_missing(missing: Missing) -> list[Part]:
    parts: list[Part] = [Text(missing.why, note=True)]
    if missing.command:
        parts += [Text("This command trains it:"), Command(missing.command)]
    return parts


def _name_variants(comparison: Comparison) -> str:
    names = [
        f"“{name}” is variant {variant}"
        for name, variant in comparison.variants.items()
        if name != variant
    ]
    return f"{'; '.join(names)}." if names else ""


def _explain_choice(comparison: Comparison) -> str:
    """Describe how the clips in the figure were chosen."""
    if len(comparison.explanations) == 1:
        return "Clips are spread evenly from the most to the least probable true class."
    first, second = comparison.explanations
    return (
        f"Clips are those whose true class gains most probability from “{first}” to “{second}”; in "
        f"the last one it loses most."
    )


def _list_predictions(comparison: Comparison, class_names: Sequence[str]) -> str:
    sentences = []
    for clip in comparison.clips:
        predictions = ", ".join(
            f"{name} predicts {class_names[top]}" for name, (top, _) in clip.predictions.items()
        )
        sentences.append(f"True class {class_names[clip.label]}: {predictions}.")
    return " ".join(sentences)


def _list_means(cosines: Mapping[str, np.ndarray], labels: np.ndarray) -> str:
    sentences = []
    for name, values in cosines.items():
        true = np.arange(values.shape[1]) == labels[:, None]
        means = f"{values[true].mean():.3f} to the true class, {values[~true].mean():.3f} to others"
        sentences.append(f"{name}: on average {means}.")
    return " ".join(sentences)
