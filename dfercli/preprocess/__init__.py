"""From a dataset as its authors hand it out to aligned faces on disk and a manifest.

`plan_preprocess` finds out what there is, `preprocess` does it; `clips` gives the faces of each
clip, `review` what a person should look at.
"""

from dfercli.preprocess.plan import Plan, plan_preprocess
from dfercli.preprocess.run import PreprocessSummary, preprocess

__all__ = ["Plan", "PreprocessSummary", "plan_preprocess", "preprocess"]
