"""Draw people: a person, a facial action and a pose give a picture."""

from dfercli.demo.drawing.person import (
    HAIRCUTS,
    LONG_CUTS,
    SHORT_CUTS,
    Action,
    Person,
    Pose,
    make_person,
)
from dfercli.demo.drawing.scene import HEIGHT, WIDTH, draw_backdrop, draw_person

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
