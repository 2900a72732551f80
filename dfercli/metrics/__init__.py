"""Every reported number comes through here: pure numpy and scipy, nothing of it needs torch.

`scores`: WAR, UAR and what they are made of, of one confusion matrix. `folds`: the same over the
folds of a dataset. `resampling`: how far such a figure, or the difference of two, can be trusted,
by a bootstrap. `student`: the same where there are few groups, and which of the two it is.
`calibration`: whether a model is as sure as it is right. `temperature`: when that may be mended.
"""

from dfercli.metrics.bootstrap import (
    Difference,
    FoldIntervals,
    Interval,
    McNemar,
    bootstrap_folds,
    mcnemar,
    paired_bootstrap,
)
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
from dfercli.metrics.folds import FoldSummary, summarise_folds
from dfercli.metrics.scores import (
    confusion_matrix,
    macro_f1,
    per_class_f1,
    per_class_precision,
    per_class_recall,
    uar,
    war,
)
from dfercli.metrics.student_t import ENOUGH_GROUPS, compare_models, estimate_folds

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
    "bootstrap_folds",
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
    "paired_bootstrap",
    "per_class_f1",
    "per_class_precision",
    "per_class_recall",
    "reliability_bins",
    "risk_coverage",
    "summarise_folds",
    "uar",
    "war",
]
