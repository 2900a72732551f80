"""All reported figures: accuracy, its confidence intervals, and calibration; needs no torch.

`scores` computes WAR, UAR and F1 of a confusion matrix, `folds` their means over folds, `intervals`
confidence intervals and tests, and `calibration` temperatures and the quality of confidences.
"""
