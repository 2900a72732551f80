"""From a dataset as its authors hand it out to aligned faces on disk and a manifest.

`plan` finds out what there is, `run` does it; `clips` gives the faces of each clip, `review` what a
person should look at. Nothing is imported here: every process that crops would have to wait for it.
"""
