"""Turn a dataset as published into face crops and a manifest.

`plan` decides what to do and `run` does it; `crops` makes or adopts the faces of each clip, and
`review` lists what a person should check. Nothing is imported here, since every worker would import
it, too.
"""
