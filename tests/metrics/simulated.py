"""Models that are as good as one says, and the figures of what they predict."""

from functools import partial

import numpy as np

from dfercli.metrics.intervals import compare_models, estimate_folds
from dfercli.metrics.scores import confusion_matrix, summarise_folds

bootstrap_folds = partial(estimate_folds, method="bootstrap")
paired_bootstrap = partial(compare_models, method="bootstrap")


def simulate(num_clips, accuracy=0.6, seed=0, num_classes=3, num_folds=5):
    """Labels, predictions of an accuracy, and folds."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_clips)
    wrong = (labels + rng.integers(1, num_classes, num_clips)) % num_classes
    predicted = np.where(rng.random(num_clips) < accuracy, labels, wrong)
    return labels, predicted, rng.integers(1, num_folds + 1, num_clips)


def measure(labels, predicted, folds, num_classes=3):
    """Mean WAR and UAR over folds, by the confusion matrices."""
    names = np.unique(folds)
    matrices = [
        confusion_matrix(labels[folds == f], predicted[folds == f], num_classes) for f in names
    ]
    summary = summarise_folds(names.tolist(), matrices)
    return summary.mean_war, summary.mean_uar


def width(interval):
    return interval.high - interval.low
