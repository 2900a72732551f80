"""Drawn people: a person, an action of the face and a pose make a picture."""

from dfercli.drawing.cast import LONG_CUTS, SHORT_CUTS, make_person
from dfercli.drawing.person import HAIRCUTS, Action, Person, Pose
from dfercli.drawing.scene import HEIGHT, WIDTH, draw_backdrop, draw_person

__all__ = [
    "HAIRCUTS",
    "HEIGHT",
    "LONG_CUTS",
    "SHORT_CUTS",
    "WIDTH",
    "Action",
    "Person",
    "Pose",
    "draw_backdrop",
    "draw_person",
    "make_person",
]
