"""What each expression looks like, in words that stand for its name in DFER-CLIP's prompts.

The wording is ours. It puts the action units of EMFACS into plain words (Ekman and Friesen's
prototypes; the units stand beside each line). Anxiety, helplessness and disappointment have no
prototype: theirs are milder forms of fear and sadness. DFER-CLIP's own words were written by a
language model, and differ.

What tells the classes apart comes first: a small text tower may read no more than two words.
"""

from collections.abc import Sequence

DESCRIPTORS = {
    # AU 6, 12
    "happiness": "smiling mouth with its corners pulled up, raised cheeks and narrowed eyes",
    # AU 1, 4, 15
    "sadness": "drooping lip corners, with the inner ends of the eyebrows raised and knitted",
    # none
    "neutral": "relaxed face at rest, with level eyebrows and a closed, straight mouth",
    # AU 4, 5, 7, 23
    "anger": "lowered eyebrows over glaring eyes, with tense eyelids and lips pressed tight",
    # AU 1, 2, 5, 26
    "surprise": "raised eyebrows, eyes wide open and a dropped jaw",
    # AU 9, 15, 16
    "disgust": "wrinkled nose, with the lower lip pushed down and the lip corners turned down",
    # AU 1, 2, 4, 5, 7, 20, 26
    "fear": "staring wide eyes under raised, tense eyebrows, with lips stretched and parted",
    # AU 12 and 14 on one side
    "contempt": "one-sided smirk, with one lip corner tightened and raised",
    # AU 1, 4, 5, 20
    "anxiety": "worried frown over tense eyes, with lips slightly stretched",
    # AU 1, 4, 15, 43
    "helplessness": "slack mouth and tired eyelids, with the inner ends of the eyebrows raised",
    # AU 15, 17, 64
    "disappointment": "pouting chin and a downward look, with lip corners slightly turned down",
}
"""Descriptor by class of DFEW, FERV39k and MAFW."""


def describe_classes(class_names: Sequence[str]) -> list[str]:
    """Give the descriptor of each class; a class without one is its own name."""
    return [DESCRIPTORS.get(name.strip().lower(), name) for name in class_names]
