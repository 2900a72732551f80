"""What the datasets of this field have in common."""

BASIC_EXPRESSIONS = (
    "happiness",
    "sadness",
    "neutral",
    "anger",
    "surprise",
    "disgust",
    "fear",
)
"""The seven classes of DFEW and FERV39k, in DFEW's official order (Jiang et al., 2020)."""
