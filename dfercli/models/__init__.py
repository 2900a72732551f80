"""The paper's model, one file a box of its figure.

Shapes are written with these letters, here and in every docstring:

| letter | is |
|---|---|
| B | clips in a batch |
| T | frames a clip |
| P | tokens a frame: the class token and the patches |
| D | width of the backbone |
| E | width of the joint space of images and texts |
| K | classes |
"""
