"""All reported figures: accuracy, its confidence intervals, and calibration; needs no torch.

`scores` computes WAR, UAR and F1 of a confusion matrix, `folds` their means over folds, `intervals`
confidence intervals and tests, and `calibration` temperatures and the quality of confidences.
"""

from dfercli.metrics.calibration import (
    ReliabilityBins,
    TemperatureFit,
    apply_temperature,
    area_under_risk_coverage,
    brier_score,
    expected_calibration_error,
    fit_calibration,
    fit_temperature,
    negative_log_likelihood,
    reliability_bins,
    risk_coverage,
)
from dfercli.metrics.intervals import (
    ENOUGH_GROUPS,
    Difference,
    FoldIntervals,
    Interval,
    McNemar,
    compare_models,
    estimate_folds,
    mcnemar,
)
from dfercli.metrics.scores import (
    FoldSummary,
    confusion_matrix,
    macro_f1,
    per_class_f1,
    per_class_precision,
    per_class_recall,
    summarise_folds,
    uar,
    war,
)

__all__ = [
    "ENOUGH_GROUPS",
    "Difference",
    "FoldIntervals",
    "FoldSummary",
    "Interval",
    "McNemar",
    "ReliabilityBins",
    "TemperatureFit",
    "apply_temperature",
    "area_under_risk_coverage",
    "brier_score",
    "compare_models",
    "confusion_matrix",
    "estimate_folds",
    "expected_calibration_error",
    "fit_calibration",
    "fit_temperature",
    "macro_f1",
    "mcnemar",
    "negative_log_likelihood",
    "per_class_f1",
    "per_class_precision",
    "per_class_recall",
    "reliability_bins",
    "risk_coverage",
    "summarise_folds",
    "uar",
    "war",
]
