"""What a drawn person is, what the muscles of the face do, and where the head is.

Everybody here is made up of numbers; nobody is a likeness of anyone. Points are in head space:
x to the image's right, y down, origin between the eyes, one unit about half a head's height.
Proportions are our choice, tuned by eye and on what a face detector finds.
"""

from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Hair:
    """A haircut: where the hairline runs from temple to temple, and what hangs behind the head.

    Attributes:
        hairline: Heights at seven places from the image's left to its right, above the ears first.
        volume: How far the hair stands off the skull.
        back: Down to where it hangs behind the face; 0 for hair that does not.
        curls: Radius of curls along the edges.
        bun: Radius of a bun on top.
    """

    hairline: tuple[float, ...]
    volume: float = 0.1
    back: float = 0.0
    curls: float = 0.0
    bun: float = 0.0


HAIRCUTS = {
    "short": Hair((0.05, -0.5, -0.72, -0.7, -0.72, -0.5, 0.05)),
    "crop": Hair((-0.1, -0.55, -0.8, -0.76, -0.8, -0.55, -0.1), volume=0.04),
    "parted": Hair((0.0, -0.42, -0.56, -0.66, -0.86, -0.6, 0.0), volume=0.16),
    "quiff": Hair((0.0, -0.58, -0.84, -0.9, -0.8, -0.55, 0.0), volume=0.27),
    "receding": Hair((0.1, -0.5, -0.98, -0.86, -0.98, -0.5, 0.1), volume=0.05),
    "curly": Hair((0.05, -0.5, -0.68, -0.7, -0.68, -0.5, 0.05), volume=0.16, curls=0.13),
    "afro": Hair((0.1, -0.52, -0.72, -0.76, -0.72, -0.52, 0.1), 0.34, back=0.35, curls=0.17),
    "bob": Hair((0.65, -0.3, -0.68, -0.9, -0.74, -0.3, 0.65), 0.15, back=0.85),
    "fringe": Hair((0.6, -0.32, -0.42, -0.4, -0.42, -0.32, 0.6), 0.15, back=0.95),
    "long": Hair((0.75, -0.2, -0.6, -0.94, -0.6, -0.2, 0.75), 0.14, back=1.9),
    "swept": Hair((0.7, -0.22, -0.44, -0.66, -0.92, -0.5, 0.5), 0.17, back=1.7),
    "wavy": Hair((0.5, -0.4, -0.7, -0.84, -0.7, -0.4, 0.5), 0.2, back=1.3, curls=0.14),
    "bun": Hair((-0.05, -0.5, -0.8, -0.84, -0.8, -0.5, -0.05), 0.06, bun=0.3),
    "bald": Hair(()),
}


@dataclass(frozen=True)
class Person:
    """What stays the same in all videos of a drawn person; lengths in head space, colours RGB."""

    skin: Colour
    hair_colour: Colour
    iris: Colour
    lips: Colour
    clothes: Colour
    backdrop: Colour
    haircut: str = "short"
    width: float = 0.78
    length: float = 1.1
    jaw: float = 0.72
    eye_gap: float = 0.34
    eye_size: float = 0.19
    eye_tilt: float = 0.0
    brow: float = 0.05
    nose_width: float = 0.15
    nose_length: float = 0.42
    mouth_width: float = 0.27
    lip_fullness: float = 1.0
    lashes: float = 0.5
    beard: str = ""
    glasses: str = ""
    earrings: bool = False
    freckles: bool = False
    age: float = 0.0
    collar: str = "crew"
    scenery: str = "plain"
    light: float = 0.3
    contrast: float = 0.25


@dataclass(frozen=True)
class Action:
    """What the face does: strengths of action units of FACS, from 0 to 1.

    Attributes:
        inner_brow: AU1, raised.
        outer_brow: AU2, raised.
        frown: AU4, brows lowered and drawn together.
        wide: AU5, upper lids raised.
        cheek: AU6, cheeks raised.
        squint: AU7, lids tightened.
        nose: AU9, wrinkled.
        upper_lip: AU10, raised.
        smile: AU12, corners of the lips up.
        sulk: AU15, corners of the lips down.
        chin: AU17, raised.
        stretch: AU20, lips drawn apart.
        press: AU23 and AU24, lips tightened and pressed.
        part: AU25.
        jaw: AU26 and AU27, dropped.
        tongue: AU19, shown.
        blink: AU45.
        gaze_x: From -1, to the image's left, to 1.
        gaze_y: From -1, up, to 1.
        skew: From -1 to 1: which corner of a smile is higher.
    """

    inner_brow: float = 0.0
    outer_brow: float = 0.0
    frown: float = 0.0
    wide: float = 0.0
    cheek: float = 0.0
    squint: float = 0.0
    nose: float = 0.0
    upper_lip: float = 0.0
    smile: float = 0.0
    sulk: float = 0.0
    chin: float = 0.0
    stretch: float = 0.0
    press: float = 0.0
    part: float = 0.0
    jaw: float = 0.0
    tongue: float = 0.0
    blink: float = 0.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0
    skew: float = 0.0


@dataclass(frozen=True)
class Pose:
    """Where the head is: shift in units, roll in radians, yaw and pitch as sines of the angle."""

    x: float = 0.0
    y: float = 0.0
    roll: float = 0.0
    scale: float = 1.0
    yaw: float = 0.0
    pitch: float = 0.0
