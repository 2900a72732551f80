"""The sections of a page that show clips, and what models make of them: figures 2, 4 and 5."""

from collections.abc import Callable, Mapping

import numpy as np

from dfercli.errors import DataError
from dfercli.report.figures import tsne_figure
from dfercli.report.inputs import Comparison, Missing, ReportInput
from dfercli.report.page import Command, Grid, Part, Picture, Section, Text
from dfercli.report.sections import percent
from dfercli.report.strips import (
    attention_figure,
    errors_figure,
    similarity_figure,
    similarity_histogram_figure,
)

FEATURES = "Where the clips lie"
ATTENTION = "What the model looks at"
PROMPTS = "Similarity of clips and classes"
ERRORS = "Worst errors"


def features_section(given: ReportInput, seed: int) -> Section:
    """Draw the features of the baseline and this variant by t-SNE, the paper's figure 5."""

    def show(found: Comparison) -> list[Part]:
        first = next(iter(found.explanations.values()))
        features = {name: each.features for name, each in found.explanations.items()}
        try:
            figure = tsne_figure(features, first.labels, given.class_names, seed)
        except DataError as error:
            return [Text(error.line, note=True)]
        names = " and ".join(features)
        return [
            Picture(
                figure,
                f"Clips of fold {found.fold} by class in the plane, by the features of {names}.",
                f"t-SNE (seed {seed}) of the video embeddings of fold {found.fold}'s "
                f"{len(first.labels):,} test clips; neighbours stay neighbours, distances between "
                f"groups mean nothing. {_name_variants(found)}",
                enlarged=2.0,
            )
        ]

    return _section(FEATURES, given.features, show)


def attention_section(given: ReportInput) -> Section:
    """Draw what speaks for the predictions without text and with it, the paper's figure 4."""

    def show(found: Comparison) -> list[Part]:
        joined = any(share for clip in found.clips for share in clip.interaction.values())
        tokens = "“Interaction” is the share that comes through InterFIT's tokens, of all frames. "
        return [
            Picture(
                attention_figure(found.clips, given.class_names),
                f"Frames of {len(found.clips)} clips, and heat maps over them of "
                f"{' and '.join(found.variants)}. {_tell_predictions(found, given)}",
                f"Bright patches speak for the class that the model names (attention weighted by "
                f"its gradient and followed through the blocks), beside the brightest of the clip. "
                f"{tokens * joined}{_say_choice(found)} {_name_variants(found)}",
            )
        ]

    return _section(ATTENTION, given.attention, show)


def prompts_section(given: ReportInput) -> Section:
    """Draw the cosines under textual prompts alone and under both kinds, the paper's figure 2."""

    def show(found: Comparison) -> list[Part]:
        cosines = {
            name: each.similarities
            for name, each in found.explanations.items()
            if each.similarities is not None
        }
        if not cosines:
            return [Text("This variant compares no clip with texts.", note=True)]
        labels = next(iter(found.explanations.values())).labels
        return [
            Picture(
                similarity_figure(found.clips, given.class_names),
                f"Frames of {len(found.clips)} clips, and bars of their cosine to each class. "
                f"{_tell_predictions(found, given)}",
                f"Cosine of the clip and each class, before scaling. The true class is shaded, the "
                f"class that is named has an edge. {_say_choice(found)} {_name_variants(found)}",
            ),
            Picture(
                similarity_histogram_figure(cosines, labels),
                f"Histograms of cosines. {_tell_margins(cosines, labels)}",
                f"All {len(labels):,} test clips of fold {found.fold}. The farther apart the two, "
                f"the better the classes are told apart.",
            ),
        ]

    return _section(PROMPTS, given.prompts, show)


def errors_section(given: ReportInput) -> Section:
    """List the most confident errors, and draw their frames."""
    errors = given.errors
    if errors.table.empty:
        return Section(ERRORS, [Text("No clip was named wrongly.")])
    rows = [
        [
            str(number),
            *(str(line[name]) for name in ("label", "predicted")),
            percent(float(line["confidence"]), 1),
            *(str(line[name]) for name in ("fold", "clip_id")),
        ]
        for number, line in enumerate(errors.table.to_dict("records"), 1)
    ]
    headers = ["", "true class", "named", "confidence %", "fold", "clip"]
    parts: list[Part] = [Grid(headers, rows, "The errors that the model is surest of.")]
    if isinstance(errors.clips, Missing):
        return Section(ERRORS, [*parts, *_tell_missing(errors.clips)])
    told = "; ".join(f"{row[1]} named {row[2]}" for row in rows)
    caption = "Their frames, in the table's order. Some may be errors of the labels."
    picture = Picture(errors_figure(errors.clips, given.class_names), f"Frames: {told}.", caption)
    return Section(ERRORS, [*parts, picture])


def _section(
    title: str, found: Comparison | Missing, show: Callable[[Comparison], list[Part]]
) -> Section:
    """Show a comparison, or say what is missing; or both."""
    if isinstance(found, Missing):
        return Section(title, _tell_missing(found))
    parts = show(found)
    if found.remark:
        parts.append(Text(found.remark, note=True))
    if found.missing is not None:
        parts += _tell_missing(found.missing)
    return Section(title, parts)


def _tell_missing(missing: Missing) -> list[Part]:
    parts: list[Part] = [Text(missing.why, note=True)]
    if missing.command:
        parts += [Text("This trains it:"), Command(missing.command)]
    return parts


def _name_variants(found: Comparison) -> str:
    told = [
        f"“{name}” is variant {variant}"
        for name, variant in found.variants.items()
        if name != variant
    ]
    return f"{'; '.join(told)}." if told else ""


def _say_choice(found: Comparison) -> str:
    """Say how the clips that are drawn were chosen: not by hand, and not the best alone."""
    if len(found.explanations) == 1:
        return "The clips: from the one whose true class is likeliest to the one where it is least."
    first, second = found.explanations
    return (
        f"The clips: those whose true class gains most from “{first}” to “{second}”; the last "
        f"one is where it loses most."
    )


def _tell_predictions(found: Comparison, given: ReportInput) -> str:
    told = []
    for clip in found.clips:
        named = ", ".join(
            f"{name} names {given.class_names[top]}" for name, (top, _) in clip.predictions.items()
        )
        told.append(f"True class {given.class_names[clip.label]}: {named}.")
    return " ".join(told)


def _tell_margins(cosines: Mapping[str, np.ndarray], labels: np.ndarray) -> str:
    told = []
    for name, values in cosines.items():
        true = np.arange(values.shape[1]) == labels[:, None]
        means = f"{values[true].mean():.3f} to the true class, {values[~true].mean():.3f} to others"
        told.append(f"{name}: on average {means}.")
    return " ".join(told)
