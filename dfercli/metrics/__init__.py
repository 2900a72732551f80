"""All reported figures: accuracy, its confidence intervals, and calibration; needs no torch.

`scores` computes WAR, UAR and F1 of confusion matrices and folds, `intervals` confidence intervals
and tests, and `calibration` temperatures and the quality of confidences.
"""
