"""Makes up the persons of the demo.

The numbers here are our choice.
"""

import numpy as np

from dfercli.drawing.person import Colour, Person

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
    """Make up a person. Neighbouring indices differ in skin, haircut and surroundings."""
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
