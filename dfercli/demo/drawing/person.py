"""Drawn people: their looks, facial actions and poses."""

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Hair:
    """A haircut, in head space.

    Attributes:
        hairline: Heights of the hairline at seven places, left to right; the ends are at the ears.
        volume: Distance of the hair from the skull.
        back: Lower end of the hair behind the face; 0 for none.
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
    """Looks of a person; lengths in head space, colours RGB."""

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
    """Facial action: strengths of the action units of FACS, from 0 to 1.

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
    """Pose of the head: shift in head units, roll in radians, yaw and pitch as sines."""

    x: float = 0.0
    y: float = 0.0
    roll: float = 0.0
    scale: float = 1.0
    yaw: float = 0.0
    pitch: float = 0.0


SKINS: tuple[Colour, ...] = (
    (246, 214, 192),
    (198, 144, 110),
    (232, 190, 156),
    (132, 88, 64),
    (240, 200, 170),
    (172, 118, 88),
    (226, 178, 132),
    (104, 70, 54),
    (214, 160, 116),
)

DARK_HAIR: tuple[Colour, ...] = ((30, 25, 28), (52, 36, 30), (44, 32, 40), (72, 48, 34))

ANY_HAIR: tuple[Colour, ...] = (
    *DARK_HAIR,
    (122, 78, 44),
    (206, 164, 96),
    (158, 72, 38),
    (96, 62, 40),
)

GREY_HAIR: tuple[Colour, ...] = ((150, 148, 150), (206, 204, 202))

IRISES: tuple[Colour, ...] = ((88, 60, 38), (70, 108, 148), (84, 120, 84), (112, 100, 62))

SHORT_CUTS = ("parted", "bald", "quiff", "receding", "short", "curly", "crop", "afro")

LONG_CUTS = ("bob", "swept", "bun", "fringe", "wavy", "afro", "long", "curly")

BEARDS = ("", "full", "stubble", "moustache", "")

COLLARS = ("crew", "vee", "shirt", "high")

SCENERIES = ("window", "dots", "plain", "stripes", "hills")


def make_person(seed: int, index: int) -> Person:
    """Return a random person. Consecutive indices differ in skin, haircut and scenery."""
    rng = np.random.default_rng([seed, index])
    turn = index + seed
    skin = _vary(SKINS[turn % len(SKINS)], rng, 5)
    age = float(rng.choice([0.0, 0.0, 0.0, 0.1, 0.1, 0.4, 0.9]))
    dark = sum(skin) < 440
    hair = GREY_HAIR if age > 0.6 else DARK_HAIR if dark else ANY_HAIR
    short = turn % 2 == 0
    hue = (0.14 + turn * 0.618) % 1
    lip_tint = (0.82, 0.6, 0.58) if short else (0.86, 0.42, 0.46)
    lips = tuple(int(c * t) for c, t in zip(skin, lip_tint, strict=True))
    return Person(
        skin=skin,
        hair_colour=_vary(hair[rng.integers(len(hair))], rng, 6),
        iris=IRISES[0 if dark else rng.integers(len(IRISES))],
        lips=(max(lips[0], 120 if not short else 0), lips[1], lips[2]),
        clothes=_hsv(
            hue + 0.35 + rng.uniform(0, 0.3), rng.uniform(0.25, 0.7), rng.uniform(0.3, 0.85)
        ),
        backdrop=_hsv(hue, rng.uniform(0.1, 0.3), rng.uniform(0.55, 0.85)),
        haircut=(SHORT_CUTS if short else LONG_CUTS)[turn // 2 % len(SHORT_CUTS)],
        width=rng.uniform(0.72, 0.86),
        length=rng.uniform(1.04, 1.17),
        jaw=rng.uniform(0.66, 0.8) if short else rng.uniform(0.6, 0.72),
        eye_gap=rng.uniform(0.315, 0.365),
        eye_size=rng.uniform(0.165, 0.205),
        eye_tilt=rng.uniform(-0.01, 0.035),
        brow=rng.uniform(0.045, 0.075) if short else rng.uniform(0.03, 0.05),
        nose_width=rng.uniform(0.12, 0.18),
        nose_length=rng.uniform(0.38, 0.45),
        mouth_width=rng.uniform(0.24, 0.3),
        lip_fullness=rng.uniform(0.7, 1.1) + (0.0 if short else 0.2),
        lashes=rng.uniform(0.2, 0.5) if short else rng.uniform(0.6, 1.0),
        beard=BEARDS[turn // 2 % len(BEARDS)] if short else "",
        glasses={1: "round", 3: "square"}.get(turn % 7, ""),
        earrings=not short and bool(rng.random() < 0.5),
        freckles=not dark and bool(rng.random() < 0.25),
        age=age,
        collar=COLLARS[rng.integers(len(COLLARS))],
        scenery=SCENERIES[turn % len(SCENERIES)],
        light=float(rng.choice([-1, 1])) * rng.uniform(0.15, 0.5),
        contrast=rng.uniform(0.18, 0.36),
    )


def _vary(colour: Colour, rng: np.random.Generator, by: float) -> Colour:
    red, green, blue = (int(np.clip(c + rng.normal(0, by), 0, 255)) for c in colour)
    return red, green, blue


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    wheel = np.clip(np.abs((hue + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1, 0, 1)
    red, green, blue = (int(c) for c in 255 * value * (1 - saturation * (1 - wheel)))
    return red, green, blue
